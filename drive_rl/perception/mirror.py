"""Frames and their labels as in a mirror: left is right, and an episode counts twice."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from drive_rl.errors import UsageError
from drive_rl.perception.labels import GRIDS, PER_LANE
from drive_rl.presets import EnvironmentSpec

SIGNED = ("lateral_offset", "heading_error", "offsets")  # positive to the right


def check_mirror(spec: EnvironmentSpec) -> None:
    """Does a mirrored frame show what this camera could see?

    Raises:
        UsageError: the camera is beside the vehicle's middle.
    """
    position = spec.full_config["observation"].get("position", [0.0, 0.0, 0.0])
    if position[1]:
        raise UsageError(
            f"mirror: the camera of {spec.id} is {position[1]:g} m beside the vehicle's middle, so "
            "no mirrored frame is one of its own; train with mirror=0"
        )


def mirrored_stacks(stacks: Tensor, chosen: Tensor) -> Tensor:
    """Stacks (B, channels, H, W), of which the chosen ones (B,) are mirrored."""
    return torch.where(chosen.view(-1, 1, 1, 1), stacks.flip(-1), stacks)


def mirrored_labels(labels: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
    """Labels of `labels.as_tensors`, of which the chosen ones (B,) are mirrored."""
    lanes = labels["num_lanes"]
    changed = dict(labels)
    changed["lane"] = lanes - 1 - labels["lane"]
    places = torch.arange(labels["offsets"].shape[1], device=lanes.device)  # (L,)
    opposite = lanes[:, None] - 1 - places  # (B, L)
    opposite = torch.where(opposite >= 0, opposite, places)  # lanes that there are not stay
    for name in PER_LANE:
        changed[name] = labels[name].gather(1, opposite)
    for name in SIGNED:
        changed[name] = -changed[name]
    for name in GRIDS:
        changed[name] = labels[name].flip(-1)
    return {
        name: torch.where(chosen.view(-1, *[1] * (value.ndim - 1)), value, labels[name])
        for name, value in changed.items()
    }
