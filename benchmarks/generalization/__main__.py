"""Does a texture GAN help a policy on road surfaces that it has not seen?

    python -m benchmarks.generalization [--arms one,gan] [--seeds 0..4] [--write]

Needs Debian's torcs-data. Does what is missing and can be stopped at any time: the GAN goes on
where it was, and each arm and seed is kept as JSON under benchmarks/results/generalization/.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.generalization import page
from benchmarks.generalization.cells import ARMS, compute, compute_teacher, file_of
from benchmarks.generalization.surfaces import prepare_study
from drive_rl.errors import DriveRLError, Interrupted
from drive_rl.runs.checkpoint import steps_in
from drive_rl.textures import adversarial
from drive_rl.textures.spec import load_spec
from drive_rl.textures.weights import load_weights

GAN_STEPS = 1_500  # from the weights that ship
OF_THE_GAN = ("gan", "half", "untrained")


def main() -> None:
    """Do what is missing; write the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/generalization"))
    parser.add_argument("--arms", default=",".join(ARMS), help="which, in their order")
    parser.add_argument("--seeds", default="0..4", help="0..4, or 0,2,3")
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    seeds = _seeds(options.seeds)
    arms = options.arms.split(",")
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise SystemExit(f"benchmarks.generalization: arm {unknown[0]!r}: one of {', '.join(ARMS)}")
    try:
        run(arms, seeds, options.work)
    except Interrupted as error:
        raise SystemExit(130) from error
    except DriveRLError as error:
        raise SystemExit(f"benchmarks.generalization: {error}") from None
    if options.write:
        page.write(stored(seeds), _teacher(), GAN_STEPS)


def run(arms: list[str], seeds: list[int], work: Path) -> None:
    """Compute the cells that are missing, seed by seed, so that a stopped run leaves whole ones."""
    torch.set_num_threads(1)
    missing = [(arm, seed, file_of(f"{arm}-{seed}", GAN_STEPS)) for seed in seeds for arm in arms]
    missing = [cell for cell in missing if not cell[2].is_file()]
    _teacher()
    if missing and not (work / "test" / "table.csv").is_file():
        prepare_study(work)
    if any(arm in OF_THE_GAN for arm, *_ in missing):
        train_gan(work)
    for arm, seed, path in missing:
        if path.is_file():  # of a run beside this one
            continue
        result = compute(arm, seed, work, path)
        unseen = [each["return"] for each in result["test"].values()]
        print(
            f"{arm}, seed {seed}: {result['seconds']:.0f} s, return {result['own']['return']:.1f} "
            f"on its own surfaces, {sum(unseen) / len(unseen):.1f} on unseen ones",
            file=sys.stderr,
            flush=True,
        )


def train_gan(work: Path) -> None:
    """Train the study's GAN on the training tracks' photographs, or go on with it."""
    folder = work / "gan"
    if (folder / "run.yaml").is_file():
        if GAN_STEPS not in steps_in(folder / "checkpoints"):
            adversarial.resume(folder)
        return
    spec = load_spec("roadgan", {"steps": GAN_STEPS})
    adversarial.train(work / "data", folder, spec, seed=0, weights=load_weights("roadgan"))


def stored(seeds: list[int]) -> dict[str, list[dict[str, Any]]]:
    """The cells of all arms that are there, by arm."""
    found: dict[str, list[dict[str, Any]]] = {}
    for arm in ARMS:
        files = [file_of(f"{arm}-{seed}", GAN_STEPS) for seed in seeds]
        if not all(file.is_file() for file in files):
            raise SystemExit(f"benchmarks.generalization: cells of {arm!r} are missing")
        found[arm] = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return found


def _seeds(text: str) -> list[int]:
    try:
        low, dots, high = text.partition("..")
        return list(range(int(low), int(high) + 1)) if dots else [int(k) for k in text.split(",")]
    except ValueError:
        raise SystemExit(f"benchmarks.generalization: seeds {text!r}: 0..4, or 0,2,3") from None


def _teacher() -> dict[str, Any]:
    file = file_of("teacher", GAN_STEPS)
    if file.is_file():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    return compute_teacher(file)


if __name__ == "__main__":
    main()
