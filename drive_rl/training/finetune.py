"""Training that begins with another run's weights: what a monitor's alarm asks for.

The new run is a run like any other, with its own folder, schedule and steps. Its run.yaml says
where it started from, and `evaluation/before-and-after` how policy and starting point compare on
the new environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drive_rl.errors import UsageError
from drive_rl.presets import EnvironmentSpec, load_environment, resolve_run
from drive_rl.training.run import Run
from drive_rl.training.starts import FROM, checkpoint_of, learned

if TYPE_CHECKING:
    from drive_rl.evaluation import Evaluation

BEFORE_AND_AFTER = "before-and-after"


def fine_tune(
    source: str | Path,
    env: str | EnvironmentSpec | None = None,
    algo: str | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    num_envs: int | None = None,
    device: str = "auto",
    engine: str = "auto",
    num_threads: int | None = None,
    config: Mapping[str, Any] | None = None,
    run: Path | str | None = None,
    overrides: Sequence[str] = (),
    evaluate: bool = True,
    progress: Any = None,
) -> Run:
    """Train on from a run's weights, in a new run; what `drive-rl train --from` calls.

    Args:
        source: a run or checkpoint folder, or the name of a shipped policy.
        env: where to train; None takes the environment of `source`. The observation and the
            actions are those of `source`: its network knows no others.
        algo: None or that of `source`.
        config: highway-env configuration on top of the environment's.
        evaluate: score the policy at the end, and write `BEFORE_AND_AFTER`.
        steps, seed, num_envs, device, engine, num_threads, run, overrides, progress: as for
            `drive_rl.train`; the agent's settings are those of `source` where nothing is said.

    Raises:
        UsageError: no such policy, another algorithm, or settings that change the network.
        DriveRLError, Interrupted: as `train_run`.
    """
    from drive_rl.training.session import train_run

    policy = learned(source)
    own = policy.spec
    if algo is not None and algo != own.agent.algo:
        raise UsageError(
            f"{source} was trained by {own.agent.algo}; leave out --algo {algo}, or start anew"
        )
    senses = {key: own.env.full_config[key] for key in ("observation", "action")}
    environment = load_environment(own.env if env is None else env, config)
    environment = load_environment(environment, senses)
    settings = own.agent.model_dump(mode="json", exclude={"algo", "observation"})
    settings.pop("teacher", None)  # it has learned from that one already
    settings.pop("start")  # and this one is where it starts now
    settings.pop("curriculum")  # those lessons it has had
    kept = [f"agent.{name}={json.dumps(value)}" for name, value in settings.items()]
    if num_envs is not None:
        kept.append(f"agent.num_envs={num_envs}")
    if steps is not None:
        kept.append(f"agent.steps={steps}")
    spec = resolve_run(
        environment,
        own.agent.algo,
        seed=seed,
        device=device,
        engine=engine,
        num_threads=num_threads,
        overrides=[*kept, *overrides],
    )
    if spec.agent.network != own.agent.network:
        raise UsageError(
            f"{source} has the network {own.agent.network.model_dump(mode='json')}; fine-tuning "
            "cannot change it"
        )
    finished = train_run(
        spec, run, progress=progress, evaluate=evaluate, start=checkpoint_of(policy)
    )
    if evaluate:
        before_and_after(finished)
    return finished


def before_and_after(run: Run) -> Evaluation:
    """The fine-tuned policy and its starting point on the same episodes; written into the run."""
    from drive_rl.evaluation import evaluate

    evaluation = evaluate(
        [str(run.path), run.details[FROM]["path"]],
        run.spec.env,
        episodes=run.spec.agent.evaluation_episodes,
        engine=run.spec.engine,
        baselines=(),
    )
    evaluation.write(run.path / "evaluation" / BEFORE_AND_AFTER)
    return evaluation
