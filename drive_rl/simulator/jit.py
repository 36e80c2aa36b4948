"""The one place where compilation is decided: options, and which functions are kept on disk.

`jit` marks a helper that other compiled functions call, `bare` one that needs no memory, `inlined`
and `merged` short ones that are copied into their callers. `kernel` marks an entry point that
Python calls with a range of environments: it releases the GIL and is cached on disk.

Fastmath stays off: the simulator must take the same decisions as highway-env, so the order of
floating-point operations is part of the contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from drive_rl.simulator import cache

# Kernels carry no types that Python could check: numba infers them. To callers they take anything.
Function = Callable[..., Any]

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False, "nogil": True}


def jit(function: Function) -> Function:
    """Compile a helper, called from other compiled functions only."""
    compiled: Function = numba.njit(**OPTIONS)(function)
    return compiled


def bare(function: Function) -> Function:
    """Compile a helper that neither allocates nor returns arrays, without reference counting.

    Counting references cost more than the arithmetic: every array read out of a tuple was counted.
    A helper that returns an array (or a tuple of them) has to be a `jit`.
    """
    compiled: Function = numba.njit(_nrt=False, **OPTIONS)(function)
    return compiled


def inlined(function: Function) -> Function:
    """A `bare` helper that is always copied into its caller.

    For short helpers of every vehicle and frame: passing a road and its network to a call costs
    more than they do (a hundred words of arguments).
    """
    compiled: Function = numba.njit(_nrt=False, forceinline=True, **OPTIONS)(function)
    return compiled


def merged(function: Function) -> Function:
    """A helper that is written into its caller before anything is compiled.

    For helpers with one caller or two: as functions of their own they, and all that they call,
    would be optimized once more (a third of the time that a scene takes to compile). The caller
    has to be `bare` (or merged into one that is): in a `jit` or a `kernel` references are counted.
    """
    compiled: Function = numba.njit(inline="always", _nrt=False, **OPTIONS)(function)
    return compiled


def kernel(function: Function) -> Function:
    """Compile an entry point: called from Python, without the GIL, and cached on disk."""
    compiled: Any = numba.njit(**OPTIONS)(function)
    cache.attach(compiled)
    result: Function = compiled
    return result
