"""A vector environment whose episodes are written down, to check the accounts of a rollout."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from drive_rl.presets import load_environment


class ScriptedVector(gymnasium.vector.VectorEnv):
    """Episodes that are functions of their seed.

    The episode of seed s has `3 + s % 4` decisions, pays s each, drives at 10 + s m/s, changes
    from lane 0 to lane 1 at decision 2, and at its end crashes where s is odd. Every fifth never
    ends by itself. Its observation is (seed, decisions so far).
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, num_envs: int, env: str = "highway-fast-v0") -> None:
        self.spec_env = load_environment(env)
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.single_action_space = spaces.Discrete(5)
        self.actions: dict[int, list[int]] = {}
        self._seed = np.zeros(num_envs, np.int64)
        self._steps = np.zeros(num_envs, np.int64)
        self._over = np.ones(num_envs, np.bool_)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        self._seed[mask] = np.asarray(seed)[mask]
        self._steps[mask] = 0
        self._over[mask] = False
        lane = np.zeros(self.num_envs, np.int64)
        lane[~mask] = 77  # what is not reset says nothing
        return self._observe(), {"lane_index": lane, "_lane_index": mask}

    def step(self, actions: Any) -> Any:
        assert not self._over.any(), "a sub-environment that has ended was stepped"
        for seed, action in zip(self._seed.tolist(), np.asarray(actions).tolist(), strict=True):
            self.actions.setdefault(seed, []).append(action)
        self._steps += 1
        last = (self._steps == 3 + self._seed % 4) & (self._seed % 5 != 4)
        crashed = last & (self._seed % 2 == 1)
        self._over = last
        everyone = np.ones(self.num_envs, np.bool_)
        infos = {
            "speed": 10.0 + self._seed,
            "crashed": crashed,
            "on_road": ~crashed,
            "lane_index": (self._steps >= 2).astype(np.int64),
        }
        infos |= {f"_{name}": everyone for name in list(infos)}
        return self._observe(), self._seed.astype(float), crashed, last & ~crashed, infos

    def _observe(self) -> Any:
        return np.stack([self._seed, self._steps], axis=1).astype(np.float32)
