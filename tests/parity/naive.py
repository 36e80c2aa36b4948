"""Slow, obvious twins of the kernels that decide: who is next to whom, how hard to brake, whether
to change lane, whether two rectangles meet. Plain Python, one formula after the other.

For straight parallel lanes along x; a vehicle is a dictionary of numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Vehicle = dict[str, Any]
A, B, WANTED, HEADWAY = 3.0, 5.0, 10.0, 1.5  # IDM: accelerations, distance and time wanted
GAIN, IMPOSED = 0.2, 2.0  # MOBIL: the least gain, the hardest braking of others [m/s2]


def is_on(vehicle: Vehicle, lane_y: float, width: float, length: float) -> bool:
    """On a lane, with a margin of a metre at its sides and a vehicle's length at its ends."""
    return abs(vehicle["y"] - lane_y) <= width / 2 + 1 and -5.0 <= vehicle["x"] < length + 5.0


def neighbours(
    vehicles: list[Vehicle], i: int, lane_y: float, width: float, length: float
) -> tuple[int, int]:
    """(front, rear) rows on a lane, -1 for none. Level counts as ahead; of those level with one
    another, the last in the list is in front, the first behind."""
    front, rear = -1, -1
    me = vehicles[i]["x"]
    for j, other in enumerate(vehicles):
        if j == i or not is_on(other, lane_y, width, length):
            continue
        if other["x"] >= me and (front < 0 or other["x"] <= vehicles[front]["x"]):
            front = j
        if other["x"] < me and (rear < 0 or other["x"] > vehicles[rear]["x"]):
            rear = j
    return front, rear


def desired_gap(ego: Vehicle, front: Vehicle) -> float:
    """The distance that a driver wants, from the speeds along the driver's heading [m]."""
    direction = np.array([math.cos(ego["heading"]), math.sin(ego["heading"])])
    other = np.array([math.cos(front["heading"]), math.sin(front["heading"])])
    closing = (ego["speed"] * direction - front["speed"] * other) @ direction
    return WANTED + ego["speed"] * HEADWAY + ego["speed"] * closing / (2 * math.sqrt(A * B))


def idm(vehicles: list[Vehicle], driver: int, ego: int, front: int, limit: float) -> float:
    """How a driver thinks that `ego` accelerates behind `front`, either -1 for nobody [m/s2]."""
    if ego < 0:
        return 0.0
    me = vehicles[ego]
    target = max(min(me["target_speed"], limit), 0.0)
    ratio = max(me["speed"], 0.0) / max(target, 0.01)
    acceleration = A * (1 - ratio ** vehicles[driver]["delta"])
    if front >= 0:
        d = vehicles[front]["x"] - me["x"]
        if abs(d) <= 0.01:
            d = 0.01 if d >= 0 else -0.01
        acceleration -= A * (desired_gap(me, vehicles[front]) / d) ** 2
    return acceleration


def mobil(
    vehicles: list[Vehicle], i: int, lanes: list[float], here: int, there: int,
    width: float, length: float, limit: float, politeness: float,
) -> bool:  # fmt: skip
    """Should vehicle i change from one lane to another?"""
    new_front, new_rear = neighbours(vehicles, i, lanes[there], width, length)
    old_front, old_rear = neighbours(vehicles, i, lanes[here], width, length)

    def a(ego: int, front: int) -> float:
        return idm(vehicles, i, ego, front, limit)

    if a(new_rear, i) < -IMPOSED:
        return False
    own = a(i, new_front) - a(i, old_front)
    followers = a(new_rear, i) - a(new_rear, new_front) + a(old_rear, old_front) - a(old_rear, i)
    return own + politeness * followers >= GAIN


def corners(body: Vehicle) -> Any:
    """The corners of a rectangle, (4, 2)."""
    c, s = math.cos(body["heading"]), math.sin(body["heading"])
    half = np.array([body["length"] / 2, body["width"] / 2])
    signs = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    return (signs * half) @ np.array([[c, s], [-s, c]]) + [body["x"], body["y"]]


def overlap(a: Vehicle, b: Vehicle) -> bool:
    """Do two rectangles overlap? No line along any of their sides parts them."""
    mine, theirs = corners(a), corners(b)
    for points in (mine, theirs):
        for k in range(4):
            edge = points[(k + 1) % 4] - points[k]
            axis = np.array([-edge[1], edge[0]])
            one, other = mine @ axis, theirs @ axis
            if one.max() < other.min() or other.max() < one.min():
                return False
    return True
