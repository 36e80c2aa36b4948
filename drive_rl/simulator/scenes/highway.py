"""highway-v0 and highway-fast-v0: dense traffic on a straight road (HighwayEnv, HighwayEnvFast)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import clip, lmap
from drive_rl.simulator.jit import jit, kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of
from drive_rl.simulator.vehicles import append_agent, append_vehicle, begin, randomize_behavior

REWARDS = (
    ("collision_reward", float),
    ("right_lane_reward", float),
    ("high_speed_reward", float),
    ("on_road_reward", float),
)

OPTIONS_DTYPE = np.dtype(
    [
        ("vehicles_count", "i8"),
        ("controlled_vehicles", "i8"),
        ("initial_lane_id", "i8"),  # -1: drawn
        ("ego_spacing", "f8"),
        ("spacing", "f8"),  # of the other vehicles: 1 / vehicles_density
        ("collision_reward", "f8"),
        ("right_lane_reward", "f8"),
        ("high_speed_reward", "f8"),
        ("on_road_reward", "f8"),
        ("speed_low", "f8"),  # reward_speed_range [m/s]
        ("speed_high", "f8"),
        ("normalize_reward", "?"),
        ("offroad_terminal", "?"),
        ("fast", "?"),  # only pairs with an agent are checked for collisions
    ],
    align=True,
)


class Options(NamedTuple):
    """The scene's own keys."""

    scene: Any  # (1,) OPTIONS_DTYPE


def capacity(config: Mapping[str, Any], roads: Map) -> Capacity:
    """Room for one environment."""
    agents = config["controlled_vehicles"]
    return Capacity(vehicles=config["vehicles_count"] + agents, agents=agents)


def options(env_id: str, config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the scene's keys."""
    table = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    scene = table[0]
    lane_id = config["initial_lane_id"]
    scene.vehicles_count = config["vehicles_count"]
    scene.controlled_vehicles = config["controlled_vehicles"]
    scene.initial_lane_id = -1 if lane_id is None else lane_id
    scene.ego_spacing = config["ego_spacing"]
    scene.spacing = 1 / config["vehicles_density"]
    for name, _ in REWARDS:
        scene[name] = config.get(name, 0)
    scene.speed_low, scene.speed_high = config["reward_speed_range"]
    scene.normalize_reward = config["normalize_reward"]
    scene.offroad_terminal = config["offroad_terminal"]
    scene.fast = env_id == "highway-fast-v0"
    return Options(table)


@jit
def create_random(road, network, speed, lane_id, spacing):  # type: ignore[no-untyped-def]
    """(x, y, heading, speed) of a vehicle behind which nobody is: Vehicle.create_random.

    `speed` NaN and `lane_id` -1 are drawn. Only for networks of one road.
    """
    env = road.environment[0]
    num_lanes = network.edges[0].num_lanes
    lane = lane_id if lane_id >= 0 else random.choice(env, num_lanes)
    row = network.lanes[lane]
    if math.isnan(speed):
        speed = random.uniform(env, 0.7 * row.speed_limit, 0.8 * row.speed_limit)
    offset = spacing * (12 + 1.0 * speed) * math.exp(-5 / 40 * num_lanes)
    x0 = 3 * offset
    for i in range(env.num_vehicles):
        s, _ = net.local_coordinates(network, lane, road.vehicles[i].x, road.vehicles[i].y)
        x0 = s if i == 0 else max(x0, s)
    x0 += offset * random.uniform(env, 0.9, 1.1)
    x, y = net.position(network, lane, x0, 0.0)
    return x, y, net.heading_at(network, lane, x0), speed


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """HighwayEnv._create_vehicles: each agent followed by its share of the traffic."""
    scene = options.scene[0]
    traffic = settings.common[0].traffic
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        begin(road)
        share = scene.vehicles_count // scene.controlled_vehicles
        rest = scene.vehicles_count % scene.controlled_vehicles
        for agent in range(scene.controlled_vehicles):
            x, y, heading, speed = create_random(
                road, network, 25.0, scene.initial_lane_id, scene.ego_spacing
            )
            append_agent(road, network, settings, agent, x, y, heading, speed)
            for _ in range(share + 1 if agent < rest else share):
                x, y, heading, speed = create_random(road, network, math.nan, -1, scene.spacing)
                i = append_vehicle(road, network, settings, traffic, x, y, heading, speed)
                randomize_behavior(road, settings, road.vehicles[i])
                road.vehicles[i].check_collisions = not scene.fast


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """HighwayEnv._reward, _rewards, _is_terminated and _is_truncated."""
    scene = options.scene[0]
    common = settings.common[0]
    for env in range(low, high):
        road = road_of(state, env)
        ego = road.vehicles[road.agents[0]]
        lane = ego.target_lane if st.is_controlled(ego.kind) else ego.lane
        num_lanes = net.num_side_lanes(network, ego.lane)
        s, lateral = net.local_coordinates(network, ego.lane, ego.x, ego.y)
        on_road = net.is_on_lane(network, ego.lane, s, lateral, 0.0)
        speed = lmap(ego.speed * ego.cos, scene.speed_low, scene.speed_high, 0.0, 1.0)
        terms[env, 0] = 1.0 if ego.crashed else 0.0
        terms[env, 1] = network.lanes[lane].id / max(num_lanes - 1, 1)
        terms[env, 2] = clip(speed, 0.0, 1.0)
        terms[env, 3] = 1.0 if on_road else 0.0
        total = scene.collision_reward * terms[env, 0]
        total += scene.right_lane_reward * terms[env, 1]
        total += scene.high_speed_reward * terms[env, 2]
        total += scene.on_road_reward * terms[env, 3]
        if scene.normalize_reward:
            best = scene.high_speed_reward + scene.right_lane_reward
            total = lmap(total, scene.collision_reward, best, 0.0, 1.0)
        reward[env] = total * terms[env, 3]
        terminated[env] = ego.crashed or (scene.offroad_terminal and not on_road)
        truncated[env] = state.environments[env].time >= common.duration
