"""roundabout-v0 and -v1: enter a roundabout of two lanes, and leave it on the far side.

Equals highway-env's RoundaboutEnv. What a decision is worth and when an episode ends is shared
with the generic version (`roundabout_generic`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import clip, lmap
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.scenes.common import (
    LANE_CHANGES,
    append_on_lane,
    is_on_road,
    uncovered_count,
    uncovered_lane_change,
    uncovered_range,
    weighted_sum,
    weights,
)
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.vehicles import append_agent, begin, randomize_behavior

REWARDS = (
    ("collision_reward", bool),
    ("high_speed_reward", float),
    ("lane_change_reward", bool),
    ("on_road_reward", bool),
)

DESTINATIONS = ("exr", "sxr", "nxr")
EGO_DESTINATION = "nxs"
EGO_LONGITUDINAL, EGO_SPEED = 125.0, 8.0  # [m], [m/s]
SPEED = 16.0  # of traffic [m/s]
POSITION_DEVIATION, SPEED_DEVIATION = 2.0, 2.0  # [m], [m/s]
# MDPVehicle.DEFAULT_TARGET_SPEEDS, which rank the speed of an agent without target speeds [m/s]
DEFAULT_SPEED_LOW, DEFAULT_SPEED_HIGH, DEFAULT_SPEED_LAST = 20.0, 30.0, 2.0

OPTIONS_DTYPE = np.dtype(
    [
        ("normalize", "?"),
        ("lowest_reward", "f8"),  # mapped to 0
        ("highest_reward", "f8"),  # mapped to 1
        ("destination", "i8"),  # row of `paths` of incoming vehicles, -1 to draw it
        ("ego_lane", "i8"),  # row of lane ("ser", "ses", 0)
        ("ego_longitudinal", "f8"),  # [m]
        ("inner", "i8"),  # row of lane ("we", "sx", 0)
        ("entering", "i8"),  # row of lane ("eer", "ees", 0)
        ("vehicles_count", "i8"),  # roundabout-generic only
    ],
    align=True,
)


class Options(NamedTuple):
    """The configuration keys of both versions, and the ways to where vehicles go."""

    scene: Any  # (1,) OPTIONS_DTYPE
    weights: Any  # (len(REWARDS),) f8
    ego_paths: Any  # (num_nodes, longest) i2: `Map.paths` to the ego's destination
    paths: Any  # (num_destinations, num_nodes, longest) i2: of the traffic
    spawns: Any  # (n, 2) i8: first lane and number of lanes where traffic may start (generic)


def path_tables(roads: net.Map, destinations: Sequence[str]) -> Any:
    """`Map.paths` to each of some nodes, int16 (num_destinations, num_nodes, longest)."""
    tables = [roads.paths(name) for name in destinations]
    longest = max(table.shape[1] for table in tables)
    stacked = np.full((len(tables), len(roads.nodes), longest), -1, np.int16)
    for row, table in zip(stacked, tables, strict=True):
        row[:, : table.shape[1]] = table
    return stacked


def route_length(roads: net.Map, destinations: Sequence[str]) -> int:
    """Steps of the longest route: the road that a vehicle is on, and its way from there."""
    ego, traffic = roads.paths(EGO_DESTINATION), path_tables(roads, destinations)
    return 1 + max(int(ego.shape[1]), int(traffic.shape[2]))


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """Why a configuration of this scene is not simulated exactly, or None."""
    return uncovered_reward(config) or uncovered_destination(config, DESTINATIONS)


def uncovered_reward(config: Mapping[str, Any]) -> str | None:
    """Why the reward is not highway-env's, or None; of both versions."""
    low, high = config["collision_reward"], config["high_speed_reward"]
    if config["normalize_reward"] and low == high:
        return uncovered_range({}, low, high)
    return uncovered_lane_change(config)


def uncovered_destination(config: Mapping[str, Any], destinations: Sequence[str]) -> str | None:
    """Why `incoming_vehicle_destination` names no destination, or None."""
    chosen = config.get("incoming_vehicle_destination")
    if chosen is None:
        return None
    if uncovered_count(config, "incoming_vehicle_destination") or not (
        -len(destinations) <= chosen < len(destinations)
    ):
        return f"incoming_vehicle_destination {chosen!r} is none of {len(destinations)}"
    return None


def capacity(config: Mapping[str, Any], roads: net.Map) -> st.Capacity:
    """The ego, three vehicles in the roundabout, and one that enters."""
    return st.Capacity(vehicles=5, route_length=route_length(roads, DESTINATIONS))


def common_options(
    config: Mapping[str, Any], roads: net.Map, destinations: Sequence[str], chosen: int | None
) -> Options:
    """What both versions read; `chosen` is the incoming vehicles' destination, None to draw it."""
    scene = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    s = scene[0]
    s.normalize = config["normalize_reward"]
    s.lowest_reward, s.highest_reward = config["collision_reward"], config["high_speed_reward"]
    s.destination = -1 if chosen is None else range(len(destinations))[chosen]
    s.ego_lane, s.ego_longitudinal = roads.lane("ser", "ses", 0), EGO_LONGITUDINAL
    s.inner, s.entering = roads.lane("we", "sx", 0), roads.lane("eer", "ees", 0)
    return Options(
        scene,
        weights(config, REWARDS),
        roads.paths(EGO_DESTINATION),
        path_tables(roads, destinations),
        np.zeros((0, 2), np.int64),
    )


def options(env_id: str, config: Mapping[str, Any], roads: net.Map, settings: Settings) -> Options:
    """Read the keys of RoundaboutEnv's configuration."""
    return common_options(config, roads, DESTINATIONS, config["incoming_vehicle_destination"])


@bare
def append_ego(road, network, settings, options):  # type: ignore[no-untyped-def]
    """The ego, about to enter from the south."""
    scene = options.scene[0]
    x, y = net.position(network, scene.ego_lane, scene.ego_longitudinal, 0.0)
    heading = net.heading_at(network, scene.ego_lane, scene.ego_longitudinal)
    i = append_agent(road, network, settings, 0, x, y, heading, EGO_SPEED)
    if st.is_controlled(road.vehicles[i].kind):
        net.plan_route(network, options.ego_paths, road.vehicles[i], road.routes[i])


@bare
def _append_traffic(  # type: ignore[no-untyped-def]
    road, network, settings, options, lane, longitudinal, destination
):
    draw = road.environment[0]
    longitudinal += random.standard_normal(draw) * POSITION_DEVIATION
    speed = SPEED + random.standard_normal(draw) * SPEED_DEVIATION
    kind = settings.common[0].traffic
    i = append_on_lane(road, network, settings, kind, lane, longitudinal, speed)
    if destination < 0:
        destination = random.choice(draw, options.paths.shape[0])
    net.plan_route(network, options.paths[destination], road.vehicles[i], road.routes[i])
    randomize_behavior(road, settings, road.vehicles[i])


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """RoundaboutEnv._make_vehicles."""
    scene = options.scene[0]
    for env in range(low, high):
        if not mask[env]:
            continue
        road = st.road_of(state, env)
        begin(road)
        append_ego(road, network, settings, options)
        incoming = scene.destination
        _append_traffic(road, network, settings, options, scene.inner + 1, 5.0, incoming)
        _append_traffic(road, network, settings, options, scene.inner, 20.0, -1)
        _append_traffic(road, network, settings, options, scene.inner, -20.0, -1)
        _append_traffic(road, network, settings, options, scene.entering, 50.0, -1)


@bare
def _speed_index(vehicle):  # type: ignore[no-untyped-def]
    """MDPVehicle.get_speed_index."""
    if vehicle.kind == st.MDP:
        return float(vehicle.speed_index)
    x = (vehicle.speed - DEFAULT_SPEED_LOW) / (DEFAULT_SPEED_HIGH - DEFAULT_SPEED_LOW)
    return clip(float(round(x * DEFAULT_SPEED_LAST)), 0.0, DEFAULT_SPEED_LAST)


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """RoundaboutEnv's _reward, _rewards, _is_terminated and _is_truncated."""
    scene = options.scene[0]
    for env in range(low, high):
        road = st.road_of(state, env)
        ego = road.vehicles[road.agents[0]]
        action = actions[env, 0, 0]
        row = terms[env]
        row[0] = 1.0 if ego.crashed else 0.0
        row[1] = _speed_index(ego) / DEFAULT_SPEED_LAST
        row[2] = 1.0 if action in LANE_CHANGES else 0.0
        row[3] = 1.0 if is_on_road(network, ego) else 0.0
        total = weighted_sum(options.weights, row)
        if scene.normalize:
            total = lmap(total, scene.lowest_reward, scene.highest_reward, 0.0, 1.0)
        reward[env] = total * row[3]
        terminated[env] = ego.crashed
        truncated[env] = road.environment[0].time >= settings.common[0].duration
