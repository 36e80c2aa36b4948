"""Textures ready to be sampled: each tile with its ever smaller copies (mip map), packed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from drive_rl.camera.pixels import pack


class Textures(NamedTuple):
    """Tiles of one size.

    Level l of a tile is a square of side >> l texels, at `offset(side, l)` of its row.
    """

    texels: Any  # (num_tiles, texels of all levels) i8, packed
    metres: Any  # (1,) f8: side of a tile on the ground [m]
    side: Any  # (1,) i8: texels of level 0 along a side, a power of two


def make_textures(tiles: Any, metres: float) -> Textures:
    """Pyramids of `tiles`, uint8 (num_tiles, side, side, 3), side a power of two."""
    side = tiles.shape[1]
    levels = []
    level = tiles.astype(np.float32)
    while True:
        rounded = np.clip(np.rint(level), 0, 255).astype(np.uint8)
        levels.append(pack(rounded).reshape(len(tiles), -1))
        if level.shape[1] == 1:
            break
        half = level.shape[1] // 2
        level = level.reshape(len(tiles), half, 2, half, 2, 3).mean(axis=(2, 4))
    return Textures(
        texels=np.ascontiguousarray(np.concatenate(levels, axis=1)),
        metres=np.array([metres]),
        side=np.array([side], np.int64),
    )
