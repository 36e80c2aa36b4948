"""Products of small vectors and matrices, with numpy's value on this machine to the last bit."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import config
from numba.extending import intrinsic

from drive_rl.simulator.jit import inlined
from drive_rl.simulator.rounding import CORNERS, DOT, FIRST_WHOLE, SECOND_WHOLE, TURN, exact_fma

if config.DISABLE_JIT:
    _fma: Any = exact_fma
else:

    @intrinsic
    def _fma(typing_context, a, b, c):  # type: ignore[no-untyped-def]
        def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.fma(*arguments)

        return types.float64(types.float64, types.float64, types.float64), build


@inlined
def product_sum(a, b, c, d, rounding):  # type: ignore[no-untyped-def]
    """a * b + c * d, rounded in one of the three ways."""
    if rounding == FIRST_WHOLE:
        return _fma(a, b, c * d)
    if rounding == SECOND_WHOLE:
        return _fma(c, d, a * b)
    return a * b + c * d


@inlined
def dot(ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """numpy.dot of the vectors a and b."""
    return product_sum(ax, bx, ay, by, DOT)


@inlined
def add_product(a, b, total):  # type: ignore[no-untyped-def]
    """total + a * b: the next member of a numpy.dot of longer vectors."""
    if DOT == SECOND_WHOLE:
        return _fma(a, b, total)
    return total + a * b


@inlined
def turned(row_x, row_y, x, y):  # type: ignore[no-untyped-def]
    """A row of a 2 x 2 matrix times a vector."""
    return product_sum(row_x, x, row_y, y, TURN)


@inlined
def turned_corner(row_x, row_y, x, y):  # type: ignore[no-untyped-def]
    """A row of a 2 x 2 matrix times one of several vectors."""
    return product_sum(row_x, x, row_y, y, CORNERS)
