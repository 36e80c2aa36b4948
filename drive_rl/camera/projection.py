"""Where the camera is and what it does to points: one description for both views.

World axes are highway-env's: x to the right and y *down* a page, seen from above, so a vehicle's
right-hand side is (-sin, cos) of its heading; heights are up. Positions go into a `lens` relative
to the camera's foot (its place on the ground), which keeps kilometres out of the arithmetic.
Pixel (row i, column j) covers [i, i + 1) x [j, j + 1).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drive_rl.simulator.jit import bare

FloatArray = NDArray[np.float64]

FRONT, TOP = 0, 1

NEAR = 0.25  # the front view shows nothing closer [m]


class Pose(NamedTuple):
    """Where a camera is. Angles in radians."""

    x: float  # [m]
    y: float
    height: float  # above the ground [m]
    heading: float
    pitch: float  # up is positive
    roll: float  # clockwise is positive


@bare
def perspective(lens, ground, pose, width, height, focal):  # type: ignore[no-untyped-def]
    """Fill the matrices of a front view.

    Args:
        lens: (3, 4): from a position relative to the camera's foot [m] to (x w, y w, w), w being
            the distance along the optical axis.
        ground: (3, 3): from (1, column, row) to (x w, y w, w) of the point of the ground that a
            pixel shows, relative to the foot; w is not positive in the sky, and is the inverse of
            the distance along the optical axis.
        focal: [px].
    """
    ch, sh = math.cos(pose.heading), math.sin(pose.heading)
    cp, sp = math.cos(pose.pitch), math.sin(pose.pitch)
    cr, sr = math.cos(pose.roll), math.sin(pose.roll)
    fx, fy, fz = ch * cp, sh * cp, sp  # forward
    ux0, uy0, uz0 = -ch * sp, -sh * sp, cp  # up, before the roll
    rx0, ry0 = -sh, ch  # right, before the roll
    rx, ry, rz = rx0 * cr - ux0 * sr, ry0 * cr - uy0 * sr, -uz0 * sr
    ux, uy, uz = ux0 * cr + rx0 * sr, uy0 * cr + ry0 * sr, uz0 * cr
    cx, cy = width / 2, height / 2
    _row(lens, 0, focal * rx + cx * fx, focal * ry + cx * fy, focal * rz + cx * fz, pose.height)
    _row(lens, 1, cy * fx - focal * ux, cy * fy - focal * uy, cy * fz - focal * uz, pose.height)
    _row(lens, 2, fx, fy, fz, pose.height)
    # The ray of a pixel: forward + (column - cx) / f right - (row - cy) / f up
    for k in range(3):
        f, r, u = (fx, rx, ux) if k == 0 else (fy, ry, uy) if k == 1 else (-fz, -rz, -uz)
        scale = 1.0 if k < 2 else 1.0 / pose.height
        ground[k, 0] = (f - cx / focal * r + cy / focal * u) * scale
        ground[k, 1] = r / focal * scale
        ground[k, 2] = -u / focal * scale


@bare
def _row(lens, row, x, y, z, height):  # type: ignore[no-untyped-def]
    lens[row, 0], lens[row, 1], lens[row, 2] = x, y, z
    lens[row, 3] = -z * height


@bare
def orthographic(lens, ground, heading, width, height, scaling, across, down):  # type: ignore[no-untyped-def]
    """Fill the matrices of a top view, in which `heading` points up and the foot lies at
    (across, down), fractions of the picture's width and height. `scaling` in px/m."""
    ch, sh = math.cos(heading), math.sin(heading)
    lens[:] = 0.0
    lens[0, 0], lens[0, 1], lens[0, 3] = -sh * scaling, ch * scaling, across * width
    lens[1, 0], lens[1, 1], lens[1, 3] = -ch * scaling, -sh * scaling, down * height
    lens[2, 3] = 1.0
    right, back = -across * width / scaling, -down * height / scaling
    ground[:] = 0.0
    ground[0, 0] = -sh * right - ch * back
    ground[0, 1], ground[0, 2] = -sh / scaling, -ch / scaling
    ground[1, 0] = ch * right - sh * back
    ground[1, 1], ground[1, 2] = ch / scaling, -sh / scaling
    ground[2, 0] = 1.0


def project_points(lens: FloatArray, foot: FloatArray, points: Any) -> FloatArray:
    """Pixels (column, row), (n, 2), of world positions (x, y, height), (n, 3); NaN behind."""
    relative = np.asarray(points, np.float64) - np.array([foot[0], foot[1], 0.0])
    x, y, w = lens @ np.concatenate([relative, np.ones((len(relative), 1))], axis=1).T
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels: FloatArray = np.stack([x / w, y / w], axis=1)
    pixels[w <= 0] = np.nan
    return pixels
