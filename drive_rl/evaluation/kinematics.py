"""Driving quantities from the motion of rectangles: headway, time to collision, comfort.

A body is a row of `FIELDS`; arrays of bodies have shape (..., len(FIELDS)). Everything here works
on whole batches, and holds for whatever engine the motion came from.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FIELDS = ("x", "y", "heading", "speed", "length", "width", "crashed", "role")
"""Of a body: position [m], heading [rad], speed along it [m/s], sides [m], crashed, role."""
X, Y, HEADING, SPEED, LENGTH, WIDTH, CRASHED, ROLE = range(len(FIELDS))

NOBODY, EGO, VEHICLE, OBSTACLE = -1, 0, 1, 2
"""Roles; rows of NOBODY are empty."""

TTC_HORIZON = 5.0  # s
TTC_BOUND = 0.95  # s
REACH = 100.0  # m: whom the ego may be said to follow, or to be among
SLOWEST = 1.0  # m/s: below it a headway means nothing
_TURNED_IN = 0.02  # rad: heading towards a neighbour, from which on a lane change is meant


def time_to_collision(ego: FloatArray, others: FloatArray) -> FloatArray:
    """Time until the ego touches another body if all keep speed and heading [s].

    As nuPlan defines it (docs/metrics_description.md of nuplan-devkit): rectangles move on at
    their present speed and heading, up to 5 s; counted are bodies in front, and bodies beside
    only while the ego moves over to them. Contact is found exactly, from the times at which the
    rectangles' shadows overlap on all four of their axes, where nuPlan tries steps of 0.1 s. In
    place of the lane markings, which tell nuPlan that the ego is changing lanes, stands a heading
    that is turned towards the neighbour.

    Args:
        ego: (..., 8). others: (..., n, 8).

    Returns:
        (...,); 0 where they touch already, inf where nothing is met within 5 s.
    """
    soonest = np.full(others.shape[:-1], np.inf)
    # Almost nobody can be met: only those that can are looked at closely.
    pairs = np.nonzero(_in_reach(ego[..., None, :], others))
    mine, theirs = ego[pairs[:-1]], others[pairs]
    soonest[pairs] = _contact(mine, theirs)
    earliest: FloatArray = soonest.min(axis=-1, initial=np.inf)
    return earliest


def _in_reach(mine: FloatArray, others: FloatArray) -> BoolArray:
    """Bodies in the way and so near that, at their present speeds, they can touch in 5 s."""
    offset_x, offset_y = others[..., X] - mine[..., X], others[..., Y] - mine[..., Y]
    closing_x, closing_y = _closing(mine, others)
    sides = mine[..., LENGTH] + mine[..., WIDTH] + others[..., LENGTH] + others[..., WIDTH]
    reach = TTC_HORIZON * (np.abs(closing_x) + np.abs(closing_y)) + sides
    near = (np.abs(offset_x) <= reach) & (np.abs(offset_y) <= reach)
    return near & _in_the_way(mine, others, offset_x, offset_y)


def _contact(mine: FloatArray, others: FloatArray) -> FloatArray:
    """When two rectangles first touch [s], inf if not within 5 s: (n,) for (n, 8) and (n, 8)."""
    offset_x, offset_y = others[..., X] - mine[..., X], others[..., Y] - mine[..., Y]
    closing_x, closing_y = _closing(mine, others)
    enter = np.zeros(offset_x.shape)
    leave = np.full(offset_x.shape, TTC_HORIZON)
    for axis in (
        mine[..., HEADING],
        mine[..., HEADING] + np.pi / 2,
        others[..., HEADING],
        others[..., HEADING] + np.pi / 2,
    ):
        cos, sin = np.cos(axis), np.sin(axis)
        reach = _shadow(mine, cos, sin) + _shadow(others, cos, sin)
        gap = offset_x * cos + offset_y * sin
        rate = closing_x * cos + closing_y * sin
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            first, second = (-reach - gap) / rate, (reach - gap) / rate
        still = np.abs(rate) < 1e-12
        apart = still & (np.abs(gap) > reach)
        begins = np.where(still, 0.0, np.minimum(first, second))
        ends = np.where(still, TTC_HORIZON, np.maximum(first, second))
        enter = np.maximum(enter, begins)
        leave = np.where(apart, -1.0, np.minimum(leave, ends))
    contact: FloatArray = np.where(enter <= leave, enter, np.inf)
    return contact


def time_headway(ego: FloatArray, others: FloatArray) -> FloatArray:
    """Distance to the body ahead in the ego's path over the ego's speed [s].

    The path is a strip of the ego's width straight ahead; the distance is from bumper to bumper.

    Args:
        ego: (..., 8). others: (..., n, 8).

    Returns:
        (...,); nan with nobody within 100 m, or slower than 1 m/s.
    """
    mine = ego[..., None, :]
    cos, sin = np.cos(mine[..., HEADING]), np.sin(mine[..., HEADING])
    offset_x, offset_y = others[..., X] - mine[..., X], others[..., Y] - mine[..., Y]
    ahead = offset_x * cos + offset_y * sin
    aside = np.abs(-offset_x * sin + offset_y * cos)
    gap = ahead - mine[..., LENGTH] / 2 - _shadow(others, cos, sin)
    in_path = aside < mine[..., WIDTH] / 2 + _shadow(others, -sin, cos)
    leads = _present(others) & (ahead > 0) & in_path & (gap < REACH)
    nearest = np.where(leads, np.maximum(gap, 0.0), np.inf).min(axis=-1, initial=np.inf)
    speed = ego[..., SPEED]
    known = np.isfinite(nearest) & (speed >= SLOWEST)
    headway: FloatArray = np.where(known, nearest / np.where(known, speed, 1.0), np.nan)
    return headway


def traffic_nearby(ego: FloatArray, others: FloatArray) -> FloatArray:
    """Vehicles within 100 m of the ego, (...,). Args: ego (..., 8), others (..., n, 8)."""
    mine = ego[..., None, :]
    apart = np.hypot(others[..., X] - mine[..., X], others[..., Y] - mine[..., Y])
    near = (others[..., ROLE] == VEHICLE) & (apart < REACH)
    count: FloatArray = near.sum(axis=-1).astype(np.float64)
    return count


@dataclasses.dataclass(frozen=True)
class ComfortBound:
    """What passengers put up with, in one quantity."""

    name: str
    label: str
    unit: str
    low: float
    high: float


COMFORT = (
    ComfortBound("longitudinal_acceleration", "longitudinal acceleration", "m/s²", -4.05, 2.40),
    ComfortBound("lateral_acceleration", "lateral acceleration", "m/s²", -4.89, 4.89),
    ComfortBound("longitudinal_jerk", "longitudinal jerk", "m/s³", -4.13, 4.13),
    ComfortBound("jerk", "jerk (magnitude)", "m/s³", 0.0, 8.37),
    ComfortBound("yaw_rate", "yaw rate", "rad/s", -0.95, 0.95),
    ComfortBound("yaw_acceleration", "yaw acceleration", "rad/s²", -1.93, 1.93),
)
"""nuPlan's bounds, found in expert driving (docs/metrics_description.md of nuplan-devkit)."""

COMFORT_HISTORY = 2
"""Steps before a step that its jerk needs."""


def motion_quantities(speed: FloatArray, heading: FloatArray, dt: float) -> dict[str, FloatArray]:
    """The quantities of `COMFORT` at each step, as plain differences of simulation steps.

    A simulator has no measurement noise, so nothing is smoothed.

    Args:
        speed: [m/s], (..., steps). heading: [rad], not wrapped or wrapped, (..., steps).
        dt: between steps [s].

    Returns:
        By name, each (..., steps); nan at first steps, which lack a history.
    """
    turned = _change(heading)
    turned = (turned + np.pi) % (2 * np.pi) - np.pi
    yaw_rate = turned / dt
    along = _change(speed) / dt
    velocity_x, velocity_y = speed * np.cos(heading), speed * np.sin(heading)
    jerk_x, jerk_y = (_change(_change(v)) / dt**2 for v in (velocity_x, velocity_y))
    return {
        "longitudinal_acceleration": along,
        "lateral_acceleration": speed * yaw_rate,
        "longitudinal_jerk": _change(along) / dt,
        "jerk": np.hypot(jerk_x, jerk_y),
        "yaw_rate": yaw_rate,
        "yaw_acceleration": _change(yaw_rate) / dt,
    }


def within(bound: ComfortBound, values: FloatArray) -> BoolArray:
    """Whether values keep to a bound; an unknown one does."""
    # A hair of slack: differences of rounded numbers stand on a bound by one part in 1e9.
    slack = 1e-9 * max(abs(bound.low), abs(bound.high))
    inside: BoolArray = ~((values < bound.low - slack) | (values > bound.high + slack))
    return inside


def _change(values: FloatArray) -> FloatArray:
    """Difference to the step before; nan at the first."""
    changes = np.full(values.shape, np.nan)
    changes[..., 1:] = values[..., 1:] - values[..., :-1]
    return changes


def _present(bodies: FloatArray) -> BoolArray:
    there: BoolArray = bodies[..., ROLE] >= VEHICLE
    return there


def _shadow(bodies: FloatArray, cos: FloatArray, sin: FloatArray) -> FloatArray:
    """Half the length of a rectangle's shadow on the axis (cos, sin)."""
    own_cos, own_sin = np.cos(bodies[..., HEADING]), np.sin(bodies[..., HEADING])
    along = np.abs(own_cos * cos + own_sin * sin)
    across = np.abs(own_cos * sin - own_sin * cos)
    half: FloatArray = (bodies[..., LENGTH] * along + bodies[..., WIDTH] * across) / 2
    return half


def _closing(mine: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Velocity of others as the ego sees it [m/s]."""
    return (
        others[..., SPEED] * np.cos(others[..., HEADING])
        - mine[..., SPEED] * np.cos(mine[..., HEADING]),
        others[..., SPEED] * np.sin(others[..., HEADING])
        - mine[..., SPEED] * np.sin(mine[..., HEADING]),
    )


def _in_the_way(
    mine: FloatArray, others: FloatArray, offset_x: FloatArray, offset_y: FloatArray
) -> BoolArray:
    """Bodies in front of the ego, and those beside it that it turns towards."""
    cos, sin = np.cos(mine[..., HEADING]), np.sin(mine[..., HEADING])
    ahead = offset_x * cos + offset_y * sin
    aside = -offset_x * sin + offset_y * cos
    beside = np.abs(ahead) <= (mine[..., LENGTH] + others[..., LENGTH]) / 2
    in_front = (ahead > 0) & ~beside
    # Bumper to bumper in one lane is "in front" too, however short the gap.
    overlapping = np.abs(aside) < (mine[..., WIDTH] + others[..., WIDTH]) / 2
    in_front |= (ahead > 0) & beside & overlapping
    turned = np.sin(mine[..., HEADING] - others[..., HEADING])
    towards = (np.abs(turned) > _TURNED_IN) & (turned * aside > 0)
    counted: BoolArray = _present(others) & (in_front | (beside & towards))
    return counted
