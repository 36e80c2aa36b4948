"""Real observations: what a policy sees while it drives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from drive_rl.deployment.network import input_names
from drive_rl.environments import make_vec
from drive_rl.presets import EnvironmentSpec, load_environment

Members = dict[str, NDArray[Any]]
"""A batch of observations: one array per input of the network, batch first."""

Disturbance = Callable[[Members], Members]
"""What a faulty sensor makes of observations."""

STREAMS = 16
"""Environments side by side: many episodes, and each of them in one piece."""


@dataclasses.dataclass(frozen=True, eq=False)
class Traffic:
    """Decisions in the order they were taken.

    Attributes:
        observations: by input name, (streams, decisions, ...); each stream is one environment,
            its episodes one after the other.
    """

    observations: Members

    @property
    def streams(self) -> int:
        """Environments."""
        return len(next(iter(self.observations.values())))

    def stream(self, index: int) -> Members:
        """The decisions of one environment, (decisions, ...) each."""
        return {name: array[index] for name, array in self.observations.items()}

    def flat(self, count: int | None = None) -> Members:
        """All observations as one batch, the streams taking turns; at most `count`."""
        return {
            name: np.swapaxes(array, 0, 1).reshape(-1, *array.shape[2:])[:count]
            for name, array in self.observations.items()
        }


def record(
    policy: Any,
    decisions: int,
    *,
    env: str | EnvironmentSpec | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    streams: int = STREAMS,
    engine: str = "auto",
    disturb: Disturbance | None = None,
    num_threads: int | None = None,
) -> Traffic:
    """Let a policy drive and keep what it saw.

    Args:
        policy: a `drive_rl.training.Policy`.
        decisions: how many at least, over all streams.
        env: where; None takes the environment that the policy was trained in.
        config: highway-env configuration on top.
        seed: stream i begins with `reset(seed=seed + i)`.
        disturb: applied to each batch before the policy sees it.

    Raises:
        UsageError: an unknown environment, or one with other observations than the policy's.
    """
    spec = load_environment(policy.spec.env if env is None else env, config)
    if env is not None:
        own = policy.spec.env.full_config
        spec = load_environment(spec, {key: own[key] for key in ("observation", "action")})
    each = -(-decisions // streams)
    envs = make_vec(spec, streams, engine=engine, num_threads=num_threads)
    kept: dict[str, list[NDArray[Any]]] = {name: [] for name in _names(policy)}
    try:
        observations, _ = envs.reset(seed=seed)
        for _ in range(each):
            members = as_members(policy.observation_space, observations)
            if disturb is not None:
                members = disturb(members)
            for name, array in members.items():
                kept[name].append(np.array(array))
            actions = policy.predict(as_observations(policy.observation_space, members))
            observations, *_ = envs.step(actions)
    finally:
        envs.close()
    return Traffic({name: np.stack(arrays, axis=1) for name, arrays in kept.items()})


def as_members(space: spaces.Space[Any], observations: Any) -> Members:
    """A batch as the environment gives it, by the names of the network's inputs."""
    names = input_names(space)
    if isinstance(space, spaces.Dict):
        return {name: np.asarray(observations[name]) for name in names}
    return {names[0]: np.asarray(observations)}


def as_observations(space: spaces.Space[Any], members: Members) -> Any:
    """The inverse of `as_members`."""
    return members if isinstance(space, spaces.Dict) else next(iter(members.values()))


def _names(policy: Any) -> list[str]:
    return input_names(policy.observation_space)
