"""SceneState says what highway-env's own objects say, for every kind of road."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import drive_rl
from drive_rl.environments.scene import Kind, LaneShape, SceneState, sample_lane
from drive_rl.evaluation.baselines import make_baseline
from drive_rl.viewer.episode import Episode

SCENES = [
    "highway-fast-v0",
    "merge-v1",
    "roundabout-v1",
    "intersection-v2",
    "racetrack-v1",
    "parking-v0",
    "lane-keeping-v0",
    "u-turn-v1",
    "exit-v1",
    "intersection-multi-agent-v2",
]


@pytest.mark.parametrize("name", SCENES)
def test_scene_holds_what_highway_env_holds(name):
    env = drive_rl.make(name, engine="reference")
    env.reset(seed=3)
    env.step(env.action_space.sample())
    own, scene = env.unwrapped.scene_env, env.unwrapped.scene()
    objects = [*own.road.objects, *own.road.vehicles]
    np.testing.assert_array_equal(scene.position, [o.position for o in objects])
    np.testing.assert_array_equal(scene.heading, [o.heading for o in objects])
    np.testing.assert_array_equal(scene.speed, [o.speed for o in objects])
    assert objects[scene.ego] is own.vehicle
    assert (scene.kind == Kind.EGO).sum() == len(own.controlled_vehicles)
    env.close()


@pytest.mark.parametrize("name", SCENES)
def test_lane_polylines_stay_within_centimetres_of_the_lanes(name):
    env = drive_rl.make(name, engine="reference")
    env.reset(seed=0)
    graph = env.unwrapped.scene_env.road.network.graph
    for lane in [lane for ends in graph.values() for lanes in ends.values() for lane in lanes]:
        shape = sample_lane(lane)
        knots = np.linspace(0.0, lane.length, 23)
        points = np.array([lane.position(s, 0.0) for s in knots])
        assert _distance(points, shape.centerline).max() < 0.06
    env.close()


def _distance(points, line):
    starts, steps = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - starts) * steps).sum(2) / np.maximum((steps**2).sum(1), 1e-12)
    feet = starts + np.clip(share, 0, 1)[..., None] * steps
    return np.hypot(*np.moveaxis(points[:, None] - feet, 2, 0)).min(axis=1)


def test_lanes_are_the_same_object_within_an_episode_and_new_after_a_reset():
    env = drive_rl.make("merge-v1", engine="reference")
    env.reset(seed=0)
    before = env.unwrapped.scene().lanes
    env.step(1)
    assert env.unwrapped.scene().lanes is before
    env.reset(seed=1)
    assert env.unwrapped.scene().lanes is not before
    env.close()


def test_a_lane_change_shows_as_the_side_it_goes_to():
    env = drive_rl.make("highway-fast-v0", engine="reference")
    env.reset(seed=0)
    ego = env.unwrapped.scene_env.vehicle
    start, end, lane = ego.lane_index
    for target in range(3):
        ego.target_lane_index = (start, end, target)
        scene = env.unwrapped.scene()
        assert scene.lane_change[scene.ego] == np.sign(target - lane)
    env.close()


def test_arrays_of_unequal_length_are_refused():
    column = np.zeros(2)
    with pytest.raises(ValueError, match=r"speed must be \(2,\)"):
        SceneState(
            0.0,
            (),
            np.zeros((2, 2)),
            column,
            np.zeros(3),
            column,
            column,
            column > 0,
            np.zeros(2, np.int64),
            column,
            column,
            np.zeros(2, np.int64),
        )


def test_a_lane_of_one_point_is_refused():
    with pytest.raises(ValueError, match="two points"):
        LaneShape(np.zeros((1, 2)), 4.0)


@pytest.mark.parametrize("name", ["intersection-v2", "merge-v1"])
def test_both_engines_plan_along_the_same_lanes(name):
    plans = []
    for engine in ("compiled", "reference"):
        envs = drive_rl.make_vec(name, 1, engine=engine, autoreset_mode=AutoresetMode.DISABLED)
        episode = Episode(envs, make_baseline("idle", name), "idle")
        episode.start(4)
        plans.append(episode.extend().scene.plan)
        envs.close()
    compiled, reference = plans
    assert np.hypot(*np.diff(compiled, axis=0).T).sum() > 70.0
    assert _distance(reference[:-3], compiled).max() < 0.2
