"""What RLlib's workers step: drive-rl's vector environment, many episodes in each worker."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from ray.rllib.callbacks.callbacks import RLlibCallback

from drive_rl.environments import make_vec
from drive_rl.presets import RunSpec

EPISODES = 100
"""Over how many episodes of each worker the figures are means."""

FIGURES = ("crash_rate", "speed")
"""Means over episodes that RLlib does not keep by itself."""


class Episodes(gymnasium.vector.VectorWrapper):
    """Tells of an episode at its end, and nothing before: a dictionary per step costs more.

    An ended episode's info holds `crashed` and `speed_mean` [m/s].
    """

    def __init__(self, env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self._speed_sum = np.zeros(env.num_envs)
        self._length = np.zeros(env.num_envs)
        self._ended = np.zeros(env.num_envs, dtype=np.bool_)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Reset all."""
        observations, _ = self.env.reset(seed=seed, options=options)
        self._ended[:] = True  # nothing of what was before counts
        self._start()
        return observations, {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One decision of each; where an episode has ended, its successor's reset."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        decided = ~self._ended
        self._start()
        self._speed_sum += np.where(decided, info["speed"], 0.0)
        self._length += decided
        self._ended = ended = terminated | truncated
        told = {}
        if ended.any():
            means = self._speed_sum / np.maximum(self._length, 1)
            told = {
                "crashed": np.array(info["crashed"]),
                "_crashed": ended,
                "speed_mean": means,
                "_speed_mean": ended,
            }
        return observations, rewards, terminated, truncated, told

    def _start(self) -> None:
        """Forget the episodes that have ended."""
        self._speed_sum[self._ended] = self._length[self._ended] = 0
        self._ended = np.zeros_like(self._ended)


def make_env(context: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """The environment of one worker; called by RLlib, on whatever node the worker is."""
    spec = RunSpec.model_validate_json(context["spec"])
    return Episodes(
        make_vec(
            spec.env,
            int(context["num_envs"]),
            engine=spec.engine,
            num_threads=1,
            # RLlib takes the step after an episode's end for the reset.
            autoreset_mode=AutoresetMode.NEXT_STEP,
        )
    )


class EpisodeFigures(RLlibCallback):  # type: ignore[misc]
    """Adds `FIGURES` to what RLlib's workers say."""

    def on_episode_end(self, *, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
        """An episode has ended."""
        info = episode.get_infos(-1)
        values = (float(info["crashed"]), float(info["speed_mean"]))
        for name, value in zip(FIGURES, values, strict=True):
            metrics_logger.log_value(name, value, reduce="mean", window=EPISODES)
