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
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

# The rows of a table of stages: see `decision` for what each is called with
ACT, PASS_TIME, RUN, OBSERVE, EVALUATE, DESCRIBE, EVALUATE_AGENTS = range(7)
FINISH, AFTER_OBSERVING, BEGIN, POPULATE, RESET, LOOK = range(7, 13)
COUNT = 13

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


# What `has` and `call` are in compiled code: instructions in place, not functions of their own,
# each of which would be compiled for itself and again in its caller.


@infer_global(has)
class _Has(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        stages, which = args
        return signature(types.boolean, stages, types.unliteral(which))


@lower_builtin(has, types.Array, types.Integer)  # type: ignore[untyped-decorator]
def _lower_has(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    address, _ = _entry(context, builder, sig, args)
    return builder.icmp_signed("!=", address, address.type(0))


@infer_global(call)
class _Call(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        stages, which, arguments = args
        return signature(types.none, stages, types.unliteral(which), types.unliteral(arguments))


@lower_builtin(call, types.Array, types.Integer, types.BaseTuple)  # type: ignore[untyped-decorator]
def _lower_call(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Jump to a stage, if it is there, and was compiled for arguments of these types."""
    argument_types = tuple(sig.args[2].types)
    address, number = _entry(context, builder, sig, args)
    convention = context.call_conv
    with cgutils.if_likely(builder, builder.icmp_signed("!=", address, address.type(0))):
        expected = number.type(_number_of(argument_types))
        with cgutils.if_unlikely(builder, builder.icmp_signed("!=", number, expected)):
            message = "a stage was compiled for other arguments"
            convention.return_user_exc(builder, TypeError, (message,))
        function_type = convention.get_function_type(types.none, argument_types)
        function = builder.inttoptr(address, function_type.as_pointer())
        status, _ = convention.call_function(
            builder, function, types.none, argument_types, cgutils.unpack_tuple(builder, args[2])
        )
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
    return context.get_dummy_value()


def _entry(context: Any, builder: Any, sig: Any, args: Any) -> tuple[Any, Any]:
    """The row of a compiled table: (address, number of the types)."""
    table = context.make_array(sig.args[0])(context, builder, args[0])
    row = context.cast(builder, args[1], sig.args[1], types.intp)
    first = builder.mul(row, row.type(2))
    second = builder.add(first, row.type(1))
    address, number = (builder.load(builder.gep(table.data, [k])) for k in (first, second))
    return address, number


@intrinsic
def take(typing_context, tickets, amount):  # type: ignore[no-untyped-def]
    """Add to the first element of an i8 array, for all threads at once, and give what was there."""

    def build(context, builder, signature, values):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.atomic_rmw("add", array.data, values[1], "acq_rel")

    return types.int64(tickets, types.int64), build
