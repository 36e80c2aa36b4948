"""The road surfaces of the study: real ones, split by track, and the banks that arms train on.

Photographs are read from Debian's torcs-data and from installed packages; what is made of them is
kept in the study's work folder and is never part of the project.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from drive_rl.textures.banks import save_bank
from drive_rl.textures.networks import Generator
from drive_rl.textures.photos import repeatable
from drive_rl.textures.prepare import cut_crops, load_data, prepare
from drive_rl.textures.procedural import calm_edges
from drive_rl.textures.sampling import Request, sample_procedural, sample_tiles
from drive_rl.textures.sources import Photo, read_source
from drive_rl.textures.weights import Weights, load_weights

TEST_TRACKS = (
    *("dirt-1", "dirt-2", "dirt-3", "e-track-1", "eroad"),
    *("forza", "michigan", "ole-road-1", "ruudskogen", "wheel-2"),
)
"""Tracks that share no photograph with the others, which train the generator and the photo arm."""

FREE = ("skimage", "miniworld")
CLASSES = ("asphalt", "concrete", "dirt", "gravel", "sand")
TEXTURES = 64  # in the bank of each arm that has many
SIDE = 64  # px
ONE = "asphalt_old"  # the class of the single texture

Tiles = NDArray[np.uint8]
Rows = list[dict[str, str]]


def split_photos() -> tuple[list[Photo], list[Photo]]:
    """Photographs of torcs's roads: those to train on, and those to test on, without copies."""
    train: list[Photo] = []
    test: list[Photo] = []
    photos = [photo for photo in read_source("torcs", lambda _: None) if photo.surface in CLASSES]
    for photo in photos:
        track = photo.group.rpartition("/")[2]
        (test if track in TEST_TRACKS else train).append(photo)
    known = {_digest(photo) for photo in train}
    kept: dict[str, Photo] = {}
    for photo in test:
        if _digest(photo) not in known:
            kept.setdefault(_digest(photo), photo)
    return train, list(kept.values())


def prepare_study(work: Path) -> None:
    """Write what the GAN learns from, `work/data`, and the surfaces of the test, `work/test`."""
    train, test = split_photos()
    folder = work / "photos"
    for photo in train:
        path = folder / photo.surface / f"{photo.name.replace('/', '-')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.pixels).save(path)
    licence = train[0].licence
    if not (work / "data").exists():
        prepare([str(folder), *FREE], work / "data", classes=CLASSES, side=SIDE, licence=licence)
    tiles, table = [], []
    for photo in test:
        cut = cut_crops(photo, SIDE, 8, seed=0)
        if cut:  # some show nothing
            tiles.append(repeating(cut[0]))
            # A class of its own: that is how an environment asks for this one alone
            table.append(_row(photo.name, photo.name, photo.origin, photo.licence))
    save_bank(work / "test", np.stack(tiles), table)


def repeating(crop: Tiles) -> Tiles:
    """A crop of a photograph made to repeat without a seam, (side, side, 3)."""
    channels = [repeatable(crop[..., c].astype(np.float64)) for c in range(3)]
    return calm_edges(np.clip(np.rint(np.stack(channels, axis=-1)), 0, 255).astype(np.uint8))


def make_bank(arm: str, seed: int, work: Path) -> Path:
    """The bank of an arm and a seed, in the work folder.

    Args:
        arm: `one`, `procedural`, `gan`, `half`, `photos` or `untrained`.
    """
    tiles, rows = _MAKERS[arm](seed, work)
    folder = work / "banks" / f"{arm}-{seed}"
    save_bank(folder, tiles, [{**row, "split": "train"} for row in rows])
    return folder


def _one(seed: int, work: Path) -> tuple[Tiles, Rows]:
    return sample_procedural(Request(1, seed, classes={ONE: 1.0}))


def _procedural(seed: int, work: Path, count: int = TEXTURES) -> tuple[Tiles, Rows]:
    return sample_procedural(Request(count, seed))


def _gan(seed: int, work: Path, count: int = TEXTURES) -> tuple[Tiles, Rows]:
    return sample_tiles(load_weights(work / "gan"), Request(count, seed))


def _half(seed: int, work: Path) -> tuple[Tiles, Rows]:
    first, second = _procedural(seed, work, TEXTURES // 2), _gan(seed, work, TEXTURES // 2)
    return np.concatenate([first[0], second[0]]), [*first[1], *second[1]]


def _photos(seed: int, work: Path) -> tuple[Tiles, Rows]:
    """Crops that the GAN has learned from, as many of each class."""
    data = load_data(work / "data")
    random = np.random.default_rng([seed, 4])
    chosen: list[int] = []
    for k in range(TEXTURES):
        surface = CLASSES[k % len(CLASSES)]
        crops = [i for i in data.select("train") if data.table[i]["class"] == surface]
        chosen.append(int(random.choice(crops)))
    rows = [data.table[i] for i in chosen]
    return np.stack([repeating(data.crops[i]) for i in chosen]), [
        _row(row["name"], row["class"], row["origin"], row["licence"]) for row in rows
    ]


def _untrained(seed: int, work: Path) -> tuple[Tiles, Rows]:
    """The same generator with random weights: what its architecture alone draws."""
    trained: Weights = load_weights(work / "gan")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random: dict[str, Any] = Generator(
            trained.spec.generator, len(trained.classes)
        ).state_dict()
    weights = dataclasses.replace(trained, name="untrained", generator=random)
    return sample_tiles(weights, Request(TEXTURES, seed))


_MAKERS: dict[str, Any] = {
    "one": _one,
    "procedural": _procedural,
    "gan": _gan,
    "half": _half,
    "photos": _photos,
    "untrained": _untrained,
}


def _row(name: str, surface: str, origin: str, licence: str) -> dict[str, str]:
    row = {"name": name, "class": surface, "split": "held_out"}
    return {**row, "origin": origin, "licence": licence}


def _digest(photo: Photo) -> str:
    return hashlib.sha256(photo.pixels.tobytes()).hexdigest()
