"""Trained networks as one safe file, and the ways to name them.

    roadgan              what ships: assets/textures/roadgan.safetensors
    FILE.safetensors     what `drive-rl textures export RUN` wrote
    RUN                  the newest whole checkpoint of a run

The file's header says what the networks are: nothing that is loaded runs code.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from drive_rl.data import data_folder
from drive_rl.errors import DriveRLError, UsageError, unknown, warn
from drive_rl.presets import validated
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.tensors import load_weights as load_checked
from drive_rl.textures.networks import Discriminator, Generator
from drive_rl.textures.spec import GanSpec

SCHEMA = 1
HEADER = "drive_rl_textures"
RUN_FILE = "run.yaml"
KIND = "texture-gan"

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
        _load(generator, self.generator, self.name)
        return generator.eval().requires_grad_(False)

    def build_discriminator(self) -> Discriminator:
        """The discriminator as it was at the end."""
        discriminator = Discriminator(self.spec.discriminator, len(self.classes))
        _load(discriminator, self.discriminator, self.name)
        return discriminator.eval().requires_grad_(False)


def shipped_weights() -> list[str]:
    """The generators that ship."""
    return sorted(path.stem for path in (data_folder("assets") / "textures").glob("*.safetensors"))


def load_weights(name: str | Path, left_out: Callable[[str], None] = warn) -> Weights:
    """Networks by the name of shipped ones, by a file, or by a run.

    Raises:
        UsageError: no such thing.
        DriveRLError: a damaged file.
    """
    path = Path(name)
    if str(name) in shipped_weights():
        path = data_folder("assets") / "textures" / f"{name}.safetensors"
    if path.is_dir():
        return _of_run(path, left_out)
    if path.is_file():
        return _of_file(str(name), path)
    if path.name == str(name) and not path.suffix:
        raise unknown("texture generator", str(name), [*shipped_weights(), "procedural"])
    raise UsageError(f"texture generator {str(name)!r}: no such run or file")


def save_weights(weights: Weights, path: Path) -> None:
    """Write one safetensors file, whole or not at all."""
    tensors = {f"generator.{k}": v.contiguous() for k, v in weights.generator.items()}
    tensors |= {f"discriminator.{k}": v.contiguous() for k, v in weights.discriminator.items()}
    document = {
        "schema": SCHEMA,
        "spec": weights.spec.model_dump(mode="json"),
        "classes": list(weights.classes),
        "made": weights.made,
    }
    beside = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(safetensors.torch.save(tensors, {HEADER: json.dumps(document)}))
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from None


def read_run(folder: Path) -> dict[str, Any]:
    """The run.yaml of a texture GAN's run.

    Raises:
        UsageError: there is none, or it is of another kind of run.
    """
    file = folder / RUN_FILE
    if not file.is_file():
        raise UsageError(f"{folder}: not a run of a texture GAN (it has no {RUN_FILE})")
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise UsageError(f"{folder}: a run, but not of a texture GAN")
    if document.get("schema") != SCHEMA:
        raise UsageError(f"{file} has schema {document.get('schema')}; this reads {SCHEMA}")
    if not isinstance(document.get("spec"), dict) or not isinstance(document.get("classes"), list):
        raise UsageError(f"{file} has no spec or no classes")
    return document


def split_states(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


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


def _load(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    try:
        load_checked(network, state)
    except DriveRLError as error:
        raise DriveRLError(f"{name} is of another architecture: {error}") from None


def _of_run(folder: Path, left_out: Callable[[str], None]) -> Weights:
    document = read_run(folder)
    spec = validated(GanSpec, document["spec"], "spec")
    found = checkpoints.newest_whole(folder / "checkpoints", left_out, policy_only=True)
    if found is None:
        raise UsageError(f"{folder}: no whole checkpoint yet")
    made = {
        "command": document.get("command"),
        "versions": document.get("versions"),
        "seed": document.get("seed"),
        "steps": found.step,
        "sources": document.get("sources"),
    }
    return Weights(
        str(folder),
        spec,
        tuple(map(str, document["classes"])),
        split_states(found.policy, "average."),
        split_states(found.policy, "discriminator."),
        made,
    )


def _of_file(name: str, path: Path) -> Weights:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            document = json.loads((file.metadata() or {})[HEADER])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        schema, classes = document["schema"], tuple(map(str, document["classes"]))
        content, made = document["spec"], dict(document["made"])
    except KeyError:
        raise UsageError(f"{path} holds no texture generator") from None
    except (OSError, ValueError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DriveRLError(f"{path} is damaged or no safetensors file ({reason})") from None
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema}; this version reads {SCHEMA}")
    spec = validated(GanSpec, content, "spec")
    generator = split_states(tensors, "generator.")
    return Weights(name, spec, classes, generator, split_states(tensors, "discriminator."), made)
