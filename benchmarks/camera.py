"""Frames per second of the camera, against highway-env's own pictures, in one run.

    python -m benchmarks.camera [--seconds 2] [--threads N] [--json]

Prints for each view and size the frames rendered per second with everything varying, then steps
per second of highway-camera-v0 end to end (simulate, render, stack), highway-env's grayscale
observation end to end on highway-v0, and the memory of 1,024 environments. Wall-clock figures are
those of the machine as it is; the column "per 2 CPU-s" divides by processor time and so leaves
out what other processes took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

import drive_rl
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
    everywhere = np.ones(num_envs, np.bool_)

    def work() -> None:
        simulator.observer.advance()
        simulator._each_chunk(lambda low, high: simulator._observe(everywhere, low, high))

    wall, cpu = rate(work, num_envs, seconds)
    env.close()
    return {"view": view, "size": size, "envs": num_envs, "frames_s": wall, "per_2_cpu_s": cpu}


def steps(env_id: str, num_envs: int, threads: int, seconds: float, config: Any = None) -> Any:
    """Steps per second end to end, under random actions."""
    env = drive_rl.make_vec(env_id, num_envs, config=config, engine="compiled", num_threads=threads)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    wall, cpu = rate(lambda: env.step(rng.integers(0, 5, num_envs)), num_envs, seconds)
    env.close()
    return {"env": env_id, "envs": num_envs, "steps_s": wall, "per_2_cpu_s": cpu}


def reference(seconds: float) -> Any:
    """highway-env's grayscale observation on highway-v0, end to end, in one process."""
    env = drive_rl.make("highway-v0", config={"observation": GRAYSCALE}, engine="reference")
    env.reset(seed=0)

    def work() -> None:
        if any(env.step(1)[2:4]):
            env.reset()

    wall, cpu = rate(work, 1, seconds)
    return {
        "env": "highway-v0, highway-env, GrayscaleObservation",
        "steps_s": wall,
        "per_2_cpu_s": cpu,
    }


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=available_processors())
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    threads, seconds = asked.threads, asked.seconds
    found: dict[str, Any] = {"threads": threads, "load": os.getloadavg()[0]}
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
        reference(seconds),
    ]
    found["memory_mb"] = memory()
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
    print(f"1,024 environments, stack of 4 RGB frames of 84 x 84: {found['memory_mb']:.0f} MB")


if __name__ == "__main__":
    main()
