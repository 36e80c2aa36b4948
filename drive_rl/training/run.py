"""A training run on disk: its folder, run.yaml, metrics and checkpoints."""

from __future__ import annotations

import json
import platform
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from gymnasium import spaces

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.presets import RunSpec
from drive_rl.revision import git_revision
from drive_rl.training import checkpoint as checkpoints
from drive_rl.training.checkpoint import Checkpoint
from drive_rl.training.spaces import space_from_data, space_to_data

if TYPE_CHECKING:
    from drive_rl.evaluation import Evaluation
    from drive_rl.training.policy import Policy

SCHEMA = 1
RUN_FILE = "run.yaml"
METRICS_FILE = "metrics.jsonl"

TRAINER = "trainer"
"""Key of run.yaml: the engine of the training, where it is not Stable-Baselines3."""

_PACKAGES = {
    "drive_rl": "drive-rl",
    "torch": "torch",
    "stable_baselines3": "stable-baselines3",
    "gymnasium": "gymnasium",
    "highway_env": "highway-env",
    "numpy": "numpy",
    "numba": "numba",
}


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"drive-rl: {message}", file=sys.stderr, flush=True)


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
        check_available(path)
        document = {
            "schema": SCHEMA,
            "spec": spec.model_dump(mode="json"),
            "spaces": {
                "observation": space_to_data(observation_space),
                "action": space_to_data(action_space),
            },
            **details,
        }
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "checkpoints").mkdir()
            checkpoints.write_text_atomically(path / RUN_FILE, text)
        except OSError as error:
            _remove_empty([path / "checkpoints", *made])
            raise UsageError(f"{path}: cannot be written ({error.strerror})") from None
        return cls(path, spec, observation_space, action_space, dict(details))

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Read an existing run folder; nothing in it can run code.

        Raises:
            UsageError: no such folder, or no run in it.
        """
        path = Path(path)
        file = path / RUN_FILE
        if not path.is_dir():
            raise UsageError(f"{path}: no such run folder")
        if not file.is_file():
            raise UsageError(f"{path}: not a run folder (it has no {RUN_FILE})")
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
            spec = RunSpec.model_validate(document["spec"])
            observation_space = space_from_data(document["spaces"]["observation"])
            action_space = space_from_data(document["spaces"]["action"])
            schema = document["schema"]
        except (
            OSError,
            yaml.YAMLError,
            ValueError,  # pydantic's ValidationError and UnicodeDecodeError too
            KeyError,
            TypeError,
            RecursionError,
            DriveRLError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{file}: not the description of a run ({reason})") from None
        if schema != SCHEMA:
            raise UsageError(f"{file}: has schema {schema}; this version reads {SCHEMA}")
        details = {k: v for k, v in document.items() if k not in ("schema", "spec", "spaces")}
        return cls(path, spec, observation_space, action_space, details)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

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


def check_available(path: Path) -> None:
    """Refuse a place for a new run that is taken.

    Raises:
        UsageError: it exists and is not an empty folder.
    """
    if (path / RUN_FILE).exists():
        raise UsageError(
            f"{path}: a run exists there; continue it with `drive-rl resume {path}` "
            "or name another folder"
        )
    if path.is_dir():
        try:
            if any(path.iterdir()):
                raise UsageError(f"{path}: the folder exists and is not empty; name another one")
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    elif path.exists() or path.is_symlink():
        raise UsageError(f"{path}: exists and is not a folder; name another one")


def default_path(spec: RunSpec, root: Path = Path("runs")) -> Path:
    """runs/<env>/<algo>/<time>-seed<S>, a name that is free now."""
    env = re.sub(r"[^A-Za-z0-9._-]+", "-", spec.env.id).strip("-.") or "env"
    base = root / env / spec.agent.algo
    name = f"{datetime.now():%Y%m%d-%H%M%S}-seed{spec.seed}"
    path, number = base / name, 2
    while path.exists():
        path, number = base / f"{name}-{number}", number + 1
    return path


def provenance(device: str, torch_threads: int) -> dict[str, Any]:
    """Versions, machine, git revision and command of a run that starts now."""
    return {
        "versions": versions(),
        "device": device,
        "torch_threads": torch_threads,
        "platform": platform.platform(),
        "git": git_revision(),
        "command": command_line(),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of all that decides what a training computes."""
    found = {"python": platform.python_version()}
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def command_line() -> str:
    """The command that started this process, as one would type it."""
    program = "drive-rl" if Path(sys.argv[0]).stem == "drive-rl" else sys.argv[0] or "python"
    return shlex.join([program, *sys.argv[1:]])


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a metrics.jsonl; a line that a killed process left unfinished is skipped."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            lines.append(entry)
    return lines


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
