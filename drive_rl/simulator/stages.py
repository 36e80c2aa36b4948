"""The stages of a decision, and how a compiled recipe calls kernels that were compiled apart.

A recipe (`decision`) is the same for all scenes and observations; its stages are not. Were it
compiled together with them, each of the hundreds of pairs of scene and observation would be
compiled whole. So a recipe takes a table of stages: in Python the kernels themselves, in compiled
code where they are in memory. Beside each address stands a number for the types of its arguments,
which is compared before the jump.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

# The rows of a table of stages: see `decision` for what each is called with
ACT, PASS_TIME, RUN, OBSERVE, EVALUATE, DESCRIBE, EVALUATE_AGENTS = range(7)
FINISH, AFTER_OBSERVING, BEGIN, POPULATE, RESET = range(7, 12)
COUNT = 12

Stage = Callable[..., Any]
Table = Sequence[Stage | None]


def has(stages: Any, which: int) -> bool:
    """Does this scene have the stage?"""
    return stages[which] is not None


def call(stages: Any, which: int, arguments: Any) -> None:
    """Run a stage, if the scene has it."""
    if stages[which] is not None:
        stages[which](*arguments)


def addresses(stages: Table, rehearse: Callable[[Any], None]) -> Any:
    """The table for compiled recipes, (COUNT, 2) i8: addresses (0 for none), and types.

    Args:
        stages: kernels.
        rehearse: runs a recipe over no environments, in Python, with the table that it is given:
            thereby stages are compiled for the arguments that they will have.
    """
    table = np.zeros((COUNT, 2), np.int64)

    def recorder(which: int, kernel: Any) -> Stage:
        def record(*arguments: Any) -> None:
            argument_types = tuple(map(numba.typeof, arguments))
            kernel.compile(argument_types)
            compiled = kernel.overloads[argument_types]
            name = compiled.fndesc.llvm_func_name
            address = compiled.library.get_pointer_to_function(name)
            table[which] = address, _number_of(argument_types)

        return record

    rehearse([kernel and recorder(which, kernel) for which, kernel in enumerate(stages)])
    return table


def _number_of(argument_types: Sequence[Any]) -> int:
    """A number for the types of arguments: equal for equal types, in every process."""
    words = " ".join(str(types.unliteral(each)) for each in argument_types)
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:7], "little")


@overload(has)
def _has(stages, which):  # type: ignore[no-untyped-def]
    return lambda stages, which: stages[which, 0] != 0


@overload(call)
def _call(stages, which, arguments):  # type: ignore[no-untyped-def]
    def call(stages, which, arguments):  # type: ignore[no-untyped-def]
        if stages[which, 0] != 0:
            _jump(stages[which, 0], stages[which, 1], arguments)

    return call


@intrinsic
def _jump(typing_context, address, number, arguments):  # type: ignore[no-untyped-def]
    """Call what was compiled for arguments of these types and lies at an address."""
    argument_types = tuple(map(types.unliteral, arguments.types))

    def build(context, builder, signature, values):  # type: ignore[no-untyped-def]
        target, expected, packed = values
        convention = context.call_conv
        differs = builder.icmp_signed("!=", expected, expected.type(_number_of(argument_types)))
        with cgutils.if_unlikely(builder, differs):
            message = "a stage was compiled for other arguments"
            convention.return_user_exc(builder, TypeError, (message,))
        function_type = convention.get_function_type(types.none, argument_types)
        function = builder.inttoptr(target, function_type.as_pointer())
        unpacked = [
            context.cast(builder, builder.extract_value(packed, k), given, expected_type)
            for k, (given, expected_type) in enumerate(
                zip(arguments.types, argument_types, strict=True)
            )
        ]
        status, _ = convention.call_function(
            builder, function, types.none, argument_types, unpacked
        )
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(address, number, arguments), build


@intrinsic
def take(typing_context, tickets, amount):  # type: ignore[no-untyped-def]
    """Add to the first element of an i8 array, for all threads at once, and give what was there."""

    def build(context, builder, signature, values):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.atomic_rmw("add", array.data, values[1], "acq_rel")

    return types.int64(tickets, types.int64), build


