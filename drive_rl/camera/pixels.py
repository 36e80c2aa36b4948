"""Colours as one integer: red, green and blue in 16 bits each, worked on all at once.

Values are 0 to 255 and weights 0 to 256, so products stay inside their 16 bits. An int64 carries
a pixel through sampling, mixing and shading, with a third of the loads and multiplications.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.simulator.jit import inlined

MASK = 0x00FF00FF00FF


def pack(rgb: Any) -> NDArray[np.int64]:
    """Packed pixels of colours (..., 3), 0 to 255."""
    red, green, blue = np.moveaxis(np.asarray(rgb, np.int64), -1, 0)
    packed: NDArray[np.int64] = red | green << 16 | blue << 32
    return packed


@inlined
def packed(red: int, green: int, blue: int) -> int:
    """A packed pixel."""
    return red | green << 16 | blue << 32


@inlined
def mix(below: int, above: int, weight: int) -> int:
    """`below` with `weight` / 256 of `above` over it."""
    return (below * (256 - weight) + above * weight) >> 8 & MASK


@inlined
def scale(color: int, factor: int) -> int:
    """`color` times `factor` / 256, which is at most 1."""
    return color * factor >> 8 & MASK
