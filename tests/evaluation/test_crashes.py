"""Crashes are told apart by who closed the gap, on hand-made last seconds."""

import numpy as np
import pytest

from drive_rl.evaluation import kinematics as k
from drive_rl.evaluation.crashes import CrashTrace, classify

DT, STEPS = 0.2, 16  # three seconds


def path(x, y, heading=0.0, speed=0.0, role=k.VEHICLE, crashed=True):
    """A body over time; every argument is a number or (STEPS,)."""
    rows = np.zeros((STEPS, len(k.FIELDS)))
    rows[:, k.X], rows[:, k.Y], rows[:, k.HEADING], rows[:, k.SPEED] = x, y, heading, speed
    rows[:, k.LENGTH], rows[:, k.WIDTH], rows[:, k.ROLE] = 5.0, 2.0, role
    rows[-1, k.CRASHED] = crashed
    return rows


def trace(ego, *others):
    return CrashTrace(7, np.stack([ego, *others], axis=1), DT)


TIME = DT * (np.arange(STEPS) - STEPS + 1)  # up to 0 at the impact
MOVING = path(30 * TIME, 0.0, speed=30.0, role=k.EGO)


@pytest.mark.parametrize(
    ("ego", "other", "kind"),
    [
        (MOVING, path(4.9 + 20 * TIME, 0.3, speed=20.0), "rear_end"),
        (MOVING, path(-4.9 + 40 * TIME, 0.0, speed=40.0), "rear_ended"),
        (MOVING, path(2.0 + 30 * TIME, 1.9 - 3.0 * TIME, speed=30.0), "cut_in"),
        (
            path(30 * TIME, 3.0 * TIME, speed=30.0, role=k.EGO),
            path(2.0 + 30 * TIME, 1.9, speed=30.0),
            "lane_change",
        ),
        (MOVING, path(3.0, 2.0 - 10 * TIME, heading=-np.pi / 2, speed=10.0), "crossing"),
        (MOVING, path(4.9 - 20 * TIME, 0.0, heading=np.pi, speed=20.0), "head_on"),
        (MOVING, path(4.9, 0.0, role=k.OBSTACLE), "obstacle"),
        (MOVING, path(500.0, 0.0), "unknown"),
        (MOVING, path(4.9, 0.0, crashed=False), "unknown"),
    ],
)
def test_kind_by_who_closed_the_gap(ego, other, kind):
    bystander = path(30.0 + 30 * TIME, 4.0, speed=30.0, crashed=False)
    assert classify(trace(ego, bystander, other)).kind == kind


def bend(metres, radius=20.0, **more):
    """Around a left bend of 90 degrees that begins at 0, `metres` (STEPS,) along it; then on."""
    angle = np.clip(metres / radius, 0.0, np.pi / 2)
    before, after = np.minimum(metres, 0.0), np.maximum(metres - radius * np.pi / 2, 0.0)
    x, y = before + radius * np.sin(angle), radius * (1 - np.cos(angle)) + after
    return path(x, y, heading=angle, **more)


def test_around_a_bend_one_behind_the_other_is_a_rear_end():
    fast, slow = bend(34 + 12 * TIME, speed=12.0), bend(38 + 4 * TIME, speed=4.0)
    assert classify(trace(fast, slow)).kind == "rear_end"
    assert classify(trace(slow, fast)).kind == "rear_ended"


def test_one_that_turns_into_the_other_s_way_meets_crossing_traffic():
    turning = bend(30 + 9 * TIME, speed=9.0)  # to x = 20, and up
    straight = path(21.0, 20.0 + 9 * TIME, heading=np.pi / 2, speed=9.0)
    assert classify(trace(turning, straight)).kind == "crossing"
    assert classify(trace(straight, turning)).kind == "crossing"


def test_speeds_are_those_before_the_impact():
    other = path(4.9 + 20 * TIME, 0.0, speed=20.0)
    ego = MOVING.copy()
    ego[-1, k.SPEED] = other[-1, k.SPEED] = 3.0
    crash = classify(trace(ego, other))
    assert (crash.ego_speed, crash.other_speed) == (30.0, 20.0)
    assert crash.closing_speed == pytest.approx(10.0)
    assert crash.episode == 7


def test_a_body_whose_row_changes_is_followed_back_by_nearness():
    ego, other = MOVING, path(2.0 + 30 * TIME, 1.9 - 3.0 * TIME, speed=30.0)
    bystander = path(-50.0 + 30 * TIME, 0.0, speed=30.0, crashed=False)
    swapped = trace(ego, other, bystander)
    swapped.frames[-3:, [1, 2]] = swapped.frames[-3:, [2, 1]]
    crash = classify(swapped)
    assert (crash.kind, crash.other) == ("cut_in", 2)


def test_a_crash_in_the_first_step_is_told_too():
    ego, other = MOVING[-1:], path(4.9, 0.0, speed=10.0)[-1:]
    assert classify(CrashTrace(0, np.stack([ego, other], axis=1), DT)).kind == "rear_end"
