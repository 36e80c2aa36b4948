"""Scores of a bank beside what says how good they are: the floor, and the procedural bank."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.textures.banks import Bank, load_bank
from drive_rl.textures.crops import Crops, halves, joined, look, look_at_photos, samples
from drive_rl.textures.features import default_name
from drive_rl.textures.prepare import ALL, SPLITS, Data, load_split
from drive_rl.textures.scores import (
    NEIGHBOURS,
    SCHEMA,
    compared,
    discriminator_gap,
    precision_recall,
    score_crops,
)
from drive_rl.textures.weights import Weights, load_weights

FLOOR, PROCEDURAL = "real, other photos (floor)", "procedural"
TRAIN = "real train"
DRAWS = 20  # of the halves of the photographs
EACH = 10  # draws of samples of each two halves
COLUMNS = {  # figure: (heading, digits)
    "kernel_distance": ("kernel", 3),
    "frechet_distance": ("Frechet", 1),
    "precision": ("precision", 2),
    "recall": ("recall", 2),
    "sliced_wasserstein": ("sliced W", 3),
    "spectrum_distance": ("spectrum", 2),
    "seam_ratio": ("seam", 2),
    "ms_ssim": ("MS-SSIM", 2),
    "nearest_train": ("nearest", 2),
    "memorised": ("copies", 0),
}


def score_bank(
    bank: str | Bank, against: str, *, features: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Score a bank against `DATA[test]`: the document that `--json` prints.

    Beside it stand the training crops (what a perfect copy of them would score), photographs
    against other photographs (the floor, over all splits), and the procedural bank. `DATA[all]`
    are more photographs, for a bank that has learned from none of them; then there are no training
    crops to compare with.

    Raises:
        UsageError: no such bank, data or features; or all photographs, of which some were learned
            from.
    """
    loaded = bank if isinstance(bank, Bank) else load_bank(bank)
    data, chosen, split = load_split(against)
    name = features or default_name()
    side = data.crops.shape[1]
    if loaded.tiles.shape[1] < side:
        raise UsageError(
            f"bank {loaded.name} has tiles of {loaded.tiles.shape[1]} px, smaller than the crops "
            f"of {side} px that it is scored against"
        )
    weights = _maker(loaded)
    parts: dict[str, Crops | None]
    if split == ALL:
        _check_unseen(loaded, weights, data)
        everything = look_at_photos(data, ALL, name)
        parts = {ALL: everything}
    else:
        parts = {each: look_at_photos(data, each, name) for each in SPLITS}
        everything = joined(list(parts.values()))
    real, train = parts[split], parts.get("train")
    if real is None or everything is None or (train is None and split != ALL):
        raise UsageError(f"{data.folder} has no crop in split train to compare with")
    made = look(loaded.tiles, [row["class"] for row in loaded.table], name, side)
    surfaces = sorted(set(made.surfaces) & set(real.surfaces)) or sorted(set(real.surfaces))
    counts = samples(surfaces, [made, real, train, everything])

    procedural = load_bank("procedural")
    banks = {loaded.name: score_crops(made, real, train, counts, seed=seed)}
    if procedural.tiles.shape[1] >= side:
        others = look(procedural.tiles, [row["class"] for row in procedural.table], name, side)
        banks[PROCEDURAL] = score_crops(others, real, train, counts, seed=seed)
    if train is not None:
        banks[TRAIN] = score_crops(train, real, train, counts, seed=seed) | {
            # A training crop is its own nearest one, and repeats nowhere
            "nearest_train": None,
            "nearest_train_lowest": None,
            "memorised": None,
        }
    if draws := list(_floors(_only(everything, surfaces), counts, seed)):
        banks[FLOOR] = {key: float(np.mean([draw[key] for draw in draws])) for key in draws[0]}
    return {
        "schema": SCHEMA,
        "bank": loaded.name,
        "against": f"{data.folder}[{split}]",
        "features": name,
        "note": "not FID: these features are not Inception's",
        "surfaces": {each: len(real.photos_of(each)) for each in surfaces},
        "samples": sum(counts.values()),
        "remarks": list(_remarks(made, real, counts)),
        "scores": {key: _finite(each) for key, each in banks.items()},
        "discriminator_gap": None if split == ALL else _gap(weights, data, chosen),
    }


def _floors(
    photographs: Crops | None, counts: Mapping[str, int], seed: int
) -> Iterator[dict[str, float]]:
    """Scores of photographs against other photographs, drawn by chance."""
    if photographs is None:
        return
    for number, (first, second) in enumerate(halves(photographs, DRAWS, seed)):
        here = {name: count for name, count in counts.items() if name in first.surfaces}
        precision, recall = precision_recall(first, second, here, draws=EACH, seed=seed + number)
        yield compared(first, second) | {"precision": precision, "recall": recall}


def _check_unseen(bank: Bank, weights: Weights | None, data: Data) -> None:
    sources = [] if weights is None else weights.made.get("sources") or []
    learned = {source["origin"] for source in sources}
    if known := learned & {row["origin"] for row in data.table}:
        raise UsageError(
            f"{bank.name} has learned from {len(known)} of the photos of {data.folder}, as "
            f"{min(known)}; score it against {data.folder}[test]"
        )


def _only(crops: Crops, surfaces: Sequence[str]) -> Crops | None:
    """Those of some surfaces; None where there are none."""
    rows = [k for k, surface in enumerate(crops.surfaces) if surface in surfaces]
    return crops.chosen(rows) if rows else None


def _remarks(made: Crops, real: Crops, counts: Mapping[str, int]) -> Iterator[str]:
    """What keeps the scores from saying much, a line each."""
    surfaces = list(counts)
    if not set(made.surfaces) & set(real.surfaces):
        yield f"the bank has no class of the crops': its tiles stand in for {', '.join(surfaces)}"
    elif unseen := sorted(set(made.surfaces) - set(surfaces)):
        yield f"no photo of {', '.join(unseen)} is held out: these tiles are not compared"
    if missing := sorted(set(real.surfaces) - set(surfaces)):
        yield f"the bank has no {', '.join(missing)}: these photos are not compared with"
    photos = {photo for each in surfaces for photo in real.photos_of(each)}
    if len(photos) <= NEIGHBOURS:
        yield (
            f"held out: {len(photos)} photo{'s' if len(photos) > 1 else ''}; scores against so few "
            "say how like them the tiles are, not how good"
        )
    if sum(counts.values()) <= NEIGHBOURS:
        yield (
            f"precision and recall take {NEIGHBOURS + 1} photos that are held out and as many "
            f"others; of surfaces with both there are {sum(counts.values())}"
        )


def table_of(document: Mapping[str, Any]) -> list[list[str]]:
    """The scores as texts, the headings first."""
    rows = [["", *(heading for heading, _ in COLUMNS.values())]]
    for name, scores in document["scores"].items():
        cells = [
            "" if scores.get(key) is None else f"{scores[key]:.{digits}f}"
            for key, (_, digits) in COLUMNS.items()
        ]
        rows.append([name, *cells])
    return rows


def _maker(bank: Bank) -> Weights | None:
    """The networks that made a bank, where its origins name some that can still be loaded."""
    made = re.fullmatch(r"(.+) seed \d+", bank.table[0]["origin"].split(";")[0])
    if made is None:
        return None
    try:
        return load_weights(made[1], lambda _: None)
    except DriveRLError:
        return None


def _gap(weights: Weights | None, data: Data, chosen: NDArray[np.int64]) -> float | None:
    if weights is None:
        return None
    rows = data.select("train")
    train, real = ([data.table[row]["class"] for row in part] for part in (rows, chosen))
    try:
        return discriminator_gap(weights, data.crops[rows], train, data.crops[chosen], real)
    except DriveRLError:
        return None


def _finite(scores: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    """JSON has no word for NaN."""
    return {
        key: None if value is None or not math.isfinite(value) else _plain(value)
        for key, value in scores.items()
    }


def _plain(value: float | int) -> float | int:
    return value.item() if isinstance(value, np.generic) else value
