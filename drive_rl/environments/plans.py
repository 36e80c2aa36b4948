"""Where the ego of the compiled engine means to drive: its target lane and those that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from drive_rl.environments.scene import SAMPLE_SPACING, FloatArray, LaneShape

if TYPE_CHECKING:
    from drive_rl.simulator.engine import Simulator

JOINED = 0.5
"""Lanes follow one another where one ends this close to the start of the other [m]."""


def planned_lane(
    simulator: Simulator, env: int, lanes: tuple[LaneShape, ...], ahead: float = 80.0
) -> FloatArray:
    """`SceneState.plan` of one environment, as `scene_from_highway_env` gives it.

    Args:
        simulator: of the compiled engine.
        env: which of its environments.
        lanes: the road, in the order of the simulator's lanes.
        ahead: how far to look [m].

    Returns:
        Points [m], (num_points, 2); none for a vehicle without a target lane.
    """
    from drive_rl.simulator import state

    ego = int(simulator.state.agents[env, 0])
    vehicle = simulator.state.vehicles[env, ego]
    if not state.CONTROLLED <= int(vehicle.kind) <= state.DEFENSIVE:
        return np.empty((0, 2))
    indices = _following(simulator, env, ego, lanes)
    line = np.concatenate([lanes[index].centerline for index in indices])
    steps = np.hypot(*np.diff(line, axis=0).T)
    knots = np.concatenate([[0.0], np.cumsum(steps)])
    start = max(
        _along(line, knots, np.array([vehicle.x, vehicle.y]), len(lanes[indices[0]].centerline)),
        0.0,
    )
    wanted = np.arange(start, min(start + ahead, knots[-1]) + 1e-9, SAMPLE_SPACING)
    return np.stack([np.interp(wanted, knots, line[:, axis]) for axis in (0, 1)], axis=1)


def _following(
    simulator: Simulator, env: int, ego: int, lanes: tuple[LaneShape, ...], most: int = 6
) -> list[int]:
    """Indices of the target lane and of what follows it by the route, or where nothing forks."""
    vehicle = simulator.state.vehicles[env, ego]
    records = np.asarray(simulator.roads.network.lanes)
    found = [int(vehicle.target_lane)]
    first = int(vehicle.route_start)
    count = max(int(vehicle.route_length), 0)
    route = [
        tuple(map(int, step)) for step in simulator.state.routes[env, ego, first : first + count]
    ]
    while route and route[0][0] != records[found[0]]["edge"]:
        route.pop(0)
    for edge, lane_id in route[1:most]:
        found.append(_next_lane(records["edge"], lanes, found[-1], edge, lane_id))
    while len(found) < most:
        end = lanes[found[-1]].centerline[-1]
        starts = np.array([lane.centerline[0] for lane in lanes])
        edges = set(records["edge"][np.hypot(*(starts - end).T) < JOINED].tolist())
        if len(edges) != 1:
            break
        found.append(_next_lane(records["edge"], lanes, found[-1], edges.pop(), -1))
        if found[-1] == found[0]:  # round and round
            break
    return found


def _next_lane(
    edges: npt.NDArray[np.int64], lanes: tuple[LaneShape, ...], lane: int, edge: int, lane_id: int
) -> int:
    """The lane of road `edge` that follows `lane`: the one named, the same number, the closest."""
    beside, following = np.flatnonzero(edges == edges[lane]), np.flatnonzero(edges == edge)
    if lane_id < 0 and len(beside) == len(following):
        lane_id = int(np.flatnonzero(beside == lane)[0])
    elif lane_id < 0:
        starts = np.array([lanes[other].centerline[0] for other in following])
        lane_id = int(np.hypot(*(starts - lanes[lane].centerline[-1]).T).argmin())
    return int(following[min(lane_id, len(following) - 1)])


def _along(line: FloatArray, knots: FloatArray, place: FloatArray, pieces: int) -> float:
    """How far along the first `pieces` points of the line a place is [m]."""
    starts, steps = line[: pieces - 1], np.diff(line[:pieces], axis=0)
    squares = np.maximum((steps**2).sum(axis=1), 1e-12)
    share = np.clip(((place - starts) * steps).sum(axis=1) / squares, 0.0, 1.0)
    feet = starts + share[:, None] * steps
    best = int(np.hypot(*(place - feet).T).argmin())
    return float(knots[best] + share[best] * np.sqrt(squares[best]))
