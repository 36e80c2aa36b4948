"""A RunSpec as RLlib's configuration; what RLlib's PPO does not do is refused, never left out."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from drive_rl.errors import UsageError
from drive_rl.presets import PPOSpec, RunSpec, Schedule
from drive_rl.training.algorithms import ProgressSchedule

_POINTS = 32  # of a curved schedule, which RLlib draws by straight lines


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the environments are spread.

    Attributes:
        workers: processes that drive, a core each.
        envs: environments of each.
        rollout: steps of each environment in an iteration.
    """

    workers: int
    envs: int
    rollout: int

    @property
    def batch(self) -> int:
        """Steps in an iteration."""
        return self.workers * self.envs * self.rollout


def check_trainable(spec: RunSpec) -> PPOSpec:
    """The agent, where RLlib trains it as its file says.

    Raises:
        UsageError: another algorithm, or a setting that RLlib's PPO does not have.
    """
    agent = spec.agent
    if not isinstance(agent, PPOSpec):
        raise UsageError(
            f"--trainer rllib trains ppo, not {agent.algo}; leave out --trainer, or take ppo"
        )
    has_not = {
        "teacher": agent.teacher is not None,
        "start": agent.start is not None,
        "curriculum": bool(agent.curriculum),
        "bootstrap_truncated": not agent.bootstrap_truncated,
        "target_kl": agent.target_kl is not None,
        "normalize_advantage": not agent.normalize_advantage,
        "clip_range": isinstance(agent.clip_range, Schedule),
    }
    for name, wanted in has_not.items():
        if wanted:
            fixed = json.dumps(PPOSpec.model_fields[name].default)
            raise UsageError(
                f"agent.{name} {getattr(agent, name)!r}: RLlib's PPO cannot do that; "
                f"set agent.{name}={fixed}, or leave out --trainer rllib"
            )
    return agent


def layout_of(agent: PPOSpec, cores: int, workers: int | None = None) -> Layout:
    """Spread the agent's environments over the cluster.

    Args:
        cores: of the cluster; one is left to the learner where there are more.
        workers: instead of as many as the cores hold.

    Raises:
        UsageError: more workers than cores.
    """
    if workers is not None and workers > cores:
        raise UsageError(f"--workers {workers}: the cluster has {cores} cores")
    count = min(workers or max(cores - 1, 1), agent.num_envs)
    envs = math.ceil(agent.num_envs / count)
    # A run shorter than one rollout gets a shorter rollout, not more steps than asked for.
    rollout = min(agent.n_steps, max(math.ceil(agent.steps / (count * envs)), 2))
    return Layout(count, envs, rollout)


def rllib_config(
    spec: RunSpec, layout: Layout, observations: Any, actions: Any, seed: int, gpus: int
) -> Any:
    """RLlib's PPOConfig for a run; `seed` is where the training's episodes start."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.tune.registry import register_env

    from drive_rl.cluster.rllib.learning import Learner, PolicyModule
    from drive_rl.cluster.rllib.sampling import EpisodeFigures, make_env

    agent = check_trainable(spec)
    register_env("drive-rl", make_env)
    told = {"spec": spec.model_dump_json()}
    return (
        PPOConfig()
        .environment(
            "drive-rl",
            env_config=told,
            observation_space=observations,
            action_space=actions,
            clip_actions=True,
            normalize_actions=False,
        )
        .env_runners(
            num_env_runners=layout.workers,
            num_envs_per_env_runner=layout.envs,
            gym_env_vectorize_mode="vector_entry_point",
            rollout_fragment_length=layout.rollout,
            batch_mode="truncate_episodes",
        )
        .learners(num_learners=0, num_gpus_per_learner=gpus)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=PolicyModule, model_config=told))
        .training(
            learner_class=Learner,
            train_batch_size_per_learner=layout.batch,
            minibatch_size=min(agent.batch_size, layout.batch),
            num_epochs=agent.n_epochs,
            lr=_schedule(agent.learning_rate, agent.steps),
            gamma=agent.gamma.start if isinstance(agent.gamma, Schedule) else agent.gamma,
            lambda_=agent.gae_lambda,
            clip_param=agent.clip_range,
            entropy_coeff=_schedule(agent.ent_coef, agent.steps),
            vf_loss_coeff=agent.vf_coef,
            vf_clip_param=float("inf"),
            use_kl_loss=False,
            grad_clip=agent.max_grad_norm,
            grad_clip_by="global_norm",
        )
        # A worker whose node goes is begun again elsewhere; the others go on meanwhile.
        .fault_tolerance(restart_failed_env_runners=True, ignore_env_runner_failures=False)
        .callbacks(EpisodeFigures)
        .debugging(seed=seed, log_level="ERROR")
        .reporting(min_time_s_per_iteration=0, metrics_num_episodes_for_smoothing=100)
    )


def _schedule(value: float | Schedule, steps: int) -> Any:
    """As RLlib writes schedules: pairs of a step and a value, straight lines between."""
    if not isinstance(value, Schedule):
        return value
    follow = ProgressSchedule(value)
    parts = 1 if value.kind == "linear" else _POINTS
    at = [value.until * k / parts for k in range(parts + 1)]
    return [[round(steps * part), follow(1.0 - part)] for part in at]
