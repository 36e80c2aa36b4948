"""TupleObservation: several observations of the same agent, one after the other.

All parts are written into one flat vector in double precision; `parts` tells the environments
where each of them is.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import observations
from drive_rl.simulator.network import Map
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity

DTYPE = np.float64


class Part(NamedTuple):
    """One of the observations."""

    config: Mapping[str, Any]
    module: Any
    options: Any
    shape: tuple[int, ...]
    place: slice  # in the flat vector


class Options(NamedTuple):
    """The observations, in order."""

    parts: tuple[Part, ...]


def options(config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the keys of an observation configuration of type TupleObservation."""
    return Options(tuple(parts(config, roads, settings)))


def parts(config: Mapping[str, Any], roads: Map, settings: Settings) -> list[Part]:
    """The observations, in order, and where each of them is."""
    found = []
    start = 0
    for own in config["observation_configs"]:
        module = observations.observation_of(own["type"])
        shape = module.shape(own, roads, settings, Capacity(0))
        stop = start + prod(shape)
        found.append(
            Part(own, module, module.options(own, roads, settings), shape, slice(start, stop))
        )
        start = stop
    return found


def shape(
    config: Mapping[str, Any], roads: Map, settings: Settings, capacity: Capacity
) -> tuple[int, ...]:
    """All parts after one another."""
    return (parts(config, roads, settings)[-1].place.stop,)


def observe(
    state: Any,
    network: Any,
    settings: Any,
    options: Options,
    mask: Any,
    out: Any,
    low: int,
    high: int,
) -> None:
    """Fill `out` (num_envs, num_agents, size of all parts), one part after the other."""
    for part in options.parts:
        view = out[:, :, part.place].reshape(*out.shape[:2], *part.shape)
        part.module.observe(state, network, settings, part.options, mask, view, low, high)
