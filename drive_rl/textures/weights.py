"""The networks of a trained texture GAN: as one file, as of a run, for other classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drive_rl.errors import UsageError, warn
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.folder import CHECKPOINTS
from drive_rl.runs.tensors import below, loaded
from drive_rl.runs.tensors import load_weights as load_checked
from drive_rl.runs.weights import Kind
from drive_rl.specs import validated
from drive_rl.textures.networks import Discriminator, Generator
from drive_rl.textures.spec import ASSETS, GanSpec

KIND = Kind("texture-gan", ASSETS, "texture generator", "run of a texture GAN")

# By class: what a network of other classes can take over by name of the class
_BY_CLASS = ("embedding.0.weight", "condition.weight", "condition.parametrizations.weight.original")


@dataclass(frozen=True)
class Weights:
    """Trained networks and what they are.

    Attributes:
        name: as they were asked for.
        classes: names of the surfaces, in the order of the labels.
        generator: the averaged generator's weights.
        discriminator: the discriminator's.
        made: command, versions, steps, sources: where they come from.
    """

    name: str
    spec: GanSpec
    classes: tuple[str, ...]
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    made: dict[str, Any]

    def build_generator(self) -> Generator:
        """The averaged generator, ready to sample from.

        Raises:
            DriveRLError: the weights do not fit their description.
        """
        generator = Generator(self.spec.generator, len(self.classes))
        return loaded(generator, self.generator, self.name).requires_grad_(False)

    def build_discriminator(self) -> Discriminator:
        """The discriminator as it was at the end."""
        discriminator = Discriminator(self.spec.discriminator, len(self.classes))
        return loaded(discriminator, self.discriminator, self.name).requires_grad_(False)


def load_weights(name: str | Path, left_out: Callable[[str], None] = warn) -> Weights:
    """Networks by the name of shipped ones, by a file, or by a run.

    Raises:
        UsageError: no such thing.
        DriveRLError: a damaged file.
    """
    path = KIND.find(name, ["procedural"])
    if path.is_dir():
        return _of_run(path, left_out)
    return KIND.read(path, lambda document, tensors: _of_file(str(name), document, tensors))


def save_weights(weights: Weights, path: Path) -> None:
    """Write one safetensors file, whole or not at all."""
    tensors = {f"generator.{k}": v for k, v in weights.generator.items()}
    tensors |= {f"discriminator.{k}": v for k, v in weights.discriminator.items()}
    document = {
        "spec": weights.spec.model_dump(mode="json"),
        "classes": list(weights.classes),
        "made": weights.made,
    }
    KIND.write(path, document, tensors)


def adapt(
    network: nn.Module, weights: dict[str, Tensor], old: tuple[str, ...], new: tuple[str, ...]
) -> None:
    """Load weights trained on some classes into a network of others.

    A class that both have keeps its part; a new one starts from the mean of the old ones.

    Raises:
        DriveRLError: they are of another architecture.
    """
    moved = dict(weights)
    for name in _BY_CLASS:
        if name not in weights:
            continue
        value = weights[name]
        # Columns: a style (the generator's only), the classes, the controls
        start = value.shape[1] - len(old) - 4
        if start < 0:
            continue
        known = value[:, start : start + len(old)]
        columns = [known[:, old.index(c)] if c in old else known.mean(dim=1) for c in new]
        parts = [value[:, :start], torch.stack(columns, dim=1), value[:, start + len(old) :]]
        moved[name] = torch.cat(parts, dim=1)
    if any("parametrizations" in name for name in moved):
        # The estimate of a singular vector has the length of its weight's columns
        moved |= {
            name: value
            for name, value in network.state_dict().items()
            if name.startswith("condition.parametrizations") and name.endswith("_v")
        }
    load_checked(network, moved)


def _of_run(folder: Path, left_out: Callable[[str], None]) -> Weights:
    document = KIND.read_run(folder)
    spec = validated(GanSpec, document["spec"], "spec")
    if not isinstance(document.get("classes"), list):
        raise UsageError(f"{folder}: its run.yaml has no classes")
    found = checkpoints.newest_whole(folder / CHECKPOINTS, left_out, policy_only=True)
    if found is None:
        raise UsageError(f"{folder}: no whole checkpoint yet")
    made = {name: document.get(name) for name in ("command", "versions", "seed", "sources")}
    return Weights(
        str(folder),
        spec,
        tuple(map(str, document["classes"])),
        below("average.", found.policy),
        below("discriminator.", found.policy),
        made | {"steps": found.step},
    )


def _of_file(name: str, document: Mapping[str, Any], tensors: dict[str, Tensor]) -> Weights:
    return Weights(
        name,
        validated(GanSpec, document["spec"], "spec"),
        tuple(map(str, document["classes"])),
        below("generator.", tensors),
        below("discriminator.", tensors),
        dict(document["made"]),
    )
