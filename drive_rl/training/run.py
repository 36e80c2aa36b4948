"""The training run of a policy on disk: its run.yaml, metrics and checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymnasium import spaces

from drive_rl.errors import DriveRLError, warn
from drive_rl.presets import RunSpec
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.checkpoint import Checkpoint
from drive_rl.runs.folder import CHECKPOINTS, make_folder, not_a_run, read_document
from drive_rl.runs.metrics import METRICS_FILE, read_metrics
from drive_rl.training.spaces import space_from_data, space_to_data

if TYPE_CHECKING:
    from drive_rl.evaluation import Evaluation
    from drive_rl.training.policy import Policy

TRAINER = "trainer"
"""Key of run.yaml: the engine of the training, where it is not Stable-Baselines3."""


@dataclass
class Run:
    """A run folder that has a valid run.yaml.

    Attributes:
        path: the folder.
        spec: the fully resolved specification; `engine` is the one that was taken.
        observation_space, action_space: of one environment.
        details: the rest of run.yaml: versions, device, threads, git revision, command.
        evaluation: of the end of the training, where this process made it.
    """

    path: Path
    spec: RunSpec
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    details: dict[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        spec: RunSpec,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        details: Mapping[str, Any],
    ) -> Run:
        """Make the folder and its run.yaml, or leave nothing behind.

        Raises:
            UsageError: the folder exists and is not empty, or cannot be made.
        """
        document = {
            "spec": spec.model_dump(mode="json"),
            "spaces": {
                "observation": space_to_data(observation_space),
                "action": space_to_data(action_space),
            },
            **details,
        }
        make_folder(path, document)
        return cls(path, spec, observation_space, action_space, dict(details))

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Read an existing run folder; nothing in it can run code.

        Raises:
            UsageError: no such folder, or no run in it.
        """
        path = Path(path)
        document = read_document(path)
        try:
            spec = RunSpec.model_validate(document["spec"])
            observation_space = space_from_data(document["spaces"]["observation"])
            action_space = space_from_data(document["spaces"]["action"])
        except (
            ValueError,  # pydantic's ValidationError too
            KeyError,
            TypeError,
            RecursionError,
            DriveRLError,
        ) as error:
            raise not_a_run(path, error) from None
        details = {k: v for k, v in document.items() if k not in ("schema", "spec", "spaces")}
        return cls(path, spec, observation_space, action_space, details)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return checkpoints.steps_in(self.checkpoints)

    def newest(
        self, left_out: Callable[[str], None] = warn, *, policy_only: bool = False
    ) -> Checkpoint | None:
        """The newest whole checkpoint; newer damaged ones are named through `left_out`."""
        return checkpoints.newest_whole(self.checkpoints, left_out, policy_only=policy_only)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one dictionary per iteration."""
        return read_metrics(self.path / METRICS_FILE)

    def load_policy(self, which: str | int = "last") -> Policy:
        """The policy of the newest ("last"), best ("best") or a certain step's checkpoint.

        Raises:
            UsageError: no such checkpoint.
            DamagedCheckpoint: the one asked for by step is damaged.
        """
        from drive_rl.training.policy import policy_of_run

        return policy_of_run(self, which)


def default_path(spec: RunSpec, root: Path = Path("runs")) -> Path:
    """runs/<env>/<algo>/<time>-seed<S>, a name that is free now."""
    env = re.sub(r"[^A-Za-z0-9._-]+", "-", spec.env.id).strip("-.") or "env"
    base = root / env / spec.agent.algo
    name = f"{datetime.now():%Y%m%d-%H%M%S}-seed{spec.seed}"
    path, number = base / name, 2
    while path.exists():
        path, number = base / f"{name}-{number}", number + 1
    return path
