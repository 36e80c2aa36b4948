"""TimeToCollision: when a collision is to be expected, by own speed, lane and time ahead.

Equals highway-env's TimeToCollisionObservation (and `finite_mdp.compute_ttc_grid` below it):
three speeds around the current one, three lanes around the current one. Others are taken to keep
their speed and lane.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator.behavior import lane_distance
from drive_rl.simulator.geometry import not_zero
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.products import dot
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of

DTYPE = np.float32

SPEEDS, LANES = 3, 3  # shown, around the current ones


class Options(NamedTuple):
    """The observation's own keys."""

    step: Any  # (1,) f8: one cell of time [s]


def _step(settings: Settings) -> float:
    return float(settings.common[0].decision)


def options(config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the keys of an observation configuration of type TimeToCollision."""
    return Options(np.array([_step(settings)]))


def shape(
    config: Mapping[str, Any], roads: Map, settings: Settings, capacity: Capacity
) -> tuple[int, ...]:
    """(3 speeds, 3 lanes, decisions until the horizon)."""
    return SPEEDS, LANES, int(config.get("horizon", 10) / _step(settings))


def bounds(config: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest value that the space states."""
    return 0, 1


@kernel
def observe(state, network, settings, options, mask, out, low, high):  # type: ignore[no-untyped-def]
    """Fill `out` (num_envs, num_agents, speeds, lanes, times)."""
    for env in range(low, high):
        if mask[env]:
            road = road_of(state, env)
            for agent in range(out.shape[1]):
                _observe(road, network, settings, options, road.agents[agent], out[env, agent])


@bare
def _observe(road, network, settings, options, ego, out):  # type: ignore[no-untyped-def]
    me = road.vehicles[ego]
    target_speeds = settings.target_speeds
    lane = network.lanes[me.lane]
    # The grid has the lanes of the first agent's road, whoever observes
    num_lanes = net.num_side_lanes(network, road.vehicles[road.agents[0]].lane)
    for k in range(out.shape[1]):
        on_road = 0 <= lane.id - 1 + k < num_lanes
        out[:, k, :] = 0.0 if on_road else 1.0
    for row in range(road.environment[0].num_vehicles):
        if row == ego:
            continue
        other = road.vehicles[row]
        other_lane = network.lanes[other.lane]
        if not is_connected_road(
            network,
            lane.edge,
            other_lane.edge,
            road.routes[ego],
            me.route_start,
            max(me.route_length, 0),
        ):
            continue
        first, last = 0, num_lanes - 1
        if net.num_side_lanes(network, other.lane) == net.num_side_lanes(network, me.lane):
            first = last = other_lane.id
        distance = lane_distance(network, me, other)
        margin = other.length / 2 + me.length / 2
        along = other.speed * dot(other.cos, me.cos, other.sin, me.sin)
        for k in range(out.shape[0]):
            # Beyond the slowest and the fastest speed, these are shown again
            speed_index = min(max(me.speed_index - 1 + k, 0), target_speeds.shape[0] - 1)
            speed = target_speeds[speed_index]
            if speed == other.speed:
                continue
            closing = not_zero(speed - along)
            _expect(options, distance / closing, 1.0, first, last, lane.id, out[k])
            _expect(options, (distance - margin) / closing, 0.5, first, last, lane.id, out[k])
            _expect(options, (distance + margin) / closing, 0.5, first, last, lane.id, out[k])


@bare
def _expect(options, time, cost, first, last, lane_id, out):  # type: ignore[no-untyped-def]
    """Enter a collision in `time` seconds on the lanes [first, last], in the cells around it."""
    if time < 0:
        return
    cells = time / options.step[0]
    if not cells < out.shape[1]:
        return
    for cell in (int(cells), math.ceil(cells)):
        if cell < out.shape[1]:
            for k in range(out.shape[0]):
                if first <= lane_id - 1 + k <= last:
                    out[k, cell] = max(out[k, cell], cost)


@bare
def _leads_to(network, edge, target, route, start, length):  # type: ignore[no-untyped-def]
    """Is a road the target, or does the target lead to it?"""
    return edge == target or network.edges[target].destination == network.edges[edge].origin


def _looking_further(next_road: Any) -> Any:
    """A search like `next_road`, of one road more.

    Each depth is a function of its own: a compiled function that calls itself crashes once it
    comes out of numba's cache.
    """

    @bare
    def search(network, edge, target, route, start, length):  # type: ignore[no-untyped-def]
        while True:
            if _leads_to(network, edge, target, route, start, length):
                return True
            if length == 0 or route[start, 0] != edge:
                break
            start, length = start + 1, length - 1  # the route begins here: go on with its rest
        node = network.edges[edge].destination
        if length > 0 and network.edges[route[start, 0]].origin == node:
            return next_road(network, route[start, 0], target, route, start + 1, length - 1)
        roads = network.nodes[node]
        for road in range(roads.first_edge, roads.first_edge + roads.num_edges):
            if next_road(network, road, target, route, start, length):
                return True
        return False

    return search


# Does a road lead to another, along a route if there is one, within three roads? Called with
# (network, road, other road, route, start, length); the route is `route[start : start + length]`.
# Equals RoadNetwork.is_connected_road with depth 3.
is_connected_road = _looking_further(_looking_further(_looking_further(_leads_to)))
