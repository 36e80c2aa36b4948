"""How numpy's products round on this machine, so that ties fall as highway-env's fall.

`a * b + c * d` has three values in floating point: both products rounded, or one of them kept
whole by a fused multiply-add. Which one `numpy.dot` and `@` give is the choice of the BLAS, made
for the processor it runs on. Where a point lies on the border of two cells of a grid, as a lane's
centre does for a vehicle on it, this last bit decides on which side it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numba import types
from numba.core import config
from numba.extending import intrinsic

from drive_rl.simulator.jit import inlined

PLAIN, FIRST_WHOLE, SECOND_WHOLE = 0, 1, 2  # which product is not rounded before the addition


def _exact_fma(a: float, b: float, c: float) -> float:
    return float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


if config.DISABLE_JIT:
    _fma: Any = _exact_fma
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


def rounding_of(product: Callable[[Any, Any], float]) -> int:
    """How a product of two vectors of 2 rounds; PLAIN where it is none of the three."""
    rng = np.random.default_rng(0)
    possible = {PLAIN, FIRST_WHOLE, SECOND_WHOLE}
    for _ in range(64):
        (a, c), (b, d) = rng.normal(size=(2, 2))
        value = float(product(np.array([a, c]), np.array([b, d])))
        expected = {
            PLAIN: float(a * b + c * d),
            FIRST_WHOLE: _exact_fma(a, b, c * d),
            SECOND_WHOLE: _exact_fma(c, d, a * b),
        }
        possible &= {way for way, sum_ in expected.items() if sum_ == value}
    return min(possible, default=PLAIN)


def dot_rounding() -> int:
    """How `numpy.dot` of two vectors of 2 rounds here."""
    return rounding_of(lambda v, w: float(np.dot(v, w)))


def turn_rounding() -> int:
    """How a row of a 2 x 2 matrix times a vector rounds here (row first, then vector)."""
    return rounding_of(lambda row, v: float((np.array([row, row]) @ v)[0]))
