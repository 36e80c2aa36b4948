"""From features to affordances and grids, and how wrong they are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive_rl.perception.labels import CAR_AHEAD, GRID, PER_LANE, REACH

SPEED_SCALE = 10.0  # [m/s]
HEADING_SCALE = 0.1  # [rad]
EGO_SPEED = 25.0  # [m/s], in the middle of what is driven
UNSEEN_WEIGHT = 0.02  # of what lies behind, which a front camera can only guess

CAR_WEIGHT = 3.0  # of whether a car is ahead, beside lane and place, which are learned soon
GAP_WEIGHT = 6.0  # of the gap ahead in the ego's lane
FAR_GAP, FAR_WEIGHT = 70.0, 0.3  # how far it is counts less where nothing has to be done yet [m]

_SINGLE = ("heading_error", "speed", "front_gap", "front_speed", "car_ahead")


class Heads(nn.Module):
    """Linear heads on features.

    Args:
        features: width of the features.
        num_lanes: lanes that are told apart.
    """

    def __init__(self, features: int, num_lanes: int) -> None:
        super().__init__()
        self.num_lanes = num_lanes
        self.affordances = nn.Linear(features, affordance_count(num_lanes))
        self.grids = nn.Linear(features, 2 * GRID[0] * GRID[1])

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Raw outputs by name: (B, lanes) or (B,), and `grids` (B, 2, *GRID) as logits."""
        raw = split_affordances(self.affordances(features), self.num_lanes)
        return raw | {"grids": self.grids(features).view(-1, 2, *GRID)}


def affordance_count(num_lanes: int) -> int:
    """Numbers in all affordances together."""
    return num_lanes * (1 + len(PER_LANE)) + len(_SINGLE)


def split_affordances(values: Tensor, num_lanes: int) -> dict[str, Tensor]:
    """(B, affordance_count) by name: (B, lanes) or (B,)."""
    names = ("lane", *PER_LANE)
    parts = torch.split(values, [num_lanes] * len(names) + [1] * len(_SINGLE), dim=1)
    result = dict(zip(names, parts, strict=False))
    return result | {
        name: part[:, 0] for name, part in zip(_SINGLE, parts[len(names) :], strict=True)
    }


def predictions(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Raw outputs in the labels' units. `lane` are its probabilities (B, lanes)."""
    lane = raw["lane"].softmax(dim=1)
    chosen = lane.argmax(dim=1, keepdim=True)
    result = {
        "lane": lane,
        "offsets": 4.0 * raw["offsets"],
        "lateral_offset": 4.0 * raw["offsets"].gather(1, chosen)[:, 0],
        "heading_error": HEADING_SCALE * raw["heading_error"],
        "speed": EGO_SPEED + SPEED_SCALE * raw["speed"],
        "front_speed": SPEED_SCALE * raw["front_speed"],
        "front_gap": _metres(raw["front_gap"]),
        "car_ahead": raw["car_ahead"].sigmoid(),
    }
    for side in ("ahead", "behind"):
        result[f"gap_{side}"] = _metres(raw[f"gap_{side}"])
        result[f"speed_{side}"] = SPEED_SCALE * raw[f"speed_{side}"]
    return result


def affordance_loss(raw: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy of what is chosen, and absolute errors of what is measured.

    Gaps are compared by their logarithms: what counts is the error as a share of the gap. Offsets
    are learned for the ego's lane and those beside it, so that none has to jump when it is left.
    """
    lane, count = labels["lane"], labels["num_lanes"]
    lanes = torch.arange(raw["lane"].shape[1], device=lane.device)  # (L,)
    exists = lanes < count[:, None]  # (B, L)
    near = exists & ((lanes - lane[:, None]).abs() <= 1)
    total = F.cross_entropy(raw["lane"], lane)
    total = total + CAR_WEIGHT * F.binary_cross_entropy_with_logits(
        raw["car_ahead"], labels["car_ahead"]
    )
    total = total + 2.0 * _mean(raw["offsets"] - labels["offsets"] / 4.0, near)
    total = (
        total + 0.5 * (raw["heading_error"] - labels["heading_error"] / HEADING_SCALE).abs().mean()
    )
    total = total + 0.2 * (raw["speed"] - (labels["speed"] - EGO_SPEED) / SPEED_SCALE).abs().mean()
    gap_error = (raw["front_gap"] - _scaled(labels["front_gap"])).abs()
    far = labels["front_gap"] > FAR_GAP
    total = total + GAP_WEIGHT * torch.where(far, FAR_WEIGHT * gap_error, gap_error).mean()
    seen = labels["front_gap"] < REACH
    total = total + 0.5 * _mean(raw["front_speed"] - labels["front_speed"] / SPEED_SCALE, seen)
    for side, weight in (("ahead", 1.0), ("behind", UNSEEN_WEIGHT)):
        gap = labels[f"gap_{side}"]
        total = total + 2.0 * weight * _mean(raw[f"gap_{side}"] - _scaled(gap), exists)
        error = raw[f"speed_{side}"] - labels[f"speed_{side}"] / SPEED_SCALE
        total = total + 0.5 * weight * _mean(error, exists & (gap < REACH))
    return total


def grid_loss(raw: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy of the cells of both grids."""
    target = torch.stack([labels["drivable"], labels["occupied"]], dim=1)  # (B, 2, *GRID)
    # A vehicle fills few cells of the picture: they count more
    weight = 1.0 + 3.0 * target[:, 1:2]
    return F.binary_cross_entropy_with_logits(raw["grids"], target, weight.expand_as(target))


def _scaled(gap: Tensor) -> Tensor:
    return (gap.clamp(1.0, REACH) / CAR_AHEAD).log()


def _metres(scaled: Tensor) -> Tensor:
    return CAR_AHEAD * scaled.clamp(math.log(0.02), math.log(REACH / CAR_AHEAD)).exp()


def _mean(errors: Tensor, mask: Tensor) -> Tensor:
    return (errors.abs() * mask).sum() / mask.sum().clamp_min(1)
