"""Figures in docs/ and README.md: a command writes them between two marks, and nobody else does."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def write_between(page: str, mark: str, lines: list[str]) -> Path:
    """Replace what stands between `<!-- mark -->` and `<!-- end of mark -->` in docs/<page>.

    Raises:
        ValueError: the page has no such marks.
    """
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    if begin not in text or end not in text:
        raise ValueError(f"{path}: has no marks {begin} and {end}")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    path.write_text("\n".join([head + begin, *lines, end]) + tail, encoding="utf-8")
    return path


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of Markdown; the first row is its head."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return [head, "|" + "---|" * len(rows[0]), *body]


def machine() -> str:
    """One line on where figures were measured."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load average at the start "
        f"{load:.1f}"
    )
