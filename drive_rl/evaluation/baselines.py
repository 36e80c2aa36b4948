"""Policies that need no training: what any trained one has to beat.

A baseline is a policy that may also look behind the observation: `bind` hands it the vector
environment that it will drive, `start_episodes` tells it which episode each slot has begun. It
must act in an episode by that episode's seed alone, so that neither the number of slots nor the
one it runs in shows in the result.

Each name below leads to one class, imported when asked for: further baselines live in modules of
their own and add one line here.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from drive_rl.environments.reference import neutral_action
from drive_rl.errors import UsageError, unknown
from drive_rl.evaluation.batches import batch_size, first
from drive_rl.presets import EnvironmentSpec, load_environment

_BASELINES: dict[str, str] = {
    "random": "drive_rl.evaluation.baselines:RandomPolicy",
    "idle": "drive_rl.evaluation.baselines:IdlePolicy",
    "rule": "drive_rl.evaluation.rule:RulePolicy",
    "planner": "drive_rl.evaluation.planner:Planner",
}


class Baseline(abc.ABC):
    """A policy that is made rather than trained.

    Attributes:
        name: what users call it.
        spec_env: the environment it was made for; None until it is bound.
        seed: of the first slot's episode, until `start_episodes` says otherwise.
    """

    name: ClassVar[str]

    def __init__(self, spec_env: EnvironmentSpec | None = None, seed: int = 0) -> None:
        self.spec_env = spec_env
        self.seed = seed
        self.num_envs = 0
        self._envs: gymnasium.vector.VectorEnv | None = None
        self._observation_space: spaces.Space[Any] | None = None
        self._action_space: spaces.Space[Any] | None = None

    def bind(self, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        """Take the vector environment to drive; slot i of a batch is its sub-environment i."""
        self._envs = envs
        self.spec_env = getattr(envs, "spec_env", self.spec_env)
        self._observation_space = envs.single_observation_space
        self._action_space = envs.single_action_space
        self.num_envs = envs.num_envs
        self.start_episodes(np.arange(envs.num_envs), self.seed + np.arange(envs.num_envs))

    def start_episodes(  # noqa: B027  (most baselines have no use for it)
        self, slots: npt.NDArray[np.int64], seeds: npt.NDArray[np.int64]
    ) -> None:
        """Slots whose episodes begin now, and the seeds these were reset with, both (n,)."""

    @abc.abstractmethod
    def act(self, observations: Any, count: int) -> Any:
        """Actions of all `count` slots, batched as the vector environment takes them."""

    def predict(self, observations: Any, deterministic: bool = True) -> Any:
        """Actions for a batch of observations, or one action for a single one.

        Args:
            observations: as the environment gives them, batched or not.
            deterministic: ignored; a baseline's chance is part of it, and seeded.
        """
        if self._action_space is None:
            self._look_up_spaces()
        assert self._observation_space is not None
        count = batch_size(self._observation_space, observations)
        if count is None:
            self._resize(1)
            return first(self.action_space, self.act(observations, 1))
        self._resize(count)
        return self.act(observations, count)

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of one sub-environment."""
        if self._action_space is None:
            self._look_up_spaces()
        assert self._action_space is not None
        return self._action_space

    def _resize(self, count: int) -> None:
        """Outside `bind`, the number of slots is whatever arrives."""
        if count != self.num_envs:
            self.num_envs = count
            self.start_episodes(np.arange(count), self.seed + np.arange(count))

    def _look_up_spaces(self) -> None:
        if self.spec_env is None:
            raise UsageError(f"the baseline {self.name!r} needs an environment; name one")
        from drive_rl.environments import make

        env = make(self.spec_env)
        self._observation_space, self._action_space = env.observation_space, env.action_space
        env.close()


class RandomPolicy(Baseline):
    """Uniformly random actions, from a stream of their own for every episode."""

    name = "random"
    _BLOCK = 64
    _draw: npt.NDArray[np.float64] = np.empty((0, _BLOCK, 0))

    def start_episodes(self, slots: npt.NDArray[np.int64], seeds: npt.NDArray[np.int64]) -> None:
        width = _draws(self.action_space)
        if self._draw.shape[0] != self.num_envs:
            self._streams = [np.random.default_rng(0) for _ in range(self.num_envs)]
            self._draw = np.zeros((self.num_envs, self._BLOCK, width))
            self._cursor = np.zeros(self.num_envs, np.int64)
        for slot, seed in zip(slots.tolist(), seeds.tolist(), strict=True):
            self._streams[slot] = np.random.default_rng([0xAC710, seed])
            self._draw[slot] = self._streams[slot].random((self._BLOCK, width))
            self._cursor[slot] = 0

    def act(self, observations: Any, count: int) -> Any:
        for slot in np.flatnonzero(self._cursor == self._BLOCK).tolist():
            self._draw[slot] = self._streams[slot].random(self._draw.shape[1:])
            self._cursor[slot] = 0
        draws = self._draw[np.arange(count), self._cursor]
        self._cursor += 1
        return _from_uniform(self.action_space, draws)


class IdlePolicy(Baseline):
    """The meta-action IDLE, or the middle of a continuous action: hold speed, hold the wheel."""

    name = "idle"

    def act(self, observations: Any, count: int) -> Any:
        assert self.spec_env is not None
        config = self.spec_env.full_config["action"]
        return _repeated(neutral_action(self.action_space, config), count)


def baseline_names() -> list[str]:
    """The names that `make_baseline` takes."""
    return list(_BASELINES)


def make_baseline(name: str, env: str | EnvironmentSpec | None = None, seed: int = 0) -> Baseline:
    """A baseline by name.

    Args:
        name: one of `baseline_names`.
        env: the environment to drive; may be left out where `bind` will tell.
        seed: what its chance derives from while nobody calls `start_episodes`.

    Raises:
        UsageError: no baseline or no environment has that name.
    """
    if name not in _BASELINES:
        raise unknown("policy", name, _BASELINES)
    module, _, attribute = _BASELINES[name].partition(":")
    cls: type[Baseline] = getattr(importlib.import_module(module), attribute)
    return cls(None if env is None else load_environment(env), seed)


def _repeated(action: Any, count: int) -> Any:
    if isinstance(action, tuple):
        return tuple(_repeated(each, count) for each in action)
    return np.repeat(np.asarray(action)[None], count, axis=0)


def _draws(space: spaces.Space[Any]) -> int:
    """Uniform numbers that one random action takes."""
    if isinstance(space, spaces.Tuple):
        return sum(_draws(each) for each in space.spaces)
    if isinstance(space, spaces.Discrete):
        return 1
    if isinstance(space, spaces.Box) and space.is_bounded():
        return int(np.prod(space.shape))
    raise UsageError(f"no random action is known for the action space {space}")


def _from_uniform(space: spaces.Space[Any], draws: npt.NDArray[np.float64]) -> Any:
    """A batch of actions, uniform over `space`, from draws in [0, 1) of shape (n, _draws)."""
    if isinstance(space, spaces.Tuple):
        ends = np.cumsum([_draws(each) for each in space.spaces])[:-1]
        parts: Sequence[npt.NDArray[np.float64]] = np.split(draws, ends, axis=1)
        return tuple(_from_uniform(s, d) for s, d in zip(space.spaces, parts, strict=True))
    if isinstance(space, spaces.Discrete):
        return space.start + (draws[:, 0] * space.n).astype(np.int64)
    assert isinstance(space, spaces.Box)
    shaped = draws.reshape(-1, *space.shape)
    return (space.low + (space.high - space.low) * shaped).astype(space.dtype)
