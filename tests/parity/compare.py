"""One comparison for every scene: the compiled engine beside highway-env, decision by decision.

highway-env is played by the reference engine, which keeps to itself what a scene writes on the
class IDMVehicle, so its word is that of a fresh process.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium import spaces

from drive_rl.environments.compiled import CompiledVectorEnv
from drive_rl.environments.vector import make_reference_env
from drive_rl.presets import load_environment

TOLERANCE = 1e-6


class Played(NamedTuple):
    """What happened on the way, so that a test can ask that something did."""

    resets: int
    crashes: int
    terminated: int
    truncated: int
    successes: int
    max_error: float


def draw_action(space: spaces.Space[Any], rng: np.random.Generator, boldness: float) -> Any:
    """A random action; the less bold, the more often the neutral one."""
    if isinstance(space, spaces.Tuple):
        return tuple(draw_action(each, rng, boldness) for each in space)
    if isinstance(space, spaces.Discrete):
        if rng.random() > boldness:
            return 1 if space.n in (3, 5) else int(space.n) // 2
        return int(rng.integers(space.n))
    assert isinstance(space, spaces.Box)
    return (boldness * rng.uniform(-1, 1, space.shape)).astype(np.float32)


def assert_same_episodes(
    env_id: str,
    config: dict[str, Any],
    seed: int,
    steps: int,
    boldness: float = 1.0,
    always: int | None = None,
) -> Played:
    """Play `steps` decisions through as many episodes as they take, never synchronised again.

    The compiled environment is the second of three, so slots and threads must not matter.
    Actions are random (`draw_action`), or `always` the same.
    """
    spec = load_environment(env_id, config)
    reference = make_reference_env(spec, reward_per_agent=False)
    compiled = CompiledVectorEnv(spec.base, 3, spec.full_config, num_threads=2)
    rng = np.random.default_rng(seed)
    errors = [0.0]
    has_pictures = "GrayscaleObservation" in str(spec.full_config["observation"])

    def same(one: Any, other: Any) -> None:
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        np.testing.assert_allclose(other, one, rtol=0, atol=TOLERANCE)
        if one.size:
            errors.append(float(np.max(np.abs(np.nan_to_num(one) - np.nan_to_num(other)))))

    def same_observation(one: Any, row: Any) -> None:
        one, row = _leaves(one), _leaves(row)
        assert [each.shape for each in one] == [each.shape for each in row]
        for mine, theirs in zip(one, row, strict=True):
            if has_pictures:  # the bar of tests/camera/test_grayscale.py
                assert (mine == theirs).mean() >= 0.99
                assert np.abs(mine.astype(int) - theirs).mean() < 1
            else:
                same(mine, theirs)

    def same_info(one: dict[str, Any], said: dict[str, Any]) -> None:
        assert bool(said["crashed"][1]) == bool(one["crashed"])
        same(one["speed"], said["speed"][1])
        assert ("rewards" in said) == ("rewards" in one)  # parking and lane-keeping have none
        if "rewards" in one:
            assert list(said["rewards"])[::2] == list(one["rewards"])
        for name, value in one.get("rewards", {}).items():
            same(value, said["rewards"][name][1])
        for name in ("agents_rewards", "agents_terminated"):
            if name in one:
                same(one[name], said[name][1])
        for name in ("on_road", "lane_index", "is_success"):
            assert (name in one) == (name in said and bool(said[f"_{name}"][1]))
            if name in one:
                assert np.array_equal(said[name][1], one[name])

    observation, info = reference.reset(seed=seed)
    rows, said = compiled.reset(seed=[seed + 1000, seed, seed + 2000])
    same_observation(observation, _row(rows))
    same_info(info, said)
    resets = crashes = ends = limits = successes = 0
    for _ in range(steps):
        action = draw_action(reference.action_space, rng, boldness) if always is None else always
        observation, reward, terminated, truncated, info = reference.step(action)
        rows, rewards, ended, limited, said = compiled.step(_batch(action, 3))
        over = terminated or truncated
        assert bool(ended[1]) == terminated
        assert bool(limited[1]) == truncated
        assert rewards[1] == pytest.approx(reward, abs=TOLERANCE)
        final = said["final_info"] if over else said
        same_observation(observation, said["final_obs"][1] if over else _row(rows))
        same_info(info, final)
        crashes += bool(info["crashed"])
        successes += bool(np.any(info.get("is_success", False)))
        if over:
            resets += 1
            ends += terminated
            limits += truncated
            observation, info = reference.reset()
            same_observation(observation, _row(rows))
            same_info(info, said)
    compiled.close()
    return Played(resets, crashes, ends, limits, successes, max(errors))


def _batch(action: Any, count: int) -> Any:
    if isinstance(action, tuple):
        return tuple(_batch(each, count) for each in action)
    return np.stack([np.asarray(action)] * count)


def _row(observations: Any) -> Any:
    """The second environment's part of batched observations."""
    if isinstance(observations, dict):
        return {name: value[1] for name, value in observations.items()}
    if isinstance(observations, tuple):
        return tuple(_row(value) for value in observations)
    return observations[1]


def _leaves(observation: Any) -> list[Any]:
    if isinstance(observation, dict):
        return [leaf for value in observation.values() for leaf in _leaves(value)]
    if isinstance(observation, tuple):
        return [leaf for value in observation for leaf in _leaves(value)]
    return [np.asarray(observation)]
