"""AttributesObservation: numbers that the scene computes of itself, with noise (lane-keeping).

Equals highway-env's AttributesObservation over `LaneKeepingEnv.state`, `derivative` and
`reference_state`, noise drawn in the order in which the attributes are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.scenes.lane_keeping import TRACKED
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of
from drive_rl.simulator.vehicles import bicycle_derivative

DTYPE = np.float64

ATTRIBUTES = ("state", "derivative", "reference_state")
STATE, DERIVATIVE, REFERENCE_STATE = range(3)
SIZE = 4  # lateral position, heading, lateral speed, yaw rate


class Options(NamedTuple):
    """The observation's own keys."""

    attributes: Any  # (n,) i8, indices in ATTRIBUTES


def options(config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the keys of an observation configuration of type AttributesObservation."""
    return Options(np.array([ATTRIBUTES.index(name) for name in config["attributes"]], np.int64))


def shape(
    config: Mapping[str, Any], roads: Map, settings: Settings, capacity: Capacity
) -> tuple[int, ...]:
    """The attributes after one another."""
    return (SIZE * len(config["attributes"]),)


def fields(config: Mapping[str, Any]) -> dict[str, slice]:
    """Which part is which; of an attribute that is listed twice, the last one is shown."""
    names = config["attributes"]
    return {name: slice(k * SIZE, (k + 1) * SIZE) for k, name in enumerate(names)}


def field_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Attributes are columns."""
    return SIZE, 1


@kernel
def observe(state, network, settings, options, mask, out, low, high):  # type: ignore[no-untyped-def]
    """Fill `out` (num_envs, num_agents, 4 * attributes)."""
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        for agent in range(out.shape[1]):
            vehicle = road.vehicles[road.agents[agent]]
            for k in range(options.attributes.shape[0]):
                part = out[env, agent, k * SIZE : (k + 1) * SIZE]
                _observe(road, network, settings, vehicle, options.attributes[k], part)


@bare
def _observe(road, network, settings, vehicle, attribute, out):  # type: ignore[no-untyped-def]
    environment = road.environment[0]
    if attribute == REFERENCE_STATE:
        lane = int(environment.scratch[TRACKED])
        longitudinal, lateral = net.local_coordinates(network, lane, vehicle.x, vehicle.y)
        out[0] = vehicle.y - lateral
        out[1] = net.heading_at(network, lane, longitudinal)
        out[2] = out[3] = 0.0
        return
    if attribute == STATE:
        noise = settings.common[0].state_noise
        out[0], out[1] = vehicle.y, vehicle.heading
        out[2], out[3] = vehicle.lateral_speed, vehicle.yaw_rate
    else:
        noise = settings.common[0].derivative_noise
        _, dy, dheading, _, dlateral, dyaw = bicycle_derivative(
            vehicle, False, vehicle.heading, vehicle.speed, vehicle.lateral_speed, vehicle.yaw_rate
        )
        out[0], out[1], out[2], out[3] = dy, dheading, dlateral, dyaw
    for k in range(SIZE):
        out[k] += random.uniform(environment, -noise, noise)
