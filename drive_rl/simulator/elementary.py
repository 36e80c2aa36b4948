"""tan, asin, atan and atan2 of numbers, to the bit as numpy has them on this processor.

numpy brings its own vectorized versions for some processors, which differ from the C library's in
the last bit of one value in twenty. Vehicles that swerve slowly make much of a last bit: some
episodes of intersections ended 1e-6 and more apart. There (`Network.shape`), kernels call the very
loops that `numpy.tan` and the others call, on one number, which takes several times as long. Where
numpy calls the C library itself, so do kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from drive_rl.simulator.jit import inlined
from drive_rl.simulator.rounding import loop_of


def _call_loop(symbol: str, arity: int) -> Any:
    """An intrinsic that calls a loop on one number (or pair of them)."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number, word = ir.DoubleType(), ir.IntType(64)
        pointer = ir.IntType(8).as_pointer()
        places = cgutils.alloca_once(builder, pointer, size=arity + 1)
        steps = cgutils.alloca_once(builder, word, size=arity + 1)
        count = cgutils.alloca_once_value(builder, word(1))
        result = cgutils.alloca_once(builder, number)
        slots = [cgutils.alloca_once_value(builder, each) for each in arguments] + [result]
        for k, slot in enumerate(slots):
            builder.store(builder.bitcast(slot, pointer), cgutils.gep(builder, places, k))
            builder.store(word(8), cgutils.gep(builder, steps, k))
        for slot, each in zip(slots, arguments, strict=False):
            builder.store(each, slot)
        kind = ir.FunctionType(
            ir.VoidType(), [places.type, word.as_pointer(), word.as_pointer(), pointer]
        )
        loop = cgutils.get_or_insert_function(builder.module, kind, symbol)
        builder.call(loop, [places, count, steps, pointer(None)])
        return builder.load(result)

    if arity == 1:

        @intrinsic
        def one(typing_context, x):  # type: ignore[no-untyped-def]
            return types.float64(types.float64), build

        return one

    @intrinsic
    def two(typing_context, y, x):  # type: ignore[no-untyped-def]
        return types.float64(types.float64, types.float64), build

    return two


def _function(ufunc: Any, plain: Callable[..., float]) -> Any:
    """A ufunc for kernels; `plain` is the C library's."""
    if config.DISABLE_JIT:
        return ufunc
    loop = loop_of(ufunc)
    if loop is None:
        return plain
    symbol = f"drive_rl_numpy_{ufunc.__name__}"
    llvmlite.binding.add_symbol(symbol, loop)
    return _call_loop(symbol, ufunc.nin)


_tan = _function(np.tan, math.tan)
_asin = _function(np.arcsin, math.asin)
_atan = _function(np.arctan, math.atan)
_atan2 = _function(np.arctan2, math.atan2)


@inlined
def tan(x):  # type: ignore[no-untyped-def]
    """numpy.tan."""
    return _tan(x)


@inlined
def asin(x):  # type: ignore[no-untyped-def]
    """numpy.arcsin."""
    return _asin(x)


@inlined
def atan(x):  # type: ignore[no-untyped-def]
    """numpy.arctan."""
    return _atan(x)


@inlined
def atan2(y, x):  # type: ignore[no-untyped-def]
    """numpy.arctan2."""
    return _atan2(y, x)
