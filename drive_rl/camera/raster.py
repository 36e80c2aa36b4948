"""Polygons with exact coverage: how much of each pixel's square an outline covers.

Each edge adds the area below it to an accumulator; the running sum down a column is then the
covered share of every pixel. Sums of a row go on to the next row all at once, which processors do
eight columns at a time. Polygons that share an edge add up to one there, so a road made of pieces
has no seams, and a line thinner than a pixel has the weight that it should have: nothing flickers
as it comes closer. Sums over overlapping polygons exceed one and are cut by the reader.

Accumulators are (height + 2, at least width) float32: the last two rows take what leaves the
picture.
"""

from __future__ import annotations

import math

import numpy as np

from drive_rl.simulator.jit import bare, inlined


@bare
def add_edge(cover, width, x0, y0, x1, y1, weight):  # type: ignore[no-untyped-def]
    """Add an edge of a polygon, in pixels; `weight` is signed: the polygon's turning direction."""
    height = cover.shape[0] - 2
    if x0 == x1 or min(y0, y1) >= height:
        return
    if x0 > x1:
        x0, y0, x1, y1, weight = x1, y1, x0, y0, -weight
    if x1 <= 0.0 or x0 >= width:
        return
    slope = (y1 - y0) / (x1 - x0)
    # Columns above, per row that the edge crosses
    density = weight / abs(slope)
    # What lies below the picture covers nothing in it
    if y0 > height:
        x0, y0 = x0 + (height - y0) / slope, float(height)
    elif y1 > height:
        x1 = x0 + (height - y0) / slope
    y = y0
    if x0 < 0.0:
        y = y0 - x0 * slope
        x0 = 0.0
    first = int(x0)
    last = min(int(math.ceil(x1)), width)
    for column in range(first, last):
        left = x0 if column == first else float(column)
        right = min(column + 1.0, x1)
        following = y + slope * (right - left)
        share = (right - left) * weight
        top, bottom = (y, following) if y <= following else (following, y)
        y = following
        _add_span(cover, column, height, top, bottom, share, density)


@inlined
def _add_span(cover, column, height, top, bottom, share, density):  # type: ignore[no-untyped-def]
    """One column's part of an edge, that runs evenly from `top` to `bottom`."""
    if bottom <= 0.0:
        cover[0, column] += np.float32(share)
        return
    if top >= height:
        return
    if top < 0.0:
        cover[0, column] -= np.float32(density * top)
        share += density * top
        top = 0.0
    row = int(top)
    if bottom <= row + 1:
        later = share * (0.5 * (top + bottom) - row)
        cover[row, column] += np.float32(share - later)
        cover[row + 1, column] += np.float32(later)
        return
    # The edge crosses several pixels: the covered area grows as a parabola, a line, a parabola
    inside = row + 1 - top
    done = 0.5 * density * inside * inside
    cover[row, column] += np.float32(done)
    last = int(bottom)
    rest = bottom - last
    left = 0.5 * density * rest * rest
    cover[last + 1, column] += np.float32(left)
    if last == row + 1:
        cover[last, column] += np.float32(share - done - left)
        return
    cover[row + 1, column] += np.float32(density * (inside + 0.5) - done)
    for k in range(row + 2, last):
        cover[k, column] += np.float32(density)
    cover[last, column] += np.float32(share - left - density * (last - row - 1.5 + inside))


@bare
def add_polygon(cover, width, points, count, weight):  # type: ignore[no-untyped-def]
    """Add a polygon whose corners are `points[:count]` (x, y) [px], whichever way it turns."""
    if count < 3:
        return
    if signed_area(points, count) < 0.0:
        weight = -weight
    x0, y0 = points[count - 1, 0], points[count - 1, 1]
    for k in range(count):
        x1, y1 = points[k, 0], points[k, 1]
        add_edge(cover, width, x0, y0, x1, y1, weight)
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
def is_beside(view, x, y, radius):  # type: ignore[no-untyped-def]
    """Is a sphere around a place on the ground, relative to the foot, left or right of the view?"""
    lens, width = view.lens, view.width
    # Outside the planes through the picture's left and right edges: x w < 0, x w > width w
    a, b, c = lens[0, 0], lens[0, 1], lens[0, 2]
    d, e, f = width * lens[2, 0] - a, width * lens[2, 1] - b, width * lens[2, 2] - c
    from_left = a * x + b * y + lens[0, 3]
    from_right = d * x + e * y + width * lens[2, 3] - lens[0, 3]
    if from_left < 0.0 and from_left * from_left > radius * radius * (a * a + b * b + c * c):
        return True
    return from_right < 0.0 and from_right * from_right > radius * radius * (d * d + e * e + f * f)


@inlined
def _row(lens, row, corners, k):  # type: ignore[no-untyped-def]
    return (
        lens[row, 0] * corners[k, 0]
        + lens[row, 1] * corners[k, 1]
        + lens[row, 2] * corners[k, 2]
        + lens[row, 3]
    )
