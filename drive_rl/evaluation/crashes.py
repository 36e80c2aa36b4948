"""What kind of crash it was, and who closed the gap: told from its last seconds."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from drive_rl.evaluation.kinematics import (
    CRASHED,
    HEADING,
    LENGTH,
    OBSTACLE,
    ROLE,
    SPEED,
    VEHICLE,
    WIDTH,
    X,
    Y,
)

FloatArray = npt.NDArray[np.float64]

KINDS = {
    "rear_end": "runs into the vehicle ahead",
    "rear_ended": "is hit from behind",
    "lane_change": "changes lane into another vehicle",
    "cut_in": "another vehicle changes lane into it",
    "crossing": "meets crossing traffic",
    "head_on": "meets oncoming traffic",
    "obstacle": "hits an obstacle",
    "unknown": "collides, with whom is not known",
}
"""Kinds of crashes, from the ego's point of view."""

AT_FAULT = ("rear_end", "lane_change", "obstacle")
"""Kinds in which it was the ego that closed the gap."""

_WINDOW = 2.0  # s before the crash in which somebody must have come over
_CROSSING = np.radians(45)  # between directions of two that cross
_REACH = 12.0  # m between centres, at most, of two that touch


@dataclasses.dataclass(frozen=True, eq=False)
class CrashTrace:
    """The last seconds before a crash.

    Attributes:
        episode: k.
        frames: (steps, bodies, fields), see `kinematics.FIELDS`; the last one that of the crash.
        dt: between steps [s].
    """

    episode: int
    frames: FloatArray
    dt: float


@dataclasses.dataclass(frozen=True)
class Crash:
    """One crash.

    Attributes:
        episode: k.
        kind: a key of `KINDS`.
        ego_speed, other_speed: one step before the impact [m/s].
        closing_speed: at which the two came together then [m/s].
        other: row of the other body in the trace's frames, -1 where unknown.
    """

    episode: int
    kind: str
    ego_speed: float
    other_speed: float
    closing_speed: float
    other: int

    @property
    def label(self) -> str:
        """The kind, for people."""
        return KINDS[self.kind]

    def to_json(self) -> dict[str, object]:
        """For report.json."""

        def known(value: float) -> float | None:
            return round(value, 3) if np.isfinite(value) else None

        return {
            "episode": self.episode,
            "kind": self.kind,
            "ego_speed": known(self.ego_speed),
            "other_speed": known(self.other_speed),
            "closing_speed": known(self.closing_speed),
        }


def classify(trace: CrashTrace) -> Crash:
    """Find the other one and tell how the two met.

    Two that drive in about the same direction and were already one behind the other 2 s before,
    on a straight or around a bend, met because one was faster: a rear end. If they were side by
    side or apart, somebody came over: the one that moved more across the direction of travel in
    these 2 s. Directions that differ by more than 45 degrees, at the impact or before one turned
    into the other's way, cross; by more than 135 at the impact they are head-on. Bodies keep their
    row while it lasts; where an engine moves them, the path is followed back by nearness.
    """
    frames = trace.frames
    before = frames[-2] if len(frames) > 1 else frames[-1]
    ego = before[0]
    other_row = _other(frames[-1])
    if other_row < 0:
        return Crash(trace.episode, "unknown", float(ego[SPEED]), np.nan, np.nan, -1)
    path = _followed_back(frames, other_row)
    other = path[-2] if len(path) > 1 else path[-1]
    kind = _kind(frames[:, 0], path, trace.dt)
    towards = other[[X, Y]] - ego[[X, Y]]
    towards /= max(float(np.hypot(*towards)), 1e-9)
    closing = float((_velocity(ego) - _velocity(other)) @ towards)
    return Crash(trace.episode, kind, float(ego[SPEED]), float(other[SPEED]), closing, other_row)


def _other(frame: FloatArray) -> int:
    """Row of the body that the ego has met: the nearest of those that crashed, measured between
    outlines roughly, by distance less the half lengths."""
    bodies = frame[1:]
    apart = np.hypot(bodies[:, X] - frame[0, X], bodies[:, Y] - frame[0, Y])
    apart = apart - (bodies[:, LENGTH] - frame[0, LENGTH]) / 2
    met = (bodies[:, ROLE] >= VEHICLE) & (apart < _REACH)
    met &= (bodies[:, CRASHED] > 0) | (bodies[:, ROLE] == OBSTACLE)
    if not met.any():
        return -1
    return 1 + int(np.argmin(np.where(met, apart, np.inf)))


def _followed_back(frames: FloatArray, row: int) -> FloatArray:
    """The path of one body, (steps, fields): by row, or by nearness where rows have moved."""
    stretches: list[FloatArray] = []
    last = len(frames) - 1  # of the stretch that stays in one row
    while True:
        path = frames[: last + 1, row]
        kept = (path[:-1, ROLE] >= VEHICLE) & _same(path[:-1], path[1:])
        breaks = np.flatnonzero(~kept)
        first = int(breaks[-1]) + 1 if len(breaks) else 0
        stretches.append(path[first:])
        if first == 0:
            break
        before = frames[first - 1]
        apart = np.hypot(before[1:, X] - path[first, X], before[1:, Y] - path[first, Y])
        apart = np.where(before[1:, ROLE] >= VEHICLE, apart, np.inf)
        row, last = 1 + int(np.argmin(apart)), first - 1
        if not _same(before[row], path[first]):
            break  # it appeared here
    return np.concatenate(stretches[::-1])


def _same(before: FloatArray, after: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether bodies (..., fields) can have come so far in one step, generously (5 Hz or more)."""
    moved = np.hypot(after[..., X] - before[..., X], after[..., Y] - before[..., Y])
    speed = np.maximum(np.abs(before[..., SPEED]), np.abs(after[..., SPEED]))
    near: npt.NDArray[np.bool_] = moved < 3.0 + 0.25 * speed
    return near


def _kind(ego: FloatArray, other: FloatArray, dt: float) -> str:
    if other[-1, ROLE] == OBSTACLE:
        return "obstacle"
    steps = min(len(ego), len(other), 1 + round(_WINDOW / dt))
    ego, other = ego[-steps:], other[-steps:]
    last = -2 if steps > 1 else -1  # the impact turns vehicles
    angle = _angle(ego[last], other[last])
    if angle > np.radians(135):
        return "head_on"
    if angle > _CROSSING:
        return "crossing"
    across = np.array([-np.sin(other[0, HEADING]), np.cos(other[0, HEADING])])
    along = np.array([np.cos(other[0, HEADING]), np.sin(other[0, HEADING])])
    offset = other[0, [X, Y]] - ego[0, [X, Y]]
    if abs(offset @ across) < (ego[0, WIDTH] + other[0, WIDTH]) / 2:
        return "rear_end" if offset @ along > 0 else "rear_ended"
    if _angle(ego[0], other[0]) > _CROSSING:
        if _comes_by(ego, other[0]):
            return "rear_end"
        return "rear_ended" if _comes_by(other, ego[0]) else "crossing"
    moved_ego = abs((ego[last, [X, Y]] - ego[0, [X, Y]]) @ across)
    moved_other = abs((other[last, [X, Y]] - other[0, [X, Y]]) @ across)
    return "lane_change" if moved_ego >= moved_other else "cut_in"


def _angle(one: FloatArray, other: FloatArray) -> float:
    """Between two headings, 0 to pi [rad]."""
    difference = one[HEADING] - other[HEADING]
    return float(abs((difference + np.pi) % (2 * np.pi) - np.pi))


def _comes_by(path: FloatArray, body: FloatArray) -> bool:
    """Whether it drives where `body` was, in its direction: behind it around a bend."""
    apart = np.hypot(path[:, X] - body[X], path[:, Y] - body[Y])
    nearest = int(np.argmin(apart))
    return bool(apart[nearest] < body[WIDTH] and _angle(path[nearest], body) < _CROSSING)


def _velocity(body: FloatArray) -> FloatArray:
    velocity: FloatArray = body[SPEED] * np.array([np.cos(body[HEADING]), np.sin(body[HEADING])])
    return velocity
