"""What a training begins with: another policy's weights, which are there or are trained first."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.base_class import BaseAlgorithm

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.presets import RunSpec, agent_names, environment_names, resolve_run
from drive_rl.runs.checkpoint import read_checkpoint
from drive_rl.runs.folder import RUN_FILE
from drive_rl.runs.progress import ProgressDisplay
from drive_rl.runs.tensors import load_weights

if TYPE_CHECKING:
    from drive_rl.training.policy import Policy

FROM = "from"
"""Key of run.yaml: the checkpoint that a run began with."""


def starting_point(spec: RunSpec, path: Path, progress: ProgressDisplay) -> Path:
    """The checkpoint that `agent.start` names.

    A name `<env>/<agent>` that does not ship is trained first, as the agent's file says, with the
    seed and on the machine of `spec`. Its run stands beside `path`, where trainings that start
    from the same find it; one that was stopped goes on.

    Args:
        spec: whose start it is.
        path: the run folder of `spec`.

    Raises:
        UsageError: no such policy, one without weights, or one that goes on from itself.
    """
    from drive_rl.training.session import resume, train_run

    assert spec.agent.start is not None
    _check_ends(spec)
    first = _trained_first(spec)
    if first is None:
        return checkpoint_of(learned(spec.agent.start))
    digest = hashlib.sha256(first.model_dump_json().encode()).hexdigest()[:8]
    name = Path(spec.agent.start).stem
    folder = path.parent / f"start-{first.env.id}-{name}-seed{first.seed}-{digest}"
    progress.message(
        f"{spec.agent.start} does not ship; it is trained first, in {folder}, where the same "
        "command finds it again"
    )
    if (folder / RUN_FILE).is_file():
        run = resume(folder, progress=progress, evaluate=False)
    else:
        run = train_run(first, folder, progress=progress, evaluate=False)
    return checkpoint_of(run.load_policy())


def _trained_first(spec: RunSpec) -> RunSpec | None:
    """The training that `spec` goes on from; None where its weights are there, or nothing is."""
    from drive_rl.training.policy import shipped_policies

    name = spec.agent.start
    if name is None or name in shipped_policies() or Path(name).exists():
        return None
    env, _, agent = name.partition("/")
    is_agent = agent in agent_names() or (agent.endswith(".yaml") and Path(agent).is_file())
    if env not in environment_names() or not is_agent:
        return None
    return resolve_run(
        env,
        agent,
        seed=spec.seed,
        device=spec.device,
        engine=spec.engine,
        num_threads=spec.num_threads,
    )


def _check_ends(spec: RunSpec) -> None:
    """Find what is wrong with a far start before the first of all trainings, not after it."""
    names: list[str] = []
    while spec.agent.start is not None:
        names.append(spec.agent.start)
        before = _trained_first(spec)
        if before is None:
            learned(spec.agent.start)
            return
        if before.agent.start in names:
            raise UsageError(f"agent.start {names[0]!r} goes on from itself; name what ships")
        spec = before


def learned(source: str | Path) -> Policy:
    """The policy of that name, which has weights.

    Raises:
        UsageError: no such policy, or one without weights.
    """
    from drive_rl.training.policy import Policy, load_policy

    policy = load_policy(source) if str(source) not in ("random", "idle", "rule", "planner") else 0
    if not isinstance(policy, Policy):
        raise UsageError(f"{str(source)!r} has no weights to start from; name a run")
    return policy


def checkpoint_of(policy: Policy) -> Path:
    """The folder that its weights were read from."""
    return (policy.run_path / "checkpoints" / str(policy.step)).absolute()


def start_from(model: BaseAlgorithm, place: Path | str) -> dict[str, Any]:
    """Load a checkpoint's weights into a fresh model; returns what run.yaml says of it.

    Raises:
        DriveRLError: the checkpoint is gone, damaged, or of another network.
    """
    folder = Path(place)
    if not folder.is_dir():
        raise DriveRLError(f"{folder}: the checkpoint that this run starts from is not there")
    checkpoint = read_checkpoint(folder, policy_only=True)
    load_weights(model.policy, checkpoint.policy)
    return {"path": os.fspath(folder), "step": checkpoint.step}
