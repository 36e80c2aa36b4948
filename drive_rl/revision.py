"""Which commit of drive-rl this is, where it runs from a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_revision() -> str | None:
    """Commit of the checkout that drive_rl runs from ("-dirty" appended), or None."""
    source = Path(__file__).resolve().parents[1]
    if not (source / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=source,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
