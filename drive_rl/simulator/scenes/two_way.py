"""two-way-v0: overtake on a road with oncoming traffic.

Equals highway-env's TwoWayEnv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import kernel
from drive_rl.simulator.scenes.common import append_on_lane, weighted_sum, weights
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.vehicles import append_agent, begin

REWARDS = (
    ("high_speed_reward", float),
    ("left_lane_reward", float),
)

EGO_LONGITUDINAL, EGO_SPEED = 30.0, 30.0  # [m], [m/s]
MAX_DECISIONS = 15  # the registered limit
FURTHEST = 780.0  # that an ego may come; highway-env divides by zero beyond the end [m]
NUM_AHEAD, NUM_ONCOMING = 3, 2

OPTIONS_DTYPE = np.dtype(
    [
        ("right", "i8"),  # row of lane ("a", "b", 1)
        ("oncoming", "i8"),  # row of lane ("b", "a", 0)
    ],
    align=True,
)


class Options(NamedTuple):
    """The scene's own keys."""

    scene: Any  # (1,) OPTIONS_DTYPE
    weights: Any  # (len(REWARDS),) f8


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """Why a configuration of this scene is not simulated exactly, or None."""
    action = config["action"]
    if action["type"] != "DiscreteMetaAction":
        return "the reward needs the target speeds of DiscreteMetaAction"
    fastest = max(action.get("target_speeds") or (EGO_SPEED,))
    reach = EGO_LONGITUDINAL + max(fastest, EGO_SPEED) * MAX_DECISIONS / config["policy_frequency"]
    if reach > FURTHEST:
        return "an ego that reaches the end of the road is not covered"
    return None


def capacity(config: Mapping[str, Any], roads: net.Map) -> st.Capacity:
    """The ego, three vehicles ahead of it, and two that come towards it."""
    return st.Capacity(vehicles=1 + NUM_AHEAD + NUM_ONCOMING)


def options(env_id: str, config: Mapping[str, Any], roads: net.Map, settings: Settings) -> Options:
    """Read the keys of TwoWayEnv's configuration."""
    scene = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    scene[0].right, scene[0].oncoming = roads.lane("a", "b", 1), roads.lane("b", "a", 0)
    return Options(scene, weights(config, REWARDS))


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """TwoWayEnv._make_vehicles."""
    scene = options.scene[0]
    kind = settings.common[0].traffic
    for env in range(low, high):
        if not mask[env]:
            continue
        road = st.road_of(state, env)
        begin(road)
        x, y = net.position(network, scene.right, EGO_LONGITUDINAL, 0.0)
        append_agent(road, network, settings, 0, x, y, 0.0, EGO_SPEED)
        draw = road.environment[0]
        for k in range(NUM_AHEAD):
            s = 70.0 + 40.0 * k + 10.0 * random.standard_normal(draw)
            speed = 24.0 + 2.0 * random.standard_normal(draw)
            i = append_on_lane(road, network, settings, kind, scene.right, s, speed)
            road.vehicles[i].enable_lane_change = False
        for k in range(NUM_ONCOMING):
            s = 200.0 + 100.0 * k + 10.0 * random.standard_normal(draw)
            speed = 20.0 + 5.0 * random.standard_normal(draw)
            i = append_on_lane(road, network, settings, kind, scene.oncoming, s, speed)
            road.vehicles[i].enable_lane_change = False
            road.vehicles[i].target_lane = scene.oncoming


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """TwoWayEnv's _reward, _rewards and _is_terminated; it never truncates."""
    last_speed = settings.target_speeds.shape[0] - 1
    for env in range(low, high):
        road = st.road_of(state, env)
        ego = road.vehicles[road.agents[0]]
        last_lane = net.num_side_lanes(network, ego.lane) - 1
        row = terms[env]
        row[0] = ego.speed_index / last_speed
        row[1] = (last_lane - network.lanes[ego.target_lane].id) / last_lane
        reward[env] = weighted_sum(options.weights, row)
        terminated[env] = ego.crashed
        truncated[env] = False
