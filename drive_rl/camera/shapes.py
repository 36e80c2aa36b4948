"""What stands on the road, as lists of quads: cars, vans, barriers.

Coordinates: x forward in half lengths, y to the right in half widths, z up in metres. Quads stand
in the order in which they are painted over each other, which is right from wherever they are seen,
because those that face away are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Materials
BODY, GLASS, TYRE, TAIL_LIGHT, HEADLIGHT, UNDERBODY, PLATE, BARRIER, BARRIER_BAND = range(9)

# How wide a body has to look for a quad to be worth its while
FAR, NEAR, CLOSE = 0, 1, 2
LEVEL_WIDTH = (0.0, 4.5, 8.0)  # [px]

CAR, VAN, BLOCK = 0, 1, 2

QUAD_DTYPE = np.dtype(
    [
        ("corners", "f8", (4, 3)),  # clockwise, seen from outside
        ("material", "i4"),
        ("level", "i4"),
        ("normal", "i4"),  # FRONT, ...
    ],
    align=True,
)
AHEAD, BEHIND, RIGHT, LEFT, UP = range(5)


def _box(
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    material: int,
    level: int,
    *,
    shrink: tuple[float, float, float] = (0.0, 0.0, 0.0),
    roof: int | None = None,
) -> list[tuple[Any, ...]]:
    """Four sides and a roof. `shrink`: how far the roof's front, back and sides lie inwards."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    front, back, side = shrink
    X1, X0, Y1, Y0 = x1 - front, x0 + back, y1 - side, y0 + side
    sides = [
        ([(x1, y1, z0), (X1, Y1, z1), (X1, Y0, z1), (x1, y0, z0)], AHEAD),
        ([(x0, y0, z0), (X0, Y0, z1), (X0, Y1, z1), (x0, y1, z0)], BEHIND),
        ([(x0, y1, z0), (X0, Y1, z1), (X1, Y1, z1), (x1, y1, z0)], RIGHT),
        ([(x1, y0, z0), (X1, Y0, z1), (X0, Y0, z1), (x0, y0, z0)], LEFT),
    ]
    quads: list[tuple[Any, ...]] = [(c, material, level, normal) for c, normal in sides]
    top = [(X0, Y0, z1), (X1, Y0, z1), (X1, Y1, z1), (X0, Y1, z1)]
    quads.append((top, material if roof is None else roof, level, UP))
    return quads


def _on_back(y0: float, y1: float, z0: float, z1: float, material: int, level: int) -> Any:
    x = -1.0
    return ([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], material, level, BEHIND)


def _on_front(y0: float, y1: float, z0: float, z1: float, material: int, level: int) -> Any:
    x = 1.0
    return ([(x, y1, z0), (x, y1, z1), (x, y0, z1), (x, y0, z0)], material, level, AHEAD)


def _wheel(x: float, side: int) -> Any:
    x0, x1, z = x - 0.13, x + 0.13, 0.64
    if side > 0:
        corners = [(x0, 1.0, 0.0), (x0, 1.0, z), (x1, 1.0, z), (x1, 1.0, 0.0)]
        return (corners, TYRE, CLOSE, RIGHT)
    corners = [(x1, -1.0, 0.0), (x1, -1.0, z), (x0, -1.0, z), (x0, -1.0, 0.0)]
    return (corners, TYRE, CLOSE, LEFT)


def _chassis(top: float) -> list[tuple[Any, ...]]:
    quads = _box((-0.97, -0.94, 0.16), (0.97, 0.94, 0.42), UNDERBODY, NEAR)[:4]
    for y in (-0.97, 0.6):  # tyres seen from behind and ahead
        quads.append(_on_back(y, y + 0.37, 0.0, 0.4, TYRE, NEAR))
        quads.append(_on_front(y, y + 0.37, 0.0, 0.4, TYRE, NEAR))
    quads += _box((-1.0, -1.0, 0.38), (1.0, 1.0, top), BODY, FAR)
    quads += [_wheel(x, side) for x in (-0.58, 0.6) for side in (-1, 1)]
    for y in (-0.98, 0.56):
        quads.append(_on_back(y, y + 0.42, top - 0.28, top - 0.06, TAIL_LIGHT, FAR))
        quads.append(_on_front(y, y + 0.42, top - 0.3, top - 0.12, HEADLIGHT, NEAR))
    quads.append(_on_back(-0.24, 0.24, top - 0.4, top - 0.28, PLATE, CLOSE))
    return quads


def _car() -> list[tuple[Any, ...]]:
    cabin = _box(
        (-0.84, -0.93, 0.92), (0.42, 0.93, 1.48), GLASS, FAR, shrink=(0.34, 0.22, 0.2), roof=BODY
    )
    return _chassis(0.92) + cabin


def _van() -> list[tuple[Any, ...]]:
    hold = _box((-1.0, -1.0, 1.0), (0.3, 1.0, 2.05), BODY, FAR, shrink=(0.0, 0.02, 0.06))
    cabin = _box(
        (0.3, -0.98, 1.0), (0.7, 0.98, 1.95), GLASS, FAR, shrink=(0.3, 0.0, 0.1), roof=BODY
    )
    window = [_on_back(-0.7, 0.7, 1.3, 1.8, GLASS, NEAR)]
    return _chassis(1.0) + cabin + hold + window


def _block() -> list[tuple[Any, ...]]:
    return (
        _box((-1.0, -1.0, 0.0), (1.0, 1.0, 0.4), BARRIER, FAR)[:4]
        + _box((-1.0, -1.0, 0.4), (1.0, 1.0, 0.75), BARRIER_BAND, FAR)[:4]
        + _box((-1.0, -1.0, 0.75), (1.0, 1.0, 1.1), BARRIER, FAR)
    )


def _table() -> tuple[Any, Any]:
    shapes = [_car(), _van(), _block()]
    starts = np.cumsum([0, *map(len, shapes)]).astype(np.int64)
    quads = np.array([quad for shape in shapes for quad in shape], QUAD_DTYPE)
    return quads.view(np.recarray), starts


QUADS, STARTS = _table()
"""All quads, and where those of shape k start: QUADS[STARTS[k] : STARTS[k + 1]]."""

HEIGHTS = np.array([1.48, 2.05, 1.1])  # of each shape, for its shadow [m]
