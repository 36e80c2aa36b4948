"""The outcome of an evaluation, and the files it is written to."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.environments.scene import LaneShape
from drive_rl.errors import DriveRLError
from drive_rl.evaluation.crashes import Crash, CrashTrace
from drive_rl.evaluation.episodes import StoredEpisode, folder_name
from drive_rl.evaluation.metrics import TABLE, Metric
from drive_rl.evaluation.statistics import Estimate
from drive_rl.presets import EnvironmentSpec

SCHEMA = 1
"""Version of report.json: it grows when a field is renamed or removed, not when one is added."""

VIDEOS = 12
"""Crashes that are filmed unless somebody wants more: about half a second and 0.1 MB each."""

_WHOLE = ("off_road", "success", "lane_changes")
"""Columns of whole numbers that are floats only because they may be unknown."""


@dataclasses.dataclass(frozen=True, eq=False)
class CrashCard:
    """A crash to look at.

    Attributes:
        crash, trace: what it was, and its last seconds.
        seed: of the episode.
        lanes: the road.
        actions: the last decisions, oldest first.
        probabilities: of each action at these decisions, (decisions, actions), where known.
        decision_period: [s].
    """

    crash: Crash
    trace: CrashTrace
    seed: int
    lanes: tuple[LaneShape, ...]
    actions: tuple[Any, ...]
    probabilities: npt.NDArray[np.float64] | None
    decision_period: float


@dataclasses.dataclass(frozen=True, eq=False)
class Details:
    """What an evaluation knows of a policy beyond its figures.

    Attributes:
        spec: the environment as this policy saw it.
        actions: of each episode, by k.
        cards: the first crashes.
        action_names: of discrete actions; empty for others.
    """

    spec: EnvironmentSpec
    actions: Mapping[int, Any]
    cards: tuple[CrashCard, ...]
    action_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class PolicyResult:
    """How one policy did.

    Attributes:
        name: as in the table; unique within an evaluation.
        kind: "policy" for one that was asked for, "baseline" for what it is measured by.
        metrics: by name, see `drive_rl.evaluation.metrics`.
        episodes: one array per column of episodes.csv, (num_episodes,) each.
        engine: "compiled" or "reference".
        about: where the policy comes from, for the report.
        extras: what else report.json says of it: `measured_from`, `crash_kinds`, `crashes`,
            `histograms`, `learning_curve`, `share_of_the_way`.
        details: what only an evaluation of this process has: actions, maps of crashes.
    """

    name: str
    kind: str
    metrics: Mapping[str, Estimate]
    episodes: Mapping[str, npt.NDArray[Any]]
    engine: str
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    extras: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    details: Details | None = None

    def to_json(self) -> dict[str, Any]:
        """This policy's part of report.json."""
        return {
            "name": self.name,
            "kind": self.kind,
            "engine": self.engine,
            "metrics": {name: estimate.to_json() for name, estimate in self.metrics.items()},
            "about": dict(self.about),
            **self.extras,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Policies on the same episodes.

    Attributes:
        env: name of the environment.
        num_episodes: episodes driven by each policy.
        seed: episode k was reset with `seed + k`.
        policies: results, those asked for first, then the baselines.
        settings: everything else that the figures depend on, and versions.
        shown: the metrics in order, for tables.
    """

    env: str
    num_episodes: int
    seed: int
    policies: tuple[PolicyResult, ...]
    settings: Mapping[str, Any]
    shown: tuple[Metric, ...] = TABLE

    @property
    def metrics(self) -> Mapping[str, Estimate]:
        """The metrics of the first policy."""
        return self.policies[0].metrics

    def to_json(self) -> dict[str, Any]:
        """What report.json holds; docs/report.md describes it."""
        return {
            "schema": SCHEMA,
            "env": self.env,
            "episodes": self.num_episodes,
            "seed": self.seed,
            "policies": [policy.to_json() for policy in self.policies],
            **self.settings,
        }

    def episodes_csv(self) -> str:
        """One line per policy and episode, under a line of names."""
        names = list(dict.fromkeys(n for policy in self.policies for n in policy.episodes))
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["policy", "episode", *names])
        for policy in self.policies:
            columns = [policy.episodes.get(name) for name in names]
            for k in range(self.num_episodes):
                cells = [
                    "" if column is None else _cell(name, column[k])
                    for name, column in zip(names, columns, strict=True)
                ]
                lines.writerow([policy.name, k, *cells])
        return text.getvalue()

    def stored_episodes(self) -> Iterator[tuple[str, StoredEpisode]]:
        """Every episode that can be driven again, with the name of its file."""
        for policy in self.policies:
            if policy.details is None:
                continue
            for k, actions in sorted(policy.details.actions.items()):
                outcome = {
                    name: _plain(policy.episodes[name][k])
                    for name in ("return", "episode_length", "crashed")
                }
                seed = self.seed + k
                yield (
                    f"{folder_name(policy.name)}/{seed}.json",
                    StoredEpisode(
                        policy.details.spec, policy.engine, seed, actions, policy.name, outcome
                    ),
                )

    def write(
        self, folder: str | os.PathLike[str], *, page: bool = True, videos: int = VIDEOS
    ) -> Path:
        """Write the evaluation into `folder`, which is made where missing.

        Args:
            page: also write report.html, episodes/ and videos/; else report.json and episodes.csv
                only.
            videos: crashes of the first policy that are filmed, at most.

        Raises:
            DriveRLError: the folder cannot be written.
        """
        target = Path(folder)
        if not page:
            self._write_figures(target)
            return target
        from drive_rl.evaluation.page import film_crashes, render

        # Films wait for their encoders: the many small files are written meanwhile.
        with ThreadPoolExecutor(1, "films") as beside:
            films = beside.submit(film_crashes, self, target / "videos", videos)
            self._write_figures(target)
            write_folder(
                target / "episodes",
                (
                    (name, json.dumps(episode.to_json()) + "\n")
                    for name, episode in self.stored_episodes()
                ),
            )
            write_file(target / "report.html", render(self, videos=films.result()))
        return target

    def _write_figures(self, target: Path) -> None:
        document = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_file(target / "report.json", document + "\n")
        write_file(target / "episodes.csv", self.episodes_csv())


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: beside its place, then renamed.

    Raises:
        DriveRLError: no room, no right, no such place.
    """
    data = content.encode() if isinstance(content, str) else content
    beside = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except OSError as error:
        Path(beside).unlink(missing_ok=True) if beside else None
        raise DriveRLError(f"cannot write {path}: {error.strerror or error}") from None


def write_folder(path: Path, files: Iterable[tuple[str, str]]) -> None:
    """Write a folder of many small files whole or not at all; what was there before is gone.

    Each with `write_file`, over one of an earlier time, waits for the disk: 2 ms a file.

    Raises:
        DriveRLError: no room, no right, no such place.
    """
    beside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        fresh, old = beside / "new", beside / "old"
        fresh.mkdir()
        for name, content in files:
            place = fresh / name
            place.parent.mkdir(exist_ok=True)
            place.write_text(content, encoding="utf-8")
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    except OSError as error:
        raise DriveRLError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _cell(name: str, value: Any) -> str:
    """A value as text that reads back to the same number; nothing for nan."""
    if isinstance(value, (float, np.floating)):
        if math.isnan(value):
            return ""
        return str(int(value)) if name in _WHOLE else repr(float(value))
    return str(int(value)) if isinstance(value, (bool, np.bool_)) else str(value)
