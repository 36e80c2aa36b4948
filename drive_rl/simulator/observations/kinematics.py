"""Kinematics: a table of the agent and the bodies around it (KinematicObservation)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.behavior import lane_distance
from drive_rl.simulator.geometry import clip, lmap, wrap_to_pi
from drive_rl.simulator.jit import bare, inlined, kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of

DTYPE = np.float32

FEATURES = (
    "presence",
    "x",
    "y",
    "vx",
    "vy",
    "heading",
    "cos_h",
    "sin_h",
    "cos_d",
    "sin_d",
    "long_off",
    "lat_off",
    "ang_off",
)
PRESENCE, X, Y, VX, VY, HEADING, COS_H, SIN_H, COS_D, SIN_D, LONG, LAT, ANGLE = range(13)

PERCEPTION_DISTANCE = 200.0  # AbstractEnv.PERCEPTION_DISTANCE [m]

OPTIONS_DTYPE = np.dtype(
    [
        ("vehicles_count", "i8"),
        ("absolute", "?"),
        ("sorted", "?"),
        ("shuffled", "?"),
        ("normalize", "?"),
        ("is_clipped", "?"),
        ("see_behind", "?"),
        ("observe_intentions", "?"),
        ("include_obstacles", "?"),
        ("default_ranges", "?"),  # no features_range: they follow from the road
        ("exit_lane", "i8"),  # ExitObservation: the agent's x is along this lane; else -1
    ],
    align=True,
)


class Options(NamedTuple):
    """The observation's own keys."""

    observation: Any  # (1,) OPTIONS_DTYPE
    features: Any  # (num_features,) i8, indices in FEATURES
    ranges: Any  # (13, 2) f8, NaN where a feature is not normalized


def options(config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the keys of an observation configuration of type Kinematics."""
    table = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    o = table[0]
    order = config.get("order", "sorted")
    o.vehicles_count = config.get("vehicles_count", 5)
    o.absolute = config.get("absolute", False)
    o.sorted, o.shuffled = order == "sorted", order == "shuffled"
    o.normalize = config.get("normalize", True)
    o.is_clipped = config.get("clip", True)
    o.see_behind = config.get("see_behind", False)
    o.observe_intentions = config.get("observe_intentions", False)
    o.include_obstacles = config.get("include_obstacles", True)
    given = config.get("features_range")
    o.default_ranges = not given
    o.exit_lane = -1
    ranges = np.full((len(FEATURES), 2), np.nan)
    for name, (low, high) in (given or {}).items():
        if name in FEATURES:
            ranges[FEATURES.index(name)] = low, high
    if not given:
        ranges[X] = -5.0 * 40.0, 5.0 * 40.0
        ranges[VX] = ranges[VY] = -2 * 40.0, 2 * 40.0
    names = config.get("features") or FEATURES[:5]
    return Options(table, np.array([FEATURES.index(name) for name in names], np.int64), ranges)


def shape(
    config: Mapping[str, Any], roads: Map, settings: Settings, capacity: Capacity
) -> tuple[int, ...]:
    """Rows of bodies, the agent first, and columns of features."""
    return config.get("vehicles_count", 5), len(config.get("features") or FEATURES[:5])


@bare
def _destination(network, vehicle, route):  # type: ignore[no-untyped-def]
    """Vehicle.destination_direction: unit vector to the end of the route."""
    if vehicle.route_length <= 0:
        return 0.0, 0.0
    step = route[vehicle.route_start + vehicle.route_length - 1]
    lane = net.lane_of(network, step[0], step[1])
    x, y = net.position(network, lane, network.lanes[lane].length, 0.0)
    dx, dy = x - vehicle.x, y - vehicle.y
    if dx == 0 and dy == 0:
        return 0.0, 0.0
    norm = math.sqrt(dx * dx + dy * dy)
    return dx / norm, dy / norm


@inlined
def feature_of(network, body, route, feature, intentions):  # type: ignore[no-untyped-def]
    """One entry of `to_dict()` of a vehicle or an object; NaN where it has no such entry."""
    if feature == PRESENCE:
        return 1.0
    if feature == X:
        return body.x
    if feature == Y:
        return body.y
    is_vehicle = st.is_vehicle(body.kind)
    if feature == VX:
        return body.speed * body.cos if is_vehicle else 0.0
    if feature == VY:
        return body.speed * body.sin if is_vehicle else 0.0
    if feature == COS_H:
        return body.cos
    if feature == SIN_H:
        return body.sin
    return _rarer_feature(network, body, route, feature, intentions)


@bare
def _rarer_feature(network, body, route, feature, intentions):  # type: ignore[no-untyped-def]
    is_vehicle = st.is_vehicle(body.kind)
    if feature == COS_D or feature == SIN_D:
        if not is_vehicle or not intentions:
            return 0.0
        x, y = _destination(network, body, route)
        return x if feature == COS_D else y
    if not is_vehicle:
        return math.nan
    if feature == HEADING:
        return body.heading
    s, lateral = net.local_coordinates(network, body.lane, body.x, body.y)
    if feature == LONG:
        return s
    if feature == LAT:
        return lateral
    return wrap_to_pi(body.heading - net.heading_at(network, body.lane, s))


@inlined
def _in_sight(network, ego, body, see_behind):  # type: ignore[no-untyped-def]
    """The filter of Road.close_objects_to."""
    dx, dy = body.x - ego.x, body.y - ego.y
    if not math.sqrt(dx * dx + dy * dy) < PERCEPTION_DISTANCE:
        return False
    return see_behind or -2 * ego.length < lane_distance(network, ego, body)


@bare
def close_objects(road, network, o, ego, count, chosen, distances):  # type: ignore[no-untyped-def]
    """Road.close_objects_to: fill `chosen` with at most `count` bodies, and say how many.

    A body is a row of vehicles, or max_vehicles + a row of objects. `ego` is a row of vehicles.
    """
    env = road.environment[0]
    me = road.vehicles[ego]
    found = 0
    total = env.num_vehicles + (env.num_objects if o.include_obstacles else 0)
    max_vehicles = road.vehicles.shape[0]
    for k in range(total):
        if k < env.num_vehicles:
            code, body, behind = k, road.vehicles[k], o.see_behind
        else:
            code = max_vehicles + k - env.num_vehicles
            body, behind = road.objects[k - env.num_vehicles], False
        if k == ego or not _in_sight(network, me, body, behind):
            continue
        if not o.sorted:
            if found < count:
                chosen[found] = code
                found += 1
            continue
        d = abs(lane_distance(network, me, body))
        if found == count and not d < distances[count - 1]:
            continue
        q = found if found < count else count - 1
        while q > 0 and distances[q - 1] > d:
            distances[q], chosen[q] = distances[q - 1], chosen[q - 1]
            q -= 1
        distances[q], chosen[q] = d, code
        found = min(found + 1, count)
    return found


@inlined
def _normalized(options, o, feature, value, observed_lanes):  # type: ignore[no-untyped-def]
    low, high = options.ranges[feature, 0], options.ranges[feature, 1]
    if o.default_ranges and feature == Y:
        high = 4.0 * observed_lanes  # AbstractLane.DEFAULT_WIDTH
        low = -high
    if math.isnan(low):
        return value
    value = lmap(value, low, high, -1.0, 1.0)
    return clip(value, -1.0, 1.0) if o.is_clipped else value


@kernel
def observe(state, network, settings, options, mask, out, low, high):  # type: ignore[no-untyped-def]
    """KinematicObservation.observe of every agent; `out` is (num_envs, agents, rows, features)."""
    o = options.observation[0]
    rows, columns = o.vehicles_count, options.features.shape[0]
    chosen = np.zeros(rows, np.int64)
    distances = np.zeros(rows)
    max_vehicles = state.vehicles.shape[1]
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        for agent in range(out.shape[1]):
            ego = road.agents[agent]
            me = road.vehicles[ego]
            if me.observed_lanes == 0:
                me.observed_lanes = net.num_side_lanes(network, me.lane)
            found = close_objects(road, network, o, ego, rows - 1, chosen, distances)
            table = out[env, agent]
            for row in range(rows):
                for column in range(columns):
                    feature = options.features[column]
                    if row == 0 and feature == X and o.exit_lane >= 0:
                        value, _ = net.local_coordinates(network, o.exit_lane, me.x, me.y)
                    elif row == 0:
                        value = feature_of(network, me, road.routes[ego], feature, True)
                    elif row <= found:
                        code = chosen[row - 1]
                        if code < max_vehicles:
                            value = feature_of(
                                network,
                                road.vehicles[code],
                                road.routes[code],
                                feature,
                                o.observe_intentions,
                            )
                        else:
                            value = feature_of(
                                network,
                                road.objects[code - max_vehicles],
                                road.routes[ego],
                                feature,
                                o.observe_intentions,
                            )
                        if X <= feature <= VY and not o.absolute:
                            value -= feature_of(network, me, road.routes[ego], feature, True)
                    else:
                        table[row, column] = 0.0
                        continue
                    if o.normalize:
                        value = _normalized(options, o, feature, value, me.observed_lanes)
                    table[row, column] = value
            if o.shuffled:
                random.shuffle_rows(road.environment[0], table[1:])
