"""What encoders see, and how fast a policy trains behind the shipped one.

    python -m benchmarks.perception [--frames 4000] [--write]
    python -m benchmarks.perception --speed [--steps 16384] [--sizes 84,64,48,40,32,24] [--write]
    python -m benchmarks.perception --probe DATA --encoder RUN [--write]

`--write` puts the figures into docs/perception.md. Training is PPO with the settings of
`agents/ppo.yaml` on highway-perception-v0, at several frame sizes; where its time goes is measured
within it. Behind smaller frames stands an untrained encoder of the shipped one's architecture, with
its rows scaled: it takes as long as a trained one. `--probe` says what a linear layer reads in an
encoder that was trained without labels, beside a random one and one from scratch.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.written import machine, markdown, write_between
from drive_rl.environments.compiled import CompiledVectorEnv
from drive_rl.perception.evaluate import evaluate_encoder
from drive_rl.perception.networks import Encoder, count_operations, count_parameters
from drive_rl.perception.probe import probe_encoders
from drive_rl.perception.report import table_of
from drive_rl.perception.weights import DEFAULT, load_encoder, save_encoder
from drive_rl.perception.wrapper import Perception
from drive_rl.presets import load_environment, resolve_run
from drive_rl.runs.progress import Quiet
from drive_rl.training.session import train_run

ENVIRONMENT = "highway-perception-v0"
SHARES = (0.01, 0.1, 1.0)
PROBED = {  # what the page shows, and as what
    "lane, F1": "lane_f1",
    "car ahead, F1": "car_ahead_f1",
    "offset [m]": "lateral_offset_mae",
}
PARTS = ("simulating and drawing", "the encoder", "policy and updates")


def main() -> None:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=4_000)
    parser.add_argument("--speed", action="store_true", help="how fast a policy trains, instead")
    parser.add_argument("--steps", type=int, default=16_384, help="of each training")
    parser.add_argument("--sizes", default="84,64,48,40,32,24", help="of the frames [px]")
    parser.add_argument("--probe", type=Path, metavar="DATA", help="probe an encoder, instead")
    parser.add_argument("--encoder", type=Path, metavar="RUN", help="which")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.probe:
        mark, lines = "probe", probe(options.probe, options.encoder)
    elif options.speed:
        sizes = [int(each) for each in options.sizes.split(",")]
        mark, lines = "speed", speed(sizes, options.steps)
    else:
        mark, lines = "scores", scores(options.frames)
    print("\n".join(lines))
    if options.write:
        print(f"Written: {write_between('perception.md', mark, lines)}")


def scores(frames: int) -> list[str]:
    """What the shipped encoder sees, as lines of the page."""
    weights = load_encoder(DEFAULT)
    encoder = weights.build_encoder()
    found = evaluate_encoder(weights, frames=frames)
    made = weights.made
    return [
        "",
        f"Written by `python -m benchmarks.perception --frames {frames} --write`. The encoder "
        f"`{DEFAULT}`: {count_parameters(encoder):,} parameters, "
        f"{count_operations(encoder) / 1e6:.1f} million multiplications a stack, "
        f"{made['objective']}, {made['steps']:,} steps, the last of them on {made['frames']:,} "
        f"frames. highway-camera-v0, {frames:,} frames of each split.",
        "",
        *markdown(table_of(found.document)),
        "",
    ]


def probe(data: Path, run: Path) -> list[str]:
    """What linear layers read, with shares of the labels, as lines of the page."""
    made = load_encoder(str(run)).made
    objective = made["objective"]
    rows = probe_encoders(data, [str(run)], SHARES, say=lambda text: print(text, flush=True))
    kinds = {str(run): objective, "random": "random weights", "from scratch": "from scratch, whole"}
    text = [["encoder", *(f"{metric}, {share:.0%}" for metric in PROBED for share in SHARES)]]
    for name, kind in kinds.items():
        own = [row for row in rows if row["encoder"] == name]
        text.append([kind, *(f"{row[key]:.3f}" for key in PROBED.values() for row in own)])
    return [
        "",
        f"Written by `python -m benchmarks.perception --probe DATA --encoder RUN --write`: "
        f"{objective}, {made['steps']:,} steps on {made['frames']:,} frames without labels; test "
        f"episodes. The shares are those of the training episodes whose labels are known.",
        "",
        *markdown(text),
        "",
    ]


def speed(sizes: list[int], steps: int) -> list[str]:
    """How fast a policy trains and where its time goes, as lines of the page."""
    where = machine()
    rows = [["frames", "training [steps/s]", *PARTS, "before the first step [s]"]]
    for size in sizes:
        found = measure(size, steps)
        shares = [f"{found[part] * 1e6:.0f} µs" for part in PARTS]
        rows.append([f"{size} x {size}", f"{found['rate']:,.0f}", *shares, f"{found['made']:.1f}"])
    return [
        "",
        f"Written by `python -m benchmarks.perception --speed --write` ({where}); PPO on "
        f"{ENVIRONMENT}, {steps:,} steps from the first one on, and what a step spends where:",
        "",
        *markdown(rows),
        "",
    ]


def measure(size: int, steps: int) -> dict[str, float]:
    """A training's steps per second (`rate`), and the seconds of a step in each of `PARTS`.

    `made`: seconds until its first step, of making the environments and the policy.
    """
    with tempfile.TemporaryDirectory() as folder:
        spec = resolve_run(ENVIRONMENT, "ppo", steps=steps, overrides=_seen_at(size, Path(folder)))
        spent = dict.fromkeys(PARTS, 0.0)
        began = time.perf_counter()
        with (
            _timed(CompiledVectorEnv, "step", spent, PARTS[0]) as stepped,
            _timed(Perception, "__call__", spent, PARTS[1]),
        ):
            run = train_run(spec, Path(folder) / "run", progress=Quiet(), evaluate=False)
        taken = run.steps()[-1]
        seconds = time.perf_counter() - stepped[0]
    spent[PARTS[2]] = seconds - spent[PARTS[0]] - spent[PARTS[1]]
    per_step = {part: value / taken for part, value in spent.items()}
    return {"rate": taken / seconds, "made": stepped[0] - began, **per_step}


@contextlib.contextmanager
def _timed(owner: type, method: str, spent: dict[str, float], part: str) -> Iterator[list[float]]:
    """Add up the time in a method; gives when it was first called."""
    original = getattr(owner, method)
    first: list[float] = []

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        first.append(began) if not first else None
        result = original(*args, **kwargs)
        spent[part] += time.perf_counter() - began
        return result

    setattr(owner, method, timed)
    try:
        yield first
    finally:
        setattr(owner, method, original)


def _seen_at(size: int, folder: Path) -> dict[str, Any]:
    """Settings for frames of another size, with an encoder for them."""
    weights = load_encoder(DEFAULT)
    side = weights.shape[1]
    if size == side:
        return {}

    def scaled(rows: tuple[int, int] | None) -> tuple[int, int] | None:
        return rows and (rows[0] * size // side, rows[1] * size // side)

    changes = {"rows": scaled(weights.spec.rows), "fovea": scaled(weights.spec.fovea)}
    spec = weights.spec.model_copy(update=changes)
    shape = (weights.shape[0], size, size)
    encoder = Encoder(spec, shape, weights.channels)
    file = folder / "untrained.safetensors"
    made = dataclasses.replace(weights, spec=spec, shape=shape, encoder=encoder.state_dict())
    save_encoder(made, file)
    config = load_environment(ENVIRONMENT).config
    observation = {**config["observation"], "width": size, "height": size}
    perception = {**config["perception"], "encoder": str(file)}
    return {"env.config.observation": observation, "env.config.perception": perception}


if __name__ == "__main__":
    main()
