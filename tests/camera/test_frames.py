"""Frames: the same from both engines, however they are made, with everything in its place."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

import drive_rl
from drive_rl.camera import camera_options
from tests.camera.looking import (
    EVERYTHING,
    SCENES,
    actions,
    as_arrays,
    camera_config,
    compiled,
    config_of,
    pixels_of,
)


@pytest.mark.parametrize("env_id", SCENES)
def test_both_engines_give_identical_frames(env_id: str) -> None:
    config = config_of(env_id, EVERYTHING, view="front")
    ours = drive_rl.make(env_id, config=config, engine="compiled")
    reference = drive_rl.make(env_id, config=config, engine="reference")
    assert ours.observation_space == reference.observation_space
    for seed in (5, None):
        (a, info_a), (b, info_b) = ours.reset(seed=seed), reference.reset(seed=seed)
        assert info_a["randomization"] == info_b["randomization"]
        for action in actions(ours, 4):
            for mine, theirs in zip(as_arrays(a), as_arrays(b), strict=True):
                assert mine.dtype == np.uint8
                np.testing.assert_array_equal(mine, theirs)
            a, _, over, _, _ = ours.step(action)
            b = reference.step(action)[0]
            if np.any(over):
                break


def _hashes(env_id: str, num_envs: int, num_threads: int, steps: int = 3) -> list[str]:
    """A hash per environment of all frames of some steps."""
    config = camera_config(EVERYTHING)
    env = drive_rl.make_vec(
        env_id, num_envs, config=config, engine="compiled", num_threads=num_threads
    )
    digests = [hashlib.sha256() for _ in range(num_envs)]
    seen, _ = env.reset(seed=11)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        for digest, picture in zip(digests, seen, strict=True):
            digest.update(np.ascontiguousarray(picture))
        space = env.single_action_space
        action: Any = (
            rng.integers(space.n) if hasattr(space, "n") else rng.uniform(-1, 1, space.shape)
        )
        seen = env.step(np.broadcast_to(action, (num_envs, *np.shape(action))))[0]
    env.close()
    return [digest.hexdigest() for digest in digests]


@pytest.mark.parametrize("env_id", [e for e in SCENES if "multi-agent" not in e])
def test_frames_depend_on_the_seed_alone(env_id: str) -> None:
    many = _hashes(env_id, 5, 2)
    assert _hashes(env_id, 3, 1) == many[:3]
    assert len(set(many)) == 5


def test_a_slot_shows_what_a_single_environment_shows() -> None:
    config = camera_config(EVERYTHING)
    vector = drive_rl.make_vec("highway-fast-v0", 3, config=config, engine="compiled")
    single = drive_rl.make("highway-fast-v0", config=config, engine="compiled")
    seen, _ = vector.reset(seed=4)
    np.testing.assert_array_equal(seen[2], single.reset(seed=6)[0])


def test_what_a_user_keeps_is_never_overwritten() -> None:
    env = drive_rl.make_vec("highway-fast-v0", 4, config=camera_config(), engine="compiled")
    kept = [env.reset(seed=0)[0]]
    copies = [kept[0].copy()]
    for _ in range(8):
        kept.append(env.step(np.ones(4, np.int64))[0])
        copies.append(kept[-1].copy())
    for shown, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(shown, copy)


def test_two_arrays_take_turns_when_nobody_keeps_more() -> None:
    env = drive_rl.make_vec("highway-fast-v0", 4, config=camera_config(), engine="compiled")
    seen, _ = env.reset(seed=0)
    bases = set()
    for _ in range(8):
        seen = env.step(np.ones(4, np.int64))[0]
        bases.add(seen.__array_interface__["data"][0])
    assert len(bases) == 2


def test_the_newest_frame_is_last_and_an_episode_begins_with_its_first_frame_only() -> None:
    env = drive_rl.make("highway-fast-v0", config=camera_config(stack_size=3), engine="compiled")
    first, _ = env.reset(seed=0)
    frames = first.reshape(3, 3, 40, 48)
    assert (frames == frames[0]).all()
    second = env.step(1)[0].reshape(3, 3, 40, 48)
    np.testing.assert_array_equal(second[:2], frames[:2])
    assert (second[2] != second[1]).any()


def test_an_ended_episode_shows_its_own_last_frames() -> None:
    config = {**camera_config(), "duration": 3}
    vector = drive_rl.make_vec("highway-fast-v0", 1, config=config, engine="compiled")
    single = drive_rl.make("highway-fast-v0", config=config, engine="compiled")
    vector.reset(seed=2)
    single.reset(seed=2)
    for _ in range(3):
        seen, _, _, _, infos = vector.step(np.ones(1, np.int64))
        last = single.step(1)[0]
    np.testing.assert_array_equal(infos["final_obs"][0], last)
    np.testing.assert_array_equal(seen[0], single.reset()[0])


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_restored_state_goes_on_with_the_same_frames(engine: str) -> None:
    env = drive_rl.make("highway-fast-v0", config=camera_config(EVERYTHING), engine=engine)
    inner: Any = env.unwrapped
    env.reset(seed=1)
    env.reset()
    env.step(1)
    state = inner.get_state()
    expected = [env.step(1)[0], env.step(2)[0], env.reset()[0]]
    env.reset(seed=9)
    inner.set_state(state)
    for seen, wanted in zip(
        (env.step(1)[0], env.step(2)[0], env.reset()[0]), expected, strict=True
    ):
        np.testing.assert_array_equal(seen, wanted)


def _edge(row: Any, level: float) -> Any:
    """Columns at which brightness crosses a level, between pixel centres."""
    above = row > level
    k = np.flatnonzero(above[1:] != above[:-1])
    return k + 0.5 + (level - row[k]) / (row[k + 1] - row[k])


@pytest.mark.parametrize("view", ["front", "top"])
def test_lane_lines_lie_where_the_projection_says_within_a_pixel(view: str) -> None:
    own = {"view": view, "width": 240, "height": 240, "textures": False, "stack_size": 1}
    config = camera_config(None, **own) | {"vehicles_count": 1}
    env = compiled("highway-v0", config)
    options = camera_options(config["observation"])
    picture, _ = env.reset(seed=3)
    gray = picture.astype(float).mean(axis=0)
    ego_x = float(env.simulator.state.vehicles[0, 0].x)
    checked = 0
    # The outermost lines are continuous: y = -2 and 14 m, 0.3 m wide
    for y in (-2.0, 14.0):
        for ahead in np.linspace(6, 16, 11):
            points = [(ego_x + ahead, y + side, 0.0) for side in (-0.15, 0.15)]
            (u0, v0), (u1, v1) = pixels_of(env, options, points)
            row = int(v0)
            if not (min(u0, u1) > 3 and max(u0, u1) < 236 and 0 <= row < 240):
                continue
            # On this row's middle: the line runs straight between two projected points
            further = [(ego_x + ahead + 0.5, y + side, 0.0) for side in (-0.15, 0.15)]
            for (ua, va), (ub, vb) in zip(
                [(u0, v0), (u1, v1)], pixels_of(env, options, further), strict=True
            ):
                expected = ua + (ub - ua) * (row + 0.5 - va) / (vb - va)
                found = _edge(gray[row], 170.0) + 0.5
                assert np.abs(found - expected).min() < 1.0
                checked += 1
    assert checked >= 8


# Straight above them, the sun throws vehicles' shadows under them
NOON = {"sun_elevation": 90}


def _changed_by_a_vehicle(env: Any, x: float, y: float, heading: float) -> Any:
    """Pixels (height, width) that are others when the vehicle in row 1 stands there."""
    camera, state = env._compiled.camera, env.simulator.state
    body = state.vehicles[0, 1]

    def look() -> Any:
        camera.advance()
        camera.observe(state, np.ones(1, np.bool_), 0, 1)
        return camera.observations[0, 0, -1].astype(float)

    body.x, body.y, body.heading = state.vehicles[0, 0].x - 500, y, 0.0
    empty = look()
    body.x, body.heading = x, heading
    return np.abs(look() - empty).max(axis=0) > 3  # nothing else changes here


@pytest.mark.parametrize("ahead", [9.0, 14.0, 22.0])
@pytest.mark.parametrize("beside", [-3.0, 0.0, 4.0])
def test_a_vehicle_ahead_is_drawn_on_its_corners_within_a_pixel(
    ahead: float, beside: float
) -> None:
    own = {"width": 240, "height": 240, "textures": False, "stack_size": 1}
    config = camera_config(NOON, **own) | {"vehicles_count": 1, "lanes_count": 3}
    env = compiled("highway-v0", config)
    options = camera_options(config["observation"])
    ego = env.simulator.state.vehicles[0, 0]
    x, y = float(ego.x) + ahead, float(ego.y) + beside
    changed = _changed_by_a_vehicle(env, x, y, 0.0)
    near = x - 2.5
    # Its sides, at the lower and the upper corners of its back; of a vehicle beside, the far end
    # of one side shows as well, so that one is looked for there
    for height in (0.45, 0.88):
        left_end = x + 2.5 if beside > 1.5 else near
        right_end = x + 2.5 if beside < -1.5 else near
        back = pixels_of(env, options, [(near, y, height)])[0]
        row = changed[int(back[1])]
        shown = np.flatnonzero(row)
        if left_end == near:
            expected = pixels_of(env, options, [(near, y - 1.0, height)])[0, 0]
            assert abs(shown[0] + 0.5 - expected) < 1
        if right_end == near:
            expected = pixels_of(env, options, [(near, y + 1.0, height)])[0, 0]
            assert abs(shown[-1] + 0.5 - expected) < 1
    # Its rear wheels stand on the road
    for side in (-0.8, 0.8):
        column, bottom = pixels_of(env, options, [(near, y + side, 0.0)])[0]
        assert abs(np.flatnonzero(changed[:, int(column)]).max() + 0.5 - bottom) < 1


@pytest.mark.parametrize("heading", [0.0, 0.5, -2.2])
def test_a_vehicle_seen_from_above_covers_its_rectangle_within_a_pixel(heading: float) -> None:
    own = {"view": "top", "width": 240, "height": 240, "textures": False, "stack_size": 1}
    config = camera_config(NOON, **own) | {"vehicles_count": 1}
    env = compiled("highway-v0", config)
    options = camera_options(config["observation"])
    ego = env.simulator.state.vehicles[0, 0]
    x, y = float(ego.x) + 15.3, float(ego.y) + 4.2
    rows, columns = np.nonzero(_changed_by_a_vehicle(env, x, y, heading))
    ahead, right = (
        np.array([np.cos(heading), np.sin(heading)]),
        np.array([-np.sin(heading), np.cos(heading)]),
    )
    corners = [
        (*(np.array([x, y]) + a * 2.5 * ahead + b * right), 0.0) for a in (-1, 1) for b in (-1, 1)
    ]
    expected = pixels_of(env, options, corners)
    for found, wanted in (
        (columns.min(), expected[:, 0].min()),
        (columns.max(), expected[:, 0].max()),
        (rows.min(), expected[:, 1].min()),
        (rows.max(), expected[:, 1].max()),
    ):
        assert abs(found + 0.5 - wanted) < 1


def test_a_closer_vehicle_is_larger_and_hides_the_one_behind() -> None:
    env = compiled("highway-v0", camera_config(None, width=96, height=96) | {"vehicles_count": 2})
    camera, state = env._compiled.camera, env.simulator.state
    assert camera is not None
    ego = state.vehicles[0, 0]

    def look(near: float, far: float) -> Any:
        for row, ahead in ((1, near), (2, far)):
            body = state.vehicles[0, row]
            body.x, body.y, body.heading = ego.x + ahead, ego.y, 0.0
        camera.advance()
        camera.observe(state, np.ones(1, np.bool_), 0, 1)
        return camera.observations[0, 0, -1].astype(int)

    empty = look(-100, -100)
    sizes = [(np.abs(look(ahead, -100) - empty).max(axis=0) > 12).sum() for ahead in (12, 20, 40)]
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2] > 0
    hidden = look(10, 30)
    alone = look(10, -100)
    assert (hidden != alone).sum() < 0.02 * alone.size


def test_looking_again_adds_a_frame_of_the_same_moment() -> None:
    config = camera_config({}, width=32, height=32, stack_size=3)
    envs: Any = drive_rl.make_vec("highway-v0", 5, config=config, engine="compiled", num_threads=2)
    envs.reset(seed=0)
    before = envs.step(np.ones(5, int))[0].reshape(5, 3, 3, 32, 32)
    after = envs.simulator.observe().observations[:, 0]
    np.testing.assert_array_equal(after[:, :2], before[:, 1:])
    np.testing.assert_array_equal(after[:, 2], before[:, 2])
