"""The losses of the texture GAN with and without attention, and the figures of docs/textures.md.

    python -m benchmarks.textures ablation DATA --out DIR [--seeds 0..2] [--set key=value ...]
    python -m benchmarks.textures page DATA [--study DATA]
    python -m benchmarks.textures table --ablation DIR

`ablation` trains each cell as a run in DIR; the same command again does only what is missing, and
what was stopped is resumed. `page` samples and scores the shipped weights and draws the sheets,
`table` writes the ablation's results; both into docs/textures.md, between its markers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.written import markdown
from drive_rl.errors import Diverged, DriveRLError, UsageError
from drive_rl.specs import parse_settings
from drive_rl.textures import adversarial
from drive_rl.textures.banks import Bank, load_bank
from drive_rl.textures.crops import Crops, joined, look, look_at_photos, samples
from drive_rl.textures.features import default_name
from drive_rl.textures.prepare import SPLITS, load_data, load_split
from drive_rl.textures.report import score_bank, table_of
from drive_rl.textures.sampling import Request, contact_sheet, render, sample_tiles, to_pixels
from drive_rl.textures.scores import score_crops, seam_ratio
from drive_rl.textures.spec import CONTROLS, LOSSES, load_spec
from drive_rl.textures.weights import KIND, load_weights

PAGE = Path(__file__).parent.parent / "docs" / "textures.md"
IMAGES = PAGE.parent / "images"
SAMPLES = 128
TIMED_STEPS = 32  # four with penalties
SCORED = ("kernel_distance", "spectrum_distance", "recall", "seam_ratio", "ms_ssim")


# --- the ablation -----------------------------------------------------------------------------


def ablation(
    data: str, out: Path, seeds: Sequence[int], settings: dict[str, Any], features: str
) -> None:
    """Train and score each loss, with and without attention, over seeds."""
    crops = {split: _held(data, split, features) for split in SPLITS}
    everything = joined(list(crops.values()))
    counts = {
        split: samples(
            sorted(set(crops[split].surfaces)), [crops[split], crops["train"], everything]
        )
        for split in ("validation", "test")
    }
    out.mkdir(parents=True, exist_ok=True)
    # Seeds outermost: whatever is finished when time is up compares like with like
    for seed, (loss, attention) in itertools.product(
        seeds, itertools.product(LOSSES, (False, True))
    ):
        name = f"{loss}-{'attention' if attention else 'plain'}-seed{seed}"
        file = out / f"{name}.json"
        if file.is_file():
            continue
        overrides = {
            **settings,
            "loss": loss,
            "generator.attention": attention,
            "discriminator.attention": attention,
        }
        if loss == "wasserstein":
            overrides["penalty"] = 10.0  # lambda of Gulrajani et al.
        failure = None
        run = out / name
        try:
            if (run / "run.yaml").is_file():
                adversarial.resume(run, Path(data))
            else:
                spec = load_spec("roadgan", overrides)
                adversarial.train(Path(data), run, spec, seed=seed, device="cpu")
        except Diverged as error:
            failure = str(error)
        result = {"loss": loss, "attention": attention, "seed": seed, "failure": failure}
        result["features"] = features
        weights = load_weights(run)
        # The crops' own size, which may be below the smallest of a bank
        labels = np.arange(SAMPLES) % len(weights.classes)
        amounts = np.zeros((SAMPLES, len(CONTROLS)), np.float32)
        side = weights.spec.side
        tiles = render(weights.build_generator(), labels, amounts, side, seed=5)
        classes = [weights.classes[label] for label in labels]
        made = look(tiles, classes, features, side)
        scores = {
            split: score_crops(made, crops[split], crops["train"], counts[split])
            for split in ("validation", "test")
        }
        lines = (run / "metrics.jsonl").read_text().splitlines()
        rates = [entry["fps"] for entry in map(json.loads, lines) if "fps" in entry]
        result["scores"] = scores
        result["steps"] = weights.made["steps"]
        result["seconds_per_step"] = 1.0 / rates[-1]
        file.write_text(json.dumps(result, indent=1))
        print(name, {k: round(scores["validation"][k] or 0.0, 3) for k in SCORED}, flush=True)


def _held(data: str, split: str, features: str) -> Crops:
    found = look_at_photos(load_split(f"{data}[{split}]")[0], split, features)
    if found is None:
        raise UsageError(f"{data} has no crop in split {split}")
    return found


def ablation_table(folder: Path) -> Iterator[str]:
    """The results so far as lines of Markdown: means over seeds, with the range."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not results:
        yield "Not run yet."
        return
    spec = KIND.read_run(next(path.parent for path in sorted(folder.glob("*/run.yaml"))))["spec"]
    counts = {result["seed"] for result in results}
    steps = sorted({result["steps"] for result in results})
    span = " to ".join(f"{number:,}" for number in dict.fromkeys((steps[0], steps[-1])))
    yield (
        f"{len(results)} trainings: {len(counts)} seeds, {span} steps of "
        f"{spec['early_batch_size']} and {spec['batch_size']} crops of "
        f"{spec['side']} x {spec['side']}, networks of widths "
        f"{spec['generator']['widths']} and {spec['discriminator']['widths']}, "
        "one CPU thread of a machine that others used too. Mean over the seeds "
        f"(lowest to highest); kernel distances of {SAMPLES} tiles over the features "
        f"{', '.join(sorted({r['features'] for r in results}))}. Few steps: "
        "the table says which loss gets going, not where each ends."
    )
    yield ""
    yield (
        "| loss | attention | seeds | kernel, validation | kernel, test | spectrum, test | "
        "recall, test | seam | MS-SSIM | s a step |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for loss, attention in itertools.product(LOSSES, (False, True)):
        chosen = [r for r in results if r["loss"] == loss and r["attention"] == attention]
        if not chosen:
            continue

        def cell(split: str, key: str, digits: int = 3, chosen: list[Any] = chosen) -> str:
            values = [r["scores"][split][key] for r in chosen]
            span = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
            return f"{np.mean(values):.{digits}f} ({span})"

        cells = [
            cell("validation", "kernel_distance"),
            cell("test", "kernel_distance"),
            cell("test", "spectrum_distance", 2),
            cell("test", "recall", 2),
            cell("test", "seam_ratio", 2),
            cell("test", "ms_ssim", 2),
            f"{np.mean([r['seconds_per_step'] for r in chosen]):.2f}",
        ]
        yield f"| {loss} | {'yes' if attention else 'no'} | {len(chosen)} | {' | '.join(cells)} |"
    failed = [r for r in results if r["failure"]]
    yield ""
    yield f"Stopped by numbers that were not finite: {len(failed)}."


# --- the page ---------------------------------------------------------------------------------


def page(data: str, study: str | None) -> None:
    """Write figures and pictures of the shipped weights."""
    weights = load_weights("roadgan")
    bank = load_bank("roadgan")
    _pictures(weights, bank)
    _write("made", _made(weights.made, weights.spec.model_dump()))
    _write("speed", _speed(weights, data))
    _write("scores", _scores(bank, f"{data}[test]", "photographs of the same sources, held out"))
    if study is not None:
        # Nothing that ships has learned from them: all are held out
        what = "all of torcs-data's road surfaces, counted by track"
        _write("study", _scores(bank, f"{study}[all]", what))


def _scores(bank: Bank, against: str, what: str) -> Iterator[str]:
    document = score_bank(bank, against)
    photos = ", ".join(f"{count} of {name}" for name, count in document["surfaces"].items())
    yield (
        f"Against {what} ({photos}); features {document['features']}; precision and recall of "
        f"{document['samples']} independent samples of either side:"
    )
    yield ""
    yield from markdown(table_of(document))
    if (gap := document["discriminator_gap"]) is not None:
        yield ""
        yield f"The discriminator's gap between train and held-out crops: {gap:.2f} deviations."


def _write(name: str, lines: Iterable[str]) -> None:
    """Put lines between a block's markers in the page."""
    body = "\n".join(lines).strip()
    text = PAGE.read_text(encoding="utf-8")
    pattern = rf"(<!-- {name}: written by a command -->\n).*?(\n?<!-- end -->)"
    text, found = re.subn(
        pattern, lambda match: f"{match[1]}{body}\n<!-- end -->", text, flags=re.DOTALL
    )
    if not found:
        raise UsageError(f"{PAGE} has no place for {name}")
    PAGE.write_text(text, encoding="utf-8")
    print(f"Written: {name} in {PAGE}", flush=True)


def _made(made: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    yield f"`{made['command']}`, {made['steps']:,} steps, loss {spec['loss']}. Learned from:"
    yield ""
    yield "| photograph | class | licence |"
    yield "|---|---|---|"
    for source in made["sources"]:
        yield f"| {source['origin']} | {source['class']} | {source['licence']} |"


def _speed(weights: Any, data: str) -> Iterator[str]:
    torch.set_num_threads(1)
    # The processor's time: other work on the machine does not count
    began = time.process_time()
    sample_tiles(weights, Request(1000))
    yield f"1,000 tiles of 64 x 64: {time.process_time() - began:.1f} s of one thread of a CPU."
    spec = load_spec("roadgan")
    run = adversarial.GanRun(Path("-"), spec, load_data(data), 0, torch.device("cpu"))
    run.train_step()
    began = time.process_time()
    for _ in range(TIMED_STEPS):
        run.train_step()
    seconds = (time.process_time() - began) / TIMED_STEPS
    yield (
        f"A step of training with the shipped settings: {seconds:.2f} s of one thread; its "
        f"{spec.steps:,} steps, anew or from other weights: {spec.steps * seconds / 60:.0f} min."
    )
    for size in (128, 512):
        tiles, _ = sample_tiles(weights, Request(4, size=size))
        yield f"Seam ratio of 4 tiles of {size} x {size}: {seam_ratio(tiles):.2f}."


def _pictures(weights: Any, bank: Bank) -> None:
    generator = weights.build_generator()
    count = len(weights.classes)
    order = [
        np.flatnonzero([row["class"] == c for row in bank.table])[:12] for c in weights.classes
    ]
    _save("textures-samples", contact_sheet(bank.tiles[np.concatenate(order)], 12))
    columns = 9
    random = torch.Generator().manual_seed(5)
    start, end = generator.draw(count, 64, random), generator.draw(count, 64, random)
    rows = []
    for number in range(count):
        # On the sphere: in between, a straight line's noise would be too quiet
        angles = torch.linspace(0, torch.pi / 2, columns)
        noise = [
            torch.stack([a[number] * angle.cos() + b[number] * angle.sin() for angle in angles])
            for a, b in zip(start, end, strict=True)
        ]
        labels = torch.full((columns,), number)
        with torch.inference_mode():
            rows.append(to_pixels(generator(noise, labels, torch.zeros(columns, 4))))
    _save("textures-latent-walk", contact_sheet(np.concatenate(rows), columns))
    rows = []
    for number in range(len(CONTROLS)):
        noise = [part[:1].expand(columns, *part.shape[1:]) for part in start]
        controls = torch.zeros(columns, len(CONTROLS))
        controls[:, number] = torch.linspace(0, 1, columns)
        for label in (0, min(1, count - 1)):
            with torch.inference_mode():
                made = generator(noise, torch.full((columns,), label), controls)
            rows.append(to_pixels(made))
    _save("textures-controls", contact_sheet(np.concatenate(rows), columns))
    large, _ = sample_tiles(weights, Request(1, seed=5, size=512, classes={"gravel": 1.0}))
    moved = np.roll(large[0], (256, 256), axis=(0, 1))  # its border in the middle
    _save("textures-512", moved, enlarged=1)


def _save(name: str, pixels: Any, enlarged: int = 2) -> None:
    image = Image.fromarray(pixels)
    size = (image.width * enlarged, image.height * enlarged)
    image.resize(size, Image.Resampling.NEAREST).save(IMAGES / f"{name}.jpg", quality=85)


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("ablation")
    first.add_argument("data")
    first.add_argument("--out", type=Path, required=True)
    first.add_argument("--seeds", default="0..2")
    first.add_argument("--features", default=default_name())
    first.add_argument("--set", nargs="*", default=[], dest="settings")
    second = commands.add_parser("page")
    second.add_argument("data")
    second.add_argument("--study", help="Data of torcs, to score against too.")
    third = commands.add_parser("table")
    third.add_argument("--ablation", type=Path, required=True)
    asked = parser.parse_args()
    try:
        if asked.command == "page":
            page(asked.data, asked.study)
        elif asked.command == "table":
            _write("ablation", ablation_table(asked.ablation))
        else:
            low, _, high = asked.seeds.partition("..")
            seeds = range(int(low), int(high or low) + 1)
            ablation(asked.data, asked.out, seeds, parse_settings(asked.settings), asked.features)
    except DriveRLError as error:
        raise SystemExit(f"benchmarks.textures: {error}") from None


if __name__ == "__main__":
    main()
