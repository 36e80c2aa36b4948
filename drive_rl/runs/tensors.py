"""Weights and moments: out of networks and optimisers, and back into them; and where they live."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.runs.checkpoint import Tensors

Module = TypeVar("Module", bound=torch.nn.Module)


def load_weights(module: torch.nn.Module, weights: Tensors) -> None:
    """Load weights whose names and shapes must be those of `module`.

    Raises:
        DriveRLError: names the first parameter that differs.
    """
    own = module.state_dict()
    for name, value in own.items():
        if name not in weights:
            raise DriveRLError(f"the checkpoint has no {name}; it is of another network")
        if weights[name].shape != value.shape:
            raise DriveRLError(
                f"the checkpoint's {name} has shape {tuple(weights[name].shape)}, this environment "
                f"and network need {tuple(value.shape)}; it is of another environment or network"
            )
    more = weights.keys() - own.keys()
    if more:
        raise DriveRLError(f"the checkpoint has {min(more)}, this network does not")
    module.load_state_dict(weights)


def below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors whose names begin so, without that beginning."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def loaded(module: Module, weights: Mapping[str, torch.Tensor], name: str) -> Module:
    """`module` with the weights of the name, ready to be asked.

    Raises:
        DriveRLError: they are of another architecture.
    """
    try:
        load_weights(module, dict(weights))
    except DriveRLError as error:
        raise DriveRLError(f"{name} is of another architecture: {error}") from None
    return module.eval()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Its moments, named `<parameter index>.<moment>`."""
    return {
        f"{index}.{name}": moment.clone()
        for index, moments in optimizer.state_dict()["state"].items()
        for name, moment in moments.items()
    }


def optimizer_groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Its settings, JSON-safe."""
    return [dict(group) for group in optimizer.state_dict()["param_groups"]]


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Tensors, groups: list[dict[str, Any]]
) -> None:
    """Put back what the two functions above gave."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def choose_device(name: str) -> torch.device:
    """The torch device for "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: not a device, or not one of this machine.
    """
    kind, _, index = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdecimal())):
        raise UsageError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "auto":
        return torch.device("cuda:0" if count else "cpu")
    if kind == "cuda" and count == 0:
        raise UsageError(f"device {name!r}: no CUDA device was found here; use --device cpu")
    if kind == "cuda" and int(index or 0) >= count:
        raise UsageError(f"device {name!r}: the last CUDA device here is cuda:{count - 1}")
    return torch.device(f"cuda:{index or 0}" if kind == "cuda" else "cpu")


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Sums are split by the number of threads, so it is part of what a resumed run must repeat."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
