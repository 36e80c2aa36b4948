"""What bodies do between two decisions: their rectangles after every frame, for those who measure.

highway-env tells nothing of the frames within a decision. A trace is a plain array, written by
`dynamics.simulate` where there is room in it; with no room, nothing is recorded and nothing costs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from drive_rl.simulator.jit import jit
from drive_rl.simulator.state import LANDMARK

FIELDS = ("x", "y", "heading", "speed", "length", "width", "crashed", "role")
NOBODY, AGENT, VEHICLE, OBSTACLE = -1.0, 0.0, 1.0, 2.0
"""Values of `role`: an empty row, the first agent (in row 0), any other vehicle, an obstacle."""

NO_TRACE = np.zeros((0, 0, 0, len(FIELDS)))


def allocate_trace(num_envs: int, frames: int, bodies: int) -> np.ndarray[Any, Any]:
    """Room for the frames of one decision, (num_envs, frames, bodies, fields) f8."""
    return np.zeros((num_envs, frames, max(bodies, 1), len(FIELDS)))


@jit
def record_bodies(road, rows):  # type: ignore[no-untyped-def]
    """Write a road's bodies to `rows` (bodies, fields): the first agent, vehicles, obstacles."""
    agent = road.agents[0]
    write_body(road.vehicles[agent], rows[0], AGENT)
    count = 1
    for i in range(road.environment[0].num_vehicles):
        if i != agent:
            write_body(road.vehicles[i], rows[count], VEHICLE)
            count += 1
    for i in range(road.environment[0].num_objects):
        if road.objects[i].kind != LANDMARK:
            write_body(road.objects[i], rows[count], OBSTACLE)
            count += 1
    for i in range(count, rows.shape[0]):
        rows[i, 7] = NOBODY


@jit
def write_body(body, row, role):  # type: ignore[no-untyped-def]
    """One body as one row."""
    row[0] = body.x
    row[1] = body.y
    row[2] = body.heading
    row[3] = body.speed
    row[4] = body.length
    row[5] = body.width
    row[6] = 1.0 if body.crashed else 0.0
    row[7] = role
