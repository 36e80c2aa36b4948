"""What is written down about a training: in metrics.jsonl, and the same for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from drive_rl.runs.checkpoint import write_text_atomically
from drive_rl.runs.progress import as_json_number

METRICS_FILE = "metrics.jsonl"
_EVENTS_PREFIX = "events.out.tfevents."
_LONGEST_WAIT = 2.0  # s
_OF_ROLLOUTS = (
    *("return", "length", "crash_rate", "speed", "success_rate"),
    *("episodes", "exploration_rate"),
)


class HasFolder(Protocol):
    """A run of any kind: of a policy, of a texture GAN."""

    @property
    def path(self) -> Path:
        """The run's folder."""


class MetricsLog:
    """metrics.jsonl and the TensorBoard events of a run, continued after `step` without doubles.

    Args:
        run: whose.
        step: lines beyond this step are of a process that was stopped, and dropped.
    """

    def __init__(self, run: HasFolder, step: int) -> None:
        path = run.path / METRICS_FILE
        kept = [entry for entry in read_metrics(path) if entry.get("step", 0) <= step]
        if path.exists():
            write_text_atomically(path, "".join(json.dumps(entry) + "\n" for entry in kept))
        self._file = path.open("a", encoding="utf-8")
        _wait_to_sort_last(run.path)
        # TensorBoard drops what earlier files of the run say about steps from purge_step on.
        self._events = SummaryWriter(str(run.path), purge_step=step + 1 if step else None)

    def write(self, step: int, figures: dict[str, float | int | None]) -> None:
        """Append one iteration: a line of JSON, and a TensorBoard scalar for each figure."""
        entry = {"step": step} | {
            name: None if value is None else as_json_number(value)
            for name, value in figures.items()
        }
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        for name, value in entry.items():
            if name != "step" and value is not None:
                self._events.add_scalar(_tensorboard_name(name), value, step)

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """A picture for TensorBoard, (height, width, 3)."""
        self._events.add_image(name, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        """To the disk, before a checkpoint says that the run is this far."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        """Close both; a full disk has been reported by then."""
        for close in (self._file.close, self._events.close):
            with contextlib.suppress(OSError):
                close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a metrics.jsonl; a line that a killed process left unfinished is skipped."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            lines.append(entry)
    return lines


def remove_metrics(path: Path) -> None:
    """Forget what a process wrote that was killed before its first checkpoint."""
    for file in (path / METRICS_FILE, *path.glob(f"{_EVENTS_PREFIX}*")):
        file.unlink(missing_ok=True)


def _wait_to_sort_last(path: Path) -> None:
    """Wait until a new event file's name will sort after those that are there.

    TensorBoard reads the files of a run in the order of their names, which begin with the second
    in which they were made; within one second, the process id would decide which is the later.
    """
    seconds = [
        int(match[1])
        for file in path.glob(f"{_EVENTS_PREFIX}*")
        if (match := re.match(r"(\d+)\.", file.name.removeprefix(_EVENTS_PREFIX)))
    ]
    later = max(seconds, default=0) + 1
    # A file from a clock that was far ahead is not waited for.
    while 0 < (wait := later - time.time()) <= _LONGEST_WAIT:
        time.sleep(wait)


def _tensorboard_name(name: str) -> str:
    if name in _OF_ROLLOUTS:
        return f"rollout/{name}"
    return f"time/{name}" if name in ("fps", "time") else f"train/{name}"
