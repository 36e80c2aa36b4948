"""u-turn-v0 and -v1: overtake slow traffic on a road that turns back.

Equals highway-env's UTurnEnv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import clip, lmap
from drive_rl.simulator.jit import kernel
from drive_rl.simulator.scenes.common import (
    append_on_lane,
    is_on_road,
    uncovered_range,
    weighted_sum,
    weights,
)
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.vehicles import append_agent, begin, randomize_behavior

REWARDS = (
    ("collision_reward", bool),
    ("left_lane_reward", float),
    ("high_speed_reward", float),
    ("on_road_reward", bool),
)

DESTINATION = "d"
EGO_SPEED = 16.0  # [m/s]
POSITION_DEVIATION, SPEED_DEVIATION = 2.0, 2.0  # [m], [m/s]

# (origin, destination, lane id, longitudinal [m], speed [m/s]) of the traffic, in order
TRAFFIC = (
    ("a", "b", 0, 25.0, 13.5),
    ("a", "b", 1, 56.0, 14.5),
    ("b", "c", 1, 0.5, 4.5),
    ("b", "c", 0, 17.5, 5.5),
    ("c", "d", 0, 1.0, 3.5),
    ("c", "d", 1, 30.0, 5.5),
)

OPTIONS_DTYPE = np.dtype(
    [
        ("normalize", "?"),
        ("lowest_reward", "f8"),  # mapped to 0
        ("highest_reward", "f8"),  # mapped to 1
        ("speed_low", "f8"),  # [m/s]: 0 and ...
        ("speed_high", "f8"),  # ... 1 of "high_speed_reward"
        ("ego_lane", "i8"),  # row of lane ("a", "b", 0)
    ],
    align=True,
)

# Where a vehicle of the traffic starts, before chance
START_DTYPE = np.dtype([("lane", "i8"), ("longitudinal", "f8"), ("speed", "f8")], align=True)


class Options(NamedTuple):
    """The scene's own keys."""

    scene: Any  # (1,) OPTIONS_DTYPE
    weights: Any  # (len(REWARDS),) f8
    starts: Any  # (len(TRAFFIC),) START_DTYPE
    paths: Any  # (num_nodes, longest) i2: `Map.paths` of everybody


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """Why a configuration of this scene is not simulated exactly, or None."""
    if config["action"]["type"] == "MultiAgentAction":
        return "MultiAgentAction is not covered in this scene"
    low = config["collision_reward"]
    high = config["high_speed_reward"] + config["left_lane_reward"]
    return uncovered_range(config, low, high if config["normalize_reward"] else low + 1)


def capacity(config: Mapping[str, Any], roads: net.Map) -> st.Capacity:
    """The ego and the traffic."""
    longest = roads.paths(DESTINATION).shape[1]
    return st.Capacity(vehicles=1 + len(TRAFFIC), route_length=1 + longest)


def options(env_id: str, config: Mapping[str, Any], roads: net.Map, settings: Settings) -> Options:
    """Read the keys of UTurnEnv's configuration."""
    scene = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    s = scene[0]
    s.normalize = config["normalize_reward"]
    s.lowest_reward = config["collision_reward"]
    s.highest_reward = config["high_speed_reward"] + config["left_lane_reward"]
    s.speed_low, s.speed_high = config["reward_speed_range"]
    s.ego_lane = roads.lane("a", "b", 0)
    rows = [
        (roads.lane(origin, destination, lane_id), longitudinal, speed)
        for origin, destination, lane_id, longitudinal, speed in TRAFFIC
    ]
    starts = np.array(rows, START_DTYPE).view(np.recarray)
    return Options(scene, weights(config, REWARDS), starts, roads.paths(DESTINATION))


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """UTurnEnv._make_vehicles."""
    scene = options.scene[0]
    kind = settings.common[0].traffic
    for env in range(low, high):
        if not mask[env]:
            continue
        road = st.road_of(state, env)
        begin(road)
        x, y = net.position(network, scene.ego_lane, 0.0, 0.0)
        i = append_agent(road, network, settings, 0, x, y, 0.0, EGO_SPEED)
        if st.is_controlled(road.vehicles[i].kind):
            net.plan_route(network, options.paths, road.vehicles[i], road.routes[i])
        draw = road.environment[0]
        for k in range(options.starts.shape[0]):
            start = options.starts[k]
            s = start.longitudinal + random.standard_normal(draw) * POSITION_DEVIATION
            speed = start.speed + random.standard_normal(draw) * SPEED_DEVIATION
            i = append_on_lane(road, network, settings, kind, start.lane, s, speed)
            net.plan_route(network, options.paths, road.vehicles[i], road.routes[i])
            if k == 0:  # the one in front of the ego has a character of its own
                randomize_behavior(road, settings, road.vehicles[i])


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """UTurnEnv's _reward, _rewards, _is_terminated and _is_truncated."""
    scene = options.scene[0]
    for env in range(low, high):
        road = st.road_of(state, env)
        ego = road.vehicles[road.agents[0]]
        lane = network.lanes[ego.lane].id
        speed = lmap(ego.speed, scene.speed_low, scene.speed_high, 0.0, 1.0)
        row = terms[env]
        row[0] = 1.0 if ego.crashed else 0.0
        row[1] = lane / max(net.num_side_lanes(network, ego.lane) - 1, 1)
        row[2] = clip(speed, 0.0, 1.0)
        row[3] = 1.0 if is_on_road(network, ego) else 0.0
        total = weighted_sum(options.weights, row)
        if scene.normalize:
            total = lmap(total, scene.lowest_reward, scene.highest_reward, 0.0, 1.0)
        reward[env] = total * row[3]
        terminated[env] = ego.crashed
        truncated[env] = road.environment[0].time >= settings.common[0].duration
