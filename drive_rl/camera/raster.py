"""Polygons with exact coverage: how much of each pixel's square an outline covers.

Each edge adds the area to its right to an accumulator; the running sum along a row is then the
covered share of every pixel. Polygons that share an edge add up to one there, so a road made of
pieces has no seams, and a line thinner than a pixel has the weight that it should have: nothing
flickers as it comes closer. Sums over overlapping polygons exceed one and are cut by the reader.

Accumulators are (height, width + 2) float32: the last two columns take what leaves the picture.
"""

from __future__ import annotations

import math

from drive_rl.simulator.jit import bare, inlined


@bare
def add_edge(cover, x0, y0, x1, y1, weight):  # type: ignore[no-untyped-def]
    """Add an edge of a polygon, in pixels; `weight` is signed: the polygon's turning direction."""
    height, width = cover.shape[0], cover.shape[1] - 2
    if y0 == y1:
        return
    if y0 > y1:
        x0, y0, x1, y1, weight = x1, y1, x0, y0, -weight
    if y1 <= 0.0 or y0 >= height:
        return
    slope = (x1 - x0) / (y1 - y0)
    x = x0
    if y0 < 0.0:
        x = x0 - y0 * slope
        y0 = 0.0
    first = int(y0)
    last = min(int(math.ceil(y1)), height)
    for row in range(first, last):
        top = y0 if row == first else float(row)
        bottom = min(row + 1.0, y1)
        following = x + slope * (bottom - top)
        share = (bottom - top) * weight
        left, right = (x, following) if x <= following else (following, x)
        x = following
        _add_span(cover[row], width, left, right, share)


@inlined
def _add_span(cover, width, left, right, share):  # type: ignore[no-untyped-def]
    """One row's part of an edge, that runs evenly from `left` to `right`."""
    if right <= 0.0:
        cover[0] += share
        return
    if left >= width:
        return
    if left < 0.0:
        outside = -left / (right - left)
        cover[0] += share * outside
        share -= share * outside
        left = 0.0
    if right > width:
        share *= (width - left) / (right - left)
        right = float(width)
    column = int(left)
    if right <= column + 1:
        middle = 0.5 * (left + right) - column
        cover[column] += share * (1.0 - middle)
        cover[column + 1] += share * middle
        return
    # The edge crosses several pixels: the covered area grows as a parabola, a line, a parabola
    density = share / (right - left)
    inside = column + 1 - left
    done = 0.5 * density * inside * inside
    cover[column] += done
    before = done
    column += 1
    edge = inside
    while column + 1 < right:
        done = density * (edge + 0.5)
        cover[column] += done - before
        before = done
        edge += 1.0
        column += 1
    rest = right - column
    done = share - 0.5 * density * rest * rest
    cover[column] += done - before
    cover[column + 1] += share - done


@bare
def add_polygon(cover, points, count, weight):  # type: ignore[no-untyped-def]
    """Add a polygon whose corners are `points[:count]` (x, y) [px], whichever way it turns."""
    if count < 3:
        return
    if signed_area(points, count) < 0.0:
        weight = -weight
    x0, y0 = points[count - 1, 0], points[count - 1, 1]
    for k in range(count):
        x1, y1 = points[k, 0], points[k, 1]
        add_edge(cover, x0, y0, x1, y1, -weight)
        x0, y0 = x1, y1


@bare
def signed_area(points, count):  # type: ignore[no-untyped-def]
    """Twice the area, positive where the corners run clockwise on the screen (y down)."""
    total = 0.0
    x0, y0 = points[count - 1, 0], points[count - 1, 1]
    for k in range(count):
        x1, y1 = points[k, 0], points[k, 1]
        total += x0 * y1 - x1 * y0
        x0, y0 = x1, y1
    return total


@bare
def project(lens, near, corners, count, points):  # type: ignore[no-untyped-def]
    """Project a polygon to pixels, cut off in front of the camera.

    Args:
        lens: (3, 4), from positions relative to the camera [m] to (x w, y w, w).
        near: smallest w that is shown.
        corners: (>= count, 3), relative to the camera.
        points: (>= count + 1, 2), is filled.

    Returns:
        How many corners the polygon has on the screen, 0 where it is behind the camera.
    """
    found = 0
    last = count - 1
    x0 = _row(lens, 0, corners, last)
    y0 = _row(lens, 1, corners, last)
    w0 = _row(lens, 2, corners, last)
    for k in range(count):
        x1 = _row(lens, 0, corners, k)
        y1 = _row(lens, 1, corners, k)
        w1 = _row(lens, 2, corners, k)
        if (w0 >= near) != (w1 >= near):
            t = (near - w0) / (w1 - w0)
            points[found, 0] = (x0 + (x1 - x0) * t) / near
            points[found, 1] = (y0 + (y1 - y0) * t) / near
            found += 1
        if w1 >= near:
            inverse = 1.0 / w1
            points[found, 0] = x1 * inverse
            points[found, 1] = y1 * inverse
            found += 1
        x0, y0, w0 = x1, y1, w1
    return found


@inlined
def _row(lens, row, corners, k):  # type: ignore[no-untyped-def]
    return (
        lens[row, 0] * corners[k, 0]
        + lens[row, 1] * corners[k, 1]
        + lens[row, 2] * corners[k, 2]
        + lens[row, 3]
    )
