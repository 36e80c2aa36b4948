"""Evaluations of runs: where they are kept, and how far one is."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from drive_rl.errors import UsageError
from drive_rl.evaluation.protocol import evaluate
from drive_rl.evaluation.reading import read_evaluation
from drive_rl.evaluation.results import Evaluation

FINAL = "final"
"""Name of the evaluation that ends a training."""

_PLAIN_INTERVAL = 15.0  # s between plain lines


def evaluate_run(run: Any) -> Evaluation:
    """The evaluation that ends a training: as made, as kept in the run, or made now.

    Args:
        run: a `drive_rl.training.Run`.

    Raises:
        DriveRLError: the run has no whole checkpoint, or its folder cannot be written.
    """
    if run.evaluation is not None:
        made: Evaluation = run.evaluation
        return made
    folder = Path(run.path) / "evaluation" / FINAL
    if (folder / "report.json").is_file():
        return read_evaluation(folder)
    with EpisodeProgress() as progress:
        evaluation = evaluate(
            run.load_policy(),
            episodes=run.spec.agent.evaluation_episodes,
            engine=run.spec.engine,
            parallel=True,
            progress=progress,
        )
    evaluation.write(folder)
    return evaluation


def folder_for(
    asked: Sequence[Any], episodes: int, seed: int, env: str | None = None
) -> Path | None:
    """Where an evaluation is kept unless its user says: in the run that was asked for first.

    Returns:
        `RUN/evaluation/<name>`, a name that tells episodes, seed, and the environment where it is
        not the run's own; None where the first policy is no run or checkpoint.
    """
    if not asked or not isinstance(asked[0], (str, os.PathLike)):
        return None
    place = Path(asked[0])
    for folder in (place, place.resolve().parent.parent):
        if (folder / "run.yaml").is_file():
            where = "" if env is None else re.sub(r"[^A-Za-z0-9._-]+", "-", Path(env).stem) + "-"
            return folder / "evaluation" / f"{where}{episodes}-episodes-seed{seed}"
    return None


def check_place(folder: Path | None) -> None:
    """Find out that a folder cannot be written before an hour of episodes, not after.

    Raises:
        UsageError: something else has its name, or its parent may not be written.
    """
    if folder is None:
        return
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise UsageError(f"{folder}: {existing} is not a folder")
    try:  # a right on paper may be none: to a read-only disk, or of root in /proc
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UsageError(f"{folder}: {existing} cannot be written ({error.strerror})") from None


class EpisodeProgress:
    """How many episodes are driven: a bar on a terminal, a plain line now and then elsewhere.

    Used as a context manager; called as `evaluate` calls its `progress`.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._said = time.monotonic()
        if self._stream.isatty():
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("episodes"),
                TimeRemainingColumn(compact=True),
                console=Console(file=self._stream),
                transient=True,
                refresh_per_second=4,
            )

    def __enter__(self) -> EpisodeProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, policy: str, done: int, total: int) -> None:
        """`done` of `total` episodes of a policy have ended."""
        if self._bar is not None:
            if policy not in self._tasks:
                self._tasks[policy] = self._bar.add_task(policy, total=total)
            self._bar.update(self._tasks[policy], completed=done)
            return
        now = time.monotonic()
        if now - self._said >= _PLAIN_INTERVAL:
            self._said = now
            line = f"drive-rl: {policy}: {done:,} of {total:,} episodes"
            print(line, file=self._stream, flush=True)
