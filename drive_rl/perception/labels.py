"""Exact labels of frames, from the simulator's state.

A lane's gap is the distance along the lane between the middles of two vehicles, which highway-env
calls `lane_distance_to`; vehicles on the lane are those whose middle is within it, or within its
continuation where it is straight. Where nobody is within `REACH`, the gap is `REACH` and the
relative speed 0.

The grids are seen from above in the ego's frame: rows from behind to ahead, columns from left to
right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from drive_rl.errors import UsageError
from drive_rl.simulator.geometry import wrap_to_pi
from drive_rl.simulator.jit import kernel
from drive_rl.simulator.network import heading_at, local_coordinates, width_at
from drive_rl.simulator.state import LANDMARK

REACH = 100.0  # how far gaps are looked for [m]
CAR_AHEAD = 50.0  # a car ahead is nearer than this [m]

GRID = (32, 12)  # cells ahead, cells across
CELL = (2.5, 2.0)  # their length and width [m]
GRID_START = (-10.0, -12.0)  # the corner behind and to the left of the ego [m]

PER_LANE = ("offsets", "gap_ahead", "gap_behind", "speed_ahead", "speed_behind")
GRIDS = ("drivable", "occupied")


def label_dtype(num_lanes: int) -> np.dtype[Any]:
    """A record per frame, for roads of up to `num_lanes` lanes.

    lane: 0 is the leftmost; num_lanes: of the ego's road; lateral_offset: to the right of the
    lane's middle [m]; heading_error: to the lane's direction [rad]; speed [m/s]; offsets: as
    lateral_offset, to each lane of the road; gap_ahead, gap_behind [m] and speed_ahead,
    speed_behind (theirs less the ego's) [m/s]; front_gap, front_speed: those ahead in the ego's
    lane; car_ahead; drivable, occupied: grids.
    """
    return np.dtype(
        [
            ("lane", "i1"),
            ("num_lanes", "i1"),
            ("car_ahead", "?"),
            ("lateral_offset", "f4"),
            ("heading_error", "f4"),
            ("speed", "f4"),
            ("front_gap", "f4"),
            ("front_speed", "f4"),
            *((name, "f4", (num_lanes,)) for name in PER_LANE),
            *((name, "u1", GRID) for name in GRIDS),
        ]  # without padding, whose bytes would be anything
    )


class Labeller:
    """Labels of a compiled vector environment's present state.

    Args:
        envs: a `CompiledVectorEnv`.

    Raises:
        UsageError: an environment without lanes to be on, or of highway-env's own engine.
    """

    def __init__(self, envs: Any) -> None:
        name = envs.spec_env.id
        self._simulator: Any = getattr(envs, "simulator", None)
        if self._simulator is None:
            raise UsageError(
                f"{name} has no labels on the reference engine: they come of the compiled "
                "simulator's state"
            )
        if envs.spec_env.base.rpartition(":")[2].startswith("parking"):
            raise UsageError(f"{name} has no labels: a car park has no lanes to be on")
        self.network = self._simulator.roads.network
        self.num_lanes = int(self.network.edges.num_lanes.max())
        self.dtype = label_dtype(self.num_lanes)

    def __call__(self) -> np.ndarray[Any, Any]:
        """Labels of the first agent in every environment, (num_envs,) of `label_dtype`."""
        state = self._simulator.state
        labels = np.zeros(len(state.environments), self.dtype).view(np.recarray)
        _label(
            state.environments, state.vehicles, state.objects, state.agents, self.network, labels
        )
        return np.asarray(labels)


@kernel
def _label(environments, vehicles, objects, agents, network, labels):  # type: ignore[no-untyped-def]
    for env in range(len(environments)):
        row = agents[env, 0]
        ego = vehicles[env, row]
        label = labels[env]
        lane = network.lanes[ego.lane]
        edge = network.edges[lane.edge]
        along, across = local_coordinates(network, ego.lane, ego.x, ego.y)
        label.lane = lane.id
        label.num_lanes = edge.num_lanes
        label.lateral_offset = across
        label.heading_error = wrap_to_pi(ego.heading - heading_at(network, ego.lane, along))
        label.speed = ego.speed
        for side in range(labels.offsets.shape[1]):
            labels.gap_ahead[env, side] = REACH
            labels.gap_behind[env, side] = REACH
            if side >= edge.num_lanes:
                continue
            place = edge.first_lane + side
            own, offset = local_coordinates(network, place, ego.x, ego.y)
            labels.offsets[env, side] = offset
            half = width_at(network, place, own) / 2
            for kind in range(2):
                bodies = vehicles[env] if kind == 0 else objects[env]
                count = environments[env].num_vehicles
                if kind == 1:
                    count = environments[env].num_objects
                for i in range(count):
                    other = bodies[i]
                    if (kind == 0 and i == row) or other.kind == LANDMARK:
                        continue
                    s, r = local_coordinates(network, place, other.x, other.y)
                    if abs(r) > half:
                        continue
                    gap = s - own
                    if 0.0 <= gap < labels.gap_ahead[env, side]:
                        labels.gap_ahead[env, side] = gap
                        labels.speed_ahead[env, side] = other.speed - ego.speed
                    elif gap < 0.0 and -gap < labels.gap_behind[env, side]:
                        labels.gap_behind[env, side] = -gap
                        labels.speed_behind[env, side] = other.speed - ego.speed
        label.front_gap = labels.gap_ahead[env, lane.id]
        label.front_speed = labels.speed_ahead[env, lane.id]
        label.car_ahead = label.front_gap < CAR_AHEAD
        # The grids
        cos, sin = math.cos(ego.heading), math.sin(ego.heading)
        for i in range(GRID[0]):
            for j in range(GRID[1]):
                ahead = GRID_START[0] + (i + 0.5) * CELL[0]
                right = GRID_START[1] + (j + 0.5) * CELL[1]
                x = ego.x + ahead * cos - right * sin
                y = ego.y + ahead * sin + right * cos
                for k in range(len(network.lanes)):
                    s, r = local_coordinates(network, k, x, y)
                    if 0.0 <= s <= network.lanes[k].length:
                        if abs(r) <= width_at(network, k, s) / 2:
                            labels.drivable[env, i, j] = 1
                            break
        for kind in range(2):
            bodies = vehicles[env] if kind == 0 else objects[env]
            count = environments[env].num_vehicles if kind == 0 else environments[env].num_objects
            for k in range(count):
                other = bodies[k]
                if (kind == 0 and k == row) or other.kind == LANDMARK:
                    continue
                dx, dy = other.x - ego.x, other.y - ego.y
                if abs(dx) + abs(dy) > 2 * REACH:
                    continue
                turn = other.heading - ego.heading
                ahead, right = dx * cos + dy * sin, dy * cos - dx * sin
                long = (abs(math.cos(turn)) * other.length + abs(math.sin(turn)) * other.width) / 2
                wide = (abs(math.sin(turn)) * other.length + abs(math.cos(turn)) * other.width) / 2
                first = int(math.floor((ahead - long - GRID_START[0]) / CELL[0]))
                last = int(math.floor((ahead + long - GRID_START[0]) / CELL[0]))
                left = int(math.floor((right - wide - GRID_START[1]) / CELL[1]))
                end = int(math.floor((right + wide - GRID_START[1]) / CELL[1]))
                for i in range(max(first, 0), min(last + 1, GRID[0])):
                    for j in range(max(left, 0), min(end + 1, GRID[1])):
                        labels.occupied[env, i, j] = 1


def as_tensors(labels: np.ndarray[Any, Any]) -> Mapping[str, Any]:
    """Records of labels as arrays by name that torch takes: i8, f4, and grids as f4."""
    result = {}
    for name in labels.dtype.names or ():
        values = np.ascontiguousarray(labels[name])
        if values.dtype == np.int8:
            values = values.astype(np.int64)
        elif values.dtype in (np.bool_, np.uint8):
            values = values.astype(np.float32)
        result[name] = values
    return result
