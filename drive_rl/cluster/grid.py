"""`drive-rl grid`: every environment with every agent and every seed, and one table of results."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drive_rl.cluster.board import Board
from drive_rl.cluster.pool import LocalPool, Pool, check_folder, default_workers
from drive_rl.cluster.summary import PAGE, render
from drive_rl.cluster.tasks import RunTask, ShardTask, task_from_json, task_name
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation import read_evaluation
from drive_rl.evaluation.final import FINAL
from drive_rl.evaluation.results import write_file
from drive_rl.presets import resolve_run

GRID_FILE = "grid.json"
RESULTS_FILE = "results.csv"
COLUMNS = ("env", "algo", "seed", "run", "return", "crash_rate", "speed")
_SCHEMA = 1
_MOST_SEEDS = 100_000
_PAUSE = 1.0  # s between two writings of a table that may be long


class TasksFailed(DriveRLError):
    """Some tasks of a grid or sweep failed; the others are done."""


def grid(
    envs: Sequence[str],
    algos: Sequence[str],
    seeds: Sequence[int],
    out: str | Path,
    *,
    steps: int | None = None,
    num_envs: int | None = None,
    engine: str = "auto",
    overrides: Sequence[str] = (),
    workers: int | None = None,
    threads: int = 1,
    pool: Pool | None = None,
) -> list[dict[str, Any]]:
    """Train and score every combination; what is done is not done again.

    Args:
        envs: environments, as `drive_rl.train` takes them.
        algos: agents: "ppo", "dqn", or YAML files.
        seeds: of the runs.
        out: the folder: runs/, results.csv, report.html, grid.json, logs/.
        steps, num_envs, engine, overrides: as for `drive_rl.train`.
        workers: runs at a time; None takes as many as the cores hold.
        threads: of each run. Part of what decides its result, and so not chosen by the machine.
        pool: where the runs are done; None takes this machine.

    Returns:
        The rows of results.csv: everything that is done in this folder.

    Raises:
        UsageError: an unknown name, nothing to do, or a folder that has the same combination with
            other settings. Nothing was run then.
        TasksFailed: some runs failed; the others are done, and in the table.
        Interrupted: SIGINT or SIGTERM; the runs have been saved, the same command goes on.
        DriveRLError: the folder cannot be written, or another grid is at work in it.
    """
    root = Path(out)
    tasks = make_tasks(
        envs,
        algos,
        seeds,
        steps=steps,
        num_envs=num_envs,
        engine=engine,
        overrides=overrides,
        threads=threads,
    )
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers} is not a number of at least 1")
    check_folder(root)
    with folder_lock(root):
        known = _remembered(root, tasks)
        pool = pool or LocalPool(workers or default_workers(threads))
        results = Results(root, known)
        with Board(tasks, root) as board:

            def told(event: Any) -> None:
                board(event)
                if event is not None and event.state == "done":
                    results.add(event.task)

            results.write()
            failed = pool.run([task for task in tasks if not task.done(root)], root, told)
        rows = results.write()
    if failed:
        first = failed[0]
        raise TasksFailed(
            f"{len(failed)} of {len(tasks)} runs failed, the first ({first.task.label}) because: "
            f"{first.reason}; the same command again does only what is missing"
        )
    return rows


def make_tasks(
    envs: Sequence[str],
    algos: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int | None = None,
    num_envs: int | None = None,
    engine: str = "auto",
    overrides: Sequence[str] = (),
    threads: int = 1,
) -> list[RunTask]:
    """The runs of a grid, environments outermost; raises UsageError as `grid`."""
    for name, values in (("env", envs), ("algo", algos), ("seeds", seeds)):
        if not values:
            raise UsageError(f"no {name} in the grid")
        if len(set(values)) < len(values):
            twice = next(value for value in values if list(values).count(value) > 1)
            raise UsageError(f"{name} {twice!r} is named twice")
    tasks = []
    for env in envs:
        for algo in algos:
            # Seeds differ in nothing else: resolve once.
            spec = resolve_run(
                env,
                algo,
                steps=steps,
                num_envs=num_envs,
                engine=engine,
                device="cpu",
                num_threads=threads,
                overrides=overrides,
            )
            label = Path(algo).stem if algo.endswith((".yaml", ".yml")) else algo
            _check_learnable(spec)
            for seed in seeds:
                run = spec.model_copy(update={"seed": seed})
                tasks.append(RunTask(algo=label, run=run))
    return tasks


def parse_seeds(text: str) -> list[int]:
    """`0..9`, `3`, `0,2,5` or `0..4,10` as numbers; both ends belong to a range.

    Raises:
        UsageError: something else, or a range that runs backwards.
    """
    seeds: list[int] = []
    for part in (each.strip() for each in text.split(",")):
        found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", part)
        if found is None:
            raise UsageError(f"seeds {text!r}: {part!r} is neither a number nor a range as 0..9")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise UsageError(f"seeds {text!r}: {part!r} runs backwards; write {last}..{first}")
        if last - first >= _MOST_SEEDS or last >= 2**32:
            raise UsageError(f"seeds {text!r}: {part!r} is too much")
        seeds += range(first, last + 1)
    return seeds


def folder_lock(root: Path) -> Any:
    """Exclusive ownership of a folder of tasks.

    Raises:
        DriveRLError: on entering, where another process is at work there.
    """
    from drive_rl.runs.lock import RunLock

    class FolderLock(RunLock):
        def __enter__(self) -> RunLock:
            try:
                return super().__enter__()
            except DriveRLError as error:
                raise DriveRLError(
                    str(error).replace("on this run", "in this folder; wait for it")
                ) from None

    return FolderLock(root)


class Results:
    """results.csv, a row per finished run; a run that has its row is not read again.

    Args:
        root: the grid's folder.
        tasks: all that the folder is for, in the order of the rows.
    """

    def __init__(self, root: Path, tasks: Sequence[RunTask]) -> None:
        self._root = root
        self._tasks = {task_name(task): task for task in tasks}
        self._rows: dict[str, dict[str, Any] | None] = dict.fromkeys(self._tasks)
        self._written = -math.inf

    def add(self, finished: RunTask | ShardTask) -> None:
        """A run has ended; the table is written unless that was just done."""
        self._look(task_name(finished))
        if time.monotonic() - self._written > _PAUSE:
            self._write()

    def write(self) -> list[dict[str, Any]]:
        """Look at all runs that have no row, write the table and the page; returns the rows."""
        for name in self._tasks:
            self._look(name)
        rows = self._write()
        write_file(self._root / PAGE, render(rows, len(self._tasks), self._root))
        return rows

    def _look(self, name: str) -> None:
        if self._rows[name] is None:
            self._rows[name] = result_row(self._root, self._tasks[name])

    def _write(self) -> list[dict[str, Any]]:
        rows = [row for row in self._rows.values() if row is not None]
        text = io.StringIO()
        lines = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        lines.writeheader()
        lines.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
        write_file(self._root / RESULTS_FILE, text.getvalue())
        self._written = time.monotonic()
        return rows


def write_results(root: Path, tasks: Sequence[RunTask]) -> list[dict[str, Any]]:
    """Write results.csv, a row per finished run; returns the rows."""
    return Results(root, tasks).write()


def result_row(root: Path, task: RunTask) -> dict[str, Any] | None:
    """A run's row of results.csv, or None where it is not done."""
    if not task.done(root):
        return None
    folder = root / task.folder
    metrics = read_evaluation(folder / "evaluation" / FINAL, episodes=False).metrics
    figures = {name: metrics[name].to_json()["mean"] for name in ("return", "crash_rate", "speed")}
    return {
        "env": task.run.env.id,
        "algo": task.algo,
        "seed": task.run.seed,
        "run": str(folder),
        **figures,
    }


def _remembered(root: Path, tasks: Sequence[RunTask]) -> list[RunTask]:
    """All runs that this folder is for: those of former commands and these.

    Raises:
        UsageError: a combination was there with other settings.
        DriveRLError: grid.json is damaged.
    """
    path = root / GRID_FILE
    known: dict[tuple[str, str, int], RunTask] = {}
    if path.is_file():
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["schema"] != _SCHEMA:
                raise ValueError(f"schema {document['schema']}")
            for entry in document["tasks"]:
                task = task_from_json(json.dumps(entry))
                assert isinstance(task, RunTask)
                known[_place(task)] = task
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:120]
            raise DriveRLError(
                f"{path}: damaged ({reason}); remove it and give the command again: "
                "finished runs are kept"
            ) from None
    for task in tasks:
        other = known.get(_place(task))
        if other is not None and task_name(other) != task_name(task):
            raise UsageError(
                f"{root}: has {task.label} with other settings ({_difference(other, task)}); "
                "name another folder"
            )
        known[_place(task)] = task
    document = {
        "schema": _SCHEMA,
        "tasks": [task.model_dump(mode="json") for task in known.values()],
    }
    write_file(path, json.dumps(document, indent=1) + "\n")
    return list(known.values())


def _place(task: RunTask) -> tuple[str, str, int]:
    return task.run.env.id, task.algo, task.run.seed


def _difference(there: RunTask, here: RunTask) -> str:
    """The first setting in which two runs differ."""
    old, new = _flat(there.identity), _flat(here.identity)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            return f"{key} is {old.get(key)!r} there, {new.get(key)!r} here"
    return "none that is known"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, each in value.items():
        flat |= _flat(each, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _check_learnable(spec: Any) -> None:
    """Refuse now what every seed would refuse later, such as DQN on continuous actions."""
    from drive_rl.environments import make
    from drive_rl.training.algorithms import check_spaces
    from drive_rl.training.networks import resolved_network

    env = make(spec.env, engine=spec.engine)
    observations, actions = env.observation_space, env.action_space
    env.close()
    network = resolved_network(spec, observations)
    agent = spec.agent.model_copy(update={"network": network})
    check_spaces(agent, spec.env.id, observations, actions)
