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


def found_start(spec: RunSpec) -> Path | None:
    """The checkpoint that `agent.start` names; None where it is trained first, or nothing is named.

    What is wrong with a start far back is found here too, before the first of all trainings.

    Raises:
        UsageError: no such policy, one without weights, or one that goes on from itself.
    """
    names: list[str] = []
    last = spec
    while (name := last.agent.start) is not None:
        if name in names:
            raise UsageError(f"agent.start {names[0]!r} goes on from itself; name what ships")
        names.append(name)
        before = _trained_first(last)
        if before is None:
            place = checkpoint_of(learned(name))
            return place if last is spec else None
        last = before
    return None


def trained_start(spec: RunSpec, path: Path, progress: ProgressDisplay) -> Path | None:
    """Train what `found_start` did not find; the checkpoint, or None where nothing is named.

    The agent's file says how, the seed and the machine are those of `spec`. The run stands beside
    `path`, the run folder of `spec`, where trainings that start from the same find it; one that
    was stopped goes on.
    """
    from drive_rl.training.session import resume, train_run

    first = _trained_first(spec)
    if first is None:
        return None
    name = spec.agent.start
    digest = hashlib.sha256(first.model_dump_json().encode()).hexdigest()[:8]
    folder = path.parent / f"start-{first.env.id}-{Path(str(name)).stem}-seed{first.seed}-{digest}"
    progress.message(
        f"{name} does not ship; it is trained first, in {folder}, where the same command finds it "
        "again"
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


def learned(source: str | Path) -> Policy:
    """The policy of that name, which has weights.

    Raises:
        UsageError: no such policy, or one without weights.
    """
    from drive_rl.training.policy import BASELINES, Policy, load_policy

    policy = None if str(source) in BASELINES else load_policy(source)
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
