"""What commands have in common: options that several take, and how they print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from drive_rl.errors import UsageError
from drive_rl.specs import parse_settings

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]

# Of the trainings of networks that are no policies
Config = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="Settings: a shipped name or a YAML file.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE ...", help="Change a setting.")
]
Steps = Annotated[int | None, typer.Option(help="Steps to train for.")]
Start = Annotated[
    str | None, typer.Option("--from", metavar="NAME|RUN", help="Start from these weights.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue RUN.")]


def changes(settings: Sequence[str] | None, **named: Any) -> dict[str, Any]:
    """What a command line changes of a spec: `--set`, and options with a name of their own."""
    return parse_settings(settings or ()) | {k: v for k, v in named.items() if v is not None}


def check_resumed(*given: Any) -> None:
    """Refuse settings beside --resume.

    Raises:
        UsageError: one was given.
    """
    if any(given):
        raise UsageError("--resume continues RUN as it was begun; leave the settings out")


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of texts as a table, the headings first; all but the first column to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join([first, *rest]))


def names_in(text: str) -> list[str]:
    """The parts of `a,b`."""
    return [name.strip() for name in text.split(",") if name.strip()]
