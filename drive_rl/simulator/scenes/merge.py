"""merge-v0 and -v1: a highway, and a ramp from which one vehicle joins it.

Equals highway-env's MergeEnv. Traffic is placed by `reset`; what a decision is worth and when an
episode ends is shared with the generic version (`merge_generic`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import lmap
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.scenes.common import (
    LANE_CHANGES,
    uncovered_lane_change,
    uncovered_range,
    weighted_sum,
    weights,
)
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.vehicles import (
    OBJECT_SIZE,
    append_agent,
    append_object,
    append_vehicle,
    begin,
)

REWARDS = (
    ("collision_reward", bool),
    ("right_lane_reward", float),
    ("high_speed_reward", float),
    ("lane_change_reward", bool),
    ("merging_speed_reward", float),
)

EGO_X, EGO_SPEED = 30.0, 30.0  # [m], [m/s]
RAMP_X = 110.0  # of the vehicle that merges [m]
RAMP_SPEED, RAMP_TARGET_SPEED = 20.0, 30.0  # [m/s]
END = 370.0  # [m]

OPTIONS_DTYPE = np.dtype(
    [
        ("lowest_reward", "f8"),  # mapped to 0
        ("highest_reward", "f8"),  # mapped to 1
        ("speed_low", "f8"),  # [m/s]: 0 and ...
        ("speed_high", "f8"),  # ... 1 of "high_speed_reward"
        ("end", "f8"),  # x that ends the episode [m]
        ("ramp_x", "f8"),  # where the merging vehicle starts [m]
        ("highway", "i8"),  # row of the first lane before the ramp
        ("num_lanes", "i8"),
        ("ramp", "i8"),  # row of the ramp's first lane
        ("parallel", "i8"),  # row of lane ("b", "c", 2), or -1: slow vehicles there cost reward
        ("ramp_end", "i8"),  # row of the ramp's last lane, which an obstacle closes
        ("vehicles_count", "i8"),  # merge-generic only, with the next
        ("max_x", "f8"),  # traffic starts before this [m]
    ],
    align=True,
)


class Options(NamedTuple):
    """The configuration keys of both versions."""

    scene: Any  # (1,) OPTIONS_DTYPE
    weights: Any  # (len(REWARDS),) f8


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """Why a configuration of this scene is not simulated exactly, or None."""
    low = config["collision_reward"] + config["merging_speed_reward"]
    high = config["high_speed_reward"] + config["right_lane_reward"]
    return uncovered_lane_change(config) or uncovered_range(config, low, high)


def capacity(config: Mapping[str, Any], roads: net.Map) -> st.Capacity:
    """The ego, three vehicles on the highway, one on the ramp, and the obstacle at its end."""
    return st.Capacity(vehicles=5, objects=1)


def options(env_id: str, config: Mapping[str, Any], roads: net.Map, settings: Settings) -> Options:
    """Read the keys of MergeEnv's configuration."""
    scene = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    s = scene[0]
    s.lowest_reward = config["collision_reward"] + config["merging_speed_reward"]
    s.highest_reward = config["high_speed_reward"] + config["right_lane_reward"]
    s.speed_low, s.speed_high = config["reward_speed_range"]
    s.end, s.ramp_x = END, RAMP_X
    s.highway = roads.lane("a", "b", 0)
    s.num_lanes = roads.network.edges[roads.edges["a", "b"]].num_lanes
    s.ramp, s.ramp_end = roads.lane("j", "k", 0), roads.lane("b", "c", -1)
    s.parallel = roads.lane("b", "c", 2) if s.num_lanes >= 2 else -1
    return Options(scene, weights(config, REWARDS))


@bare
def append_ego(road, network, settings, scene):  # type: ignore[no-untyped-def]
    """The ego, on the lane next to the ramp."""
    x, y = net.position(network, scene.highway + scene.num_lanes - 1, EGO_X, 0.0)
    append_agent(road, network, settings, 0, x, y, 0.0, EGO_SPEED)


@bare
def append_ramp(road, network, settings, scene):  # type: ignore[no-untyped-def]
    """The vehicle that merges, and the obstacle that makes it."""
    traffic = settings.common[0].traffic
    x, y = net.position(network, scene.ramp, scene.ramp_x, 0.0)
    i = append_vehicle(road, network, settings, traffic, x, y, 0.0, RAMP_SPEED)
    road.vehicles[i].target_speed = RAMP_TARGET_SPEED
    x, y = net.position(network, scene.ramp_end, network.lanes[scene.ramp_end].length, 0.0)
    append_object(road, network, st.OBSTACLE, x, y, 0.0, OBJECT_SIZE, OBJECT_SIZE)


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """MergeEnv._make_vehicles: three vehicles about the ego, each on a random lane."""
    scene = options.scene[0]
    traffic = settings.common[0].traffic
    for env in range(low, high):
        if not mask[env]:
            continue
        road = st.road_of(state, env)
        begin(road)
        append_ego(road, network, settings, scene)
        draw = road.environment[0]
        for position, speed in ((90.0, 29.0), (70.0, 31.0), (5.0, 31.5)):
            lane = scene.highway + random.integers(draw, 2)
            x, y = net.position(network, lane, position + random.uniform(draw, -5.0, 5.0), 0.0)
            speed += random.uniform(draw, -1.0, 1.0)
            append_vehicle(road, network, settings, traffic, x, y, 0.0, speed)
        append_ramp(road, network, settings, scene)


@bare
def _slowness(road, lane):  # type: ignore[no-untyped-def]
    """How far vehicles on the merging lane are below their target speed, added up."""
    total = 0.0
    for i in range(road.environment[0].num_vehicles):
        vehicle = road.vehicles[i]
        if vehicle.lane == lane and st.is_controlled(vehicle.kind):
            total += (vehicle.target_speed - vehicle.speed) / vehicle.target_speed
    return total


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """MergeEnv's _reward, _rewards and _is_terminated; it never truncates."""
    scene = options.scene[0]
    for env in range(low, high):
        road = st.road_of(state, env)
        ego = road.vehicles[road.agents[0]]
        action = actions[env, 0, 0]
        row = terms[env]
        row[0] = 1.0 if ego.crashed else 0.0
        row[1] = float(network.lanes[ego.lane].id)
        row[2] = lmap(ego.speed, scene.speed_low, scene.speed_high, 0.0, 1.0)
        row[3] = 1.0 if action in LANE_CHANGES else 0.0
        row[4] = _slowness(road, scene.parallel)
        total = weighted_sum(options.weights, row)
        reward[env] = lmap(total, scene.lowest_reward, scene.highest_reward, 0.0, 1.0)
        terminated[env] = ego.crashed or ego.x > scene.end
        truncated[env] = False
