"""SB3's PPO and DQN, built from a RunSpec through SB3's own extension points."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.dqn.policies import DQNPolicy

from drive_rl.errors import UsageError
from drive_rl.presets import AgentSpec, DQNSpec, PPOSpec, RunSpec, Schedule
from drive_rl.training.networks import IMAGES, policy_arguments
from drive_rl.training.rollouts import DeviceRolloutBuffer

# SB3's PPO uses this epsilon in Adam to keep early steps finite.
_ADAM_EPS = 1e-5

# More threads than this only wait for one another on networks of a few hundred units.
_MLP_THREADS = 4


class ProgressSchedule:
    """A Schedule as SB3 asks for it: a function of what remains of the training, from 1 to 0."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, progress_remaining: float) -> float:
        # SB3's last rollout may pass the end; a schedule must not go below its end there.
        progress = min(max(1.0 - progress_remaining, 0.0) / self.schedule.until, 1.0)
        start, end = self.schedule.start, self.schedule.end
        if self.schedule.kind == "cosine":
            return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
        return start + (end - start) * progress


class BatchedDQN(DQN):
    """DQN whose environments explore each for themselves.

    SB3 throws one coin for all environments of a step, so that with many environments whole steps
    are random or greedy together; and it samples actions one environment at a time.
    """

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        assert isinstance(self.action_space, spaces.Discrete)
        assert self._last_obs is not None
        random_actions = np.random.randint(self.action_space.n, size=n_envs)
        if self.num_timesteps < learning_starts:
            return random_actions, random_actions
        explores = np.random.random(n_envs) < self.exploration_rate
        greedy, _ = self.policy.predict(self._last_obs, deterministic=True)
        actions = np.where(explores, random_actions, greedy)
        return actions, actions


def default_threads(network_kind: str) -> int:
    """Threads for torch: all cores that this process may use, but few for small networks."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return cores if network_kind in IMAGES else min(cores, _MLP_THREADS)


def check_spaces(
    spec: AgentSpec, env_id: str, observations: spaces.Space[Any], actions: spaces.Space[Any]
) -> None:
    """Refuse what an algorithm cannot learn, before anything exists on disk.

    Raises:
        UsageError: DQN on a scene without discrete actions.
    """
    if isinstance(spec, DQNSpec) and not isinstance(actions, spaces.Discrete):
        raise UsageError(
            f"dqn needs discrete actions, and {env_id} has {_described(actions)}; use ppo"
        )
    policy_arguments(spec.network, observations)


class _NoOptimizer:
    """In the optimiser's place, where a network is only asked.

    SB3's policies make their own, and the first one in a process makes torch import its compiler:
    1.5 s that every command with a policy would wait.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], **settings: Any) -> None:
        """Take what an optimiser takes."""


def build_policy(
    spec: RunSpec,
    observations: spaces.Space[Any],
    actions: spaces.Space[Any],
    device: torch.device,
) -> BasePolicy:
    """The policy network alone, untrained, for loading weights into; it has no optimiser.

    Raises:
        UsageError: as `check_spaces`.
    """
    check_spaces(spec.agent, spec.env.id, observations, actions)
    cls = ActorCriticPolicy if isinstance(spec.agent, PPOSpec) else DQNPolicy
    arguments = policy_arguments(spec.agent.network, observations)
    # Its random weights are about to be replaced; they should cost the caller no random numbers.
    with torch.random.fork_rng(devices=[]):
        arguments |= {"optimizer_class": _NoOptimizer}
        policy: BasePolicy = cls(observations, actions, lambda _: 0.0, **arguments)  # type: ignore[arg-type]
    return policy.to(device)


def build_algorithm(spec: RunSpec, vec_env: VecEnv, device: torch.device) -> BaseAlgorithm:
    """SB3's algorithm, seeded, with its network, optimiser and buffers, and a silent logger.

    Raises:
        UsageError: what the algorithm cannot learn, or a seed that NumPy does not take.
    """
    agent = spec.agent
    if spec.seed >= 2**32:
        raise UsageError(f"seed {spec.seed} is not below 2**32")
    check_spaces(agent, spec.env.id, vec_env.observation_space, vec_env.action_space)
    policy_kwargs = {
        **policy_arguments(agent.network, vec_env.observation_space),
        "optimizer_class": torch.optim.AdamW,
        "optimizer_kwargs": {"weight_decay": agent.weight_decay, "eps": _ADAM_EPS},
    }
    with warnings.catch_warnings():
        # SB3 warns of last mini-batches that are smaller, and of MLPs on a GPU. Both are meant.
        warnings.simplefilter("ignore", UserWarning)
        model: BaseAlgorithm
        if isinstance(agent, PPOSpec):
            model = _build_ppo(agent, spec.seed, vec_env, device, policy_kwargs)
        else:
            model = _build_dqn(agent, spec.seed, vec_env, device, policy_kwargs)
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _build_ppo(
    agent: PPOSpec, seed: int, vec_env: VecEnv, device: torch.device, policy_kwargs: dict[str, Any]
) -> PPO:
    # A run shorter than one rollout gets a shorter rollout, not more steps than asked for.
    n_steps = min(agent.n_steps, math.ceil(agent.steps / vec_env.num_envs))
    if n_steps * vec_env.num_envs < 2:
        raise UsageError("ppo needs at least 2 steps in a rollout (agent.n_steps x num_envs)")
    is_array = isinstance(vec_env.observation_space, spaces.Box)
    return PPO(
        ActorCriticPolicy,
        vec_env,
        rollout_buffer_class=DeviceRolloutBuffer if is_array else None,
        learning_rate=_schedule(agent.learning_rate),
        n_steps=n_steps,
        batch_size=min(agent.batch_size, n_steps * vec_env.num_envs),
        n_epochs=agent.n_epochs,
        gamma=_at_start(agent.gamma),
        gae_lambda=agent.gae_lambda,
        clip_range=_schedule(agent.clip_range),
        normalize_advantage=agent.normalize_advantage,
        ent_coef=_at_start(agent.ent_coef),
        vf_coef=agent.vf_coef,
        max_grad_norm=agent.max_grad_norm,
        target_kl=agent.target_kl,
        policy_kwargs=policy_kwargs,
        seed=seed,
        device=device,
    )


def _build_dqn(
    agent: DQNSpec, seed: int, vec_env: VecEnv, device: torch.device, policy_kwargs: dict[str, Any]
) -> DQN:
    model = BatchedDQN(
        DQNPolicy,
        vec_env,
        learning_rate=_schedule(agent.learning_rate),
        buffer_size=agent.buffer_size,
        learning_starts=agent.learning_starts,
        batch_size=agent.batch_size,
        tau=agent.tau,
        gamma=_at_start(agent.gamma),
        train_freq=agent.train_freq,
        gradient_steps=agent.gradient_steps,
        target_update_interval=agent.target_update_interval,
        exploration_fraction=agent.exploration_fraction,
        exploration_initial_eps=agent.exploration_initial_eps,
        exploration_final_eps=agent.exploration_final_eps,
        max_grad_norm=agent.max_grad_norm,
        policy_kwargs=policy_kwargs,
        seed=seed,
        device=device,
    )
    _store_as_float32(model)
    return model


def follow_schedules(model: BaseAlgorithm, agent: AgentSpec) -> None:
    """Set what SB3 takes as constants, and the agent's file may give as a schedule, for now.

    A function of the steps done and nothing else, so a resumed run goes on as it would have.
    """
    remaining = 1.0 - model.num_timesteps / agent.steps
    if isinstance(agent.gamma, Schedule):
        assert isinstance(model, PPO | DQN)
        model.gamma = ProgressSchedule(agent.gamma)(remaining)
        if isinstance(model, PPO):
            model.rollout_buffer.gamma = model.gamma
    if isinstance(agent, PPOSpec) and isinstance(agent.ent_coef, Schedule):
        assert isinstance(model, PPO)
        model.ent_coef = ProgressSchedule(agent.ent_coef)(remaining)


def _at_start(value: float | Schedule) -> float:
    return value.start if isinstance(value, Schedule) else value


def _store_as_float32(model: DQN) -> None:
    """Halve the replay buffer of spaces in float64; the network reads float32 anyway."""
    buffer = model.replay_buffer
    assert buffer is not None
    for name in ("observations", "next_observations"):
        stored = getattr(buffer, name)
        if isinstance(stored, dict):
            narrow: Any = {key: _narrowed(array) for key, array in stored.items()}
        else:
            narrow = _narrowed(stored)
        setattr(buffer, name, narrow)


def _narrowed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype != np.float64:
        return array
    return np.zeros(array.shape, dtype=np.float32)


def _schedule(value: float | Schedule) -> float | Callable[[float], float]:
    return ProgressSchedule(value) if isinstance(value, Schedule) else value


def _described(space: spaces.Space[Any]) -> str:
    return "continuous ones" if isinstance(space, spaces.Box) else f"a {type(space).__name__} space"
