"""Colours as one integer: red, green and blue in 16 bits each, worked on all at once.

Values are 0 to 255 and weights 0 to 256, so products stay inside their 16 bits. The few colours of
a scene are mixed so; pictures are three planes of numbers (`Picture`), which loops over a row work
on without branches, eight columns or more at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator.jit import inlined

MASK = 0x00FF00FF00FF

STRIDE = 16  # columns that are worked on at once: lines are a whole number of strides long
BORDER = 8  # columns beside a plane, for a lens's blur beyond it


class Picture(NamedTuple):
    """A picture at work: 0 to 255, in single precision.

    Each plane is (height, BORDER + width in strides + BORDER) f4; column k is at BORDER + k.
    """

    red: Any
    green: Any
    blue: Any


def strides(width: int) -> int:
    """How many columns the strides have in which a picture's width lies."""
    return -(-width // STRIDE) * STRIDE


def make_picture(width: int, height: int) -> Picture:
    """A black picture."""
    return Picture(*np.zeros((3, height, strides(width) + 2 * BORDER), np.float32))


@inlined
def packed(red: int, green: int, blue: int) -> int:
    """A packed colour."""
    return red | green << 16 | blue << 32


@inlined
def channels(color: int) -> Any:
    """Red, green and blue of a packed colour."""
    return np.float32(color & 255), np.float32(color >> 16 & 255), np.float32(color >> 32 & 255)


@inlined
def mix(below: int, above: int, weight: int) -> int:
    """`below` with `weight` / 256 of `above` over it."""
    return (below * (256 - weight) + above * weight) >> 8 & MASK


@inlined
def scale(color: int, factor: int) -> int:
    """`color` times `factor` / 256, which is at most 1."""
    return color * factor >> 8 & MASK
