"""parking-*: drive into a given spot of a car park, in a given direction (ParkingEnv)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.scenes.common import append_on_lane
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of
from drive_rl.simulator.vehicles import OBJECT_SIZE, append_agent, append_object, begin

REWARDS: tuple[tuple[str, type], ...] = ()
AGENT_INFO = (("is_success", bool),)

# The features in which the distance to the goal is measured, and what each is divided by, are
# fixed, whatever is observed (ParkingEnv.PARKING_OBS)
FEATURES = ("x", "y", "vx", "vy", "cos_h", "sin_h")
SCALES = (100.0, 100.0, 5.0, 5.0, 1.0, 1.0)
WALLS_LENGTH, WALLS_WIDTH = 70.0, 42.0  # of the car park [m]
MOST_AGENTS = 7  # ten metres apart, more than that share a closest spot, which highway-env refuses

OPTIONS_DTYPE = np.dtype(
    [
        ("vehicles_count", "i8"),
        ("add_walls", "?"),
        ("collision_reward", "f8"),
        ("success_goal_reward", "f8"),
    ],
    align=True,
)


class Options(NamedTuple):
    """The scene's own keys."""

    scene: Any  # (1,) OPTIONS_DTYPE
    reward_weights: Any  # (6,) f8


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """What of the scene's keys is not simulated exactly."""
    if config["controlled_vehicles"] > MOST_AGENTS:
        return f"more than {MOST_AGENTS} controlled_vehicles are not covered"
    if not isinstance(config["vehicles_count"], int):
        return "a vehicles_count that is not whole is not covered"
    if len(config["reward_weights"]) != len(SCALES):
        return f"reward_weights that are not {len(SCALES)} numbers are not covered"
    observed = config["observation"]
    if observed["type"] == "MultiAgentObservation":
        # There an agent's success is measured in what it observes
        observed = observed["observation_config"]
        if (
            observed["type"] != "KinematicsGoal"
            or tuple(observed.get("features") or ()) != FEATURES
            or tuple(observed["scales"]) != SCALES
        ):
            return "MultiAgentObservation of other features than parking's own is not covered"
    return None


def capacity(config: Mapping[str, Any], roads: Map) -> Capacity:
    """Room for one environment."""
    agents = config["controlled_vehicles"]
    return Capacity(
        vehicles=agents + min(config["vehicles_count"], len(roads.network.lanes)),
        objects=agents + 4,
        agents=agents,
    )


def options(env_id: str, config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the scene's keys."""
    table = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    for name in OPTIONS_DTYPE.names or ():
        table[0][name] = config[name]
    return Options(table, np.array(config["reward_weights"], np.float64))


@bare
def _take(spots, count, k):  # type: ignore[no-untyped-def]
    """Remove the k-th of the first `count` spots, keeping the order; gives it and the new count."""
    spot = spots[k]
    for q in range(k, count - 1):
        spots[q] = spots[q + 1]
    return spot, count - 1


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """ParkingEnv._create_vehicles: agents, their goals, parked vehicles, walls."""
    scene = options.scene[0]
    num_spots = network.lanes.shape[0]
    spots = np.empty(num_spots, np.int64)
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        stream = road.environment[0]
        begin(road)
        for k in range(num_spots):
            spots[k] = k
        empty = num_spots
        agents = road.agents.shape[0]
        for agent in range(agents):
            x = float(agent - agents // 2) * 10.0
            heading = 2.0 * math.pi * random.uniform01(stream)
            i = append_agent(road, network, settings, agent, x, 0.0, heading, 0.0)
            for k in range(empty):
                if spots[k] == road.vehicles[i].lane:
                    _, empty = _take(spots, empty, k)
                    break
        for agent in range(agents):
            spot, empty = _take(spots, empty, random.choice(stream, empty))
            lane = network.lanes[spot]
            x, y = net.position(network, spot, lane.length / 2, 0.0)
            goal = append_object(
                road, network, st.LANDMARK, x, y, lane.heading, OBJECT_SIZE, OBJECT_SIZE
            )
            road.vehicles[road.agents[agent]].goal = goal
        for _ in range(scene.vehicles_count):
            if empty > 0:
                spot, empty = _take(spots, empty, random.choice(stream, empty))
                append_on_lane(road, network, settings, st.VEHICLE, spot, 4.0, 0.0)
        if scene.add_walls:
            for side in (-1, 1):
                y = side * WALLS_WIDTH / 2
                append_object(road, network, st.OBSTACLE, 0.0, y, 0.0, WALLS_LENGTH, 1.0)
            for side in (-1, 1):
                x = side * WALLS_LENGTH / 2
                append_object(road, network, st.OBSTACLE, x, 0.0, math.pi / 2, WALLS_WIDTH, 1.0)


@bare
def goal_reward(road, options, agent):  # type: ignore[no-untyped-def]
    """ParkingEnv.compute_reward of an agent: minus its weighted distance to its goal, 0.5-norm."""
    vehicle = road.vehicles[road.agents[agent]]
    goal = road.objects[vehicle.goal]
    w = options.reward_weights
    total = abs(vehicle.x / SCALES[0] - goal.x / SCALES[0]) * w[0]
    total += abs(vehicle.y / SCALES[1] - goal.y / SCALES[1]) * w[1]
    total += abs(vehicle.speed * vehicle.cos / SCALES[2]) * w[2]
    total += abs(vehicle.speed * vehicle.sin / SCALES[3]) * w[3]
    total += abs(vehicle.cos / SCALES[4] - goal.cos / SCALES[4]) * w[4]
    total += abs(vehicle.sin / SCALES[5] - goal.sin / SCALES[5]) * w[5]
    return -math.sqrt(total)


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """ParkingEnv._reward, _is_terminated and _is_truncated: the goal of the first agent counts."""
    scene = options.scene[0]
    for env in range(low, high):
        road = road_of(state, env)
        crashed = 0
        for agent in range(road.agents.shape[0]):
            if road.vehicles[road.agents[agent]].crashed:
                crashed += 1
        close = goal_reward(road, options, 0)
        reward[env] = close + scene.collision_reward * crashed
        terminated[env] = crashed > 0 or close > -scene.success_goal_reward
        truncated[env] = road.environment[0].time >= settings.common[0].duration


@kernel
def evaluate_agents(state, network, settings, options, out, low, high):  # type: ignore[no-untyped-def]
    """What `_info` adds, AGENT_INFO: has the agent reached its goal?"""
    for env in range(low, high):
        road = road_of(state, env)
        for agent in range(road.agents.shape[0]):
            close = goal_reward(road, options, agent)
            is_close = close > -options.scene[0].success_goal_reward
            out[env, agent, 0] = 1.0 if is_close else 0.0
