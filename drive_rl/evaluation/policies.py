"""Whatever can drive, in the one form that rollouts use.

A policy is anything with `predict(observations)`. Three things are added to it here, all so that
results do not depend on how many environments run side by side:

- Predictions are made in batches of a fixed size. The last bits of a matrix product depend on the
  shape of the batch, and a last bit can tip an argmax.
- Where actions are sampled, each episode has a random stream of its own.
- A policy that looks behind the observation learns which episode each slot has begun.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from drive_rl.errors import UsageError
from drive_rl.evaluation.baselines import Baseline, baseline_names, make_baseline
from drive_rl.evaluation.batches import joined, length, take

BATCH = 64
"""Observations per prediction, whatever the number of environments."""


class Policy(Protocol):
    """What `evaluate` takes besides names."""

    def predict(self, observations: Any, deterministic: bool = True) -> Any:
        """Actions, batch first, for observations, batch first."""


class Driver(Protocol):
    """A policy at the wheel of one vector environment."""

    def start_episodes(self, slots: npt.NDArray[np.int64], seeds: npt.NDArray[np.int64]) -> None:
        """Slots whose episodes begin now, and their seeds, both (n,)."""

    def act(self, observations: Any) -> Any:
        """Actions of all slots, batched as the vector environment takes them."""


def load(policy: Any) -> tuple[str, Any]:
    """A policy and its name, from whatever names one.

    Args:
        policy: a baseline's name, what `drive_rl.load_policy` takes (a run or checkpoint folder,
            the name of a shipped policy), or an object with `predict`.

    Raises:
        UsageError: nothing of that name, or an object that cannot predict.
    """
    if isinstance(policy, str) and policy in baseline_names():
        return policy, make_baseline(policy)
    if isinstance(policy, (str, os.PathLike)):
        # Training evaluates what it has trained, so this package cannot import it at the top.
        training = importlib.import_module("drive_rl.training")
        loaded = training.load_policy(policy)
        return str(getattr(loaded, "name", None) or Path(policy).name), loaded
    if not callable(getattr(policy, "predict", None)):
        raise UsageError(f"{type(policy).__name__} is no policy: it has no predict()")
    return str(getattr(policy, "name", None) or type(policy).__name__), policy


def driver(
    policy: Any, envs: gymnasium.vector.VectorEnv[Any, Any, Any], deterministic: bool
) -> Driver:
    """Put a policy at the wheel of `envs`.

    Raises:
        UsageError: the policy was trained on observations or actions of another shape.
    """
    if isinstance(policy, Baseline) or hasattr(policy, "start_episodes"):
        return _BoundDriver(policy, envs)
    _check_space(policy, "observation_space", envs.single_observation_space)
    _check_space(policy, "action_space", envs.single_action_space)
    if not deterministic:
        return _SamplingDriver(policy, envs)
    return _PredictingDriver(policy, envs)


class _BoundDriver:
    """A policy that is told about episodes itself."""

    def __init__(self, policy: Any, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        policy.bind(envs)
        self.start_episodes: Callable[..., None] = policy.start_episodes
        self.act: Callable[[Any], Any] = policy.predict


class _PredictingDriver:
    """The policy's best action, predicted in batches of fixed size."""

    deterministic = True

    def __init__(self, policy: Any, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        self.policy = policy
        self.num_envs = envs.num_envs
        self.space = envs.single_action_space
        self._options = {"deterministic": self.deterministic}
        parameters = inspect.signature(policy.predict).parameters.values()
        if not any(p.name == "deterministic" or p.kind is p.VAR_KEYWORD for p in parameters):
            self._options = {}

    def start_episodes(self, slots: npt.NDArray[np.int64], seeds: npt.NDArray[np.int64]) -> None:
        pass

    def act(self, observations: Any) -> Any:
        return joined([self._chunk(observations, at) for at in range(0, self.num_envs, BATCH)])

    def _chunk(self, observations: Any, start: int) -> Any:
        rows = np.minimum(np.arange(start, start + BATCH), self.num_envs - 1)
        actions = self.actions(take(observations, rows), rows)
        return take(actions, np.arange(min(BATCH, self.num_envs - start)))

    def actions(self, observations: Any, rows: npt.NDArray[np.int64]) -> Any:
        """Actions of one batch; rows names the slots it came from, (BATCH,)."""
        return self._checked(self.policy.predict(observations, **self._options), len(rows))

    def _checked(self, actions: Any, count: int) -> Any:
        if isinstance(self.space, spaces.Tuple):
            actions = tuple(actions)
        elif isinstance(actions, tuple):  # Stable-Baselines3: (actions, states)
            actions = actions[0]
        if not isinstance(actions, tuple):
            actions = np.atleast_1d(actions)
        if length(actions) != count:
            raise UsageError(
                f"predict() of {type(self.policy).__name__} gave {length(actions)} actions "
                f"for {count} observations; both come batch first"
            )
        return actions


class _SamplingDriver(_PredictingDriver):
    """Actions sampled from the policy's distribution, by each episode's own random stream."""

    deterministic = False

    def __init__(self, policy: Any, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        super().__init__(policy, envs)
        self._streams = [np.random.default_rng(0) for _ in range(self.num_envs)]
        self._probabilities = getattr(policy, "action_probabilities", None)
        if not isinstance(self.space, spaces.Discrete):
            self._probabilities = None

    def start_episodes(self, slots: npt.NDArray[np.int64], seeds: npt.NDArray[np.int64]) -> None:
        for slot, seed in zip(slots.tolist(), seeds.tolist(), strict=True):
            self._streams[slot] = np.random.default_rng([0x5A3B1E, seed])

    def act(self, observations: Any) -> Any:
        if self._probabilities is not None:
            return super().act(observations)
        # A continuous policy draws inside torch: one prediction per slot, torch seeded for it.
        return joined([self._one(observations, slot) for slot in range(self.num_envs)])

    def actions(self, observations: Any, rows: npt.NDArray[np.int64]) -> Any:
        assert self._probabilities is not None
        assert isinstance(self.space, spaces.Discrete)
        probabilities = self._probabilities(observations)
        if probabilities is None:  # a policy without a distribution, such as DQN's
            return self._checked(self.policy.predict(observations, **self._options), len(rows))
        chosen = np.zeros(len(rows), np.int64)
        heights = np.cumsum(np.asarray(probabilities, np.float64), axis=1)
        for i, slot in enumerate(dict.fromkeys(rows.tolist())):
            height = self._streams[slot].random() * heights[i, -1]
            chosen[i] = min(np.searchsorted(heights[i], height, side="right"), self.space.n - 1)
        return chosen + self.space.start

    def _one(self, observations: Any, slot: int) -> Any:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self._streams[slot].integers(2**62)))
            own = take(observations, np.full(1, slot))
            return self._checked(self.policy.predict(own, **self._options), 1)


def _check_space(policy: Any, name: str, space: spaces.Space[Any]) -> None:
    own = getattr(policy, name, None)
    if isinstance(own, spaces.Space) and _shapes(own) != _shapes(space):
        raise UsageError(
            f"this policy's {name.replace('_', ' ')} is {own}, the environment's is {space}; "
            "evaluate it on the environment it was trained for"
        )


def _shapes(space: spaces.Space[Any]) -> Any:
    """What must agree between two spaces: shapes and counts, not bounds."""
    if isinstance(space, spaces.Dict):
        return {key: _shapes(each) for key, each in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return [_shapes(each) for each in space.spaces]
    if isinstance(space, spaces.Discrete):
        return ("discrete", int(space.n))
    return space.shape
