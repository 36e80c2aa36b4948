"""Reference policies: runs reduced to what driving takes, to travel with drive-rl.

A shipped policy is a run folder like any other, with its run.yaml and the weights of one
checkpoint; what only learning needs (moments, environments, random states, a DQN's target network)
is left out, what actor and critic share is there once, and the critic is there in half precision.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import yaml

from drive_rl.errors import DriveRLError
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.folder import RUN_FILE
from drive_rl.training.run import Run

# Of the machine and the moment, not of the policy. Where a run began (`from`) is a folder of that
# machine; the policy that it began with stands in `agent.start`.
_LEFT_OUT = ("platform", "command", "created", "from")


def ship(run: Run, place: Path) -> int:
    """Write the policy of `run`'s newest checkpoint to `place`, over what is there.

    Returns:
        The size of the folder [bytes].

    Raises:
        DriveRLError: the run has no whole checkpoint.
    """
    checkpoint = run.newest(policy_only=True)
    if checkpoint is None:
        raise DriveRLError(f"{run.path}: has no whole checkpoint yet")
    document = yaml.safe_load((run.path / RUN_FILE).read_text(encoding="utf-8"))
    text = yaml.safe_dump(
        {key: value for key, value in document.items() if key not in _LEFT_OUT},
        sort_keys=False,
        allow_unicode=True,
    )
    if place.exists():
        shutil.rmtree(place)
    folder = place / "checkpoints"
    folder.mkdir(parents=True)
    (place / RUN_FILE).write_text(text, encoding="utf-8")
    weights = checkpoints.for_driving(checkpoint.policy)
    checkpoint = dataclasses.replace(checkpoint, policy=weights)
    checkpoints.write_checkpoint(folder, checkpoint, policy_only=True)
    (folder / "last").write_text(f"{checkpoint.step}\n", encoding="utf-8")
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
