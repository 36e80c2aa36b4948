"""Textures ready to be sampled: each tile with its ever smaller copies (mip map), packed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK = 8  # tiles that are worked on at once: their copies are large


class Textures(NamedTuple):
    """Tiles of one size.

    Level l of a tile is a square of side >> l texels. Between texels a colour is found in `smooth`,
    which has each level at twice its side: one look instead of four, to a quarter of a texel, which
    is less than a pixel unless texels are larger than pixels.
    """

    texels: Any  # (num_tiles, texels of all levels) u4: a byte each, red lowest
    smooth: Any  # (num_tiles, four times as many) u4
    metres: Any  # (1,) f8: side of a tile on the ground [m]
    side: Any  # (1,) i8: texels of level 0 along a side, a power of two


def make_textures(tiles: Any, metres: float) -> Textures:
    """Pyramids of `tiles`, uint8 (num_tiles, side, side, 3), side a power of two."""
    texels, smooth = [], []
    for start in range(0, len(tiles), CHUNK):
        levels = _levels(tiles[start : start + CHUNK])
        texels.append(_rows(levels))
        smooth.append(_rows([_doubled(_doubled(each, 1), 2) for each in levels]))
    return Textures(
        texels=np.concatenate(texels),
        smooth=np.concatenate(smooth),
        metres=np.array([metres]),
        side=np.array([tiles.shape[1]], np.int64),
    )


def _levels(tiles: Any) -> list[NDArray[np.float32]]:
    """Tiles and their ever smaller copies."""
    level = tiles.astype(np.float32)
    levels = [level]
    while level.shape[1] > 1:
        half = level.shape[1] // 2
        level = level.reshape(len(tiles), half, 2, half, 2, 3).mean(axis=(2, 4))
        levels.append(level)
    return levels


def _doubled(level: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Twice as many texels along an axis, each between the two that are nearest; tiles repeat."""
    before, after = np.roll(level, 1, axis), np.roll(level, -1, axis)
    both = np.stack([0.75 * level + 0.25 * before, 0.75 * level + 0.25 * after], axis + 1)
    shape = list(level.shape)
    shape[axis] *= 2
    return both.reshape(shape)


def _rows(levels: list[NDArray[np.float32]]) -> NDArray[np.uint32]:
    """All texels of each tile in a row, packed: red, green, blue, nothing, a byte each."""
    rows = []
    for level in levels:
        # Columns first: of a road along x, what lies side by side in a picture does so in memory
        red, green, blue = np.rint(level).astype(np.uint32).transpose(3, 0, 2, 1)
        rows.append((red | green << 8 | blue << 16).reshape(len(level), -1))
    return np.concatenate(rows, axis=1)
