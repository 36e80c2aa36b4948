"""Draws a network's roads and markings into coverage masks."""

from __future__ import annotations

import math

from drive_rl.camera.ground import (
    MARKING_WIDTH,
    ROAD,
    STRIPE_LENGTH,
    STRIPE_SHARE,
    STRIPE_SPACING,
    stripe_range,
)
from drive_rl.camera.raster import add_polygon, is_beside, project
from drive_rl.simulator.jit import bare, inlined


@bare
def draw_ground(ground, view, road, marking):  # type: ignore[no-untyped-def]
    """Add everything within the view's reach to the masks `road` and `marking`."""
    for k in range(ground.pieces.shape[0]):
        piece = ground.pieces[k]
        dx, dy = piece.middle_x - view.foot[0], piece.middle_y - view.foot[1]
        distance = math.sqrt(dx * dx + dy * dy) - piece.radius
        if distance > view.reach:
            continue
        ahead = view.lens[2, 0] * dx + view.lens[2, 1] * dy + view.lens[2, 3]
        if ahead + piece.radius < view.near or is_beside(view, dx, dy, piece.radius):
            continue
        weight = piece.near_weight if distance < view.detail else piece.far_weight
        if weight == 0.0:
            continue
        for c in range(4):
            _corner(view, c, piece.x[c], piece.y[c])
        count = project(view.lens, view.near, view.corners, 4, view.points)
        if piece.layer == ROAD:
            add_polygon(road, view.width, view.points, count, weight)
        else:
            add_polygon(marking, view.width, view.points, count, weight)
    for k in range(ground.stripes.shape[0]):
        _draw_stripes(ground.stripes[k], view, marking)


@inlined
def _draw_stripes(line, view, marking):  # type: ignore[no-untyped-def]
    """Single stripes near the camera, and beyond them the average of stripes and gaps."""
    foot = view.foot
    across = -(foot[0] - line.x) * line.sin + (foot[1] - line.y) * line.cos
    if abs(across) > view.reach:
        return
    first, last = stripe_range(line, foot[0], foot[1], view.detail)
    for k in range(first, last):
        start = k * STRIPE_SPACING
        # Within its length of a stripe that is behind the camera: nothing to project
        dx, dy = line.x + line.cos * start - foot[0], line.y + line.sin * start - foot[1]
        ahead = view.lens[2, 0] * dx + view.lens[2, 1] * dy + view.lens[2, 3]
        reach = STRIPE_LENGTH + MARKING_WIDTH
        if ahead + reach < view.near or is_beside(view, dx, dy, reach):
            continue
        _draw_line(line, start, min(start + STRIPE_LENGTH, line.length), 1.0, view, marking)
    if view.detail < view.reach:
        _draw_line(line, 0.0, first * STRIPE_SPACING, STRIPE_SHARE, view, marking)
        rest = last * STRIPE_SPACING
        _draw_line(line, rest, line.length, STRIPE_SHARE, view, marking)


@inlined
def _draw_line(line, start, end, weight, view, marking):  # type: ignore[no-untyped-def]
    if end <= start:
        return
    side_x, side_y = -line.sin * MARKING_WIDTH / 2, line.cos * MARKING_WIDTH / 2
    x0, y0 = line.x + line.cos * start, line.y + line.sin * start
    x1, y1 = line.x + line.cos * end, line.y + line.sin * end
    _corner(view, 0, x0 - side_x, y0 - side_y)
    _corner(view, 1, x1 - side_x, y1 - side_y)
    _corner(view, 2, x1 + side_x, y1 + side_y)
    _corner(view, 3, x0 + side_x, y0 + side_y)
    count = project(view.lens, view.near, view.corners, 4, view.points)
    add_polygon(marking, view.width, view.points, count, weight)


@inlined
def _corner(view, k, x, y):  # type: ignore[no-untyped-def]
    """Set corner k of the polygon in hand: a point of the ground."""
    view.corners[k, 0], view.corners[k, 1] = x - view.foot[0], y - view.foot[1]
    view.corners[k, 2] = 0.0
