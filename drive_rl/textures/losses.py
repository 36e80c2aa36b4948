"""Losses of a GAN over scores of real and fake crops, each (B,), and their gradient penalties."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

Critic = Callable[[Tensor], Tensor]


def discriminator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator lowers, a scalar.

    minimax: -log D(x) - log(1 - D(G(z))), Goodfellow et al. 2014, equation 1.
    wasserstein: the negative of the estimated distance, Arjovsky et al. 2017.
    relativistic: softplus of fake minus real, Jolicoeur-Martineau 2018, in R3GAN's form.
    """
    if kind == "minimax":
        return (softplus(-real) + softplus(fake)).mean()
    if kind == "wasserstein":
        return (fake - real).mean()
    return softplus(fake - real).mean()


def generator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """What the generator lowers, a scalar.

    For minimax -log D(G(z)), as the same paper trains (its section 3): the other form has no
    gradient as long as the discriminator wins.
    """
    if kind == "minimax":
        return softplus(-fake).mean()
    if kind == "wasserstein":
        return -fake.mean()
    return softplus(real - fake).mean()


def gradient_penalty(
    kind: str, critic: Critic, real: Tensor, fake: Tensor, random: torch.Generator
) -> Tensor:
    """What keeps the discriminator smooth, a scalar, to be weighed with `penalty`.

    wasserstein: squared distance of the gradient's norm from 1 between real and fake (Gulrajani et
    al. 2017). relativistic: half of R1 plus R2, the squared norms at real and at fake (Mescheder et
    al. 2018). minimax: none, as it was.

    Args:
        critic: crops (B, 3, H, W) to scores (B,); its class and controls must be those of both.
    """
    if kind == "minimax":
        return real.new_zeros(())
    if kind == "wasserstein":
        share = torch.rand((len(real), 1, 1, 1), generator=random).to(real)
        norm = (_squared_norm(critic, real + share * (fake - real)) + 1e-12).sqrt()
        return (norm - 1.0).square().mean()
    return 0.5 * (_squared_norm(critic, real) + _squared_norm(critic, fake)).mean()


def _squared_norm(critic: Critic, x: Tensor) -> Tensor:
    """Of the score's gradient at each crop, (B,)."""
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))
