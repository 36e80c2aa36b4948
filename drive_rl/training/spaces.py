"""Observation and action spaces as plain data, so that a policy is rebuilt without its environment.

Building an environment runs the code of a scene; a run folder must not be able to choose that
code. Hence run.yaml carries the spaces themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from drive_rl.errors import DriveRLError


def space_to_data(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space as nested dictionaries of numbers and names, for YAML and JSON.

    Raises:
        DriveRLError: a kind of space that no policy here can act on.
    """
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bound_to_data(space.low),
            "high": _bound_to_data(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": np.asarray(space.n).tolist()}
    if isinstance(space, spaces.Dict):
        members = {name: space_to_data(member) for name, member in space.spaces.items()}
        return {"type": "Dict", "spaces": members}
    raise DriveRLError(f"a policy cannot act on a space of kind {type(space).__name__}")


def space_from_data(data: Any) -> spaces.Space[Any]:
    """The space that `space_to_data` described.

    Raises:
        DriveRLError: `data` describes no space.
    """
    try:
        return _space_from_data(data)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise DriveRLError(f"not the description of a space: {error}") from None


def _space_from_data(data: Mapping[str, Any]) -> spaces.Space[Any]:
    kind = data["type"]
    if kind == "Box":
        shape = tuple(int(size) for size in data["shape"])
        dtype = np.dtype(str(data["dtype"]))
        low, high = (
            np.broadcast_to(np.asarray(data[end], dtype=dtype), shape) for end in ("low", "high")
        )
        return spaces.Box(low=low, high=high, shape=shape, dtype=dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(int(data["n"]), start=int(data["start"]))
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(data["nvec"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    if kind == "Dict":
        return spaces.Dict({k: _space_from_data(member) for k, member in data["spaces"].items()})
    raise ValueError(f"unknown kind {kind!r}")


def _bound_to_data(bound: np.ndarray[Any, Any]) -> Any:
    """One number where all entries agree (the usual case), else nested lists."""
    if bound.size and np.all(bound == bound.flat[0]):
        return bound.flat[0].item()
    return bound.tolist()
