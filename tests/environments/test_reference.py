"""The reference engine: every scene through one contract."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common import env_checker

import drive_rl
from drive_rl.catalogue import scene_ids
from drive_rl.environments.reference import neutral_action
from drive_rl.environments.sb3 import SB3VecEnv
from drive_rl.errors import UsageError

FAST = {"vehicles_count": 3, "duration": 4}
# Their rewards are a tuple with an entry per agent, as highway-env defines these two ids;
# SB3's checker asks for one float.
REWARD_PER_AGENT = ("intersection-multi-agent-v1", "intersection-multi-agent-v2")


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, tuple):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_array_equal(one, other)


def check_rewards_of_many(obs: Any, env: Any, reward: float, info: dict[str, Any]) -> None:
    """SB3's check of goal scenes, but for the last bit.

    Its own asks a batch for the very bits of a single one, of random scenes; a BLAS adds up the
    products of both in different orders, and in one scene of seven that shows.
    """
    goals = obs["achieved_goal"], obs["desired_goal"]
    assert reward == env.compute_reward(*goals, info)
    several = env.compute_reward(*(np.stack([goal, goal]) for goal in goals), np.array([info] * 2))
    np.testing.assert_allclose(several, [reward, reward], rtol=1e-14)


@pytest.mark.parametrize("name", scene_ids())
def test_every_scene_passes_both_environment_checkers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env_checker, "_check_goal_env_compute_reward", check_rewards_of_many)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(drive_rl.make(name, engine="reference"), skip_render_check=True)
        if name not in REWARD_PER_AGENT:
            env_checker.check_env(drive_rl.make(name, engine="reference"))


@pytest.mark.parametrize("name", scene_ids())
def test_every_scene_is_registered_with_gymnasium(name: str) -> None:
    env = gymnasium.make(f"drive_rl/{name}", engine="reference", disable_env_checker=True)
    assert env.reset(seed=0)[0] is not None
    env.close()


@pytest.mark.parametrize("name", ["highway-fast-v0", "merge-v0", "parking-v0", "lane-keeping-v0"])
def test_an_episode_equals_highway_envs_own(name: str) -> None:
    ours = drive_rl.make(name, engine="reference")
    theirs = gymnasium.make(name, disable_env_checker=True)
    assert_same(ours.reset(seed=5)[0], theirs.reset(seed=5)[0])
    ours.action_space.seed(0)
    for _ in range(8):
        action = ours.action_space.sample()
        a, b = ours.step(action), theirs.step(action)
        assert_same(a[:4], b[:4])
        for key, value in b[4].items():
            assert_same(a[4][key], value)
        if a[2] or a[3]:
            break


def test_making_an_intersection_does_not_change_other_scenes() -> None:
    def drive() -> list[float]:
        env = drive_rl.make("highway-fast-v0", engine="reference", config={"vehicles_count": 8})
        env.reset(seed=3)
        return [env.step(1)[4]["speed"] for _ in range(5)]

    before = drive()
    other = drive_rl.make("intersection-v0", engine="reference")
    other.reset(seed=0)
    other.step(1)
    assert drive() == before


@pytest.mark.parametrize(
    "name", ["highway-fast-v0", "intersection-v0", "racetrack-v0", "parking-v0", "lane-keeping-v0"]
)
def test_a_restored_state_continues_exactly(name: str) -> None:
    env = drive_rl.make(name, engine="reference")
    env.reset(seed=11)
    env.action_space.seed(1)
    actions = [env.action_space.sample() for _ in range(6)]
    for action in actions[:3]:
        env.step(action)
    state = env.get_wrapper_attr("get_state")()
    assert all(array.dtype != object for array in state.values())
    expected = [env.step(action)[:4] for action in actions[3:]]

    other = drive_rl.make(name, engine="reference")
    other.get_wrapper_attr("set_state")(state)
    assert_same(tuple(expected), tuple(other.step(action)[:4] for action in actions[3:]))


def test_sub_environment_i_is_the_single_environment_with_seed_plus_i() -> None:
    vector = drive_rl.make_vec("highway-fast-v0", 3, config=FAST, engine="reference")
    observations, _ = vector.reset(seed=20)
    try:
        for i in range(3):
            env = drive_rl.make("highway-fast-v0", config=FAST, engine="reference")
            np.testing.assert_array_equal(observations[i], env.reset(seed=20 + i)[0])
    finally:
        vector.close()


def test_worker_processes_and_one_process_agree_through_resets() -> None:
    from drive_rl.environments.vector import ReferenceProcessVectorEnv, ReferenceVectorEnv
    from drive_rl.presets import load_environment

    spec = load_environment("highway-fast-v0", FAST)
    one, several = ReferenceVectorEnv(spec, 3), ReferenceProcessVectorEnv(spec, 3, num_workers=2)
    try:
        assert_same(one.reset(seed=0)[0], several.reset(seed=0)[0])
        one.action_space.seed(0)
        for step in range(10):
            actions = one.action_space.sample()
            a, b = one.step(actions), several.step(actions)
            assert_same(a[:4], b[:4])
            assert_same(a[4].get("final_info"), b[4].get("final_info"))
            if step == 5:
                several.set_state(one.get_state())
    finally:
        several.close()


def test_the_sb3_adaptor_reports_an_episode_at_its_end() -> None:
    vector = drive_rl.make_vec("highway-fast-v0", 1, config=FAST, engine="reference")
    env = SB3VecEnv(vector)
    env.seed(0)
    env.reset()
    rewards, info = [], {}
    while not info:
        observations, reward, done, infos = env.step(np.array([1]))
        rewards.append(float(reward[0]))
        info = infos[0]
    assert done[0]
    assert info["episode"]["l"] == len(rewards)
    assert info["episode"]["r"] == pytest.approx(sum(rewards))
    assert info["TimeLimit.truncated"] is not info["crashed"]
    assert info["terminal_observation"].shape == observations[0].shape
    assert not np.array_equal(info["terminal_observation"], observations[0])
    assert env.step(np.array([1]))[3] == [{}]


@pytest.mark.parametrize("bootstrap", [True, False])
def test_a_time_limit_cuts_an_episode_off_or_ends_it_as_the_training_wants(bootstrap: bool) -> None:
    alone = {**FAST, "vehicles_count": 0}  # nobody to crash into
    vector = drive_rl.make_vec("highway-fast-v0", 1, config=alone, engine="reference")
    env = SB3VecEnv(vector, bootstrap_truncated=bootstrap)
    env.reset()
    info: dict[str, Any] = {}
    while not info:
        info = env.step(np.array([1]))[3][0]
    assert not info["crashed"]
    assert info["TimeLimit.truncated"] is bootstrap
    env.close()


def test_several_agents_are_refused_by_the_sb3_adaptor_in_one_line() -> None:
    vector = drive_rl.make_vec("intersection-multi-agent-v0", 1, engine="reference")
    with pytest.raises(UsageError, match="several agents"):
        SB3VecEnv(vector)


def test_a_vector_of_agents_with_a_reward_each_gives_their_mean() -> None:
    single = drive_rl.make("intersection-multi-agent-v1", engine="reference")
    vector = drive_rl.make_vec("intersection-multi-agent-v1", 1, engine="reference")
    single.reset(seed=1)
    vector.reset(seed=1)
    _, rewards, _, _, _ = single.step((1, 2))
    _, mean, _, _, _ = vector.step((np.array([1]), np.array([2])))
    assert isinstance(rewards, tuple)
    assert mean[0] == pytest.approx(sum(rewards) / 2)


def test_a_scene_of_the_users_own_runs_on_the_reference_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_scene.py").write_text(
        "import gymnasium\n"
        "from highway_env.envs.highway_env import HighwayEnvFast\n"
        "class Own(HighwayEnvFast):\n"
        "    pass\n"
        "gymnasium.register('Own-v0', entry_point='own_scene:Own')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    env = drive_rl.make("own_scene:Own-v0", config={"vehicles_count": 2})
    observation, _ = env.reset(seed=0)
    assert observation.shape == (5, 5)
    assert env.step(1)[4]["speed"] > 0
    sys.modules.pop("own_scene")


def test_rgb_frames_come_from_highway_env_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    env = drive_rl.make("highway-fast-v0", engine="reference", render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (150, 600, 3)
    assert frame.max() > 100
    env.close()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: drive_rl.make("higway-v0"), ["higway-v0", "highway-v0"]),
        (lambda: drive_rl.make("highway-v0", engine="fast"), ["engine", "fast"]),
        (lambda: drive_rl.make("highway-v0", render_mode="ascii"), ["render_mode", "ascii"]),
        (lambda: drive_rl.make("nowhere:X-v0"), ["nowhere"]),
        (lambda: drive_rl.make_vec("highway-v0", 0), ["num_envs", "0"]),
        (lambda: drive_rl.make_vec("highway-v0", -1), ["num_envs", "-1"]),
        (
            lambda: drive_rl.make("highway-v0", config={"observation": {"type": "Lidar"}}),
            ["Lidar", "LidarObservation"],
        ),
        (
            lambda: drive_rl.make("highway-v0", config={"observation": {"features": []}}),
            ["observation", "type"],
        ),
    ],
)
def test_wrong_use_is_one_line_that_names_the_remedy(call: Any, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_neutral_action_is_idle_or_zero() -> None:
    env = drive_rl.make("highway-fast-v0", engine="reference")
    assert neutral_action(env.action_space, {"type": "DiscreteMetaAction"}) == 1
    env = drive_rl.make("parking-v0", engine="reference")
    np.testing.assert_array_equal(neutral_action(env.action_space, {}), np.zeros(2))


def test_disabled_autoreset_resets_only_what_is_masked() -> None:
    vector = drive_rl.make_vec(
        "highway-fast-v0",
        2,
        config=FAST,
        engine="reference",
        autoreset_mode=AutoresetMode.DISABLED,
    )
    try:
        vector.reset(seed=0)
        before = vector.step(np.array([1, 1]))[0]
        mask = np.array([False, True])
        after, _ = vector.reset(seed=[None, 1], options={"reset_mask": mask})
        np.testing.assert_array_equal(after[0], before[0])
        alone = drive_rl.make("highway-fast-v0", config=FAST, engine="reference").reset(seed=1)[0]
        np.testing.assert_array_equal(after[1], alone)
    finally:
        vector.close()
