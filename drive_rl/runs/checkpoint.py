"""Checkpoints on disk: whole or not there, verified when read, and never able to run code.

checkpoints/<step>/policy.safetensors     weights
                   optimizer.safetensors  moments
                   environment.npz        the vector environment, mid-episode
                   state.json             counters, random states, statistics
                   replay.npz             DQN's replay buffer, its filled part
                   manifest.json          size and SHA-256 of each file above
checkpoints/{last,best}                   text files that name a step
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from drive_rl.errors import DriveRLError

SCHEMA = 1
MANIFEST = "manifest.json"
POLICY = "policy.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
ENVIRONMENT = "environment.npz"
REPLAY = "replay.npz"
_TARGET = "q_net_target."
_COPIES = (  # parameters, by the beginnings of their names, and where they stand again
    ("q_net.", _TARGET),  # of a DQN's other network
    ("features_extractor.", "pi_features_extractor."),  # what actor and critic share
    ("features_extractor.", "vf_features_extractor."),
)
_CRITIC = ("value_net.", "mlp_extractor.value_net.")

Arrays = dict[str, np.ndarray[Any, Any]]
Tensors = dict[str, torch.Tensor]


class DamagedCheckpoint(DriveRLError):
    """A checkpoint that is not what was once written: truncated, changed, incomplete."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to continue from `step` as if it had never stopped.

    Attributes:
        step: environment steps taken so far, over all environments.
        policy: weights by parameter name.
        optimizer: moments, named `<parameter index>.<moment>`.
        state: everything scalar, JSON-safe.
        environment: the vector environment's state and the last observations.
        replay: the filled part of a replay buffer; empty for algorithms without one.
    """

    step: int
    policy: Tensors
    optimizer: Tensors = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    environment: Arrays = field(default_factory=dict)
    replay: Arrays = field(default_factory=dict)


# --- writing ----------------------------------------------------------------------------------


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, policy_only: bool = False) -> Path:
    """Write `checkpoint` into `folder/<step>`: beside its place, flushed to disk, then renamed.

    Args:
        policy_only: leave out what only resuming needs.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing half-made remains.
    """
    folder.mkdir(exist_ok=True)
    place = folder / str(checkpoint.step)
    beside = folder / f".writing-{checkpoint.step}"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        files: dict[str, bytes | Arrays] = {
            POLICY: safetensors.torch.save(_contiguous(checkpoint.policy)),
        }
        if not policy_only:
            files |= {
                OPTIMIZER: safetensors.torch.save(_contiguous(checkpoint.optimizer)),
                ENVIRONMENT: checkpoint.environment,
                STATE: json.dumps(checkpoint.state).encode(),
            }
        if checkpoint.replay and not policy_only:
            files[REPLAY] = checkpoint.replay
        for name, content in files.items():
            _write_flushed(beside / name, content)
        manifest = _manifest(checkpoint.step, (beside / name for name in files))
        _write_flushed(beside / MANIFEST, json.dumps(manifest, indent=1).encode())
        _flush_folder(beside)
        # A damaged checkpoint of this step may stand in the way; it is worth nothing.
        if place.exists():
            shutil.rmtree(place)
        beside.rename(place)
        _flush_folder(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return place


def write_text_atomically(path: Path, text: str) -> None:
    """Replace a text file so that a reader sees the old or the new one, never a part."""
    write_atomically(path, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader sees the old or the new one, never a part."""
    beside = path.with_name(f".{path.name}.writing")
    try:
        _write_flushed(beside, content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def prune(folder: Path, keep: Iterable[int]) -> None:
    """Delete all checkpoints but those of the steps in `keep`."""
    kept = set(keep)
    for step in steps_in(folder):
        if step not in kept:
            # Renamed first: a kill in the middle of deleting must not leave a damaged checkpoint.
            doomed = folder / f".writing-{step}"
            shutil.rmtree(doomed, ignore_errors=True)
            (folder / str(step)).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written. Only for the process that owns the run."""
    for leftover in folder.glob(".*writing*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _contiguous(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _write_flushed(path: Path, content: bytes | Arrays) -> None:
    with path.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            # Not np.savez: its keyword names would clash with an array called "file".
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for name, array in content.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename durable. Windows has no handle on a folder to flush."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _manifest(step: int, files: Iterable[Path]) -> dict[str, Any]:
    entries = {}
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entries[path.name] = {"size": path.stat().st_size, "sha256": digest}
    body = {"schema": SCHEMA, "step": step, "files": entries}
    return body | {"checksum": _checksum(body)}


def _checksum(body: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its own checksum."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


# --- reading ----------------------------------------------------------------------------------


def steps_in(folder: Path) -> list[int]:
    """Steps that have a checkpoint folder (whole or not), ascending."""
    if not folder.is_dir():
        return []
    return sorted(
        int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()
    )


def read_checkpoint(place: Path, *, policy_only: bool = False) -> Checkpoint:
    """Read and verify the checkpoint folder `place`; with `policy_only`, just its weights.

    Raises:
        DamagedCheckpoint: names the file and what is wrong with it.
    """
    manifest = _read_manifest(place)
    files: Mapping[str, Any] = manifest["files"]

    def tensors(name: str) -> Tensors:
        found: Tensors = _parsed(place / name, files, safetensors.torch.load)
        return found

    def arrays(name: str) -> Arrays:
        found: Arrays = _parsed(place / name, files, _load_arrays)
        return found

    policy = tensors(POLICY)
    step = int(manifest["step"])
    if policy_only:
        return Checkpoint(step, _for_learning(policy))
    return Checkpoint(
        step,
        policy,
        tensors(OPTIMIZER),
        _parsed(place / STATE, files, json.loads),
        arrays(ENVIRONMENT),
        arrays(REPLAY) if REPLAY in files else {},
    )


def for_driving(policy: Tensors) -> Tensors:
    """The weights that driving needs, each once, exactly; a critic's in half precision.

    A DQN's target network, which only learning needs, is left out as it is; what an actor and a
    critic share stands in SB3's weights three times. The critic chooses no action: it is shown
    beside the drive, and further training begins with it.
    """
    left_out = {name for name in policy if name.startswith(_TARGET)}
    for original, copy in _COPIES[1:]:
        for name in policy:
            source = policy.get(original + name.removeprefix(copy))
            if name.startswith(copy) and source is not None and torch.equal(policy[name], source):
                left_out.add(name)
    return {
        name: value.half() if name.startswith(_CRITIC) else value
        for name, value in policy.items()
        if name not in left_out
    }


def _for_learning(policy: Tensors) -> Tensors:
    """With what `for_driving` left out; a target network as if it had just been updated."""
    policy = {
        name: value.float() if value.dtype == torch.float16 else value
        for name, value in policy.items()
    }
    copies = {
        copy + name.removeprefix(original): value
        for original, copy in _COPIES
        for name, value in policy.items()
        if name.startswith(original)
    }
    return copies | policy


def newest_whole(
    folder: Path, left_out: Callable[[str], None], *, policy_only: bool = False
) -> Checkpoint | None:
    """The newest checkpoint of `folder` that verifies, or None where there is none.

    Args:
        left_out: called with one line for each newer one that does not verify.
        policy_only: read the weights alone.
    """
    for step in reversed(steps_in(folder)):
        try:
            return read_checkpoint(folder / str(step), policy_only=policy_only)
        except DamagedCheckpoint as damage:
            left_out(f"left out checkpoint {step}: {damage}")
    return None


def _read_manifest(place: Path) -> dict[str, Any]:
    path = place / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        body = {name: manifest[name] for name in ("schema", "step", "files")}
        checksum = manifest["checksum"]
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DamagedCheckpoint(f"{path} does not parse") from None
    if _checksum(body) != checksum or set(manifest) != {*body, "checksum"}:
        raise DamagedCheckpoint(f"{path} does not match its checksum")
    if body["schema"] != SCHEMA:
        raise DamagedCheckpoint(f"{path} has schema {body['schema']}; this version reads {SCHEMA}")
    if place.name.isdecimal() and int(place.name) != body["step"]:
        raise DamagedCheckpoint(f"{path} is of step {body['step']}")
    return dict(manifest)


def _parsed(path: Path, files: Mapping[str, Any], parse: Callable[[bytes], Any]) -> Any:
    """Read once, verify these bytes, parse the same bytes."""
    if path.name not in files:
        raise DamagedCheckpoint(f"{path} is not in its manifest")
    expected = files[path.name]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read ({error.strerror})") from None
    if len(content) != expected["size"]:
        raise DamagedCheckpoint(
            f"{path} has {len(content):,} bytes instead of {expected['size']:,}"
        )
    if hashlib.sha256(content).hexdigest() != expected["sha256"]:
        raise DamagedCheckpoint(f"{path} does not match its SHA-256")
    try:
        return parse(content)
    except (
        ValueError,
        KeyError,
        EOFError,
        OSError,
        RecursionError,
        zipfile.BadZipFile,
        safetensors.SafetensorError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedCheckpoint(f"{path} does not parse ({reason})") from None


def _load_arrays(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
