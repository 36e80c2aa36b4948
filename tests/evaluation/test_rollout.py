"""Rollouts count every episode once, and the same whatever runs beside it."""

import numpy as np
import pytest

from drive_rl.environments.vector import ReferenceVectorEnv
from drive_rl.errors import UsageError
from drive_rl.evaluation.baselines import make_baseline
from drive_rl.evaluation.metrics import columns_of
from drive_rl.evaluation.rollout import drive, longest_episode
from drive_rl.presets import load_environment

from .scripted import ScriptedVector


class Constant:
    """Always the same action."""

    def predict(self, observations, deterministic=True):
        return np.full(len(observations), 3)


class Dice:
    """A stochastic policy whose odds depend on the observation."""

    def predict(self, observations, deterministic=True):
        return self.action_probabilities(observations).argmax(axis=1)

    def action_probabilities(self, observations):
        odds = 1.0 + (observations[:, :1] * np.arange(1, 6)) % 3
        return odds / odds.sum(axis=1, keepdims=True)


def test_each_episode_is_accounted_for_as_scripted():
    driven = drive(Constant(), ScriptedVector(4), episodes=9, seed=10, max_steps=20)
    seeds = 10 + np.arange(9)
    length = np.where(seeds % 5 == 4, 20, 3 + seeds % 4)
    crashed = (seeds % 2 == 1) & (seeds % 5 != 4)
    assert driven.seed.tolist() == seeds.tolist()
    assert driven.length.tolist() == length.tolist()
    assert driven.returns.tolist() == (seeds * length).tolist()
    assert driven.speed.tolist() == (10.0 + seeds).tolist()
    assert driven.distance.tolist() == ((10.0 + seeds) * length).tolist()
    assert driven.crashed.tolist() == crashed.tolist()
    assert driven.off_road.tolist() == crashed.tolist()
    assert driven.lane_changes.tolist() == [1] * 9
    assert driven.capped.tolist() == (seeds % 5 == 4).tolist()
    assert np.isnan(driven.success).all()


@pytest.mark.parametrize("policy", [Constant, Dice], ids=["deterministic", "sampled"])
@pytest.mark.parametrize("num_envs", [1, 3, 7, 11])
def test_episodes_do_not_depend_on_how_many_run_together(policy, num_envs):
    alone, together = ScriptedVector(1), ScriptedVector(num_envs)
    first = drive(policy(), alone, episodes=11, seed=0, max_steps=9, deterministic=False)
    second = drive(policy(), together, episodes=11, seed=0, max_steps=9, deterministic=False)
    _assert_equal(first, second)
    for seed in range(11):
        length = first.length[seed]
        assert alone.actions[seed][:length] == together.actions[seed][:length]


def test_sampled_actions_differ_between_episodes_and_follow_the_odds():
    envs = ScriptedVector(50)
    drive(Dice(), envs, episodes=50, seed=0, max_steps=40, deterministic=False)
    endless = [envs.actions[seed] for seed in range(4, 50, 5)]
    assert len({tuple(actions) for actions in endless}) == len(endless)
    drawn = np.bincount(envs.actions[4], minlength=5) / len(envs.actions[4])
    odds = Dice().action_probabilities(np.array([[4.0, 0.0]]))[0]
    assert np.abs(drawn - odds).max() < 0.25


def test_random_baseline_draws_by_episode_and_not_by_slot():
    alone, together = ScriptedVector(1), ScriptedVector(6)
    for envs in (alone, together):
        drive(make_baseline("random"), envs, episodes=12, seed=5, max_steps=100)
    for seed in range(5, 17):
        count = len(alone.actions[seed])
        assert alone.actions[seed] == together.actions[seed][:count]
    assert len({tuple(actions[:5]) for actions in alone.actions.values()}) > 6


@pytest.mark.parametrize(
    "env", ["highway-fast-v0", "intersection-multi-agent-v0", "racetrack-v0", "parking-v0"]
)
def test_real_scenes_give_the_same_episodes_for_every_number_of_environments(env):
    config = {} if env.startswith("racetrack") else {"duration": 4}
    spec = load_environment(env, config)
    results = []
    for num_envs in (1, 3):
        envs = ReferenceVectorEnv(spec, num_envs, "Disabled")
        results.append(drive(make_baseline("random"), envs, episodes=5, seed=2, max_steps=15))
        envs.close()
    _assert_equal(*results)
    assert (results[0].length > 0).all()


def test_parking_has_no_roads_to_leave_but_goals_to_reach():
    spec = load_environment("parking-v0", {"duration": 1})
    envs = ReferenceVectorEnv(spec, 1, "Disabled")
    driven = drive(make_baseline("idle"), envs, episodes=2, seed=0)
    assert np.isnan(driven.off_road).all()
    assert driven.success.tolist() == [0.0, 0.0]


def test_an_episode_without_an_end_of_its_own_ends_after_100_simulated_seconds():
    assert longest_episode(load_environment("merge-v0")) == 100
    assert longest_episode(load_environment("lane-keeping-v0")) == 1000
    assert longest_episode(load_environment("racetrack-v0")) == 1500  # its own 300 s, at 5 Hz


def test_progress_counts_up_to_the_number_of_episodes():
    seen = []
    drive(Constant(), ScriptedVector(3), episodes=8, seed=0, max_steps=9, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 8


def test_a_policy_for_other_observations_is_named():
    class Elsewhere(Constant):
        observation_space = ScriptedVector(1).single_action_space

    with pytest.raises(UsageError, match="observation space"):
        drive(Elsewhere(), ScriptedVector(2), episodes=2, seed=0)


def test_a_policy_that_returns_one_action_for_a_batch_is_named():
    class Single:
        def predict(self, observations):
            return 1

    with pytest.raises(UsageError, match="Single gave 1 actions for 64 observations"):
        drive(Single(), ScriptedVector(2), episodes=2, seed=0)


def test_predict_in_stable_baselines_form_is_understood():
    class Pair(Constant):
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            assert deterministic
            return np.full(len(observation), 2), None

    envs = ScriptedVector(2)
    drive(Pair(), envs, episodes=2, seed=0)
    assert set(envs.actions[0]) == {2}


def _assert_equal(first, second):
    for name, column in columns_of(first).items():
        np.testing.assert_array_equal(column, columns_of(second)[name], err_msg=name)
