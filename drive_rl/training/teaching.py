"""A teacher for PPO: imitation of the planner's action values where the learner goes (DAgger).

The planner looks behind the observation and into the future; the learner may not. So it learns
from what it sees to value actions as the planner does, on the states that its own driving leads
to (Ross et al. 2011, "A Reduction of Imitation Learning and Structured Prediction to No-Regret
Online Learning"); PPO then goes on from there, by the reward alone. Where there is a curriculum,
the planner teaches in its first lesson: a hint in the reward shows it what lies too far ahead.

All of it follows from the run's seed and is over before the first step of PPO. A run that is
killed before its first checkpoint starts over, imitation and all, and ends in the same weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy

from drive_rl.errors import UsageError
from drive_rl.evaluation.effort import Effort, effort_for
from drive_rl.evaluation.planner import Planner
from drive_rl.presets import ImitationSpec, PPOSpec, RunSpec
from drive_rl.training.curriculum import Curriculum

FloatArray = NDArray[np.float32]


@dataclasses.dataclass
class Lessons:
    """What the teacher has said so far, and how the learner fared in the last round.

    Attributes:
        observations: (states, ...), where the learner (at first the teacher) has been.
        wanted: (states, num_actions), the teacher's preferences, as probabilities.
        recent, returns: observations of the last round and their discounted returns, (n,).
    """

    observations: FloatArray
    wanted: FloatArray
    recent: FloatArray
    returns: FloatArray


def check_teachable(spec: RunSpec, env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
    """Refuse a teacher that cannot teach here, before anything exists on disk.

    Raises:
        UsageError: continuous actions, dictionaries of observations, or the reference engine.
    """
    if not isinstance(spec.agent, PPOSpec) or spec.agent.teacher is None:
        return
    why = None
    if not isinstance(env.single_action_space, gymnasium.spaces.Discrete):
        why = "it values discrete actions, and the actions here are continuous"
    elif not isinstance(env.single_observation_space, gymnasium.spaces.Box):
        why = "its pupils read arrays, and the observations here are dictionaries"
    elif getattr(env, "engine", None) != "compiled":
        why = "it needs the compiled engine as its model"
    if why is not None:
        raise UsageError(
            f"agent.teacher {spec.agent.teacher!r} cannot teach on {spec.env.id}: {why}; "
            "train without one (--algo ppo)"
        )


def imitate(
    model: PPO, spec: RunSpec, seed: int, say: Callable[[str], None], pause: Callable[[], None]
) -> dict[str, float | int | None]:
    """Teach `model`'s policy, and its value function the returns of what it has become.

    Args:
        seed: of the first episode of the lessons.
        say: told a line after every round.
        pause: called between decisions; may raise to stop.

    Returns:
        labelled_states, and teacher_agreement: how often the learner's first choice is among the
        teacher's best, on the states of the last round before it learned from them.
    """
    assert isinstance(spec.agent, PPOSpec)
    plan = spec.agent.imitation
    policy = model.policy
    assert isinstance(policy, ActorCriticPolicy)
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=plan.learning_rate, weight_decay=spec.agent.weight_decay
    )
    lessons: Lessons | None = None
    agreement = 0.0
    env = Curriculum(spec).make_environment(plan.num_envs)
    try:
        for number, (new, agreement) in enumerate(_rounds(model, spec.agent, env, seed, pause), 1):
            lessons = new if lessons is None else _added(lessons, new)
            loss = _learn(policy, optimizer, lessons, plan, pause)
            say(
                f"lesson {number} of {plan.rounds}: {len(lessons.wanted):,} states, agrees with "
                f"the planner in {agreement:.0%}, loss {loss:.3f}"
            )
    finally:
        env.close()
    policy.optimizer.zero_grad(set_to_none=True)
    assert lessons is not None
    return {"labelled_states": len(lessons.wanted), "teacher_agreement": agreement}


def preferences(values: NDArray[np.float64], temperature: float) -> FloatArray:
    """Probabilities of actions by their values, (n, num_actions): a softmax; equals are equal."""
    advantages = (values - values.max(axis=1, keepdims=True)) / temperature
    weights = np.exp(advantages)
    wanted: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return wanted


def discounted(
    rewards: FloatArray, ends: NDArray[np.bool_], beyond: FloatArray, gamma: float
) -> FloatArray:
    """Returns from each decision on, (decisions, num_envs).

    Args:
        rewards: (decisions, num_envs).
        ends: whether the episode, or what is known of it, ended with this decision; likewise.
        beyond: the value of what came after such an end: 0, or what a time limit cut off.
    """
    returns = np.zeros_like(rewards)
    following = np.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gamma * np.where(ends[t], beyond[t], following)
        returns[t] = following
    return returns


def _rounds(
    model: PPO,
    agent: PPOSpec,
    env: gymnasium.vector.VectorEnv[Any, Any, Any],
    seed: int,
    pause: Callable[[], None],
) -> Iterator[tuple[Lessons, float]]:
    """Drive, the teacher first and then the learner, with the teacher looking on."""
    plan = agent.imitation
    planner = Planner(seed=seed, effort=_effort(env, plan))
    observations, _ = env.reset(seed=seed)
    planner.bind(env)
    everyone = np.arange(env.num_envs)
    bootstrap = agent.bootstrap_truncated
    for number in range(plan.rounds):
        seen, wanted, rewards, ends, beyond = [], [], [], [], []
        agreed = 0.0
        for _ in range(plan.decisions):
            pause()
            values = planner.action_values()
            assert values is not None
            first, _ = model.policy.predict(observations, deterministic=True)
            agreed += float(np.mean(values[everyone, first] >= values.max(axis=1) - 1e-6))
            if number == 0:
                actions = planner.act(observations, env.num_envs)
            else:
                actions, _ = model.policy.predict(observations, deterministic=False)
            seen.append(np.asarray(observations, np.float32))
            wanted.append(preferences(values, plan.temperature))
            observations, reward, terminated, truncated, info = env.step(actions)
            rewards.append(reward.astype(np.float32))
            ends.append(terminated | truncated)
            beyond.append(np.zeros(env.num_envs, np.float32))
            cut = np.flatnonzero(truncated & ~terminated & bootstrap)
            if len(cut):
                last = np.stack([info["final_obs"][index] for index in cut])
                beyond[-1][cut] = _values(model, last)
            over = np.flatnonzero(ends[-1])
            if len(over):
                planner.start_episodes(over, seed + (number + 1) * env.num_envs + over)
        ends[-1] = np.ones(env.num_envs, np.bool_)  # what comes after is not known
        open_ = ~(terminated | truncated)
        beyond[-1][open_] = _values(model, np.asarray(observations)[open_])
        returns = discounted(np.stack(rewards), np.stack(ends), np.stack(beyond), model.gamma)
        flat = np.concatenate(seen)
        yield (
            Lessons(flat, np.concatenate(wanted), flat, returns.reshape(-1)),
            agreed / plan.decisions,
        )


def _effort(env: gymnasium.vector.VectorEnv[Any, Any, Any], plan: ImitationSpec) -> Effort:
    """The planner's own, of other widths where they are given."""
    usual = effort_for(env.spec_env, env.single_action_space)  # type: ignore[attr-defined]
    return dataclasses.replace(
        usual,
        width=plan.width or usual.width,
        width_each=plan.width_each or usual.width_each,
    )


def _log_probabilities(policy: ActorCriticPolicy, observations: torch.Tensor) -> torch.Tensor:
    """Of every action, (n, num_actions)."""
    distribution = policy.get_distribution(observations)
    assert isinstance(distribution, CategoricalDistribution)
    logits: torch.Tensor = distribution.distribution.logits
    return logits


def _values(model: PPO, observations: NDArray[Any]) -> FloatArray:
    if not len(observations):
        return np.zeros(0, np.float32)
    with torch.no_grad():
        values = model.policy.predict_values(model.policy.obs_to_tensor(observations)[0])
    flat: FloatArray = values.cpu().numpy().reshape(-1)
    return flat


def _added(lessons: Lessons, new: Lessons) -> Lessons:
    return Lessons(
        np.concatenate([lessons.observations, new.observations]),
        np.concatenate([lessons.wanted, new.wanted]),
        new.recent,
        new.returns,
    )


def _learn(
    policy: ActorCriticPolicy,
    optimizer: torch.optim.Optimizer,
    lessons: Lessons,
    plan: ImitationSpec,
    pause: Callable[[], None],
) -> float:
    """Cross-entropy to the teacher's preferences, squared error to returns; the last epoch's loss.

    Returns are large where an episode pays for long: their error is measured in their deviation,
    or the value function would crowd out what the two networks share. Every mini-batch has as
    many of the last round's states, for the value function, as it has of all rounds' for the
    policy.
    """
    policy.set_training_mode(True)
    device = policy.device
    observations = torch.as_tensor(lessons.observations, device=device)
    wanted = torch.as_tensor(lessons.wanted, device=device)
    recent = torch.as_tensor(lessons.recent, device=device)
    returns = torch.as_tensor(lessons.returns, device=device)
    spread = returns.std(correction=0).clamp(min=1e-3)
    losses: list[float] = []
    for epoch in range(plan.epochs):
        losses = []
        for chosen in torch.split(torch.randperm(len(wanted)), plan.batch_size):
            pause()
            done = (epoch + len(losses) * plan.batch_size / len(wanted)) / plan.epochs
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate * (1.0 - done)
            valued = torch.randint(len(returns), (len(chosen),)).to(device)
            chosen = chosen.to(device)
            logits = _log_probabilities(policy, observations[chosen])
            cross_entropy = -(wanted[chosen] * logits).sum(dim=1).mean()
            error = (policy.predict_values(recent[valued]).flatten() - returns[valued]) / spread
            loss = cross_entropy + 0.5 * error.square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            losses.append(float(cross_entropy.detach()))
    return float(np.mean(losses))
