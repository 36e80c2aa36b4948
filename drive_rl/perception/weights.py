"""A trained encoder with its heads: as one file, or as a run keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drive_rl.errors import UsageError
from drive_rl.perception.heads import Heads
from drive_rl.perception.networks import Encoder
from drive_rl.perception.spec import ASSETS, EncoderSpec
from drive_rl.runs.tensors import below, loaded
from drive_rl.runs.weights import Kind
from drive_rl.specs import validated

KIND = Kind("perception", ASSETS, "encoder", "run of perception")
ENCODER_FILE = "encoder.safetensors"
DEFAULT = "road"


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
        return loaded(encoder, self.encoder, self.name)

    def build_heads(self) -> Heads:
        """The heads with their weights."""
        with torch.random.fork_rng(devices=[]):
            heads = Heads(self.spec.features, self.num_lanes)
        return loaded(heads, self.heads, self.name)


def load_encoder(name: str | Path) -> Weights:
    """An encoder by the name of a shipped one, by a file, or by a run.

    Raises:
        UsageError: no such thing.
        DriveRLError: a damaged file.
    """
    path = KIND.find(name)
    if path.is_dir():
        KIND.read_run(path)
        path = path / ENCODER_FILE
        if not path.is_file():
            raise UsageError(f"{name}: no encoder yet; it is written at each checkpoint")
    return KIND.read(path, lambda document, tensors: _of_file(str(name), document, tensors))


def save_encoder(weights: Weights, path: Path) -> None:
    """Write one safetensors file, whole or not at all."""
    tensors = {f"encoder.{k}": v for k, v in weights.encoder.items()}
    tensors |= {f"heads.{k}": v for k, v in weights.heads.items()}
    KIND.write(path, {**describe(weights), "made": dict(weights.made)}, tensors)


def describe(weights: Weights) -> dict[str, Any]:
    """What a network is, as plain data."""
    return {
        "encoder": weights.spec.model_dump(mode="json"),
        "shape": list(weights.shape),
        "channels": weights.channels,
        "num_lanes": weights.num_lanes,
    }


def _of_file(name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Weights:
    return Weights(
        name,
        validated(EncoderSpec, document["encoder"], "encoder"),
        tuple(map(int, document["shape"])),
        int(document["channels"]),
        int(document["num_lanes"]),
        below("encoder.", tensors),
        below("heads.", tensors),
        dict(document["made"]),
    )
