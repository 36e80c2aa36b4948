"""Tiles from a trained generator, and from the procedural ones, as banks for the camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from drive_rl.errors import UsageError, unknown
from drive_rl.textures.banks import Bank, check_tiles, save_bank
from drive_rl.textures.networks import Generator
from drive_rl.textures.procedural import LICENCE, ORIGIN, ROADS, VERGES, make_tile
from drive_rl.textures.procedural import SPLITS as SPLIT_CYCLE
from drive_rl.textures.spec import CONTROLS
from drive_rl.textures.weights import Weights

SIZES = (64, 128, 256, 512)
_PIXELS_AT_ONCE = 64 * 64 * 64  # larger batches are no faster on a CPU, and take memory
Range = tuple[float, float]


@dataclass(frozen=True)
class Request:
    """What to sample.

    Attributes:
        classes: shares by class; none for equal shares of all.
        controls: range of each control, (0, 0) where it is not named.
    """

    count: int
    seed: int = 0
    size: int = 64
    classes: Mapping[str, float] = field(default_factory=dict)
    controls: Mapping[str, Range] = field(default_factory=dict)


def parse_classes(text: str) -> dict[str, float]:
    """`asphalt:0.5,gravel:0.5`, or names alone for equal shares.

    Raises:
        UsageError: a share that is no positive number.
    """
    shares: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, colon, value = part.partition(":")
        try:
            share = float(value) if colon else 1.0
        except ValueError:
            share = -1.0
        if not 0.0 < share < float("inf"):
            raise UsageError(f"class {part!r}: a share is a positive number, as asphalt:0.5")
        shares[name.strip()] = shares.get(name.strip(), 0.0) + share
    return shares


def parse_range(name: str, text: str) -> Range:
    """`0.2..0.8`, or one number for both ends; from 0 to 1.

    Raises:
        UsageError: anything else.
    """
    low, dots, high = text.partition("..")
    try:
        ends = float(low), float(high if dots else low)
    except ValueError:
        raise UsageError(f"{name} {text!r} is not of the form 0.2..0.8") from None
    if not 0.0 <= ends[0] <= ends[1] <= 1.0:
        raise UsageError(f"{name} {text!r} is not a range within 0..1, as 0.2..0.8")
    return ends


def sample_bank(weights: Weights | None, request: Request, out: Path) -> Bank:
    """Write a bank, from a generator or (None) from the procedural makers.

    Raises:
        UsageError: a count, size or class that cannot be.
    """
    if weights is None:
        tiles, table = sample_procedural(request)
    else:
        tiles, table = sample_tiles(weights, request)
    try:
        save_bank(out, tiles, table)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror})") from None
    return Bank(str(out), tiles, tuple(table))


def sample_tiles(
    weights: Weights, request: Request
) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """Tiles of a generator, uint8 (count, size, size, 3), and a table row for each.

    The same seed gives the same tiles; a tile does not depend on how many others are made.
    """
    _check(request, CONTROLS)
    labels = _labels(request, weights.classes)
    amounts = np.zeros((request.count, len(CONTROLS)), np.float32)
    for number, name in enumerate(CONTROLS):
        low, high = request.controls.get(name, (0.0, 0.0))
        rng = np.random.default_rng([request.seed, 1, number])
        amounts[:, number] = rng.uniform(low, high, request.count)
    generator = weights.build_generator()
    tiles = render(generator, labels, amounts, request.size, request.seed)
    licence = str(weights.made.get("licence", "of what it was trained on"))
    table = []
    for index, label in enumerate(labels):
        surface = weights.classes[label]
        said = [
            f"{name} {amount:.2f}"
            for name, amount in zip(CONTROLS, amounts[index], strict=True)
            if amount
        ]
        table.append(
            {
                "name": f"{surface}-{index:04d}",
                "class": surface,
                "split": SPLIT_CYCLE[index % len(SPLIT_CYCLE)],
                "origin": "; ".join([f"{weights.name} seed {request.seed}", *said]),
                "licence": licence,
            }
        )
    return tiles, table


def render(
    generator: Generator,
    labels: NDArray[np.int64],
    amounts: NDArray[np.float32],
    size: int,
    seed: int,
) -> NDArray[np.uint8]:
    """Pictures of a generator, uint8 (count, size, size, 3).

    Each is moved around its torus by a few pixels: the network's own grid of 8 px, where there is
    a trace of it, then lies as often inside of a tile as along its border.
    """
    at_once = max(_PIXELS_AT_ONCE // size**2, 1)
    tiles = np.empty((len(labels), size, size, 3), np.uint8)
    device = next(generator.parameters()).device
    random = torch.Generator()
    with torch.inference_mode():
        for start in range(0, len(labels), at_once):
            chosen = slice(start, min(start + at_once, len(labels)))
            drawn = []
            for index in range(chosen.start, chosen.stop):
                random.manual_seed(_seed_of(seed, index))
                drawn.append(generator.draw(1, size, random))
            noise = [torch.cat(parts).to(device) for parts in zip(*drawn, strict=True)]
            pictures = generator(
                noise,
                torch.from_numpy(labels[chosen]).to(device),
                torch.from_numpy(amounts[chosen]).to(device),
            )
            for index, picture in zip(
                range(chosen.start, chosen.stop), to_pixels(pictures), strict=True
            ):
                shift = np.random.default_rng([seed, 3, index]).integers(0, 8, 2)
                tiles[index] = np.roll(picture, tuple(shift), axis=(0, 1))
    return tiles


def to_pixels(pictures: torch.Tensor) -> NDArray[np.uint8]:
    """(B, 3, H, W) of -1 to 1 as uint8 (B, H, W, 3)."""
    levels = ((pictures.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.asarray(levels.permute(0, 2, 3, 1).cpu().numpy(), np.uint8)


def sample_procedural(request: Request) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """The same from the procedural makers, which have no controls."""
    for name, ends in request.controls.items():
        if ends != (0.0, 0.0):
            raise UsageError(
                f"procedural surfaces have no {name}; ask for --classes wet, snow, cracked, patched"
            )
    _check(request, ())
    known = {**ROADS, **VERGES}
    if request.classes:
        for name in request.classes:
            if name not in known:
                raise unknown("class of surfaces", name, known)
    names = tuple(request.classes or ROADS)
    tiles, table = [], []
    for index, label in enumerate(_labels(request, names)):
        rng = np.random.default_rng([request.seed, 2, index])
        tiles.append(make_tile(known[names[label]], rng, request.size))
        table.append(
            {
                "name": f"{names[label]}-{index:04d}",
                "class": names[label],
                "split": SPLIT_CYCLE[index % len(SPLIT_CYCLE)],
                "origin": ORIGIN,
                "licence": LICENCE,
            }
        )
    return np.stack(tiles), table


def contact_sheet(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Tiles side by side, (rows * side, columns * side, 3), in reading order."""
    check_tiles("sheet", tiles)
    side = tiles.shape[1]
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * columns, side, side, 3), np.uint8)
    sheet[: len(tiles)] = tiles
    grid = sheet.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * side, columns * side, 3))


def _check(request: Request, controls: Sequence[str]) -> None:
    if not 1 <= request.count <= 100_000:
        raise UsageError(f"count {request.count} is not from 1 to 100,000")
    if request.seed < 0:
        raise UsageError(f"seed {request.seed} is below 0")
    if request.size not in SIZES:
        raise UsageError(f"size {request.size} is not one of {', '.join(map(str, SIZES))}")
    for name in request.controls:
        if controls and name not in controls:
            raise unknown("control", name, controls)


def _labels(request: Request, known: Sequence[str]) -> NDArray[np.int64]:
    """A class for each tile, in shares as asked for up to rounding, mixed."""
    shares = request.classes or dict.fromkeys(known, 1.0)
    for name in shares:
        if name not in known:
            raise unknown("class", name, known)
    ends = np.cumsum(list(shares.values())) / sum(shares.values()) * request.count
    counts = np.diff(np.concatenate([[0], np.rint(ends).astype(int)]))
    labels = np.repeat([list(known).index(name) for name in shares], counts)
    return np.asarray(np.random.default_rng([request.seed, 0]).permutation(labels), np.int64)


def _seed_of(seed: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
