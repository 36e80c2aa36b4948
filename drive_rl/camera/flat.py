"""Draws on a picture of whole values as pygame does: lines, rectangles, turned images.

highway-env's pictures are drawn by pygame, without any smoothing: which pixel gets which colour
depends on how positions are cut to whole pixels and in which order lines are stepped along. Each
function here gives the same pixels as the function of pygame-ce that it names
(`tests/camera/test_flat.py` compares them), except where something leaves the picture: lines of two
and more pixels may then lie a pixel aside, and pygame outlines a rectangle along the border.

A picture is (width, height), read as `picture[x, y]`, of any type of integer.
"""

from __future__ import annotations

import math

import numpy as np

from drive_rl.simulator.jit import bare

CLEAR = -1  # a pixel of an image that shows what lies below it

QUARTER = math.pi / 2
NEAR_QUARTER = 1e-6  # vectors turned by so nearly a right angle are turned by one [rad]


@bare
def fill_rectangle(picture, x, y, width, height, value):  # type: ignore[no-untyped-def]
    """`pygame.draw.rect(surface, color, (x, y, width, height))`."""
    for column in range(max(x, 0), min(x + width, picture.shape[0])):
        for row in range(max(y, 0), min(y + height, picture.shape[1])):
            picture[column, row] = value


@bare
def outline_rectangle(picture, x, y, width, height, value):  # type: ignore[no-untyped-def]
    """`pygame.draw.rect(surface, color, (x, y, width, height), 1)`."""
    if width < 1 or height < 1:
        return
    fill_rectangle(picture, x, y, width, 1, value)
    fill_rectangle(picture, x, y + height - 1, width, 1, value)
    fill_rectangle(picture, x, y, 1, height, value)
    fill_rectangle(picture, x + width - 1, y, 1, height, value)


@bare
def draw_line(picture, x, y, end_x, end_y, thickness, value):  # type: ignore[no-untyped-def]
    """`pygame.draw.line(surface, color, (x, y), (end_x, end_y), thickness)`.

    Bresenham's line; a thick one grows across the axis that it follows more closely.
    """
    dx, dy = abs(end_x - x), abs(end_y - y)
    before, after = thickness // 2 - (1 - thickness % 2), thickness // 2
    width, height = picture.shape
    if max(x, end_x) < -after or min(x, end_x) >= width + before:
        return
    if max(y, end_y) < -after or min(y, end_y) >= height + before:
        return
    if dy == 0 and dx > 0:
        fill_rectangle(picture, min(x, end_x), y - before, dx + 1, thickness, value)
        return
    if dx == 0:
        fill_rectangle(picture, x - before, min(y, end_y), thickness, dy + 1, value)
        return
    step_x, step_y = 1 if end_x > x else -1, 1 if end_y > y else -1
    error = dx // 2 if dx > dy else -(dy // 2)
    is_steep = dx <= dy
    while True:
        if is_steep:
            fill_rectangle(picture, x - before, y, thickness, 1, value)
        else:
            fill_rectangle(picture, x, y - before, 1, thickness, value)
        if x == end_x and y == end_y:
            return
        last = error
        if last > -dx:
            error -= dy
            x += step_x
        if last < dy:
            error += dx
            y += step_y


@bare
def blit_turned(picture, image, side, x, y, degrees):  # type: ignore[no-untyped-def]
    """Put a square image, turned about its middle, on a picture with its middle at (x, y).

    As highway-env's `blit_rotate`: `pygame.transform.rotate`, then a blit at a place that is
    found by turning the image's corners.

    Args:
        image: its first `side` columns and rows; pixels that are CLEAR are left out.
        degrees: counterclockwise.
    """
    radians = degrees * (math.pi / 180.0)
    # The corners turned: the leftmost and the uppermost say where the turned image begins
    half = side / 2
    left, top = 0.0, 0.0
    for corner in range(1, 4):
        corner_x, corner_y = _turned(
            float(side if corner < 3 else 0), float(-side if corner > 1 else 0), radians
        )
        left, top = min(left, corner_x), max(top, corner_y)
    pivot_x, pivot_y = _turned(half, -half, radians)
    origin_x = int(x - half + left - (pivot_x - half))
    origin_y = int(y - half - top + (pivot_y + half))
    if degrees == 0.0:
        _blit(picture, image, side, origin_x, origin_y)
        return
    _rotate(picture, image, side, origin_x, origin_y, float(np.float32(degrees)))


@bare
def _turned(x, y, radians):  # type: ignore[no-untyped-def]
    """`pygame.math.Vector2(x, y).rotate_rad(radians)`."""
    angle = np.fmod(radians, 2 * math.pi)
    if angle < 0.0:
        angle += 2 * math.pi
    if np.fmod(angle + NEAR_QUARTER, QUARTER) < 2 * NEAR_QUARTER:
        quarters = int((angle + NEAR_QUARTER) / QUARTER) % 4
        if quarters == 0:
            return x, y
        if quarters == 1:
            return -y, x
        if quarters == 2:
            return -x, -y
        return y, -x
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x - sin * y, sin * x + cos * y


@bare
def _blit(picture, image, side, left, top):  # type: ignore[no-untyped-def]
    for column in range(max(-left, 0), min(picture.shape[0] - left, side)):
        for row in range(max(-top, 0), min(picture.shape[1] - top, side)):
            value = image[column, row]
            if value != CLEAR:
                picture[left + column, top + row] = value


@bare
def _rotate(picture, image, side, left, top, degrees):  # type: ignore[no-untyped-def]
    """`pygame.transform.rotate(image, degrees)` blitted at (left, top).

    Each pixel takes its nearest one in the image, stepped to in 1/65536 of a pixel.
    """
    if np.fmod(degrees, 90.0) == 0.0:
        _rotate_quarters(picture, image, side, left, top, int(degrees / 90.0) % 4)
        return
    radians = degrees * 0.01745329251  # as pygame writes it
    sin, cos = math.sin(radians), math.cos(radians)
    size = int(max(abs(cos * side + sin * side), abs(cos * side - sin * side)))
    shift = (side - size) << 15
    sin_step, cos_step = int(sin * 65536), int(cos * 65536)
    start_x = (size << 15) - int(cos * ((size - 1) << 15))
    start_y = (size << 15) - int(sin * ((size - 1) << 15))
    middle = size // 2
    end = (side << 16) - 1
    for row in range(max(-top, 0), min(size, picture.shape[1] - top)):
        at_x = start_x + sin_step * (middle - row) + shift
        at_y = start_y - cos_step * (middle - row) + shift
        for column in range(max(-left, 0), min(size, picture.shape[0] - left)):
            from_x, from_y = at_x + cos_step * column, at_y + sin_step * column
            if 0 <= from_x <= end and 0 <= from_y <= end:
                value = image[from_x >> 16, from_y >> 16]
                if value != CLEAR:
                    picture[left + column, top + row] = value


@bare
def _rotate_quarters(picture, image, side, left, top, quarters):  # type: ignore[no-untyped-def]
    last = side - 1
    for column in range(max(-left, 0), min(picture.shape[0] - left, side)):
        for row in range(max(-top, 0), min(picture.shape[1] - top, side)):
            if quarters == 0:
                value = image[column, row]
            elif quarters == 1:
                value = image[last - row, column]
            elif quarters == 2:
                value = image[last - column, last - row]
            else:
                value = image[row, last - column]
            if value != CLEAR:
                picture[left + column, top + row] = value
