"""Where a crash happened: its last seconds as a drawing in SVG, in metres."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from drive_rl.environments.scene import LaneShape, Line
from drive_rl.evaluation.kinematics import (
    HEADING,
    LENGTH,
    NOBODY,
    OBSTACLE,
    ROLE,
    SPEED,
    WIDTH,
    X,
    Y,
)
from drive_rl.evaluation.results import CrashCard

FloatArray = npt.NDArray[np.float64]

_SECONDS_BEHIND = 2.6  # of the ego's way that the map shows
_GHOSTS = (1.0, 2.0)  # s before the crash, drawn as outlines


def crash_map(card: CrashCard) -> Markup:
    """The road, everybody at the moment of the crash, and the way there.

    The ego drives from left to right. `data-moves` holds every step, for the page's script to
    play; without it the drawing shows the crash itself.
    """
    frames = card.trace.frames
    moment = frames[-2] if len(frames) > 1 else frames[-1]
    turn = _Frame(moment[0, [X, Y]], float(moment[0, HEADING]))
    behind = float(np.clip(_SECONDS_BEHIND * abs(moment[0, SPEED]), 22.0, 74.0))
    ahead = 0.35 * behind
    sideways = card.crash.kind in ("crossing", "head_on", "unknown")
    half = max(0.3 * behind if sideways else 0.0, 8.0, 0.09 * (behind + ahead))
    middle = 0.0 if sideways else _middle_of_road(card.lanes, turn, half)
    window = (-behind, middle - half, ahead, middle + half)

    rows = _rows(frames, card.crash.other, turn, window)
    paths = {row: _path(frames[:, row], turn) for row in rows}
    parts = [*_road(card.lanes, turn, window)]
    for row in (0, card.crash.other):
        if row in paths:
            parts.append(_trail(paths[row], "ego" if row == 0 else "other"))
            parts.extend(_ghosts(frames[:, row], paths[row], card.trace.dt, row))
    for row in [*(r for r in rows if r not in (0, card.crash.other)), card.crash.other, 0]:
        if row in paths:
            look = "ego" if row == 0 else "other" if row == card.crash.other else "traffic"
            parts.append(_vehicle(frames[-1, row], paths[row], row, look))
    moves = {
        "dt": round(card.trace.dt, 4),
        "bodies": {str(row): _rounded(path) for row, path in paths.items()},
    }
    left, top, right, bottom = window
    box = f"{left:.1f} {top:.1f} {right - left:.1f} {bottom - top:.1f}"
    label = f"Map of the crash in the episode of seed {card.seed}: the ego {card.crash.label}"
    return Markup(
        f'<svg class="map" viewBox="{box}" preserveAspectRatio="xMaxYMid slice" '
        f'role="img" aria-label="{escape(label)}" '
        f'data-moves="{escape(json.dumps(moves))}">' + "".join(parts) + "</svg>"
    )


def _middle_of_road(lanes: tuple[LaneShape, ...], turn: _Frame, most: float) -> float:
    """How far beside the ego the middle of its road is, within what leaves the ego in view."""
    sides = []
    for lane in lanes:
        centre = turn(lane.centerline)
        if len(centre) == 2:
            centre = _near(centre, (-10.0, -1.0, 10.0, 1.0))
        if not len(centre):
            continue
        near = centre[np.argmin(np.abs(centre[:, 0]))] if len(centre) > 2 else centre.mean(axis=0)
        if abs(near[0]) < 15 and abs(near[1]) < 2.5 * most:
            sides += [near[1] - lane.width / 2, near[1] + lane.width / 2]
    if not sides:
        return 0.0
    return float(np.clip((min(sides) + max(sides)) / 2, 3.0 - most, most - 3.0))


class _Frame:
    """Coordinates with the ego at the crash in the origin, driving to the right."""

    def __init__(self, origin: FloatArray, heading: float) -> None:
        self.origin, self.heading = origin, heading
        cos, sin = np.cos(heading), np.sin(heading)
        self._matrix = np.array([[cos, -sin], [sin, cos]])

    def __call__(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) in these coordinates."""
        turned: FloatArray = (points - self.origin) @ self._matrix
        return turned


def _rows(
    frames: FloatArray, other: int, turn: _Frame, window: tuple[float, float, float, float]
) -> list[int]:
    """Bodies that come into the window at any time."""
    left, top, right, bottom = window
    places = turn(frames[..., [X, Y]])
    inside = (places[..., 0] > left - 4) & (places[..., 0] < right + 4)
    inside &= (places[..., 1] > top - 4) & (places[..., 1] < bottom + 4)
    inside &= frames[..., ROLE] > NOBODY
    shown = set(np.flatnonzero(inside.any(axis=0)).tolist()) | {0}
    if other > 0:
        shown.add(other)
    return sorted(shown)


def _path(body: FloatArray, turn: _Frame) -> FloatArray:
    """x, y, heading of one body over time, nan while it is not there, (steps, 3)."""
    heading = body[:, HEADING] - turn.heading
    path = np.column_stack([turn(body[:, [X, Y]]), np.degrees(heading)])
    path[body[:, ROLE] == NOBODY] = np.nan
    return path


def _rounded(path: FloatArray) -> list[Any]:
    return [
        None if np.isnan(step).any() else [round(float(value), 2) for value in step]
        for step in path
    ]


def _road(
    lanes: tuple[LaneShape, ...], turn: _Frame, window: tuple[float, float, float, float]
) -> list[str]:
    """Asphalt first, then the markings on it."""
    asphalt, markings = [], []
    for lane in lanes:
        centre = _near(turn(lane.centerline), window)
        if len(centre) < 2:
            continue
        points = _points(centre)
        asphalt.append(
            f'<polyline class="asphalt" points="{points}" stroke-width="{lane.width:.2f}"/>'
        )
        for line, side in ((lane.left_line, -1.0), (lane.right_line, 1.0)):
            if line == Line.NONE:
                continue
            look = "striped" if line == Line.STRIPED else "continuous"
            edge = _points(_offset(centre, side * lane.width / 2))
            markings.append(f'<polyline class="marking {look}" points="{edge}"/>')
    return asphalt + markings


def _near(points: FloatArray, window: tuple[float, float, float, float]) -> FloatArray:
    """The stretch of a lane around the window; straight lanes are cut to it."""
    left, top, right, bottom = window
    margin = 30.0
    if len(points) == 2:
        start, along = points[0], points[1] - points[0]
        length = float(np.hypot(*along))
        if length == 0.0:
            return points[:0]
        middle = float(-(start @ along) / length)
        reach = right - left + margin
        low, high = max(middle - reach, 0.0), min(middle + reach, length)
        if low >= high:
            return points[:0]
        # Dashes begin where the lane begins, whatever is cut away: whole periods only.
        low = np.floor(low / 9.0) * 9.0
        return np.array([start + along / length * at for at in (low, high)])
    inside = (points[:, 0] > left - margin) & (points[:, 0] < right + margin)
    inside &= (points[:, 1] > top - margin) & (points[:, 1] < bottom + margin)
    if not inside.any():
        return points[:0]
    first, last = np.flatnonzero(inside)[[0, -1]]
    return points[max(first - 1, 0) : last + 2]


def _offset(points: FloatArray, distance: float) -> FloatArray:
    """A line beside a line, positive to the right of its direction (y points down)."""
    direction = np.gradient(points, axis=0)
    direction /= np.maximum(np.hypot(direction[:, :1], direction[:, 1:]), 1e-9)
    normal = np.column_stack([-direction[:, 1], direction[:, 0]])
    beside: FloatArray = points + distance * normal
    return beside


def _trail(path: FloatArray, look: str) -> str:
    known = path[~np.isnan(path[:, 0])]
    return f'<polyline class="trail {look}" points="{_points(known[:, :2])}"/>'


def _ghosts(body: FloatArray, path: FloatArray, dt: float, row: int) -> list[str]:
    """Outlines of where a vehicle was one and two seconds before."""
    ghosts = []
    for seconds in _GHOSTS:
        step = len(path) - 1 - round(seconds / dt)
        if step >= 0 and not np.isnan(path[step]).any():
            look = "ego" if row == 0 else "other"
            ghosts.append(_outline(body[step], path[step], f"ghost {look}"))
    return ghosts


def _outline(body: FloatArray, place: FloatArray, look: str) -> str:
    x, y, degrees = place
    length, width = body[LENGTH], body[WIDTH]
    return (
        f'<rect class="{look}" x="{-length / 2:.2f}" y="{-width / 2:.2f}" width="{length:.2f}" '
        f'height="{width:.2f}" rx="0.5" '
        f'transform="translate({x:.2f} {y:.2f}) rotate({degrees:.1f})"/>'
    )


def _vehicle(body: FloatArray, path: FloatArray, row: int, look: str) -> str:
    """A vehicle with its windscreen, which tells front from rear."""
    length, width = body[LENGTH], body[WIDTH]
    if body[ROLE] == OBSTACLE:
        look += " obstacle"
    place = path[-1]
    if np.isnan(place).any():
        place, hidden = np.zeros(3), ' visibility="hidden"'
    else:
        hidden = ""
    x, y, degrees = place
    screen = (
        ""
        if body[ROLE] == OBSTACLE
        else (
            f'<rect class="glass" x="{0.12 * length:.2f}" y="{-0.38 * width:.2f}" '
            f'width="{0.14 * length:.2f}" height="{0.76 * width:.2f}" rx="0.2"/>'
        )
    )
    return (
        f'<g class="vehicle {look}" data-row="{row}"{hidden} '
        f'transform="translate({x:.2f} {y:.2f}) rotate({degrees:.1f})">'
        f'<rect class="body" x="{-length / 2:.2f}" y="{-width / 2:.2f}" width="{length:.2f}" '
        f'height="{width:.2f}" rx="{min(0.6, 0.3 * width):.2f}"/>{screen}</g>'
    )


def _points(points: FloatArray) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
