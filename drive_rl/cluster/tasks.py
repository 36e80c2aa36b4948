"""Tasks: coarse pieces of work, named by what they are, which may be done twice but never are.

A task's name is the hash of its specification, and its results are the files it leaves. So what
is done can be seen without asking anyone, a task that died with its worker is simply done again
(a run goes on from its last checkpoint), and a grid that was stopped is started again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from drive_rl.errors import DriveRLError
from drive_rl.presets import EnvironmentSpec, RunSpec
from drive_rl.specs import Spec

LOCK_PATIENCE = 60.0
"""Seconds to wait for a run that a dying process still holds."""


class RunTask(Spec):
    """A training with the evaluation at its end, in a run folder.

    Attributes:
        algo: what it is called in tables.
    """

    kind: Literal["run"] = "run"
    algo: str
    run: RunSpec

    @property
    def label(self) -> str:
        """One line for people."""
        return f"{self.run.env.id} {self.algo} seed {self.run.seed}"

    @property
    def identity(self) -> Any:
        """What decides the result."""
        return self.run.model_dump(mode="json")

    @property
    def folder(self) -> str:
        """The run folder, below the root."""
        place = f"{slug(self.run.env.id)}/{slug(self.algo)}"
        return f"runs/{place}/seed{self.run.seed}-{task_name(self)[:8]}"

    def done(self, root: Path) -> bool:
        """Whether the run's last evaluation is there, which is written last and whole."""
        return (root / self.folder / "evaluation" / "final" / "report.json").is_file()

    def perform(self, root: Path) -> None:
        """Train, or go on where a former attempt ended."""
        from drive_rl.runs.folder import RUN_FILE
        from drive_rl.runs.progress import PlainLines
        from drive_rl.training import resume, train_run

        folder = root / self.folder
        progress = PlainLines(_stderr())
        if (folder / RUN_FILE).is_file():
            _patiently(lambda: resume(folder, progress=progress))
            return
        # Killed before it had a specification: there is nothing in it.
        shutil.rmtree(folder, ignore_errors=True)
        train_run(self.run, folder, progress=progress)

    def progress(self, root: Path) -> tuple[int, int, dict[str, float | None]]:
        """Steps done, steps in all, and the last figures of the training."""
        steps = self.run.agent.steps
        last = _last_line(root / self.folder / "metrics.jsonl")
        figures = {name: last.get(name) for name in ("return", "crash_rate", "speed")}
        return int(last.get("step") or 0), steps, figures


class ShardTask(Spec):
    """Some of the episodes of an evaluation.

    Attributes:
        policy: what names it, as `drive_rl.evaluate` takes it.
        digest: of its weights: another policy of the same name is another task.
        env: where it drives.
        seed, episodes: episode k is reset with `seed + k`.
    """

    kind: Literal["shard"] = "shard"
    policy: str
    digest: str = ""
    env: EnvironmentSpec
    seed: int
    episodes: int
    engine: str = "auto"

    @property
    def label(self) -> str:
        """One line for people."""
        return f"{self.policy}: seeds {self.seed} to {self.seed + self.episodes - 1}"

    @property
    def identity(self) -> Any:
        """What decides the result."""
        return self.model_dump(mode="json")

    @property
    def folder(self) -> str:
        """Where the shard's evaluation lies, below the root."""
        return f"shards/{task_name(self)}"

    def done(self, root: Path) -> bool:
        """Whether its episodes are there; report.json is written first, they are last."""
        return (root / self.folder / "episodes.csv").is_file()

    def perform(self, root: Path) -> None:
        """Drive the episodes."""
        from drive_rl.evaluation import evaluate

        evaluation = evaluate(
            self.policy,
            self.env,
            episodes=self.episodes,
            seed=self.seed,
            engine=self.engine,
            baselines=(),
            num_threads=1,
        )
        evaluation.write(root / self.folder, page=False)

    def progress(self, root: Path) -> tuple[int, int, dict[str, float | None]]:
        """A shard is done or not."""
        return (self.episodes if self.done(root) else 0), self.episodes, {}


Task = Annotated[RunTask | ShardTask, Field(discriminator="kind")]
_TASK: TypeAdapter[RunTask | ShardTask] = TypeAdapter(Task)


def task_name(task: RunTask | ShardTask) -> str:
    """The hash of what decides a task's result: 16 hexadecimal digits."""
    text = json.dumps([task.kind, task.identity], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def task_from_json(text: str) -> RunTask | ShardTask:
    """The task that `model_dump_json` wrote; raises pydantic's ValidationError."""
    return _TASK.validate_json(text)


def perform(text: str, root: str) -> str:
    """Do a task unless it is done; returns its name. What every kind of worker calls.

    Raises:
        DriveRLError: as training and evaluation do.
    """
    task = task_from_json(text)
    place = Path(root)
    if not task.done(place):
        task.perform(place)
    return task_name(task)


def slug(name: str) -> str:
    """A name as a part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"


def _patiently(work: Any) -> None:
    """Wait for a lock that a process which is about to end still holds."""
    end = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            work()
            return
        except DriveRLError as error:
            if "is at work on this run" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.5)


def _last_line(path: Path) -> dict[str, Any]:
    """The last whole line of a metrics.jsonl, without reading the rest of it."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - 4096, 0))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            return entry
    return {}


def _stderr() -> Any:
    import sys

    return sys.stderr
