"""Gaps and times to collision, checked against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drive_rl.environments.scene import Kind
from drive_rl.viewer.episode import Thought
from drive_rl.viewer.figures import choices_of, gap_ahead

from .conftest import make_scene


def test_gap_is_from_bumper_to_bumper():
    gap = gap_ahead(make_scene([(0.0, 0.0), (45.0, 0.0)], speeds=[20.0, 15.0]))
    assert gap.distance == pytest.approx(40.0)
    assert gap.time_headway == pytest.approx(2.0)
    assert gap.time_to_collision == pytest.approx(8.0)


def test_a_gap_that_opens_has_no_time_to_collision():
    gap = gap_ahead(make_scene([(0.0, 0.0), (45.0, 0.0)], speeds=[20.0, 25.0]))
    assert gap.time_to_collision is None


def test_at_a_stand_there_is_no_time_headway():
    gap = gap_ahead(make_scene([(0.0, 0.0), (45.0, 0.0)], speeds=[0.0, 0.0]))
    assert gap.time_headway is None
    assert gap.time_to_collision is None


def test_behind_and_beside_is_not_ahead():
    assert gap_ahead(make_scene([(0.0, 0.0), (-20.0, 0.0), (30.0, 4.0)])) is None


def test_the_nearest_of_several_counts():
    assert gap_ahead(make_scene([(0.0, 0.0), (60.0, 0.5), (25.0, 1.0)])).distance == 20.0


def test_oncoming_traffic_closes_with_both_speeds():
    scene = make_scene([(0.0, 0.0), (65.0, 0.0)], speeds=[20.0, 10.0], headings=[0.0, np.pi])
    assert gap_ahead(scene).time_to_collision == pytest.approx(2.0)


def test_a_goal_is_nothing_to_collide_with():
    assert gap_ahead(make_scene([(0.0, 0.0), (20.0, 0.0)], kinds=[Kind.EGO, Kind.GOAL])) is None


def test_the_path_is_the_planned_lane_round_a_bend():
    angles = np.linspace(0.0, np.pi / 2, 60)
    plan = np.stack([50 * np.sin(angles), 50 - 50 * np.cos(angles)], axis=1)
    other = (50 * np.sin(1.0), 50 - 50 * np.cos(1.0))  # 50 m along the bend
    scene = make_scene([(0.0, 0.0), other], headings=[0.0, 1.0], plan=plan)
    assert gap_ahead(scene).distance == pytest.approx(45.0, abs=0.1)
    assert gap_ahead(make_scene([(0.0, 0.0), other], headings=[0.0, 1.0])) is None


def test_a_wall_across_the_road_is_as_near_as_its_face():
    scene = make_scene(
        [(0.0, 0.0), (30.0, 0.0)],
        headings=[0.0, np.pi / 2],
        kinds=[Kind.EGO, Kind.OBSTACLE],
        length=np.array([5.0, 70.0]),
        width=np.array([2.0, 1.0]),
        speeds=[10.0, 0.0],
    )
    assert gap_ahead(scene).distance == pytest.approx(30.0 - 0.5 - 2.5)


def test_of_several_agents_the_first_ones_choice_is_shown():
    names = ["SLOWER", "IDLE", "FASTER"]
    title, choices = choices_of(Thought((np.int64(2), np.int64(0))), None, names)
    assert title == "Action"
    assert [(each.label, each.by_policy, each.done) for each in choices] == [
        ("Slower", False, False),
        ("Idle", False, False),
        ("Faster", True, True),
    ]
