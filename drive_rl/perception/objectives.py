"""Self-supervised losses on pairs of views: no label is looked at.

vicreg       Bardes, Ponce, LeCun 2022: invariance, variance, covariance; weights 25, 25, 1
contrastive  Chen et al. 2020 (SimCLR): the other view among all of the batch
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 0.2


def make_projector(features: int, width: int) -> nn.Module:
    """Features to the space where views are compared; thrown away after the training."""
    return nn.Sequential(
        nn.Linear(features, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
    )


def vicreg_loss(one: Tensor, two: Tensor) -> Tensor:
    """Of two views' projections, both (B, D)."""
    invariance = F.mse_loss(one, two)
    variance = one.new_zeros(())
    covariance = one.new_zeros(())
    for z in (one, two):
        centred = z - z.mean(dim=0)
        deviation = (centred.var(dim=0) + 1e-4).sqrt()  # (D,)
        variance = variance + F.relu(1.0 - deviation).mean() / 2
        matrix = centred.T @ centred / max(len(z) - 1, 1)  # (D, D)
        covariance = (
            covariance + (matrix.pow(2).sum() - matrix.diagonal().pow(2).sum()) / z.shape[1]
        )
    return 25.0 * invariance + 25.0 * variance + covariance


def contrastive_loss(one: Tensor, two: Tensor) -> Tensor:
    """Normalised temperature-scaled cross-entropy of two views' projections, both (B, D)."""
    count = len(one)
    z = F.normalize(torch.cat([one, two]), dim=1)  # (2B, D)
    alike = z @ z.T / TEMPERATURE
    alike.fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * count, device=z.device).roll(count)
    return F.cross_entropy(alike, partner)
