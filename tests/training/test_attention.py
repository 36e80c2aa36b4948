"""The network that reads vehicles as a set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from drive_rl.errors import UsageError
from drive_rl.training.attention import SCALES, EgoAttention, Interaction, rates

ROWS = spaces.Box(-math.inf, math.inf, (6, 5), np.float32)


@pytest.fixture(params=[0, 2], ids=["ego alone", "one another"])
def network(request: pytest.FixtureRequest) -> EgoAttention:
    torch.manual_seed(0)
    return EgoAttention(ROWS, width=16, heads=2, layers=request.param)


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


def test_attention_equals_its_textbook_form() -> None:
    """Keys and values of every vehicle, one head after the other."""
    torch.manual_seed(0)
    network = EgoAttention(ROWS, width=16, heads=2)
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


def test_an_interaction_is_torchs_own_transformer_layer() -> None:
    torch.manual_seed(0)
    layer = Interaction(16, heads=2)
    textbook = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=True)
    attention = textbook.self_attn
    pairs: list[tuple[nn.Module, Any, Any]] = [
        (layer.query_key_value, attention.in_proj_weight, attention.in_proj_bias),
        (layer.mix, attention.out_proj.weight, attention.out_proj.bias),
        (layer.attention_norm, textbook.norm1.weight, textbook.norm1.bias),
        (layer.norm, textbook.norm2.weight, textbook.norm2.bias),
        (layer.widen, textbook.linear1.weight, textbook.linear1.bias),
        (layer.narrow, textbook.linear2.weight, textbook.linear2.bias),
    ]
    with torch.no_grad():
        for ours, weight, bias in pairs:
            weight.copy_(ours.weight)
            bias.copy_(ours.bias.normal_())
    rows, absent = torch.randn(3, 5, 16), torch.zeros(3, 5, dtype=torch.bool)
    absent[1, 3:] = True
    wanted = textbook(rows, src_key_padding_mask=absent)
    torch.testing.assert_close(layer(rows, absent)[~absent], wanted[~absent])


def test_one_another_is_seen_with_layers_only() -> None:
    """What one vehicle reads of itself depends on another's place, or does not."""
    rows = vehicles(1)
    moved = rows.clone()
    moved[0, 3, 1] += 0.1
    for layers in (0, 1):
        torch.manual_seed(0)
        network = EgoAttention(ROWS, width=16, heads=2, layers=layers)
        same = torch.equal(network(rows)[:, :16], network(moved)[:, :16])  # the ego's own encoding
        assert same == (layers == 0)


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
