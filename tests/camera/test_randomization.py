"""What varies: each factor alone, from the seed alone, said in info, not touching the traffic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import drive_rl
from drive_rl.camera.factors import FACTORS
from drive_rl.errors import UsageError
from drive_rl.textures.banks import load_bank
from tests.camera.looking import EVERYTHING, camera_config

VISIBLE = {
    "marking_tint": 1.0,
    "marking_wear": 0.9,
    "sky": 0.8,
    "sun_azimuth": 90.0,
    "sun_elevation": 15.0,
    "light": 0.5,
    "contrast": 0.7,
    "exposure": 0.5,
    "fog": 0.03,
    "rain": 1.0,
    "night": 0.8,
    "vehicle_colors": 1.0,
    "vehicle_size": 0.7,
    "camera_height": 0.5,
    "camera_pitch": 3.0,
    "camera_roll": 4.0,
    "field_of_view": 15.0,
    "blur": 1.0,
    "noise": 12.0,
}


def _look(randomization: dict[str, Any], seed: int = 1) -> Any:
    env = drive_rl.make("highway-v0", config=camera_config(randomization), engine="compiled")
    env.reset(seed=seed)
    return env.step(1)[0]


def test_every_factor_is_tried_here() -> None:
    assert {factor.name for factor in FACTORS} == {*VISIBLE, "dropped_frames"}


@pytest.mark.parametrize("name", VISIBLE)
def test_each_factor_alone_changes_the_picture(name: str) -> None:
    assert (_look({name: VISIBLE[name]}) != _look({})).any()


@pytest.mark.parametrize("factor", FACTORS, ids=lambda factor: factor.name)
def test_a_factor_at_its_default_changes_nothing(factor: Any) -> None:
    np.testing.assert_array_equal(_look({factor.name: factor.default}), _look({}))


def test_dropped_frames_repeat_the_one_before() -> None:
    config = camera_config({"dropped_frames": 0.5}, stack_size=1)
    env = drive_rl.make("highway-fast-v0", config=config, engine="compiled")
    before, _ = env.reset(seed=0)
    repeated = 0
    for _ in range(20):
        seen = env.step(1)[0]
        repeated += int((seen == before).all())
        before = seen
    assert 4 <= repeated <= 16


def test_info_says_what_was_drawn_and_only_that() -> None:
    env = drive_rl.make(
        "highway-v0", config=camera_config({"fog": [0.01, 0.02]}), engine="compiled"
    )
    drawn = [env.reset(seed=0)[1]["randomization"], env.reset()[1]["randomization"]]
    assert all(set(each) == {"fog"} and 0.01 <= each["fog"] <= 0.02 for each in drawn)
    assert drawn[0] != drawn[1]
    vector = drive_rl.make_vec("highway-v0", 3, config=camera_config(EVERYTHING), engine="compiled")
    told = vector.reset(seed=0)[1]["randomization"]
    assert told["fog"].shape == (3,)
    assert set(told["road_texture"]) <= {row["name"] for row in load_bank("procedural").table}


def test_the_last_info_of_an_episode_says_what_was_drawn_for_that_episode() -> None:
    config = camera_config({"fog": [0.0, 0.02]}) | {"duration": 3}
    envs = drive_rl.make_vec("highway-fast-v0", 4, config=config, engine="compiled")
    before = envs.reset(seed=0)[1]["randomization"]["fog"]
    for _ in range(3):
        infos = envs.step(np.ones(4, int))[4]
    np.testing.assert_array_equal(infos["final_info"]["randomization"]["fog"], before)
    assert (infos["randomization"]["fog"] != before).all()


def test_a_factor_draws_the_same_number_alone_and_with_others() -> None:
    alone = drive_rl.make("highway-v0", config=camera_config({"fog": [0, 0.02]}), engine="compiled")
    all_of_them = drive_rl.make("highway-v0", config=camera_config(EVERYTHING), engine="compiled")
    fog = [env.reset(seed=7)[1]["randomization"]["fog"] for env in (alone, all_of_them)]
    assert fog[0] == fog[1]


def test_what_varies_in_the_picture_moves_no_vehicle() -> None:
    plain = drive_rl.make("highway-fast-v0", engine="compiled")
    varied = drive_rl.make("highway-fast-v0", config=camera_config(EVERYTHING), engine="compiled")
    for seed in (3, None):
        plain.reset(seed=seed)
        varied.reset(seed=seed)
        for _ in range(5):
            plain.step(1)
            varied.step(1)
            scenes = [env.unwrapped.scene() for env in (plain, varied)]  # type: ignore[attr-defined]
            np.testing.assert_array_equal(scenes[0].position, scenes[1].position)


def test_splits_keep_to_their_tiles() -> None:
    env = drive_rl.make_vec(
        "highway-fast-v0",
        32,
        config=camera_config({"road_texture": {"bank": "procedural", "split": "held_out"}}),
        engine="compiled",
    )
    drawn = env.reset(seed=0)[1]["randomization"]["road_texture"]
    splits = {row["name"]: row["split"] for row in load_bank("procedural").table}
    assert {splits[name] for name in drawn} == {"held_out"}
    assert len(set(drawn)) > 4


def test_traffic_varies_alike_in_both_engines() -> None:
    config = {
        "randomization": {"density": [0.7, 1.5], "politeness": [0, 0.5], "time_headway": [0.8, 2.5]}
    }
    ours = drive_rl.make("highway-fast-v0", config=config, engine="compiled")
    reference = drive_rl.make("highway-fast-v0", config=config, engine="reference")
    plain = drive_rl.make("highway-fast-v0", engine="compiled")
    for seed in (2, None):
        a, info = ours.reset(seed=seed)
        b, told = reference.reset(seed=seed)
        c, _ = plain.reset(seed=seed)
        assert info["randomization"] == told["randomization"]
        for _ in range(6):
            np.testing.assert_allclose(a, b, atol=1e-6)
            a, b, c = (env.step(1)[0] for env in (ours, reference, plain))
        assert (a != c).any()


@pytest.mark.parametrize(
    ("randomization", "said"),
    [
        ({"fogg": [0, 1]}, "did you mean 'fog'"),
        ({"fog": [0.02, 0.01]}, "upside down"),
        ({"fog": [0, 7]}, "between 0 and 0.2"),
        ({"fog": "thick"}, "not a number"),
        ({"fog": [0, 0.1, 0.2]}, "not a range"),
        ({"road_texture": "procedurl"}, "did you mean 'procedural'"),
        ({"road_texture": {"bank": "procedural", "split": "test"}}, "split"),
        ({"road_texture": {"bank": "procedural", "classes": ["asfalt_new"]}}, "asphalt_new"),
        ({"road_texture": {"name": "procedural"}}, "unknown key"),
        ({"politeness": [0, 3]}, "between 0 and 1"),
        ("fog", "not a mapping"),
    ],
)
def test_what_cannot_vary_is_one_clear_line(randomization: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        drive_rl.make("highway-v0", config=camera_config(None) | {"randomization": randomization})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("observation", "said"),
    [
        ({"field_of_view": 200}, "field_of_view 200 is not between 10 and 160 degrees"),
        ({"veiw": "top"}, "did you mean 'view'"),
        ({"view": "side"}, "unknown view"),
        ({"channels": "rgba"}, "did you mean 'rgb'"),
        ({"width": 0}, "width 0 is not between"),
        ({"height": 40.5}, "not a whole number"),
        ({"stack_size": 0}, "stack_size 0"),
        ({"position": [0, 1]}, "list of 3 numbers"),
        ({"position": [0, 0, -1]}, "not between 0.3 and 60 m"),
        ({"scaling": -1}, "scaling -1"),
        ({"textures": "no"}, "not true or false"),
    ],
)
def test_a_camera_that_cannot_be_is_one_clear_line(observation: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        drive_rl.make("highway-v0", config=camera_config(None, **observation))


def test_factors_of_the_picture_need_a_camera() -> None:
    with pytest.raises(UsageError, match="CameraObservation only"):
        drive_rl.make("highway-v0", config={"randomization": {"fog": 0.01}}, engine="compiled")


def test_density_needs_a_scene_that_has_one() -> None:
    with pytest.raises(UsageError, match="vehicles_density"):
        drive_rl.make("merge-v0", config={"randomization": {"density": 1.2}}, engine="compiled")
