"""How numpy rounds on this machine, so that ties fall as highway-env's fall.

`a * b + c * d` has three values in floating point: both products rounded, or one of them kept
whole by a fused multiply-add. Which one `numpy.dot` and `@` give is the choice of the BLAS, made
for the processor it runs on. A last bit decides on which side of a cell's border a lane's centre is
drawn; and vehicles that hardly move in one another's way make a millionth of it in a few seconds.
And some functions of numpy's are its own on some processors, and the C library's on others.
What is found here is compiled into the kernels (`products`, `elementary`), and so part of their
cache's key.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

PLAIN, FIRST_WHOLE, SECOND_WHOLE = 0, 1, 2  # which product is not rounded before the addition


def exact_fma(a: float, b: float, c: float) -> float:
    """a * b + c, rounded once."""
    return float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


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


def dot_rounding() -> int:
    """How `numpy.dot` of two vectors of 2 rounds here."""
    return rounding_of(lambda v, w: float(np.dot(v, w)))


def turn_rounding() -> int:
    """How a row of a 2 x 2 matrix times a vector rounds here (row first, then vector)."""
    return rounding_of(lambda row, v: float((np.array([row, row]) @ v)[0]))


def turn_all_rounding() -> int:
    """How a row of a 2 x 2 matrix times a column of several points rounds here."""
    return rounding_of(lambda row, v: float((np.array([row, row]) @ np.array([v] * 4).T)[1, 2]))


@functools.cache
def roundings() -> tuple[int, int, int]:
    """All of them: of `dot`, of `turn`, of `turn_all`."""
    return dot_rounding(), turn_rounding(), turn_all_rounding()


# PyUFuncObject, in numpy's public header: after the object's head come nin, nout, nargs and an
# identity (ints), then the loops, their data, and how many there are
_COUNTS, _LOOPS, _DATA, _NUM_TYPES = 16, 32, 40, 48


def loop_of(ufunc: Any) -> int | None:
    """The address of a ufunc's loop over doubles; None where it only calls the C library's."""
    here = id(ufunc)
    counts = tuple((ctypes.c_int * 3).from_address(here + _COUNTS))
    num_types = ctypes.c_int.from_address(here + _NUM_TYPES).value
    if counts != (ufunc.nin, ufunc.nout, ufunc.nargs) or num_types != ufunc.ntypes:
        return None  # another numpy than this was written for
    index = 8 * ufunc.types.index("d" * ufunc.nin + "->d")
    table = ctypes.c_void_p.from_address(here + _DATA).value
    if table is not None and ctypes.c_void_p.from_address(table + index).value is not None:
        return None
    loops = ctypes.c_void_p.from_address(here + _LOOPS).value
    assert loops is not None
    return ctypes.c_void_p.from_address(loops + index).value


OWN = ("tan", "arcsin", "arctan", "arctan2")  # may be numpy's own


@functools.cache
def ways() -> str:
    """All that decides about last bits here, as one word."""
    loops = [name for name in OWN if loop_of(getattr(np, name)) is not None]
    return f"{roundings()} {loops}"
