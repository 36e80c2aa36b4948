"""Episodes that highway-env once played come out of the compiled engine again."""

from __future__ import annotations

import numpy as np
import pytest

from drive_rl.environments.compiled import CompiledEnv
from drive_rl.presets import load_environment
from tests.parity.golden.make import EPISODES, HERE, actions

TOLERANCE = 1e-6


@pytest.mark.parametrize("name", EPISODES)
def test_a_golden_episode_is_played_again(name):
    env_id, config, seed, decisions = EPISODES[name]
    with np.load(HERE / f"{name}.npz") as arrays:
        golden = dict(arrays)
    spec = load_environment(env_id, config or None)
    env = CompiledEnv(spec.base, spec.full_config)
    firsts = iter(golden["first"])
    observation, _ = env.reset(seed=seed)
    np.testing.assert_allclose(observation, next(firsts), rtol=0, atol=TOLERANCE)
    for k, action in enumerate(actions(env_id, seed, decisions)):
        observation, reward, terminated, truncated, info = env.step(int(action))
        np.testing.assert_allclose(observation, golden["observation"][k], rtol=0, atol=TOLERANCE)
        assert reward == pytest.approx(golden["reward"][k], abs=TOLERANCE)
        assert (terminated, truncated) == (golden["terminated"][k], golden["truncated"][k])
        assert info["crashed"] == golden["crashed"][k]
        assert info["speed"] == pytest.approx(golden["speed"][k], abs=TOLERANCE)
        said = [float(value) for value in info["rewards"].values()]
        np.testing.assert_allclose(said, golden["rewards"][k], rtol=0, atol=TOLERANCE)
        if terminated or truncated:
            observation, _ = env.reset()
            np.testing.assert_allclose(observation, next(firsts), rtol=0, atol=TOLERANCE)
