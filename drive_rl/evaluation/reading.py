"""Reading back what an evaluation wrote, without trusting it."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation.results import SCHEMA, Evaluation, PolicyResult
from drive_rl.evaluation.statistics import Estimate

_FLAGS = ("crashed", "terminated", "truncated", "capped")
_TEXTS = ("crash_kind",)
_COUNTS = ("seed", "episode_length")
_OF_A_POLICY = ("name", "kind", "engine", "metrics", "about")
_OWN_FIELDS = ("schema", "env", "episodes", "seed", "policies")


def read_evaluation(folder: str | os.PathLike[str], *, episodes: bool = True) -> Evaluation:
    """The evaluation that was written to `folder`.

    Args:
        episodes: also the table of episodes, which takes most of the time.

    Raises:
        UsageError: there is none.
        DriveRLError: its files are damaged, or of a later schema.
    """
    place = Path(folder)
    report, table = place / "report.json", place / "episodes.csv"
    if not report.is_file():
        raise UsageError(f"{place}: no evaluation (it has no report.json)")
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise DriveRLError(
                f"{report}: has schema {document['schema']}; this version reads {SCHEMA}"
            )
        columns = _columns(table) if episodes else {}
        return Evaluation(
            env=str(document["env"]),
            num_episodes=int(document["episodes"]),
            seed=int(document["seed"]),
            policies=tuple(_policy(each, columns) for each in document["policies"]),
            settings={key: value for key, value in document.items() if key not in _OWN_FIELDS},
        )
    except DriveRLError:
        raise
    except OSError as error:
        raise DriveRLError(f"{place}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DriveRLError(f"{place}: not an evaluation that can be read ({reason})") from None


def _policy(document: Mapping[str, Any], columns: Mapping[str, Any]) -> PolicyResult:
    metrics = {
        str(name): Estimate(*(_number(value[end]) for end in ("mean", "low", "high")))
        for name, value in document["metrics"].items()
    }
    name = str(document["name"])
    return PolicyResult(
        name=name,
        kind=str(document.get("kind", "policy")),
        metrics=metrics,
        episodes=columns.get(name, {}),
        engine=str(document.get("engine", "")),
        about=dict(document.get("about", {})),
        extras={key: value for key, value in document.items() if key not in _OF_A_POLICY},
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _columns(path: Path) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Columns of episodes.csv by policy."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    policies: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        policies.setdefault(row.pop("policy"), []).append(row)
    return {
        policy: {
            name: _column(name, [row[name] for row in own]) for name in own[0] if name != "episode"
        }
        for policy, own in policies.items()
    }


def _column(name: str, cells: list[str]) -> npt.NDArray[Any]:
    if name in _FLAGS:
        return np.array([int(cell) for cell in cells], dtype=np.bool_)
    if name in _COUNTS:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    if name in _TEXTS:
        return np.array(cells)
    return np.array([float(cell) if cell else math.nan for cell in cells])
