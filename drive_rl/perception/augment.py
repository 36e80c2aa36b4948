"""Changes of frames that leave what they show as it is: every stack as a whole, its own way.

Shift: Yarats et al. 2021 (DrQ-v2). Random convolution: Lee et al. 2020.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from drive_rl.perception.spec import AugmentSpec

Uniform = Callable[..., Tensor]


def augmented(stacks: Tensor, spec: AugmentSpec, channels: int, random: torch.Generator) -> Tensor:
    """Stacks (B, frames * channels, H, W) of 0 to 255, changed, as float32.

    Args:
        channels: of a frame; a stack's frames change alike.
        random: on the CPU; where all chance comes from.
    """
    count, device = len(stacks), stacks.device

    def uniform(*shape: int) -> Tensor:
        return (2.0 * torch.rand(*shape, generator=random) - 1.0).to(device)  # -1 to 1

    # A shift by whole pixels is made while a pixel is a byte
    x = _cut(stacks.float(), spec, uniform) if spec.crop else _shifted(stacks, spec.shift, uniform)
    x = x.float()
    if spec.color:
        frames = x.view(count, -1, channels, *x.shape[2:])
        mean = frames.mean(dim=(1, 2, 3, 4), keepdim=True)
        contrast = 1.0 + spec.color * uniform(count, 1, 1, 1, 1)
        tint = 1.0 + 0.5 * spec.color * uniform(count, 1, channels, 1, 1)
        light = 128.0 * 0.5 * spec.color * uniform(count, 1, 1, 1, 1)
        # ((frames - mean) * contrast + mean) * tint + light, in one pass
        level = mean * (1.0 - contrast) * tint + light
        x = torch.addcmul(level, frames, contrast * tint).clamp_(0.0, 255.0).view_as(x)
    if spec.convolution:
        chosen = torch.rand(count, generator=random) < spec.convolution
        weights = (
            torch.randn(channels, channels, 3, 3, generator=random) * (2.0 / (9 * channels)) ** 0.5
        )
        if bool(chosen.any()):
            rows = chosen.to(device)
            some = x[rows]
            flat = some.reshape(-1, channels, *x.shape[2:])
            mixed = F.conv2d(F.pad(flat - 128.0, (1, 1, 1, 1), "replicate"), weights.to(device))
            x = x.clone()
            x[rows] = (128.0 + mixed).clamp(0.0, 255.0).reshape(some.shape)
    return x


def _shifted(x: Tensor, pad: int, uniform: Uniform) -> Tensor:
    """Shifted by up to `pad` whole pixels, with the border repeated."""
    count, _, height, width = x.shape
    if not pad:
        return x
    padded = x.new_empty(*x.shape[:2], height + 2 * pad, width + 2 * pad)
    padded[:, :, pad:-pad, pad:-pad] = x
    padded[:, :, :pad, pad:-pad], padded[:, :, -pad:, pad:-pad] = x[:, :, :1], x[:, :, -1:]
    padded[..., :pad], padded[..., -pad:] = padded[..., pad, None], padded[..., -pad - 1, None]
    moves = (uniform(count, 2) * (pad + 0.5)).round().clamp(-pad, pad).long() + pad  # (B, 2)
    result = torch.empty_like(x)
    for row, (down, right) in enumerate(moves.tolist()):
        result[row] = padded[row, :, down : down + height, right : right + width]
    return result


def _cut(x: Tensor, spec: AugmentSpec, uniform: Uniform) -> Tensor:
    """Cut and scaled, with the border repeated."""
    count, _, height, width = x.shape
    scale = 1.0 - spec.crop * (0.5 + 0.5 * uniform(count, 2))  # (B, 2)
    reach = torch.tensor([2.0 * spec.shift / width, 2.0 * spec.shift / height], device=x.device)
    centre = uniform(count, 2) * (reach + 1.0 - scale)
    theta = torch.zeros(count, 2, 3, device=x.device)
    theta[:, 0, 0], theta[:, 1, 1] = scale[:, 0], scale[:, 1]
    theta[:, :, 2] = centre
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
