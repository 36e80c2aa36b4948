"""Brake and lane-change lights, told from the motion between two decisions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import drive_rl
from drive_rl.environments.lights import lane_changes, with_lights
from drive_rl.environments.rendering import BRAKING
from drive_rl.evaluation.baselines import make_baseline
from drive_rl.presets import load_environment
from drive_rl.viewer.episode import Episode

from .conftest import make_scene


@pytest.mark.parametrize(
    ("y", "heading", "side"),
    [
        (0.0, 0.0, 0),
        (0.0, 0.08, 1),  # leaves the left lane's middle to the right
        (1.5, 0.08, 1),
        (2.5, 0.08, 0),  # over the line: on the way to the middle of the right lane
        (4.0, -0.08, -1),
        (1.5, -0.08, 0),
        (4.0, 0.08, 0),  # there is no lane to the right of this one
        (0.0, -0.08, 0),
    ],
)
def test_a_vehicle_indicates_from_its_lane_s_middle_to_the_line(y, heading, side):
    scene = make_scene([(50.0, y), (80.0, 0.0)], headings=[heading, 0.0])
    assert lane_changes(scene).tolist() == [side, 0]


def test_what_stands_or_has_crashed_or_is_nowhere_does_not_indicate():
    places = [(50.0, 0.0), (80.0, 0.0), (60.0, 40.0)]
    scene = make_scene(
        places,
        headings=[0.08] * 3,
        speeds=[0.0, 20.0, 20.0],
        crashed=np.array([False, True, False]),
    )
    assert lane_changes(scene).tolist() == [0, 0, 0]


def test_the_change_of_speed_is_the_acceleration():
    scenes = [
        make_scene([(0.0, 0.0), (30.0, 0.0)], speeds=[20.0 - 0.4 * k, 20.0], time=0.2 * k)
        for k in range(3)
    ]
    shown = with_lights(scenes)
    assert shown[0] is scenes[0]
    for scene in shown[1:]:
        np.testing.assert_allclose(scene.acceleration, [-2.0, 0.0], atol=1e-9)
        assert scene.acceleration[0] < BRAKING


def test_an_impact_is_no_braking():
    scenes = [make_scene([(0.0, 0.0)], speeds=[v], time=t) for v, t in ((30.0, 0.0), (10.0, 0.1))]
    assert with_lights(scenes)[1].acceleration.tolist() == [0.0]


def test_motion_tells_what_highway_env_itself_says_frame_by_frame():
    scene = load_environment("highway-fast-v0")
    envs = drive_rl.make_vec(scene, 1, engine="reference", autoreset_mode=AutoresetMode.DISABLED)
    episode = Episode(envs, make_baseline("random", scene), "random")
    said = same = changing = 0
    for seed in (0, 1, 2):
        episode.start(seed)
        while not episode.ended and len(episode.moments) < 6:
            episode.extend()
        for moment in episode.moments[1:]:
            for frame in moment.frames:
                driving = ~frame.crashed
                told = lane_changes(frame)[driving]
                own = frame.lane_change[driving]
                said += len(own)
                same += int((told == own).sum())
                changing += int((own != 0).sum())
    envs.close()
    assert changing > 10
    assert same / said > 0.99


def test_a_lane_change_within_a_decision_shows_in_its_frames():
    envs = drive_rl.make_vec("highway-fast-v0", 1, autoreset_mode=AutoresetMode.DISABLED)
    episode = Episode(envs, make_baseline("idle", load_environment("highway-fast-v0")), "idle")
    episode.start(1)
    lane = round(float(episode.moments[0].scene.position[episode.moments[0].scene.ego, 1]) / 4)
    action, side = (0, -1) if lane > 0 else (2, 1)
    episode.extend(action)
    frames = episode.moments[1].frames
    ego = frames[0].ego
    assert side in [int(frame.lane_change[ego]) for frame in frames]
    assert math.copysign(1, frames[-1].position[ego, 1] - frames[0].position[ego, 1]) == side
    envs.close()
