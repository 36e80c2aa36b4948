"""Trained encoders as one safe file, and the ways to name them.

    road                 what ships: assets/perception/road.safetensors
    FILE.safetensors     what `drive-rl perception export RUN` wrote
    RUN                  the newest whole checkpoint of a run of `drive-rl perception train`

The file's header says what the network is: nothing that is loaded runs code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from drive_rl.data import data_folder
from drive_rl.errors import DriveRLError, UsageError, unknown
from drive_rl.perception.heads import Heads
from drive_rl.perception.networks import Encoder
from drive_rl.perception.spec import EncoderSpec
from drive_rl.presets import validated

SCHEMA = 1
HEADER = "drive_rl_perception"
KIND = "perception"
RUN_FILE = "run.yaml"
ENCODER_FILE = "encoder.safetensors"
DEFAULT = "road"

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Weights:
    """A trained encoder with its heads, and what they are.

    Attributes:
        name: as it was asked for.
        spec: the encoder's architecture.
        shape: of the stacks that it was trained on, (stack * channels, height, width).
        channels: of a frame.
        num_lanes: lanes that its heads tell apart.
        encoder, heads: weights by name.
        made: environment, command, versions, steps: where they come from.
    """

    name: str
    spec: EncoderSpec
    shape: tuple[int, ...]
    channels: int
    num_lanes: int
    encoder: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]
    made: Mapping[str, Any]

    def build_encoder(self) -> Encoder:
        """The encoder with its weights, in evaluation mode.

        Raises:
            DriveRLError: the weights do not fit their description.
        """
        with torch.random.fork_rng(devices=[]):
            encoder = Encoder(self.spec, self.shape, self.channels)
        return _loaded(encoder, self.encoder, self.name).eval()

    def build_heads(self) -> Heads:
        """The heads with their weights."""
        with torch.random.fork_rng(devices=[]):
            heads = Heads(self.spec.features, self.num_lanes)
        return _loaded(heads, self.heads, self.name).eval()


def shipped_encoders() -> list[str]:
    """The encoders that ship."""
    folder = data_folder("assets") / "perception"
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def load_encoder(name: str | Path) -> Weights:
    """An encoder by the name of a shipped one, by a file, or by a run.

    Raises:
        UsageError: no such thing.
        DriveRLError: a damaged file.
    """
    path = Path(name)
    if str(name) in shipped_encoders():
        path = data_folder("assets") / "perception" / f"{name}.safetensors"
    if path.is_dir():
        return _of_run(path)
    if path.is_file():
        return _of_file(str(name), path)
    if path.name == str(name) and not path.suffix:
        raise unknown("encoder", str(name), shipped_encoders())
    raise UsageError(f"encoder {str(name)!r}: no such run or file")


def save_encoder(weights: Weights, path: Path) -> None:
    """Write one safetensors file, whole or not at all."""
    tensors = {f"encoder.{k}": v.detach().cpu().contiguous() for k, v in weights.encoder.items()}
    tensors |= {f"heads.{k}": v.detach().cpu().contiguous() for k, v in weights.heads.items()}
    document = {"schema": SCHEMA, **describe(weights), "made": dict(weights.made)}
    beside = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(safetensors.torch.save(tensors, {HEADER: json.dumps(document)}))
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from None


def describe(weights: Weights) -> dict[str, Any]:
    """What a network is, as plain data."""
    return {
        "encoder": weights.spec.model_dump(mode="json"),
        "shape": list(weights.shape),
        "channels": weights.channels,
        "num_lanes": weights.num_lanes,
    }


def read_run(folder: Path) -> dict[str, Any]:
    """The run.yaml of a run of perception.

    Raises:
        UsageError: there is none, or it is of another kind of run.
    """
    file = folder / RUN_FILE
    if not file.is_file():
        raise UsageError(f"{folder}: not a run of perception (it has no {RUN_FILE})")
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise UsageError(f"{folder}: a run, but not of perception")
    if document.get("schema") != SCHEMA:
        raise UsageError(f"{file} has schema {document.get('schema')}; this reads {SCHEMA}")
    return document


def _of_run(folder: Path) -> Weights:
    read_run(folder)
    place = folder / ENCODER_FILE
    if not place.is_file():
        raise UsageError(f"{folder}: no encoder yet; it is written at each checkpoint")
    return _of_file(str(folder), place)


def _of_file(name: str, path: Path) -> Weights:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            document = json.loads((file.metadata() or {})[HEADER])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        schema = document["schema"]
        shape = tuple(map(int, document["shape"]))
        channels, num_lanes = int(document["channels"]), int(document["num_lanes"])
        content, made = document["encoder"], dict(document["made"])
    except KeyError:
        raise UsageError(f"{path} holds no encoder") from None
    except (OSError, ValueError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DriveRLError(f"{path} is damaged or no safetensors file ({reason})") from None
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema}; this version reads {SCHEMA}")
    spec = validated(EncoderSpec, content, "encoder")
    return Weights(
        name, spec, shape, channels, num_lanes, _below(tensors, "encoder."),
        _below(tensors, "heads."), made,
    )  # fmt: skip


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _loaded(module: Module, state: Mapping[str, Tensor], name: str) -> Module:
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise DriveRLError(f"{name} is of another architecture: {reason}") from None
    return module
