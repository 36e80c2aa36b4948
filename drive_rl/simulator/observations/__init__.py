"""Observations: what the agents see. One module per observation type.

An observation module has

`Options`: a NamedTuple of arrays: the type's own keys, as one record and lists of codes.
`options(config, roads, settings) -> Options`: read the keys of `config`, the observation's own
    dictionary (`{"type": "Kinematics", ...}`).
`shape(config, roads, settings, capacity) -> tuple[int, ...]` and `DTYPE`: of one agent's
    observation.
`observe(state, network, settings, options, mask, out, low, high)`: a `kernel`. For each environment
    in `[low, high)` with `mask[env]`, write every agent's observation to `out[env, agent]`; `out`
    has the shape `(num_envs, num_observers, *shape)`: all agents, or the first. Equals
    highway-env's `observe()` bit for bit up to rounding, and draws from the environment's random
    stream where highway-env does.

and, where a type needs it,

`bounds(config) -> (low, high)`: of the observation space; infinite if there is none.
`dtype(config)`: of the observation space, where the configuration decides and not `DTYPE`.
`fields(config) -> {name: slice}`: what a type lays out as a dictionary (KinematicsGoal, Attributes)
    is written as one flat vector; this tells the environments which part is which.
    `field_shape(config)`: the shape of a part, where it is no vector.
`parts(config, roads, settings)`: where each observation of a TupleObservation is in the flat
    vector.

To add one: write the module, then name it in `OBSERVATIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

# highway-env's observation type -> module
OBSERVATIONS = {
    "Kinematics": "kinematics",
    "ExitObservation": "exit",
    "OccupancyGrid": "occupancy_grid",
    "TimeToCollision": "time_to_collision",
    "LidarObservation": "lidar",
    "KinematicsGoal": "goal",
    "AttributesObservation": "attributes",
    "TupleObservation": "several",
}


def observation_of(name: str) -> Any:
    """The module of an observation type of highway-env."""
    return import_module(f"{__name__}.{OBSERVATIONS[name]}")


def observation_dtype(module: Any, config: Mapping[str, Any]) -> Any:
    """The numpy type in which a module's observations are written."""
    return module.dtype(config) if hasattr(module, "dtype") else module.DTYPE
