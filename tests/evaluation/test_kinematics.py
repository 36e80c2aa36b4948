"""Headway, time to collision and comfort against hand-worked cases and a slow, obvious twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_rl.evaluation import kinematics as k


def body(x=0.0, y=0.0, heading=0.0, speed=0.0, length=5.0, width=2.0, role=k.VEHICLE):
    return np.array([x, y, heading, speed, length, width, 0.0, role])


def ttc(ego, *others):
    return float(k.time_to_collision(ego, np.array(others).reshape(-1, 8)))


def headway(ego, *others):
    return float(k.time_headway(ego, np.array(others).reshape(-1, 8)))


EGO = body(speed=30.0, role=k.EGO)


def test_time_to_collision_is_gap_over_closing_speed():
    # 45 m between centres is 40 m between bumpers; 10 m/s faster: 4 s
    assert ttc(EGO, body(x=45.0, speed=20.0)) == pytest.approx(4.0)


def test_nothing_is_met_beyond_five_seconds():
    assert ttc(EGO, body(x=57.0, speed=20.0)) == np.inf
    assert ttc(EGO, body(x=55.0, speed=20.0)) == pytest.approx(5.0)


def test_a_vehicle_in_the_next_lane_is_never_met():
    assert ttc(EGO, body(x=20.0, y=4.0, speed=5.0)) == np.inf


def test_a_faster_vehicle_behind_is_not_counted():
    assert ttc(EGO, body(x=-20.0, speed=40.0)) == np.inf


def test_a_crossing_vehicle_is_met_when_both_reach_the_corner():
    # The ego's front bumper (2.5 m) reaches x = 29 (30 less half the other's width) after
    # 26.5/30 s; by then the other, 30 m down at 30 m/s, has its front within half a width.
    other = body(x=30.0, y=30.0, heading=-np.pi / 2, speed=30.0)
    assert ttc(EGO, other) == pytest.approx(max(26.5 / 30, (30 - 2.5 - 1.0) / 30))


def test_a_neighbour_counts_only_while_the_ego_turns_towards_it():
    beside = body(x=-1.0, y=3.0, speed=30.0)
    steering_in = body(heading=0.1, speed=30.0, role=k.EGO)
    steering_out = body(heading=-0.1, speed=30.0, role=k.EGO)
    assert ttc(EGO, beside) == np.inf
    assert ttc(steering_out, beside) == np.inf
    assert 0.0 < ttc(steering_in, beside) < 0.95
    cutting_in = body(x=-1.0, y=3.0, heading=-0.1, speed=30.0)
    assert 0.0 < ttc(EGO, cutting_in) < 5.0  # its heading differs: the gap closes either way


def test_touching_bodies_have_no_time_left():
    assert ttc(EGO, body(x=4.0, speed=30.0)) == 0.0


def test_the_nearest_in_time_counts_not_in_space():
    near_but_fast, far_but_standing = body(x=25.0, speed=29.0), body(x=65.0)
    assert ttc(EGO, near_but_fast, far_but_standing) == pytest.approx(2.0)


def test_empty_rows_are_nobody():
    assert ttc(EGO, body(x=4.0, role=k.NOBODY)) == np.inf
    assert ttc(EGO) == np.inf
    assert np.isnan(headway(EGO))


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(3, 60),
    y=st.floats(-20, 20),
    heading=st.floats(-3, 3),
    speed=st.floats(0, 30),
    own=st.floats(0, 30),
)
def test_exact_contact_agrees_with_trying_small_steps(x, y, heading, speed, own):
    ego = body(speed=own, role=k.EGO)
    other = body(x, y, heading, speed)
    exact = ttc(ego, other)
    if not bool(k._in_the_way(ego[None], other[None], np.array([x]), np.array([y]))[0]):
        assert exact == np.inf
        return
    steps = np.arange(0.0, k.TTC_HORIZON, 0.02)
    tried = next((t for t in steps if _touch(_moved(ego, t), _moved(other, t))), np.inf)
    if np.isfinite(tried):
        assert exact <= tried + 1e-9
        assert exact >= tried - 0.02 - 1e-9
    else:  # a graze between two steps
        assert exact == np.inf or not _touch(_moved(ego, exact), _moved(other, exact), 0.5)


def _moved(one, seconds):
    moved = one.copy()
    moved[k.X] += seconds * one[k.SPEED] * np.cos(one[k.HEADING])
    moved[k.Y] += seconds * one[k.SPEED] * np.sin(one[k.HEADING])
    return moved


def _touch(a, b, shrink=0.0):
    """Slow and obvious: project all corners on the normals of all sides."""
    corners = [_corners(a, shrink), _corners(b, shrink)]
    for one in (a, b):
        for turn in (0.0, np.pi / 2):
            axis = np.array([np.cos(one[k.HEADING] + turn), np.sin(one[k.HEADING] + turn)])
            (low_a, high_a), (low_b, high_b) = (
                ((c @ axis).min(), (c @ axis).max()) for c in corners
            )
            if high_a < low_b or high_b < low_a:
                return False
    return True


def _corners(one, shrink):
    cos, sin = np.cos(one[k.HEADING]), np.sin(one[k.HEADING])
    half = np.array([one[k.LENGTH], one[k.WIDTH]]) / 2 - shrink / 2
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * half
    return signs @ np.array([[cos, sin], [-sin, cos]]) + one[[k.X, k.Y]]


def test_headway_is_bumper_to_bumper_distance_over_own_speed():
    assert headway(EGO, body(x=50.0, speed=20.0)) == pytest.approx(45.0 / 30.0)


def test_headway_takes_the_nearest_ahead_and_ignores_other_lanes_and_followers():
    others = (body(x=20.0, y=4.0), body(x=-10.0), body(x=65.0), body(x=95.0))
    assert headway(EGO, *others) == pytest.approx(60.0 / 30.0)


def test_headway_is_unknown_on_a_free_road_and_at_a_standstill():
    assert np.isnan(headway(EGO, body(x=200.0)))
    assert np.isnan(headway(body(role=k.EGO), body(x=20.0)))


def test_headway_follows_the_heading():
    ego = body(heading=np.pi / 2, speed=10.0, role=k.EGO)
    assert headway(ego, body(y=25.0, heading=np.pi / 2)) == pytest.approx(2.0)


def test_traffic_nearby_counts_vehicles_and_not_obstacles():
    others = np.array([body(x=50.0), body(x=-99.0), body(x=101.0), body(x=3.0, role=k.OBSTACLE)])
    assert k.traffic_nearby(EGO, others) == 2.0


def test_quantities_of_uniform_acceleration():
    speed = np.array([10.0, 11.0, 12.0, 13.0])
    quantities = k.motion_quantities(speed, np.zeros(4), dt=0.5)
    np.testing.assert_allclose(quantities["longitudinal_acceleration"][1:], 2.0)
    np.testing.assert_allclose(quantities["longitudinal_jerk"][2:], 0.0)
    np.testing.assert_allclose(quantities["lateral_acceleration"][1:], 0.0)
    assert np.isnan(quantities["longitudinal_acceleration"][0])
    assert np.isnan(quantities["jerk"][:2]).all()


def test_quantities_of_a_circle():
    # 10 m/s on a radius of 50 m: 0.2 rad/s, 2 m/s² inwards, jerk v w² = 0.4 m/s³
    dt = 0.01
    heading = 0.2 * dt * np.arange(2000)
    quantities = k.motion_quantities(np.full(2000, 10.0), heading, dt)
    np.testing.assert_allclose(quantities["yaw_rate"][1:], 0.2, rtol=1e-6)
    np.testing.assert_allclose(quantities["lateral_acceleration"][1:], 2.0, rtol=1e-6)
    np.testing.assert_allclose(quantities["jerk"][2:], 0.4, rtol=1e-3)
    np.testing.assert_allclose(quantities["yaw_acceleration"][2:], 0.0, atol=1e-6)


def test_a_heading_that_wraps_is_no_turn():
    quantities = k.motion_quantities(np.full(2, 10.0), np.array([np.pi - 0.01, 0.01 - np.pi]), 0.1)
    assert quantities["yaw_rate"][1] == pytest.approx(0.2)


def test_braking_is_allowed_to_be_harder_than_speeding_up():
    acceleration = next(b for b in k.COMFORT if b.name == "longitudinal_acceleration")
    values = np.array([-4.05, -4.06, 2.40, 2.41, np.nan])
    assert k.within(acceleration, values).tolist() == [True, False, True, False, True]
