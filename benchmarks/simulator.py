"""Decisions per second of the compiled simulator, of highway-env, and of EnvPool if it is there.

    python -m benchmarks.simulator [--ids highway-v0 ...] [--threads 1 2] [--json]
    python -m benchmarks.simulator --write docs/speed.md
    python -m benchmarks.simulator --growth [--plot docs/images]

Random actions, resets and observations included. The engines take turns in short rounds, so that
a noisy machine disturbs all of them alike; what holds is the ratio. `--clock cpu` divides by the
seconds of processor time of all threads, which a crowded machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from drive_rl.environments.benchmark import Step, compiled_step, rate, reference_step, take_turns
from drive_rl.environments.compiled import uncovered
from drive_rl.presets import load_environment
from drive_rl.simulator.engine import available_processors
from drive_rl.simulator.scenes import SCENES

ENVPOOL = {
    "highway-v0": "Highway-v0",
    "highway-fast-v0": "HighwayFast-v0",
    "merge-v0": "Merge-v0",
    "roundabout-v0": "Roundabout-v0",
    "intersection-v0": "Intersection-v0",
    "exit-v0": "Exit-v0",
    "two-way-v0": "TwoWay-v0",
    "u-turn-v0": "UTurn-v0",
    "racetrack-v0": "Racetrack-v0",
    "parking-v0": "Parking-v0",
}
VEHICLES = (10, 20, 50, 100, 200, 500)
ENVIRONMENTS = (64, 256, 1024, 4096, 16384)
Clock = Callable[[], float]


def envpool_step(env_id: str, num_envs: int, threads: int) -> Step | None:
    """EnvPool's port, where it is installed and has the scene."""
    try:
        import envpool as pool
    except ImportError:
        return None
    if env_id not in ENVPOOL:
        return None
    env = pool.make_gymnasium(ENVPOOL[env_id], num_envs=num_envs, num_threads=threads, seed=0)
    env.reset()
    batches = [np.stack([env.action_space.sample() for _ in range(num_envs)]) for _ in range(32)]
    taken = 0

    def step() -> int:
        nonlocal taken
        env.step(batches[taken % len(batches)])
        taken += 1
        return num_envs

    step()
    return step


def measure(
    env_id: str, threads: int, num_envs: int, rounds: int, seconds: float, clock: Clock
) -> dict[str, Any]:
    """One row of the table: medians over rounds in which the engines take turns."""
    spec = load_environment(env_id)
    reason = uncovered(spec.base, spec.full_config)
    if reason is not None:
        return {"id": env_id, "threads": threads, "uncovered": reason}
    rng = np.random.default_rng(0)
    steps = {"compiled": compiled_step(spec, num_envs * threads, threads, rng)}
    steps["highway_env"] = reference_step(spec)
    port = envpool_step(env_id, num_envs * threads, threads)
    if port is not None:
        steps["envpool"] = port
    return {"id": env_id, "threads": threads, **take_turns(steps, rounds, seconds, clock)}


def geometric_means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of each ratio, over the rows that have it."""
    means = {}
    for name in ("over_highway_env", "over_envpool"):
        ratios = [row[name] for row in rows if name in row]
        if ratios:
            means[name] = exp(fmean(log(ratio) for ratio in ratios))
    return means


def growth(seconds: float, clock: Clock) -> list[dict[str, Any]]:
    """Time per decision of highway-v0 on one thread, over vehicles and over environments [us]."""
    rows = []
    for vehicles in VEHICLES:
        spec = load_environment("highway-v0", {"vehicles_count": vehicles})
        step = compiled_step(spec, 32, 1, np.random.default_rng(0))
        rows.append(
            {"vehicles": vehicles, "environments": 32, "us": 1e6 / rate(step, seconds, clock)}
        )
        print(rows[-1], file=sys.stderr, flush=True)
    spec = load_environment("highway-v0")
    for environments in ENVIRONMENTS:
        step = compiled_step(spec, environments, 1, np.random.default_rng(0))
        us = 1e6 / rate(step, seconds, clock)
        rows.append({"vehicles": 51, "environments": environments, "us": us})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def plot(rows: list[dict[str, Any]], folder: Path) -> None:
    """Two curves on logarithmic axes, as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    over_vehicles = [row for row in rows if row["environments"] == 32]
    over_environments = [row for row in rows if row["environments"] != 32]
    for axis, curve, name in (
        (axes[0], over_vehicles, "vehicles"),
        (axes[1], over_environments, "environments"),
    ):
        xs, ys = [row[name] for row in curve], [row["us"] for row in curve]
        axis.loglog(xs, ys, "o-", color="#2563eb")
        slope = ys[0] / xs[0] if name == "vehicles" else 0
        expected = [slope * x if slope else ys[0] for x in xs]
        axis.loglog(xs, expected, "--", color="#9ca3af", label="linear" if slope else "flat")
        axis.set(xlabel=name, ylabel="µs per decision", ylim=(min(ys) / 3, max(ys) * 3))
        axis.set_xticks(xs, [f"{x:,}" for x in xs])
        axis.minorticks_off()
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("highway-v0, one thread: time per decision", fontsize=11)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "simulator_growth.svg")
    print(folder / "simulator_growth.svg", file=sys.stderr)


def main() -> None:
    """Print the table, or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", nargs="+", default=list(ENVPOOL), help="'all' for every scene")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--num-envs", type=int, default=64, help="environments per thread")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each engine and round")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--growth", action="store_true", help="over vehicles and environments")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw the growth there")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="the table as a page")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    document: dict[str, Any] = {"schema": 1, "clock": arguments.clock}
    if arguments.growth or arguments.plot:
        document["growth"] = growth(arguments.seconds, clock)
        if arguments.plot:
            plot(document["growth"], arguments.plot)
    else:
        rows = []
        out = sys.stderr if arguments.json else sys.stdout
        ids = sorted(SCENES) if arguments.ids == ["all"] else arguments.ids
        for env_id in ids:
            for threads in arguments.threads:
                rows.append(
                    measure(
                        env_id, threads, arguments.num_envs,
                        arguments.rounds, arguments.seconds, clock,
                    )
                )  # fmt: skip
                print(shown(rows[-1]), file=out, flush=True)
        document |= {"rows": rows, "geometric_means": geometric_means(rows)}
        print("geometric means:", shown(document["geometric_means"]), file=out)
        if arguments.write:
            write_page(document, arguments.write)
    if arguments.json:
        print(json.dumps(document))


def write_page(document: dict[str, Any], path: Path) -> None:
    """The table as Markdown, with what it was measured on."""
    words = " ".join(sys.argv[1:])
    lines = [
        "# How fast the simulator is",
        "",
        f"Written by `python -m benchmarks.simulator {words}` on {date.today()}: "
        f"{platform.machine()}, {available_processors()} processors, "
        f"Python {platform.python_version()}, numba {version('numba')}, "
        f"highway-env {version('highway-env')}. Decisions per second with random actions, resets "
        "and observations included; the engines took turns in one run, so that the ratios hold "
        "where the machine is noisy. EnvPool 1.2.5 is the C++ port of some of these scenes; it "
        "has other initial traffic. `drive-rl benchmark` measures your machine.",
        "",
        "| scene | threads | drive-rl | highway-env | times | EnvPool | times |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        cells = [row["id"], str(row["threads"])]
        for name, digits in (
            ("compiled", 0), ("highway_env", 1), ("over_highway_env", 0),
            ("envpool", 0), ("over_envpool", 1),
        ):  # fmt: skip
            cells.append(f"{row[name]:,.{digits}f}" if name in row else "")
        lines.append("| " + " | ".join(cells) + " |")
    means = document["geometric_means"]
    lines += [
        "",
        "Geometric means of the ratios: "
        + ", ".join(
            f"{means[name]:,.1f} times {title}"
            for name, title in (("over_highway_env", "highway-env"), ("over_envpool", "EnvPool"))
            if name in means
        )
        + ".",
        "",
        "The cost grows with the vehicles and stays flat in the environments "
        "(`python -m benchmarks.simulator --growth --plot docs/images`):",
        "",
        "![Time per decision over vehicles and environments](images/simulator_growth.svg)",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def shown(row: dict[str, Any]) -> str:
    """A row for people."""
    return "  ".join(
        f"{name} {value:,.1f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )


if __name__ == "__main__":
    main()
