"""Where a run comes from: versions, machine, git revision and command."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from drive_rl.errors import warn
from drive_rl.revision import git_revision

_PACKAGES = {
    "drive_rl": "drive-rl",
    "torch": "torch",
    "stable_baselines3": "stable-baselines3",
    "gymnasium": "gymnasium",
    "highway_env": "highway-env",
    "numpy": "numpy",
    "numba": "numba",
}


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


def warn_of_differences(path: Path, details: Mapping[str, Any], device: str) -> None:
    """Say what may keep a resumed run from being the same, bit for bit.

    Args:
        path: the run's folder.
        details: what its run.yaml says.
        device: that it goes on on.
    """
    recorded = details.get("versions")
    now = versions()
    changed = [
        f"{name} {recorded[name]} -> {now[name]}"
        for name in now
        if isinstance(recorded, dict) and name in recorded and recorded[name] != now[name]
    ]
    before = details.get("device")
    if before is not None and before != device:
        changed.append(f"device {before} -> {device}")
    if changed:
        warn(f"{path}: may end in other weights than unbroken: {', '.join(changed)}")
