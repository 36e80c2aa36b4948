"""lane-keeping-v0: steer a vehicle with tyre slip along a lane, through noise (LaneKeepingEnv).

`environment.scratch[TRACKED]` is the row of the lane that is to be kept. It is not the closest
one: the first is left for the second once, for good, and rewards count from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator.jit import kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of
from drive_rl.simulator.vehicles import append_agent, begin

REWARDS: tuple[tuple[str, type], ...] = ()

# The observation of a step is taken after the action is given and before anything moves
OBSERVES_FIRST = True

TRACKED = 0  # place in `environment.scratch`


class Options(NamedTuple):
    """The lanes to keep, and draws that are lost."""

    lanes: Any  # (2,) i8
    lost_draws: Any  # (1,) i8: uniforms drawn on a reset for observations that nobody sees


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """What of the scene's keys is not simulated exactly."""
    action = config["action"]
    if action["type"] not in ("ContinuousAction", "DiscreteAction"):
        return f"{action['type']} is not covered"
    if not action.get("dynamical", False):
        return "an action without dynamical=True is not covered (highway-env needs tyre slip here)"
    return None


def capacity(config: Mapping[str, Any], roads: Map) -> Capacity:
    """Room for one environment."""
    return Capacity(vehicles=1)


def options(env_id: str, config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Find the scene's lanes, and count the noise that defining spaces draws."""
    # A reset defines its spaces twice, each time by a whole observation
    return Options(
        lanes=np.array([roads.lane("c", "d", 0), roads.lane("a", "b", 0)]),
        lost_draws=np.array([2 * _noise(config["observation"])]),
    )


def _noise(observation: Mapping[str, Any]) -> int:
    """How many numbers an observation draws: four for each noisy attribute."""
    parts = [*observation.get("observation_configs", ())]
    if "observation_config" in observation:
        parts.append(observation["observation_config"])
    noisy = sum(name in ("state", "derivative") for name in observation.get("attributes", ()))
    return 4 * noisy + sum(_noise(part) for part in parts)


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """LaneKeepingEnv._make_vehicles: the ego only, always in the same place."""
    lane = options.lanes[0]
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        begin(road)
        for _ in range(options.lost_draws[0]):
            random.uniform01(road.environment[0])
        x, y = net.position(network, lane, 50.0, -4.0)
        append_agent(road, network, settings, 0, x, y, net.heading_at(network, lane, 0.0), 8.3)
        road.environment[0].scratch[TRACKED] = lane


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """LaneKeepingEnv._reward; and, as the next step begins with it, on to the second lane."""
    for env in range(low, high):
        road = road_of(state, env)
        ego = road.vehicles[road.agents[0]]
        lane = int(road.environment[0].scratch[TRACKED])
        s, lateral = net.local_coordinates(network, lane, ego.x, ego.y)
        reward[env] = 1 - (lateral / network.lanes[lane].width) ** 2
        terminated[env] = truncated[env] = False
        if lane == options.lanes[0] and not net.is_on_lane(network, lane, s, lateral, 0.0):
            road.environment[0].scratch[TRACKED] = options.lanes[1]
