"""How the simulator's raw observations become Gymnasium's: spaces, dictionaries and tuples.

The simulator writes every observation as one array per agent. Here that array gets the space,
structure and types that highway-env gives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space, spaces

from drive_rl.environments.sight import arranged, camera_space
from drive_rl.simulator.engine import Simulator
from drive_rl.simulator.observations import observation_dtype, observation_of

Structured = Any  # an array, or a dictionary or tuple of arrays


class _Shown(NamedTuple):
    """One agent's observation: its space, and how raw arrays (..., *shape) become part of it."""

    space: Space[Any]
    arrange: Callable[[Any], Structured]


class Layout:
    """How the observations of a simulator are laid out.

    Args:
        simulator: whose observations they are.
        config: highway-env's configuration of the observation.
    """

    def __init__(self, simulator: Simulator, config: Mapping[str, Any]) -> None:
        self.is_multi_agent = config["type"] == "MultiAgentObservation"
        own = config["observation_config"] if self.is_multi_agent else config
        self._has_camera = simulator.observer is not None
        self._shown = _shown(simulator, own)
        self.space: Space[Any] = self._shown.space
        if self.is_multi_agent:
            each = [_shown(simulator, own).space for _ in range(simulator.capacity.agents)]
            self.space = spaces.Tuple(each)

    def batch(self, raw: Any) -> Structured:
        """Observations of many environments, of (num_envs, num_observers, ...): copies.

        Pictures are handed on without a copy: a camera never writes to what someone keeps.
        """
        if self.is_multi_agent:
            return tuple(self._shown.arrange(raw[:, agent]) for agent in range(raw.shape[1]))
        return self._shown.arrange(raw[:, 0])

    def single(self, raw: Any) -> Structured:
        """The observation of one environment, of (num_observers, ...): a copy."""
        if self._has_camera:
            raw = raw.copy()
        if self.is_multi_agent:
            return tuple(self._shown.arrange(each) for each in raw)
        return self._shown.arrange(raw[0])


def _shown(simulator: Simulator, config: Mapping[str, Any]) -> _Shown:
    if simulator.observer is not None:
        return _Shown(camera_space(simulator.observer), arranged)  # type: ignore[arg-type]
    module = observation_of(config["type"])
    roads, settings = simulator.roads, simulator.settings
    dtype = observation_dtype(module, config)
    if hasattr(module, "parts"):
        return _tuple_of(simulator, module.parts(config, roads, settings))
    if hasattr(module, "fields"):
        return _dictionary(module, config, dtype)
    low, high = module.bounds(config) if hasattr(module, "bounds") else (-math.inf, math.inf)
    shape = module.shape(config, roads, settings, simulator.capacity)
    return _Shown(
        spaces.Box(low, high, shape, dtype), lambda raw: np.array(raw, dtype=dtype, order="C")
    )


def _tuple_of(simulator: Simulator, parts: list[Any]) -> _Shown:
    shown = [_shown(simulator, part.config) for part in parts]

    def arrange(raw: Any) -> Structured:
        leading = raw.shape[:-1]
        return tuple(
            each.arrange(raw[..., part.place].reshape(*leading, *part.shape))
            for part, each in zip(parts, shown, strict=True)
        )

    return _Shown(spaces.Tuple([each.space for each in shown]), arrange)


def _dictionary(module: Any, config: Mapping[str, Any], dtype: Any) -> _Shown:
    fields: dict[str, slice] = module.fields(config)

    def shape(place: slice) -> tuple[int, ...]:
        if hasattr(module, "field_shape"):
            own: tuple[int, ...] = module.field_shape(config)
            return own
        return (place.stop - place.start,)

    def arrange(raw: Any) -> Structured:
        leading = raw.shape[:-1]
        return {
            name: np.array(raw[..., place], dtype=dtype).reshape(*leading, *shape(place))
            for name, place in fields.items()
        }

    boxes: dict[str, Space[Any]] = {
        name: spaces.Box(-math.inf, math.inf, shape(place), dtype) for name, place in fields.items()
    }
    return _Shown(spaces.Dict(boxes), arrange)
