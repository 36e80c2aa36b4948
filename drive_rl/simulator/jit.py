"""The one place where compilation is decided: options, and which functions are kept on disk.

`jit` marks a helper that other compiled functions call, `bare` one that needs no memory,
`streaming` a loop over arrays, `inlined` and `merged` short ones that are copied into their
callers. `kernel` marks an entry point that Python calls with a range of environments: it releases
the GIL and is cached on disk. `recipe` marks what both kernels and Python run.

Fastmath stays off: the simulator must take the same decisions as highway-env, so the order of
floating-point operations is part of the contract.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
from numba.core import config
from numba.core.cpu import CPUTargetOptions
from numba.core.options import TargetOptions
from numba.extending import register_jitable

from drive_rl.simulator import cache

# Kernels carry no types that Python could check: numba infers them. To callers they take anything.
Function = Callable[..., Any]

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False, "nogil": True}

# Only kernels are called from Python: a helper's way in from there would be a third of the time
# that a scene takes to compile.
HELPER: dict[str, Any] = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _helper(function: Function, **options: Any) -> Function:
    """Compile for the types of the arguments: once for all numbers, not anew for each literal."""
    compiled: Any = numba.njit(**HELPER, **options)(function)
    if config.DISABLE_JIT:
        return function
    for_types = compiled.get_call_template

    def get_call_template(args: Any, keywords: Any) -> Any:
        general = {name: numba.types.unliteral(each) for name, each in dict(keywords).items()}
        return for_types(tuple(map(numba.types.unliteral, args)), general)

    compiled.get_call_template = get_call_template
    # Without a way in from Python, a call from there would jump to address zero.
    compiled._insert = lambda *_: None
    compiled._compile_for_args = functools.partial(_refuse, function.__name__)
    result: Function = compiled
    return result


def _refuse(name: str, *_: Any, **__: Any) -> None:
    raise TypeError(f"{name} is a helper of kernels: call it from a function marked @kernel")


def jit(function: Function) -> Function:
    """Compile a helper, called from other compiled functions only."""
    return _helper(function)


def bare(function: Function) -> Function:
    """Compile a helper that neither allocates nor returns arrays, without reference counting.

    Counting references cost more than the arithmetic: every array read out of a tuple was counted.
    A helper that returns an array (or a tuple of them) has to be a `jit`.
    """
    return _helper(function, _nrt=False)


# numba has the flag and no word for it
CPUTargetOptions.noalias = TargetOptions.Mapping("noalias")


def streaming(function: Function) -> Function:
    """A `bare` helper whose arrays do not overlap: where it reads, nothing is written meanwhile.

    A loop over such arrays becomes vector instructions even where it looks places up in a table,
    which halves the time of a texture's pixel.
    """
    return _helper(function, _nrt=False, noalias=True)


def inlined(function: Function) -> Function:
    """A `bare` helper that is always copied into its caller.

    For short helpers of every vehicle and frame: passing a road and its network to a call costs
    more than they do (a hundred words of arguments).
    """
    return _helper(function, _nrt=False, forceinline=True)


def merged(function: Function) -> Function:
    """A helper that is written into its caller before anything is compiled.

    For helpers with one caller or two: as functions of their own they, and all that they call,
    would be optimized once more (a third of the time that a scene takes to compile). The caller
    has to be `bare` (or merged into one that is): in a `jit` or a `kernel` references are counted.
    """
    compiled: Function = numba.njit(inline="always", _nrt=False, **HELPER)(function)
    return compiled


def recipe(function: Function) -> Function:
    """A function that stays Python for Python, and is written into each kernel that calls it."""
    result: Function = register_jitable(inline="always", **OPTIONS)(function)
    return result


def bare_kernel(function: Function) -> Function:
    """A `kernel` that needs no memory: one that goes through many arrays compiles much sooner."""
    return kernel(function, _nrt=False)


def kernel(function: Function, **options: Any) -> Function:
    """Compile an entry point: called from Python, without the GIL, and cached on disk."""
    compiled: Any = numba.njit(**OPTIONS, **options)(function)
    cache.attach(compiled)
    result: Function = compiled
    return result
