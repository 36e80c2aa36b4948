"""highway-env's grey pictures come out of the compiled engine, as highway-env drew them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import drive_rl
from drive_rl.catalogue import default_config, scene_ids
from drive_rl.environments.compiled import uncovered
from tests.camera.golden.make import HERE, observation_of
from tests.camera.looking import actions, as_arrays

OBSERVATION = {
    "type": "GrayscaleObservation",
    "observation_shape": [84, 60],
    "stack_size": 3,
    "weights": [0.3, 0.6, 0.1],
    "scaling": 1.75,
}


@pytest.mark.parametrize("number", range(31), ids=scene_ids())
def test_highway_envs_own_pictures_come_out_again(number: int) -> None:
    env_id = scene_ids()[number]
    with np.load(HERE / "grayscale.npz") as arrays:
        pictures, taken, ends = (
            arrays[f"{env_id}/{name}"] for name in ("pictures", "actions", "ends")
        )
    config = {"observation": observation_of(env_id, number)}
    env = drive_rl.make(env_id, config=config, engine="compiled")
    seen, _ = env.reset(seed=number)
    drawn = [np.stack(as_arrays(seen))]
    for action, over in zip(taken, ends, strict=True):
        seen, _, terminated, truncated, _ = env.step(
            tuple(action) if isinstance(seen, tuple) else action
        )
        assert bool(np.any(terminated) or truncated) == over
        if over:
            seen, _ = env.reset()
        drawn.append(np.stack(as_arrays(seen)))
    ours = np.stack(drawn)
    assert pictures.std() > 5  # something is to be seen
    assert ours.dtype == pictures.dtype == np.uint8
    assert ours.shape == pictures.shape
    # Most are equal to the last pixel. Where a vehicle lies on the border of two, the last bit of
    # its position says which: the engines agree to 1e-12 m, and it may be drawn a pixel aside
    assert (ours == pictures).mean() >= 0.99
    assert np.abs(ours.astype(int) - pictures).mean() < 1
    same = (ours == pictures).reshape(len(ours), -1).all(axis=1)
    assert same.mean() >= 0.5


@pytest.mark.parametrize("env_id", ["highway-fast-v0", "parking-v0", "roundabout-v0"])
def test_both_engines_draw_the_same_pixels(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "offscreen")
    config = {"observation": OBSERVATION}
    ours = drive_rl.make(env_id, config=config, engine="compiled")
    reference = drive_rl.make(env_id, config=config, engine="reference")
    assert ours.observation_space == reference.observation_space
    for seed in (5, None):
        a, b = ours.reset(seed=seed)[0], reference.reset(seed=seed)[0]
        for action in actions(ours, 5):
            np.testing.assert_array_equal(a, b)
            a, _, over, _, _ = ours.step(action)
            b = reference.step(action)[0]
            if over:
                break


def test_an_episode_begins_with_black_pictures_before_its_first() -> None:
    env = drive_rl.make("highway-fast-v0", config={"observation": OBSERVATION}, engine="compiled")
    env.reset(seed=0)
    env.step(1)
    first, _ = env.reset()
    assert not first[:2].any()
    assert first[2].any()
    second = env.step(1)[0]
    np.testing.assert_array_equal(second[1], first[2])


def test_a_slot_shows_what_a_single_environment_shows() -> None:
    config = {"observation": OBSERVATION, "duration": 3}
    vector = drive_rl.make_vec(
        "highway-fast-v0", 3, config=config, engine="compiled", num_threads=2
    )
    single = drive_rl.make("highway-fast-v0", config=config, engine="compiled")
    seen, _ = vector.reset(seed=4)
    alone, _ = single.reset(seed=6)
    assert vector.observation_space.shape == (3, 3, 84, 60)
    for _ in range(5):
        np.testing.assert_array_equal(seen[2], alone)
        seen, _, _, _, infos = vector.step(np.ones(3, np.int64))
        alone, _, terminated, truncated, _ = single.step(1)
        if terminated or truncated:
            np.testing.assert_array_equal(infos["final_obs"][2], alone)
            alone, _ = single.reset()


def test_a_restored_state_goes_on_with_the_same_pictures() -> None:
    env: Any = drive_rl.make(
        "highway-fast-v0", config={"observation": OBSERVATION}, engine="compiled"
    ).unwrapped
    env.reset(seed=1)
    env.step(1)
    state = env.get_state()
    expected = [env.step(1)[0], env.step(2)[0], env.reset()[0]]
    env.reset(seed=9)
    env.set_state(state)
    for seen, wanted in zip(
        (env.step(1)[0], env.step(2)[0], env.reset()[0]), expected, strict=True
    ):
        np.testing.assert_array_equal(seen, wanted)


def test_pictures_need_neither_a_screen_nor_a_video_driver() -> None:
    program = (
        "import drive_rl, hashlib;"
        f"e = drive_rl.make('highway-fast-v0', config={{'observation': {OBSERVATION}}},"
        " engine='compiled');"
        "print(hashlib.sha256(e.reset(seed=3)[0]).hexdigest())"
    )
    hashes = set()
    for driver in ("dummy", "offscreen"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "SDL_VIDEODRIVER": driver},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"observation_shape": [84]}, "needs observation_shape"),
        ({"observation_shape": [84, 0.5]}, "whole numbers"),
        ({"weights": [0.5, 0.5]}, "needs weights"),
        ({"weights": ["a", 1, 1]}, "needs weights"),
        ({"stack_size": 0}, "whole numbers"),
        ({"scaling": 1000}, "scaling"),
        ({"centering_position": [0.5]}, "centering_position"),
    ],
)
def test_what_is_no_picture_is_left_to_highway_env(changed: dict[str, Any], said: str) -> None:
    config = default_config("highway-v0") | {"observation": OBSERVATION | changed}
    reason = uncovered("highway-v0", config)
    assert reason is not None
    assert said in reason


def test_pictures_with_trajectories_are_left_to_highway_env() -> None:
    config = default_config("highway-v0") | {"observation": OBSERVATION, "show_trajectories": True}
    assert "show_trajectories" in str(uncovered("highway-v0", config))
