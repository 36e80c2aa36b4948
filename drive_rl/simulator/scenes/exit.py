"""exit-v0 and -v1: cross a dense highway of many lanes in time to leave it.

Equals highway-env's ExitEnv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import clip, lmap
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.scenes.common import (
    append_on_lane,
    uncovered_count,
    uncovered_range,
    weighted_sum,
    weights,
)
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.vehicles import append_agent, begin

REWARDS = (
    ("collision_reward", bool),
    ("goal_reward", bool),
    ("high_speed_reward", float),
    ("right_lane_reward", int),
)

MOST_LANES = 7  # the limit of the k-th lane is 26 - 3.4 k [m/s]
EGO_SPEED = 25.0  # [m/s]
DESTINATION = "3"  # of the traffic, which stays on the highway

OPTIONS_DTYPE = np.dtype(
    [
        ("normalize", "?"),
        ("lowest_reward", "f8"),  # mapped to 0
        ("highest_reward", "f8"),  # mapped to 1
        ("speed_low", "f8"),  # [m/s]: 0 and ...
        ("speed_high", "f8"),  # ... 1 of "high_speed_reward"
        ("controlled_vehicles", "i8"),
        ("vehicles_count", "i8"),
        ("ego_spacing", "f8"),  # relative to the usual distance
        ("spacing", "f8"),  # of the other vehicles: 1 / vehicles_density
        ("crowding", "f8"),  # factor on distances: there are several lanes
        ("first", "i8"),  # row of the first lane where vehicles start
        ("exit_lane", "i8"),  # row of the lane beside the highway that leads to the exit
        ("exit", "i8"),  # row of the exit
    ],
    align=True,
)


class Options(NamedTuple):
    """The scene's own keys."""

    scene: Any  # (1,) OPTIONS_DTYPE
    weights: Any  # (len(REWARDS),) f8
    lanes: Any  # (lanes_count,) f8: cumulated probabilities of the lanes where traffic starts
    paths: Any  # (num_nodes, longest) i2: `Map.paths` of the traffic


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """Why a configuration of this scene is not simulated exactly, or None."""
    counts = ("lanes_count", "vehicles_count", "controlled_vehicles")
    if reason := uncovered_count(config, *counts):
        return reason
    if config["lanes_count"] < 2:
        return "a highway of one lane has no lane to draw for the traffic"
    if config["lanes_count"] > MOST_LANES:
        return f"more than {MOST_LANES} lanes are not covered: speed limits fall below 0"
    low, high = config["collision_reward"], config["goal_reward"]
    return uncovered_range(config, low, high if config["normalize_reward"] else low + 1)


def capacity(config: Mapping[str, Any], roads: net.Map) -> st.Capacity:
    """The agents and the traffic."""
    agents = int(config["controlled_vehicles"])
    return st.Capacity(
        vehicles=agents + int(config["vehicles_count"]),
        route_length=1 + roads.paths(DESTINATION).shape[1],
        agents=agents,
    )


def options(env_id: str, config: Mapping[str, Any], roads: net.Map, settings: Settings) -> Options:
    """Read the keys of ExitEnv's configuration."""
    scene = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    s = scene[0]
    lanes = config["lanes_count"]
    s.normalize = config["normalize_reward"]
    s.lowest_reward, s.highest_reward = config["collision_reward"], config["goal_reward"]
    s.speed_low, s.speed_high = config["reward_speed_range"]
    s.controlled_vehicles = config["controlled_vehicles"]
    s.vehicles_count = config["vehicles_count"]
    s.ego_spacing, s.spacing = config["ego_spacing"], 1 / config["vehicles_density"]
    s.crowding = np.exp(-5 / 40 * lanes)
    s.first = roads.lane("0", "1", 0)
    s.exit_lane, s.exit = roads.lane("1", "2", lanes), roads.lane("2", "exit", 0)
    # Right lanes are likelier; cumulated and divided as Generator.choice does
    ids = np.arange(lanes)
    cumulated = (ids / ids.sum()).cumsum()
    cumulated /= cumulated[-1]
    return Options(scene, weights(config, REWARDS), cumulated, roads.paths(DESTINATION))


@bare
def _last_longitudinal(road, network, scene, lane, speed, spacing):  # type: ignore[no-untyped-def]
    """Where the next vehicle starts on a lane: Vehicle.create_random [m]."""
    env = road.environment[0]
    offset = spacing * (12 + 1.0 * speed) * scene.crowding
    x0 = 3 * offset
    for i in range(env.num_vehicles):
        s, _ = net.local_coordinates(network, lane, road.vehicles[i].x, road.vehicles[i].y)
        x0 = s if i == 0 else max(x0, s)
    return x0 + offset * random.uniform(env, 0.9, 1.1)


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """ExitEnv._create_vehicles."""
    scene = options.scene[0]
    kind = settings.common[0].traffic
    for env in range(low, high):
        if not mask[env]:
            continue
        road = st.road_of(state, env)
        begin(road)
        for agent in range(scene.controlled_vehicles):
            lane = scene.first
            s = _last_longitudinal(road, network, scene, lane, EGO_SPEED, scene.ego_spacing)
            x, y = net.position(network, lane, s, 0.0)
            heading = net.heading_at(network, lane, s)
            append_agent(road, network, settings, agent, x, y, heading, EGO_SPEED)
        for _ in range(scene.vehicles_count):
            lane = scene.first + random.choice_weighted(road.environment[0], options.lanes)
            speed = network.lanes[lane].speed_limit
            s = _last_longitudinal(road, network, scene, lane, speed, scene.spacing)
            i = append_on_lane(road, network, settings, kind, lane, s, speed)
            net.plan_route(network, options.paths, road.vehicles[i], road.routes[i])
            road.vehicles[i].enable_lane_change = False


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """ExitEnv's _reward, _rewards, _is_terminated and _is_truncated."""
    scene = options.scene[0]
    for env in range(low, high):
        road = st.road_of(state, env)
        ego = road.vehicles[road.agents[0]]
        lane = ego.target_lane if st.is_controlled(ego.kind) else ego.lane
        speed = lmap(ego.speed, scene.speed_low, scene.speed_high, 0.0, 1.0)
        row = terms[env]
        row[0] = 1.0 if ego.crashed else 0.0
        row[1] = 1.0 if lane == scene.exit_lane or lane == scene.exit else 0.0
        row[2] = clip(speed, 0.0, 1.0)
        row[3] = float(network.lanes[lane].id)
        total = weighted_sum(options.weights, row)
        if scene.normalize:
            total = lmap(total, scene.lowest_reward, scene.highest_reward, 0.0, 1.0)
            total = clip(total, 0.0, 1.0)
        reward[env] = total
        terminated[env] = ego.crashed
        truncated[env] = road.environment[0].time >= settings.common[0].duration
