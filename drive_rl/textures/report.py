"""Scores of a bank beside what says how good they are: the floor, and the procedural bank."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.textures.banks import Bank, load_bank
from drive_rl.textures.features import default_name
from drive_rl.textures.prepare import load_split
from drive_rl.textures.scores import (
    SCHEMA,
    Tiles,
    discriminator_gap,
    make_reference,
    score_tiles,
)
from drive_rl.textures.weights import Weights, load_weights

FLOOR, PROCEDURAL = "real train (floor)", "procedural"
HALVES = "real test, halves"
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

    Beside it stand the training crops (what a perfect copy of them would score: the floor between
    different photographs), the two halves of the held-out crops (the floor between crops of the
    same ones), and the procedural bank.

    Raises:
        UsageError: no such bank, data or features.
    """
    loaded = bank if isinstance(bank, Bank) else load_bank(bank)
    data, chosen, split = load_split(against)
    name = features or default_name()
    train_rows = data.select("train")
    if not len(train_rows):
        raise UsageError(f"{data.folder} has no crop in split train to compare with")
    real, train = data.crops[chosen], data.crops[train_rows]
    if loaded.tiles.shape[1] < real.shape[1]:
        raise UsageError(
            f"bank {loaded.name} has tiles of {loaded.tiles.shape[1]} px, smaller than the crops "
            f"of {real.shape[1]} px that it is scored against"
        )
    reference = make_reference(real, train, name)
    train_classes = [data.table[row]["class"] for row in train_rows]
    real_classes = [data.table[row]["class"] for row in chosen]

    def scored(tiles: Tiles, classes: list[str]) -> dict[str, float | int | None]:
        return score_tiles(tiles, classes, reference, seed=seed)

    procedural = load_bank("procedural")
    banks = {loaded.name: scored(loaded.tiles, [row["class"] for row in loaded.table])}
    if procedural.tiles.shape[1] >= real.shape[1]:
        banks[PROCEDURAL] = scored(procedural.tiles, [row["class"] for row in procedural.table])
    banks[FLOOR] = scored(train, train_classes) | {
        # A training crop is its own nearest one, and repeats nowhere
        "nearest_train": None,
        "nearest_train_lowest": None,
        "memorised": None,
    }
    halves = make_reference(real[::2], train, name)
    banks[HALVES] = score_tiles(real[1::2], real_classes[1::2], halves, seed=seed)
    weights = _maker_of(loaded)
    gap = weights and discriminator_gap(weights, train, train_classes, real, real_classes)
    return {
        "schema": SCHEMA,
        "bank": loaded.name,
        "against": f"{data.folder}[{split}]",
        "features": name,
        "note": "not FID: these features are not Inception's",
        "scores": {key: _finite(each) for key, each in banks.items()},
        "discriminator_gap": gap,
    }


def table_of(document: Mapping[str, Any]) -> list[list[str]]:
    """The scores as texts, the headings first."""
    rows = [["", *(heading for heading, _ in COLUMNS.values())]]
    for name, scores in document["scores"].items():
        cells = [
            "" if scores[key] is None else f"{scores[key]:.{digits}f}"
            for key, (_, digits) in COLUMNS.items()
        ]
        rows.append([name, *cells])
    return rows


def _maker_of(bank: Bank) -> Weights | None:
    """The networks that made a bank, where its origins name some that can still be loaded."""
    made = re.fullmatch(r"(.+) seed \d+", bank.table[0]["origin"].split(";")[0])
    if made is None:
        return None
    try:
        return load_weights(made[1], lambda _: None)
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
