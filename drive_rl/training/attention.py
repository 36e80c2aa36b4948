"""Vehicles as a set: a permutation-invariant network over Kinematics observations.

A row of Kinematics is a vehicle, the first one the ego. Order and number of the others carry no
meaning, so each is encoded together with the ego by the same layers, then read in two ways: the
maximum over vehicles (Zaheer et al. 2017, "Deep Sets"), and attention with the ego as the query
(Leurent and Mercat 2019, "Social Attention for Autonomous Decision-Making in Dense Traffic").
On highway-fast-v0 this matters more than tuning: see docs/scoreboard.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from drive_rl.errors import UsageError


class EgoAttention(BaseFeaturesExtractor):
    """Encodes (batch, vehicles, features) to (batch, 3 * width).

    Args:
        observation_space: a Box of shape (vehicles, features); a row of zeros is no vehicle.
        width: of a vehicle's encoding; a multiple of `heads`.
        heads: of the attention.

    Raises:
        UsageError: observations that are not rows of vehicles, or a width that does not divide.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], width: int = 64, heads: int = 2
    ) -> None:
        shape = observation_space.shape
        if not isinstance(observation_space, spaces.Box) or shape is None or len(shape) != 2:
            raise UsageError(
                "network 'attention' reads vehicles in rows (Kinematics), "
                f"not {observation_space}; use 'mlp'"
            )
        if width % heads:
            raise UsageError(
                f"network 'attention': features {width} is no multiple of heads {heads}"
            )
        super().__init__(observation_space, 3 * width)
        self.heads = heads
        num_features = shape[1]
        # One layer on [vehicle, ego], as two whose sum it is: the ego's half is computed once.
        self.vehicle = nn.Linear(num_features, width)
        self.ego = nn.Linear(num_features, width)
        self.encode = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        ego = observations[:, :1]  # (B, 1, F)
        present = (observations != 0).any(dim=-1)  # (B, V)
        encoded = self.encode(self.vehicle(observations) + self.ego(ego))  # (B, V, D)
        largest = encoded.masked_fill(~present[..., None], 0.0).amax(dim=1)  # (B, D); after ReLU
        attended = self._attend(encoded, present)  # (B, D)
        return torch.cat([encoded[:, 0], largest, attended], dim=-1)  # (B, 3 D)

    def _attend(self, encoded: Tensor, present: Tensor) -> Tensor:
        """The ego asks, all vehicles answer (the ego too, so there is always one)."""
        batch, vehicles, width = encoded.shape
        head = width // self.heads
        query = self.query(encoded[:, 0]).view(batch, self.heads, 1, head)  # (B, H, 1, d)
        keys = self.key(encoded).view(batch, vehicles, self.heads, head).transpose(1, 2)
        values = self.value(encoded).view(batch, vehicles, self.heads, head).transpose(1, 2)
        scores = (query * keys).sum(dim=-1) / math.sqrt(head)  # (B, H, V)
        absent = ~present
        absent[:, 0] = False
        weights = scores.masked_fill(absent[:, None], -torch.inf).softmax(dim=-1)  # (B, H, V)
        answer = (weights[..., None] * values).sum(dim=2)  # (B, H, d)
        flat: Tensor = answer.reshape(batch, width)  # (B, D)
        return flat
