"""What the shipped encoder sees, and how fast a policy trains behind it.

python -m benchmarks.perception [--frames 4000] [--seconds 20] [--write]

`--write` puts the figures into docs/perception.md. Training is PPO with the settings of
`agents/ppo.yaml` on highway-perception-v0; where its time goes is measured in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.written import machine, write_between
from drive_rl.environments import make_vec
from drive_rl.perception.evaluate import evaluate_encoder
from drive_rl.perception.networks import count_operations, count_parameters
from drive_rl.perception.report import table_of
from drive_rl.perception.weights import DEFAULT, load_encoder
from drive_rl.perception.wrapper import PerceptionWrapper
from drive_rl.presets import resolve_run
from drive_rl.training.progress import Quiet
from drive_rl.training.session import train_run

ENVIRONMENT = "highway-perception-v0"


def main() -> None:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=4_000)
    parser.add_argument("--steps", type=int, default=16_384)
    parser.add_argument("--speed", action="store_true", help="also how fast a policy trains")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    weights = load_encoder(DEFAULT)
    encoder = weights.build_encoder()
    scores = evaluate_encoder(weights, frames=options.frames)
    made = weights.made
    lines = [
        "",
        f"Written by `python -m benchmarks.perception --write`. The encoder `{DEFAULT}`: "
        f"{count_parameters(encoder):,} parameters, {count_operations(encoder) / 1e6:.1f} million "
        f"multiplications a stack, {made['objective']}, {made['steps']:,} steps, the last "
        f"of them on {made['frames']:,} frames. highway-camera-v0, {options.frames:,} frames of "
        "each split.",
        "",
        *_markdown(table_of(scores.document)),
        "",
    ]
    print("\n".join(lines))
    if options.write:
        print(f"Written: {write_between('perception.md', 'scores', lines)}")
    if not options.speed:
        return
    where = machine()
    figures = measure(options.steps)
    lines = [
        "",
        f"Written by `python -m benchmarks.perception --speed --write` ({where}); PPO on "
        f"{ENVIRONMENT}, {options.steps:,} steps:",
        "",
        *_markdown([["", "steps/s"], *([name, f"{rate:,.0f}"] for name, rate in figures.items())]),
        "",
    ]
    print("\n".join(lines))
    if options.write:
        print(f"Written: {write_between('perception.md', 'speed', lines)}")


def measure(steps: int) -> dict[str, float]:
    """Steps per second of the training, and of each part of a step by itself."""
    spec = resolve_run(ENVIRONMENT, "ppo", steps=steps)
    envs: Any = make_vec(spec.env, spec.agent.num_envs)
    assert isinstance(envs, PerceptionWrapper)
    frames, _ = envs.env.reset(seed=0)
    actions = np.ones(envs.num_envs, np.int64)
    envs.perception(frames)

    def rate(work: Any, rounds: int) -> float:
        began = time.perf_counter()
        for _ in range(rounds):
            work()
        return rounds * envs.num_envs / (time.perf_counter() - began)

    parts = {
        "simulating and drawing alone": rate(lambda: envs.env.step(actions), 20),
        "the encoder alone": rate(lambda: envs.perception(frames), 20),
    }
    envs.close()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = train_run(spec, Path(folder) / "run", progress=Quiet(), evaluate=False)
        seconds = time.perf_counter() - began
        step = run.steps()[-1]
    return {"training": step / seconds, **parts}


def _markdown(rows: list[list[str]]) -> list[str]:
    head, *body = rows
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in body),
    ]


if __name__ == "__main__":
    main()
