"""Moments between two simulated ones, so that a picture can move more often than a simulator."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from drive_rl.environments.scene import FloatArray, SceneState

IndexArray = npt.NDArray[np.intp]

LONGEST_JUMP = 1.6
"""A vehicle that moved further than this many times its speed was put there, not driven."""


def between(before: SceneState, after: SceneState, share: float) -> SceneState:
    """The scene a `share` (0 to 1) of the way from one moment to the next.

    Positions follow the cubic that has both moments' positions and velocities (Hermite), which
    is a car's smooth path even over a decision of a second. A vehicle of only one of the moments
    stands where that one has it until the other is reached.

    Args:
        before, after: two moments of one episode, in order of time.
        share: 0 gives `before` itself, 1 `after`.
    """
    if share <= 0.0:
        return before
    if share >= 1.0 or after.time <= before.time:
        return after
    rows, others = _matches(before, after)
    if not len(rows):
        return before
    duration = after.time - before.time
    position, heading = before.position.copy(), before.heading.copy()
    position[rows] = _hermite(before, after, rows, others, duration, share)
    turned = (after.heading[others] - before.heading[rows] + np.pi) % (2 * np.pi) - np.pi
    heading[rows] = before.heading[rows] + share * turned
    speed = before.speed.copy()
    speed[rows] += share * (after.speed[others] - before.speed[rows])
    # What the driver does during a step is what the later moment reports as the last command.
    commands = {}
    for name in ("acceleration", "steering", "lane_change"):
        values = getattr(before, name).copy()
        values[rows] = getattr(after, name)[others]
        commands[name] = values
    return dataclasses.replace(
        before,
        time=before.time + share * duration,
        position=position,
        heading=heading,
        speed=speed,
        plan=after.plan if share > 0.5 else before.plan,
        **commands,
    )


def _matches(before: SceneState, after: SceneState) -> tuple[IndexArray, IndexArray]:
    """Rows of `before` and of `after` that are the same vehicle, and whose move makes sense."""
    _, rows, others = np.intersect1d(
        before.identity, after.identity, assume_unique=True, return_indices=True
    )
    moved = np.hypot(*(after.position[others] - before.position[rows]).T)
    fastest = np.maximum(np.abs(before.speed[rows]), np.abs(after.speed[others]))
    driven = moved <= LONGEST_JUMP * fastest * (after.time - before.time) + 1.0
    return rows[driven], others[driven]


def _hermite(
    before: SceneState,
    after: SceneState,
    rows: IndexArray,
    others: IndexArray,
    duration: float,
    share: float,
) -> FloatArray:
    """Positions on the cubic through both moments, (num_matched, 2)."""
    p0, p1 = before.position[rows], after.position[others]
    v0 = _velocity(before)[rows] * duration
    v1 = _velocity(after)[others] * duration
    t = share
    position: FloatArray = (
        (2 * t**3 - 3 * t**2 + 1) * p0
        + (t**3 - 2 * t**2 + t) * v0
        + (3 * t**2 - 2 * t**3) * p1
        + (t**3 - t**2) * v1
    )
    return position


def _velocity(scene: SceneState) -> FloatArray:
    direction = np.stack([np.cos(scene.heading), np.sin(scene.heading)], axis=1)
    velocity: FloatArray = scene.speed[:, None] * direction
    return velocity
