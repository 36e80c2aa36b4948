"""The network that reads vehicles as a set."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from drive_rl.errors import UsageError
from drive_rl.training.attention import SCALES, EgoAttention, rates

ROWS = spaces.Box(-math.inf, math.inf, (6, 5), np.float32)


@pytest.fixture
def network() -> EgoAttention:
    torch.manual_seed(0)
    return EgoAttention(ROWS, width=16, heads=2)


def vehicles(batch: int = 4) -> Tensor:
    rows = torch.rand(batch, 6, 5, generator=torch.Generator().manual_seed(1)) * 0.3 - 0.15
    rows[..., 0] = 1.0
    return rows


def test_the_order_of_the_others_does_not_matter(network: EgoAttention) -> None:
    rows = vehicles()
    shuffled = rows[:, [0, 4, 2, 5, 1, 3]]
    torch.testing.assert_close(network(shuffled), network(rows))


def test_who_is_the_ego_matters(network: EgoAttention) -> None:
    rows = vehicles()
    assert not torch.allclose(network(rows[:, [1, 0, 2, 3, 4, 5]]), network(rows))


def test_absent_vehicles_are_as_if_there_were_no_rows_for_them(network: EgoAttention) -> None:
    rows = vehicles()
    rows[:, 4:] = 0.0
    torch.testing.assert_close(network(rows), network(rows[:, :4]))


def test_every_vehicle_present_counts(network: EgoAttention) -> None:
    rows = vehicles()
    rows.requires_grad_()
    network(rows).sum().backward()
    assert rows.grad is not None
    assert bool((rows.grad.abs().sum(dim=(0, 2)) > 0).all())


def test_an_observation_without_any_vehicle_has_finite_features(network: EgoAttention) -> None:
    assert bool(torch.isfinite(network(torch.zeros(2, 6, 5))).all())


def test_attention_equals_its_textbook_form(network: EgoAttention) -> None:
    """Keys and values of every vehicle, one head after the other."""
    rows = vehicles(1)
    rows[:, 5] = 0.0
    wide = torch.cat([(rows * scale).clamp(-1, 1) for scale in SCALES], dim=-1)
    encoded = torch.relu(network.vehicle(wide) + network.ego(wide[:, :1]))
    encoded = torch.relu(network.encode(encoded))[0, :5]
    answers = []
    for head in (slice(0, 8), slice(8, 16)):
        query = network.query(encoded[0])[head]
        keys, values = network.key(encoded)[:, head], network.value(encoded)[:, head]
        answers.append(torch.softmax(keys @ query / math.sqrt(8), dim=0) @ values)
    torch.testing.assert_close(network(rows)[0, 32:], torch.cat(answers))


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(UsageError, match="no multiple of heads"):
        EgoAttention(ROWS, width=10, heads=4)


def test_rates_tell_when_two_vehicles_meet() -> None:
    """Ahead at 0.2 and 0.1 a second slower: in 2 s; behind and as much faster: too; then away."""
    rows = torch.zeros(1, 3, 5)
    rows[0, 0] = torch.tensor([1.0, 0.2, 0.0, -0.1, 0.0])
    rows[0, 1] = torch.tensor([1.0, -0.2, 0.0, 0.1, 0.0])
    rows[0, 2] = torch.tensor([1.0, 0.2, 0.0, 0.1, 0.0])
    near, closing, turning = rates(rows)[0].unbind(dim=-1)
    torch.testing.assert_close(closing, torch.tensor([0.5, 0.5, -0.5]) / 4, rtol=0.01, atol=0.0)
    assert bool((turning == 0).all())
    assert bool((near == near[0]).all())
    rows[0, 0, 4] = 0.1
    assert float(rates(rows)[0, 0, 2]) > 0


def test_rates_are_read_where_closing_is_asked_for() -> None:
    network = EgoAttention(ROWS, width=16, heads=2, closing=True)
    rows = vehicles()
    assert network(rows).shape == (4, 48)
    shuffled = rows[:, [0, 4, 2, 5, 1, 3]]
    torch.testing.assert_close(network(shuffled), network(rows))
    with pytest.raises(UsageError, match="presence, x, y, vx, vy"):
        EgoAttention(spaces.Box(-1.0, 1.0, (6, 4)), closing=True)
