"""What is done to crops between a photograph and the discriminator.

Real crops are turned, mirrored and varied in tone, then get wetness, wear, cracks and snow
composited in where asked for: no photographs of these are at hand, so what the generator learns of
them is what is written here. DiffAugment (Zhao et al. 2020) then changes real and fake alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from drive_rl.textures.procedural import noise

MASKS = 96  # of each kind, drawn once and then shifted and turned
SKY = (0.48, 0.53, 0.61)
WHITE = (0.84, 0.86, 0.89)


def turned(x: Tensor, random: torch.Generator) -> Tensor:
    """Each picture of (B, C, H, W) in one of its eight mirrored quarter turns."""
    flips = torch.rand((3, len(x), 1, 1, 1), generator=random) < 0.5
    x = torch.where(flips[0], x.flip(3), x)
    x = torch.where(flips[1], x.flip(2), x)
    return torch.where(flips[2], x.transpose(2, 3), x)


def toned(x: Tensor, amount: float, random: torch.Generator) -> Tensor:
    """Pictures of 0 to 1 with another brightness and a slight tint each."""
    bright = 1.0 + amount * (2.0 * torch.rand((len(x), 1, 1, 1), generator=random) - 1.0)
    tint = 1.0 + amount / 3.0 * (2.0 * torch.rand((len(x), 3, 1, 1), generator=random) - 1.0)
    return (x * bright * tint).clamp(0.0, 1.0)


class Compositor:
    """Wetness, wear, cracks and snow in pictures of roads, each by an amount of 0 to 1.

    Args:
        side: of the pictures.
        seed: of the masks.
    """

    def __init__(self, side: int, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 2718])
        broad = np.stack([noise(rng, side, 0.22, 1.6) for _ in range(MASKS)])
        fine = np.stack([noise(rng, side, 0.03, 0.8) for _ in range(MASKS)])
        lines = np.stack([_crack_ranks(rng, side) for _ in range(MASKS)])
        self._broad = torch.from_numpy(broad.astype(np.float32))[:, None]  # (MASKS, 1, side, side)
        self._fine = torch.from_numpy(fine.astype(np.float32))[:, None]
        self._ranks = torch.from_numpy(lines.astype(np.float32))[:, None]

    def draw(self, count: int, share: float, random: torch.Generator) -> Tensor:
        """Controls for `count` crops, (B, 4): a share of them has some, each at even odds."""
        amounts = torch.rand((count, 4), generator=random)
        some = torch.rand((count, 4), generator=random) < 0.5
        any_of_them = torch.rand((count, 1), generator=random) < share
        return amounts * some * any_of_them

    def __call__(self, x: Tensor, controls: Tensor, random: torch.Generator) -> Tensor:
        """Pictures of 0 to 1, (B, 3, side, side), with the effects of controls, (B, 4)."""
        wet, wear, crack, snow = controls[:, :, None, None, None].unbind(1)  # (B, 1, 1, 1) each
        mask = [self._pick(kind, len(x), random) for kind in (self._broad, self._fine, self._ranks)]
        film_field, grain, ranks = mask
        cover_field = self._pick(self._broad, len(x), random)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        # Wear bleaches, and lays the grain bare
        bare = 0.62 + 1.4 * (x - mean) + 0.05 * grain
        x = torch.lerp(x, bare, (wear * (0.55 + 0.15 * film_field)).clamp(0.0, 0.8))
        # A crack shows as soon as its rank is below the amount
        x = x * (1.0 - 0.65 * ((crack - ranks) * 8.0).clamp(0.0, 1.0))
        # Water darkens, and lies in films that mirror the sky
        film = (wet * (0.74 + 0.8 * film_field)).clamp(0.0, 1.0)
        sky = torch.tensor(SKY).view(1, 3, 1, 1)
        x = x * (1.0 - 0.4 * wet)
        x = torch.lerp(x, sky.expand_as(x), 0.42 * film)
        # Snow lies where its field is high: at 0.5 on half of the ground
        cover = torch.sigmoid((cover_field + 4.0 * snow - 2.0) * 4.0) * (snow > 0)
        white = torch.tensor(WHITE).view(1, 3, 1, 1) + 0.03 * grain
        return torch.lerp(x, white.expand_as(x), cover).clamp(0.0, 1.0)

    def _pick(self, masks: Tensor, count: int, random: torch.Generator) -> Tensor:
        chosen = masks[torch.randint(len(masks), (count,), generator=random)]
        shift = torch.randint(masks.shape[-1], (2,), generator=random).tolist()
        return turned(chosen.roll(shift, dims=(2, 3)), random)


def _crack_ranks(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Ranks of 0 to 1 along wandering lines, drawn at twice the size; 9 where there are none."""
    big = 2 * side
    ranks = np.full((big, big), 9.0)
    for number in range(7):
        x, y = rng.uniform(0, big, 2)
        steps = int(big * rng.uniform(0.5, 1.4))
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.2, steps))
        columns = (x + np.cumsum(np.cos(angles))).astype(int) % big
        rows = (y + np.cumsum(np.sin(angles))).astype(int) % big
        ranks[rows, columns] = np.minimum(ranks[rows, columns], number / 7.5)
    return np.asarray(ranks.reshape(side, 2, side, 2).min(axis=(1, 3)))


def diff_augment(x: Tensor, parts: Sequence[str], random: torch.Generator) -> Tensor:
    """Random changes that the gradient passes through: color, translation, cutout.

    Args:
        x: pictures of -1 to 1, (B, 3, H, W).
    """
    count, _, height, width = x.shape
    if "color" in parts:
        shift, tint, contrast = (
            torch.rand((3, count, 1, 1, 1), generator=random).to(x.device).unbind(0)
        )
        x = x + 0.5 * (shift - 0.5)
        gray = x.mean(dim=1, keepdim=True)
        x = gray + (x - gray) * 2.0 * tint
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = mean + (x - mean) * (contrast + 0.5)
    if "translation" in parts:
        reach = height // 8
        rows, columns = torch.randint(-reach, reach + 1, (2, count), generator=random).to(x.device)
        padded = functional.pad(x, (reach,) * 4)
        y = torch.arange(height, device=x.device)[None, :, None] + (rows + reach)[:, None, None]
        z = torch.arange(width, device=x.device)[None, None] + (columns + reach)[:, None, None]
        batch = torch.arange(count, device=x.device)[:, None, None]
        x = padded.permute(0, 2, 3, 1)[batch, y, z].permute(0, 3, 1, 2)
    if "cutout" in parts:
        size = height // 3
        corner = torch.rand((2, count, 1, 1), generator=random).to(x.device)
        top, left = corner * (height - size)
        y = torch.arange(height, device=x.device)[None, :, None]
        z = torch.arange(width, device=x.device)[None, None]
        hole = (y >= top) & (y < top + size) & (z >= left) & (z < left + size)
        x = x * (~hole)[:, None]
    return x
