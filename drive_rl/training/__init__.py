"""Training: SB3's PPO and DQN, in runs that can be stopped, resumed, verified and loaded safely."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_rl.presets import EnvironmentSpec, load_environment, resolve_run
from drive_rl.runs.progress import ProgressDisplay, default_progress
from drive_rl.training.policy import Policy, load_policy, shipped_policies
from drive_rl.training.run import Run
from drive_rl.training.session import resume, train_run

__all__ = [
    "Policy",
    "ProgressDisplay",
    "Run",
    "default_progress",
    "load_policy",
    "resume",
    "shipped_policies",
    "train",
    "train_run",
]


def train(
    env_id: str | EnvironmentSpec,
    algo: str,
    *,
    steps: int | None = None,
    seed: int = 0,
    num_envs: int | None = None,
    device: str = "auto",
    engine: str = "auto",
    num_threads: int | None = None,
    config: Mapping[str, Any] | None = None,
    run: Path | str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    progress: ProgressDisplay | None = None,
    evaluate: bool = True,
    **agent: Any,
) -> Run:
    """Train a policy; what `drive-rl train` calls.

    Args:
        env_id: a highway-env id, a preset, a path to a YAML file, or `module:Name-v0`.
        algo: "ppo", "dqn", or a path to an agent's YAML file.
        steps: environment steps (decisions), over all environments.
        seed: of networks, exploration and episodes.
        num_envs: environments stepped together.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: "auto", "compiled" or "reference".
        num_threads: threads of simulation and torch; None chooses.
        config: highway-env configuration on top of the environment's own.
        run: the run folder; None takes runs/<env>/<algo>/<time>-seed<S>.
        overrides: `agent.learning_rate=3e-4` and the like, as texts or a mapping.
        progress: where progress is shown; None shows it on stderr.
        evaluate: whether to evaluate the final policy.
        **agent: settings of the agent, as `learning_rate=3e-4`.

    Raises:
        UsageError: something that cannot be, before anything exists on disk.
        Interrupted, DriveRLError: see `train_run`.
    """
    environment = load_environment(env_id, config)
    combined: Mapping[str, Any] | Sequence[str]
    if isinstance(overrides, Mapping):
        combined = {**{f"agent.{name}": value for name, value in agent.items()}, **overrides}
    else:
        # JSON is YAML, which is what an override's value is read as.
        texts = [f"agent.{name}={json.dumps(value)}" for name, value in agent.items()]
        combined = [*texts, *overrides]
    spec = resolve_run(
        environment,
        algo,
        steps=steps,
        seed=seed,
        num_envs=num_envs,
        device=device,
        engine=engine,
        num_threads=num_threads,
        overrides=combined,
    )
    return train_run(spec, run, progress=progress, evaluate=evaluate)
