"""Arithmetic with 32 bits, which numba would do with 64: half as many numbers at once.

Operands and results are unsigned words that wrap around; an index in such a word needs no look at
its sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core import config
from numba.extending import intrinsic


def _operation(instruction: str, plain: Callable[[int, int], int]) -> Any:
    """A function of two words that becomes one instruction of LLVM's."""
    if config.DISABLE_JIT:
        return lambda a, b: np.uint32(plain(int(a), int(b)) & 0xFFFFFFFF)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)

    def typing(context: Any, a: Any, b: Any) -> Any:
        return types.uint32(types.uint32, types.uint32), codegen

    typing.__name__ = instruction
    return intrinsic(typing)


plus = _operation("add", lambda a, b: a + b)
minus = _operation("sub", lambda a, b: a - b)
times = _operation("mul", lambda a, b: a * b)
both = _operation("and_", lambda a, b: a & b)
either = _operation("or_", lambda a, b: a | b)
right = _operation("lshr", lambda a, b: a >> b)
shifted = _operation("shl", lambda a, b: a << b)
"""a + b, a - b, a * b, a & b, a | b, a >> b, a << b."""
