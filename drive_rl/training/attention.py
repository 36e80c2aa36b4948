"""A small permutation-invariant network over Kinematics observations.

A row of Kinematics is a vehicle, the first one the ego. Order and number of the others carry no
meaning, so each is encoded together with the ego by the same layers, then read in two ways: the
maximum over vehicles (Zaheer et al. 2017, "Deep Sets"), and attention with the ego as the query
(Leurent and Mercat 2019, "Social Attention for Autonomous Decision-Making in Dense Traffic").

Ranges that are wide enough for everything in sight leave little of [-1, 1] to what is near, and a
network is slow to learn steep functions of small inputs. So every feature is read at several
scales: as it is, and magnified and cut off, as through a set of lenses.

When a collision is to be expected is a quotient of distance and speed, which a small network is
slow to learn too. With `closing`, each vehicle's rates are features of their own.

Where it matters what the others do to one another (who yields to whom, and whether a gap between
two of them stays), encoding each with the ego alone is not enough. With `layers`, the vehicles
first attend to one another, as words do in a transformer (Vaswani et al. 2017).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from drive_rl.errors import UsageError

SCALES = (1.0, 4.0, 16.0)
"""Magnifications at which each feature is read."""

MOTION = ("presence", "x", "y", "vx", "vy")
"""The first columns of an observation whose rates can be read."""

_NEAR = 0.02  # distance [of the range of x] at which nearness is 1/2
_SLOW = 0.25  # of a rate [range of vx / range of x], so that the lenses cut off at 4, 1 and 1/4


class EgoAttention(BaseFeaturesExtractor):
    """Encodes (batch, vehicles, features) to (batch, 3 * width).

    Args:
        observation_space: a Box of shape (vehicles, features); a row of zeros is no vehicle.
        width: of a vehicle's encoding; a multiple of `heads`.
        heads: of the attention.
        closing: also read `rates`; the columns begin with MOTION.
        layers: in which the vehicles attend to one another before the ego reads them.

    Raises:
        UsageError: observations that are not rows of vehicles, or a width that does not divide.
    """

    _scales: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        width: int = 64,
        heads: int = 2,
        closing: bool = False,
        layers: int = 0,
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
        if closing and shape[1] < len(MOTION):
            raise UsageError(
                f"network 'attention' with closing reads {', '.join(MOTION)}, and the observation "
                f"has {shape[1]} columns"
            )
        super().__init__(observation_space, 3 * width)
        self.width, self.heads, self.closing = width, heads, closing
        columns = shape[1] + (3 if closing else 0)
        num_inputs = columns * len(SCALES)
        scales = torch.tensor(SCALES).repeat_interleave(columns)  # (3 F)
        self.register_buffer("_scales", scales, persistent=False)
        # One layer on [vehicle, ego], as two whose sum it is: the ego's half is computed once.
        self.vehicle = nn.Linear(num_inputs, width)
        self.ego = nn.Linear(num_inputs, width)
        self.encode = nn.Linear(width, width)
        self.layers = nn.ModuleList(Interaction(width, heads) for _ in range(layers))
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        present = observations.abs().amax(dim=-1) > 0  # (B, V)
        absent = ~present
        absent[:, 0] = False  # the ego is there always, so there is always one to look at
        if self.closing:
            observations = torch.cat([observations, rates(observations)], dim=-1)
        rows = (observations.repeat(1, 1, len(SCALES)) * self._scales).clamp(-1.0, 1.0)
        encoded = torch.relu(self.vehicle(rows) + self.ego(rows[:, :1]))  # (B, V, D)
        encoded = torch.relu(self.encode(encoded)) * present[..., None]  # (B, V, D)
        if len(self.layers):
            for layer in self.layers:
                encoded = layer(encoded, absent)
            encoded = torch.relu(encoded) * present[..., None]  # (B, V, D)
        largest = encoded.amax(dim=1)  # (B, D); of what is not negative
        attended = self._attend(encoded, absent)  # (B, D)
        return torch.cat([encoded[:, 0], largest, attended], dim=-1)  # (B, 3 D)

    def _attend(self, encoded: Tensor, absent: Tensor) -> Tensor:
        """The ego asks, all vehicles answer (the ego too, so there is always one).

        Keys and values are linear in the encodings. So the keys' matrix is applied to the one
        query, and the values' matrix to the one answer, instead of both to every vehicle.
        """
        head = self.width // self.heads
        key = self.key.weight.view(self.heads, head, self.width)  # (H, d, D)
        value = self.value.weight.view(self.heads, head, self.width)  # (H, d, D)
        query = self.query(encoded[:, 0]).view(-1, self.heads, head)  # (B, H, d)
        asked = torch.einsum("bhd,hdw->bhw", query, key)  # (B, H, D)
        scores = torch.bmm(asked, encoded.transpose(1, 2)) / math.sqrt(head)  # (B, H, V)
        scores = scores.masked_fill(absent[:, None], -torch.inf)
        weights = scores.softmax(dim=-1)  # (B, H, V)
        seen = torch.bmm(weights, encoded)  # (B, H, D)
        return torch.einsum("bhw,hdw->bhd", seen, value).flatten(1)  # (B, D)


class Interaction(nn.Module):
    """One layer of a transformer, normalised before each half; the order of rows has no meaning.

    Args:
        width: of a vehicle's encoding; a multiple of `heads`.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, vehicles: Tensor, absent: Tensor) -> Tensor:
        """Vehicles (B, V, D) after a look at one another, but for those absent, (B, V)."""
        batch, count, width = vehicles.shape
        rows = self.query_key_value(self.attention_norm(vehicles))  # (B, V, 3 D)
        rows = rows.view(batch, count, 3 * self.heads, -1).transpose(1, 2)  # (B, 3 H, V, d)
        query, key, value = rows.chunk(3, dim=1)  # (B, H, V, d) each
        scores = query @ key.transpose(2, 3) / math.sqrt(width // self.heads)  # (B, H, V, V)
        weights = scores.masked_fill(absent[:, None, None], -torch.inf).softmax(dim=-1)
        seen = (weights @ value).transpose(1, 2).reshape(batch, count, width)  # (B, V, D)
        vehicles = vehicles + self.mix(seen)
        vehicles = vehicles + self.narrow(torch.relu(self.widen(self.norm(vehicles))))
        return vehicles


def rates(observations: Tensor) -> Tensor:
    """How near each vehicle is, how fast it closes in and how fast its bearing turns, (B, V, 3).

    Of relative positions p and velocities v: c / (c + |p|), -p.v / |p|^2 (the inverse of the time
    to collision) and p x v / |p|^2. x and y are to have one range, and vx and vy too.
    """
    x, y, vx, vy = observations[..., 1:5].unbind(dim=-1)  # (B, V) each
    square = x * x + y * y + 1e-4
    near = _NEAR / (_NEAR + square.sqrt())
    closing = -(x * vx + y * vy) / square * _SLOW
    turning = (x * vy - y * vx) / square * _SLOW
    return torch.stack([near, closing, turning], dim=-1)
