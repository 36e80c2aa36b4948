"""What a thousand nodes would do: task costs and Ray's overheads, measured here and carried on.

python -m benchmarks.scale [--steps 100000] [--write]

Two parts. `measure` takes what can be taken on one machine: what tasks cost, and what Ray and the
driver cost for each. `simulate` lets events happen in order on a cluster that is not there.
`--write` puts both into docs/scale.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.written import machine, write_between
from drive_rl.cluster.grid import make_tasks, result_row
from drive_rl.cluster.pool import LocalPool
from drive_rl.cluster.ray_pool import LOCAL, connected
from drive_rl.cluster.tasks import RunTask, ShardTask
from drive_rl.evaluation import read_evaluation
from drive_rl.presets import load_environment

NODES = (1, 10, 100, 1000)
CORES = 16  # of a node, an assumption
PER_CORE = 4  # tasks of a grid or an evaluation for each core there is
SPREAD = 0.2  # of a task's duration, deviation over mean, an assumption
MEAN_TIME_BETWEEN_FAILURES = 1000 * 3600.0  # s, of one node, an assumption
NOTICED = 30.0  # s until Ray gives a silent node up, its own settings
LOOK = 0.5  # s between two looks of the driver, as in ray_pool


@dataclasses.dataclass(frozen=True)
class Costs:
    """What was measured, in seconds unless said.

    Attributes:
        start: of a process until it could begin its task.
        steps_per_second: of a training.
        evaluation: at the end of a training.
        shard: 1,000 episodes, without the start.
        checkpoint_bytes: of one checkpoint.
        submit: a task, in the driver.
        dispatch: between two tasks that one driver has started, workers waiting.
        process: a fresh process per task, Ray's part.
        get: a result, in the driver.
        look: over the tasks that wait, for each of them.
        row: of results.csv, read from a finished run.
        shard_read: a shard, when all are put together.
    """

    start: float
    steps_per_second: float
    evaluation: float
    shard: float
    checkpoint_bytes: int
    submit: float
    dispatch: float
    process: float
    get: float
    look: float
    row: float
    shard_read: float


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of work.

    Attributes:
        seconds: of a task at work.
        saved_every: seconds between checkpoints: what a node that goes takes with it, at most.
        noted: seconds of the driver for each task that has ended.
        joined: seconds of the driver for each task when all have ended.
    """

    name: str
    seconds: float
    saved_every: float
    noted: float = 0.0
    joined: float = 0.0


def main() -> None:
    """Measure, simulate and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        costs, spec = measure(Path(folder), options.steps)
    lines = report(costs, spec, where)
    print("\n".join(lines))
    if options.write:
        print(f"Written: {write_between('scale.md', 'simulated', lines)}")


# --- measured ---------------------------------------------------------------------------------


def measure(root: Path, steps: int) -> tuple[Costs, Any]:
    """Costs on this machine, and the specification of the run that was measured."""
    short = ["agent.evaluation_episodes=1"]
    _done(
        # Compiles the simulator, where that was not done.
        LocalPool(1),
        make_tasks(["highway-fast-v0"], ["ppo"], [1], steps=256, overrides=short),
        root,
    )
    (task,) = make_tasks(["highway-fast-v0"], ["ppo"], [0], steps=steps)
    run = _timed(lambda: _done(LocalPool(1), [task], root))
    again = _timed(lambda: _start(task, root))
    metrics = [line for line in _lines(root / task.folder / "metrics.jsonl") if line.get("time")]
    rate = metrics[-1]["step"] / metrics[-1]["time"]
    shard = ShardTask(
        policy="highway-fast-v0/ppo", env=load_environment("highway-fast-v0"), seed=0, episodes=1000
    )
    drive = _timed(lambda: _done(LocalPool(1), [shard], root))
    newest = max((root / task.folder / "checkpoints").glob("*/manifest.json"))
    written = sum(file.stat().st_size for file in newest.parent.iterdir())
    row = _timed(lambda: [result_row(root, task) for _ in range(20)]) / 20
    place = root / shard.folder
    shard_read = _timed(lambda: [read_evaluation(place) for _ in range(20)]) / 20
    costs = Costs(
        start=again,
        steps_per_second=rate,
        evaluation=max(run - again - metrics[-1]["time"], 0.0),
        shard=max(drive - again, 0.0),
        checkpoint_bytes=written,
        row=row,
        shard_read=shard_read,
        **_ray_costs(task, root),
    )
    (full,) = make_tasks(["highway-fast-v0"], ["ppo"], [0])
    return costs, full.run


def _ray_costs(task: RunTask, root: Path, many: int = 2000, few: int = 16) -> dict[str, float]:
    text, place = task.model_dump_json(), str(root)
    with connected(LOCAL, workers=2) as ray:
        nothing = ray.remote(num_cpus=1)(_nothing)
        fresh = ray.remote(num_cpus=1, max_calls=1)(_nothing)
        ray.get([nothing.remote(text, place) for _ in range(200)])  # workers that are there
        began = time.perf_counter()
        waiting = [nothing.remote(text, place) for _ in range(many)]
        submit = (time.perf_counter() - began) / many
        ray.wait(waiting, num_returns=many, fetch_local=False)
        dispatch = (time.perf_counter() - began) / many
        get = _timed(lambda: [ray.get(each) for each in waiting]) / many
        looks = [
            _timed(lambda: ray.wait(waiting, num_returns=many, timeout=0, fetch_local=False))
            for _ in range(5)
        ]
        ray.get([fresh.remote(text, place) for _ in range(2)])  # the end of those that are there
        # Two at a time: a process' start is a core's work.
        process = _timed(lambda: ray.get([fresh.remote(text, place) for _ in range(few)])) * 2 / few
    return {
        "submit": submit,
        "dispatch": dispatch,
        "process": process,
        "get": get,
        "look": min(looks) / many,
    }


def _nothing(text: str, root: str) -> None:
    """A task that costs nothing."""


def _start(task: RunTask, root: Path) -> None:
    """A worker process that finds its task done."""
    line = [sys.executable, "-m", "drive_rl.cluster.worker", str(root)]
    with subprocess.Popen(line, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(task.model_dump_json().encode() + b"\n")
        process.stdin.flush()
        # Its end would say that nobody waits for the task.
        if process.wait():
            raise RuntimeError(f"the worker ended with {process.returncode}")


def _done(pool: LocalPool, tasks: list[Any], root: Path) -> None:
    failed = pool.run(tasks, root, lambda event: None)
    if failed:
        raise RuntimeError(failed[0].reason)


def _lines(path: Path) -> list[dict[str, Any]]:
    from drive_rl.runs.metrics import read_metrics

    return read_metrics(path)


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- simulated --------------------------------------------------------------------------------


def simulate(
    kind: Kind, nodes: int, costs: Costs, *, per_core: int = PER_CORE, seed: int = 0
) -> dict[str, float]:
    """Tasks of one kind on a cluster: makespan, efficiency, and what the driver does meanwhile.

    A core takes the next task as soon as the driver has dispatched it. A node fails by chance;
    its cores' tasks begin again elsewhere, as much as their checkpoints lack.
    """
    rng = np.random.default_rng(seed)
    cores = nodes * CORES
    count = cores * per_core
    sigma = math.sqrt(math.log1p(SPREAD**2))
    work = kind.seconds * rng.lognormal(-(sigma**2) / 2, sigma, count)
    overhead = costs.process + costs.start
    free = [0.0] * cores
    dispatched, ended, failures = 0.0, 0.0, 0
    heapq.heapify(free)
    for index in range(count):
        submitted = (index + 1) * costs.submit
        begin = heapq.heappop(free)
        # Dispatching is the driver's work, one task after the other.
        dispatched = max(dispatched + costs.dispatch, submitted)
        begin = max(begin, dispatched)
        took = overhead + work[index]
        while rng.random() < 1 - math.exp(-took / MEAN_TIME_BETWEEN_FAILURES):
            failures += 1
            took += NOTICED + overhead + rng.uniform(0, min(kind.saved_every, work[index]))
        end = begin + took
        ended = max(ended, end)
        heapq.heappush(free, end)
    ideal = float(work.sum()) / cores
    per_second = count / ended
    busy = per_second * (costs.submit + costs.get + kind.noted) + count / 2 * costs.look / LOOK
    # Where the driver is behind, the last results are noted when it gets to them.
    ended = ended * max(busy, 1.0) + count * kind.joined
    return {
        "cores": cores,
        "tasks": count,
        "makespan": ended,
        "efficiency": ideal / ended,
        "driver": busy,
        "failures": failures,
    }


def report(costs: Costs, spec: Any, where: str) -> list[str]:
    """Both parts as Markdown."""
    agent = spec.agent
    run = Kind(
        f"runs ({agent.algo} on {spec.env.id}, {agent.steps:,} steps)",
        agent.steps / costs.steps_per_second + costs.evaluation,
        agent.checkpoint_interval / costs.steps_per_second,
        noted=costs.row,
    )
    shard = Kind("shards of 1,000 episodes", costs.shard, costs.shard, joined=costs.shard_read)
    lines = [
        "",
        f"Written by `python -m benchmarks.scale --write` ({where}).",
        "",
        "Measured here:",
        "",
        "| | |",
        "|---|---|",
        f"| a process until it can begin its task | {costs.start:.2f} s |",
        f"| training, one thread | {costs.steps_per_second:,.0f} steps/s |",
        f"| the evaluation at its end | {costs.evaluation:.1f} s |",
        f"| a shard of 1,000 episodes | {costs.shard:.1f} s |",
        f"| a checkpoint | {costs.checkpoint_bytes / 1e6:.2f} MB |",
        f"| Ray: to submit a task | {costs.submit * 1e6:.0f} us |",
        f"| Ray: from one task to the next, of one driver | {costs.dispatch * 1e6:.0f} us |",
        f"| Ray: a fresh process for a task | {costs.process:.2f} s |",
        f"| Ray: to get a result | {costs.get * 1e6:.0f} us |",
        f"| Ray: a look, for each task that waits | {costs.look * 1e6:.1f} us |",
        f"| a row of results.csv, read from a run | {costs.row * 1e3:.1f} ms |",
        f"| a shard, read to put all together | {costs.shard_read * 1e3:.1f} ms |",
        "",
        f"Carried on, on paper: nodes of {CORES} cores, {PER_CORE} tasks for each core, durations "
        f"that deviate by {SPREAD:.0%}, a node lost every "
        f"{MEAN_TIME_BETWEEN_FAILURES / 3600:,.0f} hours of its own and given up after "
        f"{NOTICED:.0f} s. Efficiency is the tasks' own work over what the cores could have done "
        "meanwhile; the driver's share is of one core.",
        "",
        "| work | nodes | cores | tasks | takes | efficiency | lost tasks | driver |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in (run, shard):
        for nodes in NODES:
            found = simulate(kind, nodes, costs)
            lines.append(
                f"| {kind.name} | {nodes:,} | {found['cores']:,} | {found['tasks']:,} | "
                f"{_duration(found['makespan'])} | {found['efficiency']:.0%} | "
                f"{found['failures']:,} | {found['driver']:.0%} |"
            )
    lines += ["", "Where it saturates:", ""]
    for kind in (run, shard):
        task = kind.seconds + costs.start + costs.process
        started = task / costs.dispatch
        # The driver's work for each core that is kept busy [s of work in a second].
        each = (costs.submit + costs.get + kind.noted) / task + PER_CORE / 2 * costs.look / LOOK
        lines.append(
            f"- {kind.name}: one driver starts a task every {costs.dispatch * 1e6:.0f} us, so it "
            f"keeps up to {started:,.0f} cores busy; its own core is full of submitting, looking "
            f"and noting results at {1 / each:,.0f}. That makes "
            f"{min(started, 1 / each) / CORES:,.0f} nodes."
        )
    long = simulate(run, 100, costs, per_core=10 * PER_CORE)
    lost = 1 - shard.seconds / (shard.seconds + costs.start + costs.process)
    most = NODES[-1] * CORES
    every = run.saved_every
    lines += [
        f"- Starts: a process per task costs {costs.start + costs.process:.1f} s, "
        f"{lost:.0%} of a shard's time and "
        f"{1 - run.seconds / (run.seconds + costs.start + costs.process):.1%} of a run's, at any "
        "number of nodes. Longer shards cost less and lose more with a node.",
        f"- The shared folder: {most:,} runs write a checkpoint every {every:.0f} s each, together "
        f"{most / every:,.0f} checkpoints and {most * costs.checkpoint_bytes / every / 1e6:,.0f} "
        "MB a second, each flushed to disk before it is renamed. That is what a file server feels "
        "first; a larger agent.checkpoint_interval is what helps.",
        f"- Putting shards together is one process' work, {costs.shard_read * 1e3:.0f} ms each: of "
        f"{NODES[-1] * CORES * PER_CORE:,} shards "
        f"{_duration(NODES[-1] * CORES * PER_CORE * costs.shard_read)}, in which the cluster has "
        "nothing to do. It is what ends the shards' scaling; a larger shard has the same table.",
        "- The end: cores idle while the last tasks end. With ten times as many tasks for each "
        f"core, runs on 100 nodes have an efficiency of {long['efficiency']:.0%}.",
        "- A sweep keeps as many tasks going as it draws trials together, four unless `--round` "
        "says more: trials that are drawn later know more. Sweeps with seeds of their own go side "
        "by side.",
        "",
    ]
    return lines


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"


if __name__ == "__main__":
    main()
