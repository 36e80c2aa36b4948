"""Sums of two products, rounded as highway-env's are: see `rounding`.

Wherever highway-env multiplies vectors by `numpy.dot`, `@` or `numpy.linalg.norm`, kernels call
these. Which way is taken is known when they are compiled, so that they cost nothing.
"""

from __future__ import annotations

import math
from typing import Any

from numba import types
from numba.core import config
from numba.extending import intrinsic

from drive_rl.simulator.jit import inlined
from drive_rl.simulator.rounding import FIRST_WHOLE, SECOND_WHOLE, exact_fma, roundings

DOT, TURN, TURN_ALL = roundings()

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
def dot(a, b, c, d):  # type: ignore[no-untyped-def]
    """numpy.dot of (a, c) and (b, d)."""
    return product_sum(a, b, c, d, DOT)


@inlined
def dot_of_three(a, b, c, d, e, f):  # type: ignore[no-untyped-def]
    """numpy.dot of (a, c, e) and (b, d, f): its terms are added one after the other."""
    if DOT == SECOND_WHOLE:
        return _fma(e, f, _fma(c, d, a * b))
    return dot(a, b, c, d) + e * f


@inlined
def norm(x, y):  # type: ignore[no-untyped-def]
    """numpy.linalg.norm of (x, y)."""
    return math.sqrt(dot(x, x, y, y))


@inlined
def turned(a, b, c, d):  # type: ignore[no-untyped-def]
    """A row (a, c) of a matrix times a vector (b, d)."""
    return product_sum(a, b, c, d, TURN)


@inlined
def turned_with_others(a, b, c, d):  # type: ignore[no-untyped-def]
    """A row (a, c) of a matrix times a column (b, d) of several."""
    return product_sum(a, b, c, d, TURN_ALL)
