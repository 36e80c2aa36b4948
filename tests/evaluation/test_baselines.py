"""Baselines act by themselves, too: in the viewer, or on one observation."""

import numpy as np
import pytest

from drive_rl.environments import make
from drive_rl.errors import UsageError
from drive_rl.evaluation import baseline_names, make_baseline
from drive_rl.presets import environment_names

DRIVEN = ("highway-fast-v0", "intersection-multi-agent-v0", "racetrack-v0", "parking-v0")


@pytest.mark.parametrize("name", ["random", "idle"])
@pytest.mark.parametrize("env_id", DRIVEN)
def test_a_baseline_gives_one_valid_action_for_one_observation(name, env_id):
    env = make(env_id, engine="reference")
    observation, _ = env.reset(seed=0)
    baseline = make_baseline(name, env_id, seed=4)
    for _ in range(3):
        action = baseline.predict(observation)
        assert env.action_space.contains(action), action
        observation = env.step(action)[0]
    env.close()


def test_random_differs_by_seed_and_repeats_by_seed():
    observation = np.zeros((6, 5, 5), np.float32)

    def actions(seed):
        baseline = make_baseline("random", "highway-fast-v0", seed)
        return np.stack([baseline.predict(observation) for _ in range(20)])

    assert (actions(1) == actions(1)).all()
    assert (actions(1) != actions(2)).any()
    assert set(actions(1).ravel()) == {0, 1, 2, 3, 4}


def test_random_continuous_actions_fill_the_space():
    baseline = make_baseline("random", "racetrack-v0")
    env = make("racetrack-v0", engine="reference")
    shape = env.observation_space.shape
    actions = np.concatenate([baseline.predict(np.zeros((50, *shape))) for _ in range(20)])
    assert actions.dtype == np.float32
    assert actions.min() < -0.98
    assert actions.max() > 0.98
    assert abs(actions.mean()) < 0.06


def test_idle_holds_speed_and_lane():
    env = make("highway-v0", engine="reference", config={"vehicles_count": 0, "duration": 5})
    observation, info = env.reset(seed=0)
    speed, lane = info["speed"], info["lane_index"]
    baseline = make_baseline("idle", "highway-v0")
    for _ in range(4):
        observation, *_, info = env.step(baseline.predict(observation))
    assert info["lane_index"] == lane
    assert info["speed"] == pytest.approx(speed, abs=0.5)


def test_an_unknown_baseline_is_named_with_the_nearest():
    assert {"random", "idle"} <= set(baseline_names())
    with pytest.raises(UsageError, match="did you mean 'random'"):
        make_baseline("randon")


def test_a_baseline_without_an_environment_asks_for_one():
    with pytest.raises(UsageError, match="needs an environment"):
        make_baseline("random").predict(np.zeros((2, 5, 5)))


def test_baselines_know_every_environment():
    assert len(environment_names()) >= 31
    for env_id in ("lane-keeping-v0", "u-turn-v0"):
        env = make(env_id, engine="reference")
        assert env.action_space.contains(make_baseline("idle", env_id).predict(env.reset()[0]))
        env.close()
