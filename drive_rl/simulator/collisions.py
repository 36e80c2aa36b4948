"""Collisions between rectangles, now and within the next frame, in highway-env's order.

The order of a pair matters: whether it is looked at depends on the first vehicle's speed, and the
last pair to set an impact wins. The impact moves vehicles on the next frame.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare, inlined, jit
from drive_rl.simulator.products import dot, norm, turned_with_others

MARGIN = 1e-6  # rectangles further apart than that are apart, however their corners are rounded [m]


class Pairs(NamedTuple):
    """Pairs of vehicles to look at in one frame, as rows `first * 65536 + second`."""

    keys: Any  # (n,) i8


@jit
def allocate_pairs(max_vehicles):  # type: ignore[no-untyped-def]
    """Room for the pairs of one frame; more than that are looked at without a list."""
    return Pairs(np.zeros(8 * max_vehicles + 8, np.int64))


@inlined
def _is_close(first, second, dt):  # type: ignore[no-untyped-def]
    """The circular pre-check of RoadObject._is_colliding."""
    dx, dy = second.x - first.x, second.y - first.y
    reach = (first.diameter + second.diameter) / 2 + first.speed * dt
    return not norm(dx, dy) > reach


@inlined
def _project(body, nx, ny):  # type: ignore[no-untyped-def]
    """Interval that a body's rectangle covers on an axis."""
    half_length, half_width = body.length / 2, body.width / 2
    centre = body.x * nx + body.y * ny
    along = (body.cos * nx + body.sin * ny) * half_length
    across = (-body.sin * nx + body.cos * ny) * half_width
    reach = abs(along) + abs(across)
    return centre - reach, centre + reach


@bare
def _are_apart(a, b, dx, dy):  # type: ignore[no-untyped-def]
    """A cheap proof that two rectangles neither overlap nor will, `a` moving by (dx, dy) [m].

    Opposite sides of a rectangle have the same axis, so four axes stand for its eight.
    """
    apart, will_be_apart = False, False
    for k in range(4):
        body = a if k < 2 else b
        nx, ny = (-body.cos, -body.sin) if k % 2 == 0 else (-body.sin, body.cos)
        min_a, max_a = _project(a, nx, ny)
        min_b, max_b = _project(b, nx, ny)
        apart = apart or max(min_b - max_a, min_a - max_b) > MARGIN
        moved = nx * dx + ny * dy
        if moved < 0:
            min_a += moved
        else:
            max_a += moved
        will_be_apart = will_be_apart or max(min_b - max_a, min_a - max_b) > MARGIN
        if apart and will_be_apart:
            return True
    return False


@bare
def _corner(body, k):  # type: ignore[no-untyped-def]
    """The k-th corner of RoadObject.polygon, its operations in their order [m]."""
    along = body.length / 2 if k in (2, 3) else -body.length / 2
    across = body.width / 2 if k in (1, 2) else -body.width / 2
    return (
        turned_with_others(body.cos, along, -body.sin, across) + body.x,
        turned_with_others(body.sin, along, body.cos, across) + body.y,
    )


@bare
def _project_corners(body, nx, ny):  # type: ignore[no-untyped-def]
    """utils.project_polygon of a body's corners."""
    low, high = math.inf, -math.inf
    for k in range(4):
        x, y = _corner(body, k)
        along = dot(x, nx, y, ny)
        low, high = min(low, along), max(high, along)
    return low, high


@bare
def _centre(body):  # type: ignore[no-untyped-def]
    """Mean of a body's corners, added in order."""
    x0, y0 = _corner(body, 0)
    x1, y1 = _corner(body, 1)
    x2, y2 = _corner(body, 2)
    x3, y3 = _corner(body, 3)
    return (x0 + x1 + x2 + x3) / 4, (y0 + y1 + y2 + y3) / 4


@bare
def intersect(a, b, dt):  # type: ignore[no-untyped-def]
    """(do they overlap, will they, x and y of the displacement that parts them [m]).

    Equals utils.are_polygons_intersecting of two rectangles and their displacements, to the bit:
    traffic goes on after a collision, and a last bit of an impact would grow.
    """
    # Displacement of a relative to b within the frame
    dx = a.speed * a.cos * dt - b.speed * b.cos * dt
    dy = a.speed * a.sin * dt - b.speed * b.sin * dt
    if _are_apart(a, b, dx, dy):
        return False, False, 0.0, 0.0
    intersecting, will_intersect = True, True
    least = math.inf
    axis_x, axis_y = 0.0, 0.0
    for k in range(8):
        body = a if k < 4 else b
        from_x, from_y = _corner(body, k % 4)
        to_x, to_y = _corner(body, (k + 1) % 4)
        nx, ny = -to_y + from_y, to_x - from_x
        length = norm(nx, ny)
        nx, ny = nx / length, ny / length
        min_a, max_a = _project_corners(a, nx, ny)
        min_b, max_b = _project_corners(b, nx, ny)
        if (min_b - max_a if min_a < min_b else min_a - max_b) > 0:
            intersecting = False
        moved = dot(nx, dx, ny, dy)
        if moved < 0:
            min_a += moved
        else:
            max_a += moved
        gap = min_b - max_a if min_a < min_b else min_a - max_b
        if gap > 0:
            will_intersect = False
        if not intersecting and not will_intersect:
            return False, False, 0.0, 0.0
        if abs(gap) < least:
            least = abs(gap)
            a_x, a_y = _centre(a)
            b_x, b_y = _centre(b)
            towards = dot(a_x - b_x, nx, a_y - b_y, ny) > 0
            axis_x, axis_y = (nx, ny) if towards else (-nx, -ny)
    if will_intersect:
        return intersecting, True, least * axis_x, least * axis_y
    return intersecting, False, 0.0, 0.0


@bare
def handle_collision(first, second, dt):  # type: ignore[no-untyped-def]
    """RoadObject.handle_collisions of a vehicle and another or an object, pre-check passed."""
    intersecting, will_intersect, x, y = intersect(first, second, dt)
    solid = second.kind != st.LANDMARK
    if will_intersect and solid:
        if second.kind == st.OBSTACLE:
            first.impact_x, first.impact_y = x, y
        else:
            first.impact_x, first.impact_y = x / 2, y / 2
            second.impact_x, second.impact_y = -x / 2, -y / 2
            second.has_impact = True
        first.has_impact = True
    if intersecting:
        if solid:
            first.crashed = second.crashed = True
        else:
            second.hit = True


@bare
def handle_pair(first, second, dt):  # type: ignore[no-untyped-def]
    """All of RoadObject.handle_collisions."""
    if not (first.check_collisions or second.check_collisions):
        return
    if _is_close(first, second, dt):
        handle_collision(first, second, dt)


@bare
def handle_collisions(road, network, index, pairs, dt):  # type: ignore[no-untyped-def]
    """The collision half of Road.step."""
    env = road.environment[0]
    n = env.num_vehicles
    found = -1
    if network.shape[0].parallel and env.num_objects == 0:
        found = _close_pairs(road, index, pairs, dt)
    if found >= 0:
        for k in range(found):
            key = pairs.keys[k]
            handle_collision(road.vehicles[key >> 16], road.vehicles[key & 0xFFFF], dt)
        return
    for i in range(n):
        vehicle = road.vehicles[i]
        for j in range(i + 1, n):
            handle_pair(vehicle, road.vehicles[j], dt)
        for j in range(env.num_objects):
            handle_pair(vehicle, road.objects[j], dt)


@bare
def _close_pairs(road, index, pairs, dt):  # type: ignore[no-untyped-def]
    """List the pairs that pass the pre-check, in highway-env's order; -1 if there are too many.

    Vehicles have just moved and `index` still holds their order before: it is sorted again first.
    """
    n = index.count[0]
    reach = 0.0
    for r in range(n):
        vehicle = road.vehicles[index.entries[r].body]
        reach = max(reach, vehicle.diameter + abs(vehicle.speed) * dt)
    count = 0
    for r in range(n):
        body = index.entries[r].body
        limit = index.entries[r].x + reach
        for q in range(r + 1, n):
            if index.entries[q].x > limit:
                break
            other = index.entries[q].body
            i, j = min(body, other), max(body, other)
            first, second = road.vehicles[i], road.vehicles[j]
            if not (first.check_collisions or second.check_collisions):
                continue
            if not _is_close(first, second, dt):
                continue
            if count == pairs.keys.shape[0]:
                return -1
            key = np.int64(i) << 16 | np.int64(j)
            k = count
            while k > 0 and pairs.keys[k - 1] > key:
                pairs.keys[k] = pairs.keys[k - 1]
                k -= 1
            pairs.keys[k] = key
            count += 1
    return count
