"""Labels are what highway-env's own objects say, and grids what stands where."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import drive_rl
from drive_rl.errors import UsageError
from drive_rl.perception.labels import CELL, GRID_START, REACH, Labeller
from tests.perception.roads import tiny_environment


@pytest.fixture(scope="module")
def driven() -> tuple[object, np.ndarray]:
    """An environment after a few lane changes, and its labels."""
    envs = drive_rl.make_vec(
        tiny_environment(duration=40), 3, autoreset_mode=AutoresetMode.DISABLED
    )
    envs.reset(seed=4)
    for action in (0, 1, 2):
        _, _, terminated, _, _ = envs.step(np.full(3, action))
        assert not terminated.any()
    return envs, Labeller(envs)()


def test_lane_and_offset_are_those_of_the_nearest_lane(driven) -> None:
    envs, labels = driven
    for env, label in enumerate(labels):
        scene = envs.scene(env)
        y = scene.position[scene.ego, 1]
        assert label["num_lanes"] == 4
        assert label["lane"] == np.argmin(np.abs(y - 4.0 * np.arange(4)))
        assert label["lateral_offset"] == pytest.approx(y - 4.0 * label["lane"], abs=1e-5)
        assert label["offsets"] == pytest.approx(y - 4.0 * np.arange(4), abs=1e-5)
        assert label["heading_error"] == pytest.approx(scene.heading[scene.ego], abs=1e-6)


def test_gaps_are_the_distance_to_the_nearest_vehicle_of_each_lane(driven) -> None:
    envs, labels = driven
    for env, label in enumerate(labels):
        scene = envs.scene(env)
        others = np.arange(len(scene)) != scene.ego
        x, y = (scene.position - [scene.position[scene.ego, 0], 0.0])[others].T
        speed = scene.speed[others] - scene.speed[scene.ego]
        for lane in range(4):
            on = np.abs(y - 4.0 * lane) <= 2.0
            for side, ahead in (("ahead", on & (x >= 0)), ("behind", on & (x < 0))):
                near = np.abs(x[ahead]).min(initial=REACH)
                assert label[f"gap_{side}"][lane] == pytest.approx(near, abs=1e-4)
                if near < REACH:
                    relative = speed[ahead][np.abs(x[ahead]).argmin()]
                    assert label[f"speed_{side}"][lane] == pytest.approx(relative, abs=1e-5)
        assert label["front_gap"] == label["gap_ahead"][label["lane"]]
        assert label["car_ahead"] == (label["front_gap"] < 50.0)


def test_grids_show_the_road_and_who_is_on_it(driven) -> None:
    envs, labels = driven
    scene, label = envs.scene(0), labels[0]
    assert not labels["occupied"][:, 3:5, 5:7].any()  # where the ego is itself
    cos, sin = np.cos(scene.heading[scene.ego]), np.sin(scene.heading[scene.ego])
    for entry in np.flatnonzero(np.arange(len(scene)) != scene.ego):
        dx, dy = scene.position[entry] - scene.position[scene.ego]
        ahead, right = dx * cos + dy * sin, dy * cos - dx * sin
        row = int((ahead - GRID_START[0]) // CELL[0])
        column = int((right - GRID_START[1]) // CELL[1])
        if 0 <= row < label["occupied"].shape[0] and 0 <= column < label["occupied"].shape[1]:
            assert label["occupied"][row, column]
    # Four lanes of four metres are eight cells wide, wherever across them the ego is
    assert set(labels["drivable"].sum(axis=2).ravel()) <= {7, 8, 9}


def test_a_car_park_has_no_labels() -> None:
    envs = drive_rl.make_vec("parking-v0", 1)
    with pytest.raises(UsageError, match="no labels"):
        Labeller(envs)


def test_the_reference_engine_has_no_labels() -> None:
    envs = drive_rl.make_vec("highway-fast-v0", 1, engine="reference")
    with pytest.raises(UsageError, match="no labels on the reference engine"):
        Labeller(envs)
