"""LidarObservation: distance and relative speed of the nearest body, by direction.

Equals highway-env's LidarObservation. Distances are kept in single precision while beams compete
for the nearest body, as there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of

DTYPE = np.float32

OPTIONS_DTYPE = np.dtype(
    [
        ("maximum_range", "f8"),  # [m]
        ("angle", "f8"),  # between two beams [rad]
        ("normalize", "?"),
    ],
    align=True,
)


class Options(NamedTuple):
    """The observation's own keys."""

    lidar: Any  # (1,) OPTIONS_DTYPE
    directions: Any  # (cells, 2) f8: unit vector of each beam


def options(config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the keys of an observation configuration of type LidarObservation."""
    cells = config.get("cells", 16)
    lidar = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    angle = 2 * np.pi / cells
    lidar[0] = (config.get("maximum_range", 60), angle, config.get("normalize", True))
    directions = [(np.cos(k * angle), np.sin(k * angle)) for k in range(cells)]
    return Options(lidar, np.array(directions))


def shape(
    config: Mapping[str, Any], roads: Map, settings: Settings, capacity: Capacity
) -> tuple[int, ...]:
    """(beams, distance and speed)."""
    return config.get("cells", 16), 2


def bounds(config: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest value that the space states."""
    high = 1 if config.get("normalize", True) else config.get("maximum_range", 60)
    return -high, high


@kernel
def observe(state, network, settings, options, mask, out, low, high):  # type: ignore[no-untyped-def]
    """Fill `out` (num_envs, num_agents, beams, 2)."""
    beams = np.empty((options.directions.shape[0], 2), np.float32)
    for env in range(low, high):
        if mask[env]:
            road = road_of(state, env)
            for agent in range(out.shape[1]):
                _trace(road, options, road.agents[agent], beams)
                out[env, agent] = beams


@bare
def _trace(road, options, ego, beams):  # type: ignore[no-untyped-def]
    lidar = options.lidar[0]
    me = road.vehicles[ego]
    environment = road.environment[0]
    beams[:] = np.float32(lidar.maximum_range)
    for k in range(environment.num_vehicles + environment.num_objects):
        if k == ego:
            continue
        if k < environment.num_vehicles:
            body = road.vehicles[k]
        else:
            body = road.objects[k - environment.num_vehicles]
        if body.kind == st.LANDMARK:
            continue
        dx, dy = body.x - me.x, body.y - me.y
        away = math.sqrt(dx * dx + dy * dy)
        if away > lidar.maximum_range:
            continue
        vx = body.speed * body.cos - me.speed * me.cos
        vy = body.speed * body.sin - me.speed * me.sin
        centre = _beam(lidar, beams, math.atan2(dy, dx) + lidar.angle / 2)
        _compete(options, beams, centre, away - body.width / 2, vx, vy)
        _trace_body(options, me, body, vx, vy, beams)
    if lidar.normalize:
        beams /= np.float32(lidar.maximum_range)


@bare
def _beam(lidar, beams, angle):  # type: ignore[no-untyped-def]
    """The beam in whose sector an angle is."""
    return math.floor(angle / lidar.angle) % beams.shape[0]


@bare
def _compete(options, beams, k, distance, vx, vy):  # type: ignore[no-untyped-def]
    """Enter a body into a beam if none was nearer."""
    if distance <= beams[k, 0]:
        beams[k, 0] = distance
        beams[k, 1] = vx * options.directions[k, 0] + vy * options.directions[k, 1]


@bare
def _trace_body(options, me, body, vx, vy, beams):  # type: ignore[no-untyped-def]
    """All beams through the sector that a body's corners span."""
    lidar = options.lidar[0]
    half_length, half_width = body.length / 2, body.width / 2
    ax = body.cos * -half_length - body.sin * -half_width + body.x
    ay = body.sin * -half_length + body.cos * -half_width + body.y
    bx = body.cos * -half_length - body.sin * half_width + body.x
    by = body.sin * -half_length + body.cos * half_width + body.y
    cx = body.cos * half_length - body.sin * half_width + body.x
    cy = body.sin * half_length + body.cos * half_width + body.y
    dx = body.cos * half_length - body.sin * -half_width + body.x
    dy = body.sin * half_length + body.cos * -half_width + body.y
    low, high = math.inf, -math.inf
    for x, y in ((ax, ay), (bx, by), (cx, cy), (dx, dy)):
        angle = math.atan2(y - me.y, x - me.x) + lidar.angle / 2
        low, high = min(low, angle), max(high, angle)
    if low < -math.pi / 2 and math.pi / 2 < high:  # the corners lie on both sides of +-pi
        low, high = high, low + 2 * math.pi
    first, last = _beam(lidar, beams, low), _beam(lidar, beams, high)
    count = last - first + 1
    if first >= last:  # through beam 0; and all beams, if one holds the whole body
        count += beams.shape[0]
    for k in range(first, first + count):
        beam = k % beams.shape[0]
        direction_x, direction_y = options.directions[beam, 0], options.directions[beam, 1]
        end_x = me.x + lidar.maximum_range * direction_x
        end_y = me.y + lidar.maximum_range * direction_y
        distance = _distance_to_rectangle(me.x, me.y, end_x, end_y, (ax, ay), (bx, by), (dx, dy))
        _compete(options, beams, beam, distance, vx, vy)


@bare
def _distance_to_rectangle(rx, ry, qx, qy, a, b, d):  # type: ignore[no-untyped-def]
    """From R along the segment RQ to a rectangle with the sides AB and AD [m], infinite beside it.

    Equals utils.distance_to_rect.
    """
    ux, uy = b[0] - a[0], b[1] - a[1]
    vx, vy = d[0] - a[0], d[1] - a[1]
    u, v = math.sqrt(ux * ux + uy * uy), math.sqrt(vx * vx + vy * vy)
    ux, uy, vx, vy = ux / u, uy / u, vx / v, vy / v
    px, py = qx - rx, qy - ry
    along_u, along_v = px * ux + py * uy, px * vx + py * vy
    from_u = ((a[0] - rx) * ux + (a[1] - ry) * uy) / along_u
    to_u = ((b[0] - rx) * ux + (b[1] - ry) * uy) / along_u
    from_v = ((a[0] - rx) * vx + (a[1] - ry) * vy) / along_v
    to_v = ((d[0] - rx) * vx + (d[1] - ry) * vy) / along_v
    if not along_u >= 0:
        from_u, to_u = to_u, from_u
    if not along_v >= 0:
        from_v, to_v = to_v, from_v
    if (
        _gap(from_u, to_u, from_v, to_v) <= 0
        and _gap(0.0, 1.0, from_u, to_u) <= 0
        and _gap(0.0, 1.0, from_v, to_v) <= 0
    ):
        return max(from_u, from_v) * math.sqrt(px * px + py * py)
    return math.inf


@bare
def _gap(from_a, to_a, from_b, to_b):  # type: ignore[no-untyped-def]
    """Between two intervals; negative where they overlap. Equals utils.interval_distance."""
    return from_b - to_a if from_a < from_b else from_a - to_b
