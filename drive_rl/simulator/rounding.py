"""How numpy's products round on this machine, so that kernels agree with highway-env to the bit.

`a * b + c * d` has three values in floating point: both products rounded, or one of them kept
whole by a fused multiply-add. Which one `numpy.dot` and `@` give is the choice of the BLAS, made
for the processor it runs on. A last bit matters where a point lies on the border of two cells, as
a lane's centre does for a vehicle on it, and where a motion is unstable: LinearVehicle swerves in
curves, and doubles such a difference every few frames.

What is found here is compiled into the kernels (`products`), and part of their cache's name.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

PLAIN, FIRST_WHOLE, SECOND_WHOLE = 0, 1, 2  # which product is not rounded before the addition


def rounding_of(product: Callable[[Any, Any], float]) -> int:
    """How a product of two vectors of 2 rounds; PLAIN where it is none of the three."""
    rng = np.random.default_rng(0)
    possible = {PLAIN, FIRST_WHOLE, SECOND_WHOLE}
    for _ in range(64):
        (a, c), (b, d) = rng.normal(size=(2, 2))
        value = float(product(np.array([a, c]), np.array([b, d])))
        expected = {
            PLAIN: float(a * b + c * d),
            FIRST_WHOLE: exact_fma(a, b, c * d),
            SECOND_WHOLE: exact_fma(c, d, a * b),
        }
        possible &= {way for way, sum_ in expected.items() if sum_ == value}
    return min(possible, default=PLAIN)


def exact_fma(a: float, b: float, c: float) -> float:
    """a * b + c, rounded once."""
    return float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


# Of numpy.dot of two vectors; of a 2 x 2 matrix times a vector; times four of them (corners)
DOT = rounding_of(lambda v, w: float(np.dot(v, w)))
TURN = rounding_of(lambda row, v: float((np.array([row, row]) @ v)[0]))
CORNERS = rounding_of(lambda row, v: float((np.array([row, row]) @ np.array([v] * 4).T)[0, 0]))
