"""What is written down about a training: per iteration in metrics.jsonl and for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from drive_rl.training.checkpoint import write_text_atomically
from drive_rl.training.progress import as_json_number
from drive_rl.training.run import METRICS_FILE, read_metrics

_SMALLEST_WINDOW = 100  # episodes
_EVENTS_PREFIX = "events.out.tfevents."
_LONGEST_WAIT = 2.0  # s
_EPISODE_FIGURES = ("return", "length", "crash_rate", "speed")

# SB3's names for what its algorithms log, and ours.
_LOGGED = {
    "train/loss": "loss",
    "train/policy_gradient_loss": "policy_loss",
    "train/value_loss": "value_loss",
    "train/entropy_loss": "entropy_loss",
    "train/approx_kl": "approx_kl",
    "train/clip_fraction": "clip_fraction",
    "train/explained_variance": "explained_variance",
    "train/std": "action_std",
    "train/learning_rate": "learning_rate",
    "rollout/exploration_rate": "exploration_rate",
}


class EpisodeWindow:
    """The last episodes of a training: 100, or one per environment where that is more.

    With many environments a shorter window would hold only those episodes that happened to end in
    the last few steps, all crashes or all not.
    """

    def __init__(self, num_envs: int) -> None:
        size = max(_SMALLEST_WINDOW, num_envs)
        self._episodes: deque[tuple[float, ...]] = deque(maxlen=size)
        self.total = 0

    @property
    def full(self) -> bool:
        """Whether as many episodes as fit have ended."""
        return len(self._episodes) == self._episodes.maxlen

    def forget(self) -> None:
        """Begin again, in another scene; episodes are counted on."""
        self._episodes.clear()

    def add(self, infos: list[dict[str, Any]], dones: NDArray[np.bool_]) -> None:
        """Take in the episodes that ended in a step."""
        for index in np.flatnonzero(dones):
            info = infos[index]
            episode = info["episode"]
            figures = (episode["r"], episode["l"], info["crashed"], info["speed_mean"])
            # Only scenes with a goal can be succeeded in.
            success = info.get("is_success", math.nan)
            self._episodes.append(tuple(float(figure) for figure in (*figures, success)))
            self.total += 1

    def figures(self) -> dict[str, float | None]:
        """Means over the window: return, length [decisions], crash_rate, speed [m/s].

        And success_rate in scenes with a goal.
        """
        if not self._episodes:
            return dict.fromkeys(_EPISODE_FIGURES)
        means = np.asarray(self._episodes, dtype=np.float64).mean(axis=0)
        *common, success = (float(mean) for mean in means)
        figures: dict[str, float | None] = dict(zip(_EPISODE_FIGURES, common, strict=True))
        return figures if math.isnan(success) else figures | {"success_rate": success}

    def to_data(self) -> dict[str, Any]:
        """The window for state.json."""
        return {"total": self.total, "episodes": [list(episode) for episode in self._episodes]}

    def from_data(self, data: dict[str, Any]) -> None:
        """Continue from `to_data`."""
        self.total = int(data["total"])
        self._episodes.clear()
        self._episodes.extend(tuple(episode) for episode in data["episodes"])


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


def logged_figures(values: dict[str, Any]) -> dict[str, float | int | None]:
    """What SB3's algorithm logged since the last iteration, under our names."""
    return {ours: values[theirs] for theirs, ours in _LOGGED.items() if theirs in values}


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
    if name in (*_EPISODE_FIGURES, "success_rate", "episodes", "exploration_rate"):
        return f"rollout/{name}"
    return f"time/{name}" if name in ("fps", "time") else f"train/{name}"


def remove_metrics(path: Path) -> None:
    """Forget what a process wrote that was killed before its first checkpoint."""
    for file in (path / METRICS_FILE, *path.glob(f"{_EVENTS_PREFIX}*")):
        file.unlink(missing_ok=True)
