"""Frames per second of the camera, against highway-env's own pictures, in one run.

    python -m benchmarks.camera [--seconds 2] [--threads N] [--json] [--write] [--plot docs/images]

Prints for each view and size the frames rendered per second with everything varying, then steps
per second of highway-camera-v0 end to end (simulate, render, stack), of GrayscaleObservation on
highway-v0 by both engines, which take turns, and the memory of 1,024 environments. Wall-clock
figures are those of the machine as it is; "per 2 CPU-s" divides by processor time and so leaves
out what other processes took. `--write` puts the figures into docs/camera.md, `--plot` draws how
the time of a frame grows with its pixels and with the number of environments.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import drive_rl
from benchmarks.written import machine, write_between
from drive_rl.simulator.engine import available_processors
from tests.camera.looking import EVERYTHING

GRAYSCALE = {
    "type": "GrayscaleObservation",
    "observation_shape": [84, 84],
    "stack_size": 4,
    "weights": [0.2989, 0.5870, 0.1140],
    "scaling": 1.75,
}
MOVING = {name: value for name, value in EVERYTHING.items() if name != "dropped_frames"}


def rate(work: Any, count: int, seconds: float) -> tuple[float, float]:
    """(per second, per second of two processors) of `work`, which does `count` things."""
    work()
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        work()
        done += count
    return done / (time.perf_counter() - wall), 2 * done / (time.process_time() - cpu)


def frames(view: str, size: int, num_envs: int, threads: int, seconds: float) -> dict[str, Any]:
    """Frames per second, without the simulation."""
    config = {
        "observation": {
            "type": "CameraObservation",
            "view": view,
            "width": size,
            "height": size,
            "stack_size": 1,
        },
        "randomization": MOVING,
    }
    env = drive_rl.make_vec(
        "highway-v0", num_envs, config=config, engine="compiled", num_threads=threads
    )
    env.reset(seed=0)
    simulator: Any = env.simulator  # type: ignore[attr-defined]
    wall, cpu = rate(simulator.observe, num_envs, seconds)
    least = min(_processor_time(simulator.observe) for _ in range(10))
    env.close()
    return {
        "view": view,
        "size": size,
        "envs": num_envs,
        "frames_s": wall,
        "per_2_cpu_s": cpu,
        "least_us": 1e6 * least / num_envs,  # of ten rounds: what others disturbed least
    }


def _processor_time(work: Any) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def steps(env_id: str, num_envs: int, threads: int, seconds: float, config: Any = None) -> Any:
    """Steps per second end to end, under random actions."""
    env = drive_rl.make_vec(env_id, num_envs, config=config, engine="compiled", num_threads=threads)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    wall, cpu = rate(lambda: env.step(rng.integers(0, 5, num_envs)), num_envs, seconds)
    env.close()
    return {"env": env_id, "envs": num_envs, "steps_s": wall, "per_2_cpu_s": cpu}


def grayscale(threads: int, seconds: float, rounds: int = 3) -> dict[str, Any]:
    """Steps per second of highway-v0 with highway-env's grey pictures, by both engines in turns.

    highway-env must not run under SDL's dummy driver, where it draws nothing.
    """
    os.environ["SDL_VIDEODRIVER"] = "offscreen"
    config = {"observation": GRAYSCALE}
    theirs = drive_rl.make("highway-v0", config=config, engine="reference")
    num_envs = 256
    ours = drive_rl.make_vec(
        "highway-v0", num_envs, config=config, engine="compiled", num_threads=threads
    )
    first, _ = theirs.reset(seed=0)
    if first.std() == 0:
        raise SystemExit("highway-env draws nothing here: SDL has a dummy display")
    ours.reset(seed=0)
    rng = np.random.default_rng(0)

    def their_step() -> None:
        if any(theirs.step(int(rng.integers(0, 5)))[2:4]):
            theirs.reset()

    found = np.zeros((2, 2))
    for _ in range(rounds):
        found[0] += rate(lambda: ours.step(rng.integers(0, 5, num_envs)), num_envs, seconds)
        found[1] += rate(their_step, 1, seconds)
    ours.close()
    (our_wall, our_cpu), (their_wall, their_cpu) = (found / rounds).tolist()
    return {
        "compiled": our_wall,
        "compiled_per_2_cpu_s": our_cpu,
        "highway_env": their_wall,
        # highway-env runs on one processor: two would do twice as much
        "highway_env_per_cpu_s": their_cpu / 2,
        "times": our_wall / their_wall,
        "times_per_cpu_s": our_cpu / (their_cpu / 2),
    }


SIZES = (42, 84, 168, 336)
ENVIRONMENTS = (4, 16, 64, 256, 1024)


def growth(seconds: float) -> list[dict[str, Any]]:
    """Processor time of a front frame on one thread [us], over its size and the environments.

    The least of ten rounds each: a crowded machine slows single rounds to twice their time.
    """
    rows = []
    for size, num_envs in [(size, 16) for size in SIZES] + [(84, n) for n in ENVIRONMENTS]:
        each = frames("front", size, num_envs, 1, seconds)["least_us"]
        rows.append({"size": size, "envs": num_envs, "us": each})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def plot(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Both curves on logarithmic axes beside straight lines through their last points, as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    pixels = [(row["size"] ** 2, row["us"]) for row in rows[: len(SIZES)]]
    environments = [(row["envs"], row["us"] * row["envs"]) for row in rows[len(SIZES) :]]
    for axis, curve, name, unit in (
        (axes[0], pixels, "pixels of a frame (42, 84, 168, 336 squared)", "µs per frame"),
        (axes[1], environments, "environments", "µs for a frame of each"),
    ):
        xs, ys = zip(*curve, strict=True)
        axis.loglog(xs, ys, "o-", color="#2563eb")
        linear = [ys[-1] / xs[-1] * x for x in xs]
        axis.loglog(xs, linear, "--", color="#9ca3af", label="linear")
        axis.set(xlabel=name, ylabel=unit)
        axis.set_xticks(xs, [f"{x:,}" for x in xs])
        axis.minorticks_off()
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Front view, everything varying, one thread: processor time", fontsize=11)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "camera_growth.svg")
    return folder / "camera_growth.svg"


def page(found: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    lines = [
        "",
        f"Written by `python -m benchmarks.camera --write`: {found['machine']}, {found['threads']} "
        "threads. Everything of `randomization` varies. Frames are rendered without simulating; "
        "steps are end to end: simulate, render, stack. The last column divides by processor "
        "time, which leaves out what other processes took.",
        "",
        "| what | environments | per second | per 2 processor seconds |",
        "|---|---|---|---|",
    ]
    for row in found["frames"]:
        what = f"frames, {row['view']}, {row['size']} x {row['size']} RGB"
        lines.append(_row(what, row["envs"], row["frames_s"], row["per_2_cpu_s"]))
    for row in found["steps"]:
        what = f"steps of {row['env']}"
        lines.append(_row(what, row["envs"], row["steps_s"], row["per_2_cpu_s"]))
    gray = found["grayscale"]
    what = "steps of highway-v0, GrayscaleObservation"
    lines.append(_row(what, 256, gray["compiled"], gray["compiled_per_2_cpu_s"]))
    lines += [
        f"| the same, highway-env | 1 | {gray['highway_env']:.2f} | "
        f"{gray['highway_env_per_cpu_s']:.2f} (of one processor) |",
        "",
        f"highway-env's grey pictures, end to end and in turns: {gray['times']:,.0f} times "
        f"highway-env, {gray['times_per_cpu_s']:,.0f} times by processor time (ours on two "
        f"processors, highway-env's on the one that it uses). 1,024 environments with a stack of "
        f"4 RGB frames: a process of {found['memory_mb']:.0f} MB.",
        "",
    ]
    return lines


def _row(what: str, num_envs: int, wall: float, cpu: float) -> str:
    return f"| {what} | {num_envs:,} | {wall:,.0f} | {cpu:,.0f} |"


def memory() -> float:
    """Megabytes of a process with 1,024 environments of a stack of 4 RGB frames, some steps on."""
    code = (
        "import drive_rl, numpy as np, resource\n"
        "e = drive_rl.make_vec('highway-camera-v0', 1024, engine='compiled')\n"
        "e.reset(seed=0)\n"
        "for _ in range(3): o = e.step(np.ones(1024, int))[0]\n"
        "import sys; assert 'torch' not in sys.modules\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    # A process that compiles is larger: whatever has to be is compiled by the first
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=available_processors())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="the figures into docs/camera.md")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw the growth there")
    asked = parser.parse_args()
    threads, seconds = asked.threads, asked.seconds
    if asked.plot:
        print(plot(growth(seconds), asked.plot))
        return
    found: dict[str, Any] = {"threads": threads, "load": os.getloadavg()[0], "machine": machine()}
    found["frames"] = [
        frames(view, size, num_envs, threads, seconds)
        for view, size, num_envs in (
            ("front", 84, 256),
            ("front", 84, 64),
            ("front", 42, 256),
            ("front", 168, 64),
            ("front", 336, 16),
            ("top", 84, 256),
        )
    ]
    found["steps"] = [
        steps("highway-camera-v0", 256, threads, seconds),
        steps("highway-v0", 256, threads, seconds),
    ]
    found["grayscale"] = grayscale(threads, seconds)
    found["memory_mb"] = memory()
    if asked.write:
        print(write_between("camera.md", "figures of the camera", page(found)), file=sys.stderr)
    if asked.json:
        print(json.dumps(found))
        return
    print(f"{threads} threads, load of the machine {found['load']:.1f}")
    for row in found["frames"]:
        print(
            f"{row['view']:5} {row['size']:4} px, {row['envs']:4} envs: {row['frames_s']:9,.0f} "
            f"frames/s, {row['per_2_cpu_s']:9,.0f} per 2 CPU-s, "
            f"{2e9 / row['per_2_cpu_s'] / row['size'] ** 2:5.1f} ns a pixel"
        )
    for row in found["steps"]:
        print(f"{row['env']}: {row['steps_s']:,.1f} steps/s, {row['per_2_cpu_s']:,.1f} per 2 CPU-s")
    gray = found["grayscale"]
    print(
        f"GrayscaleObservation of highway-v0: {gray['compiled']:,.0f} steps/s, highway-env "
        f"{gray['highway_env']:.2f}: {gray['times']:,.0f} times, {gray['times_per_cpu_s']:,.0f} "
        "times by processor time"
    )
    print(f"1,024 environments, stack of 4 RGB frames of 84 x 84: {found['memory_mb']:.0f} MB")


if __name__ == "__main__":
    main()
