"""The generator and the discriminator: small residual convolution nets at half resolution.

The generator is tileable by construction: every convolution wraps around, so its picture lives on
a torus, of any size that its noise has. It knows the class and the controls through a style that
scales and shifts the channels of each block. The discriminator pads with zeros and so cannot be
asked whether a tile repeats; it looks at what a crop of a photograph can show.

Blocks are residual without normalisation, their last convolution starts at zero (R3GAN, Huang et
al. 2024). Pixel (un)shuffle at the ends: a 64 x 64 tile costs what a 32 x 32 one would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from drive_rl.textures.spec import CONTROLS, DiscriminatorSpec, GeneratorSpec

SLOPE = 0.2
GAIN = math.sqrt(2.0 / (1.0 + SLOPE**2))  # keeps the variance through a leaky ReLU

# Brightness and two colours to red, green, blue. Roads are nearly grey: colour has the smaller say
MIXING = ((1.0, 0.3, 0.0), (1.0, -0.15, -0.15), (1.0, 0.0, 0.3))


def activated(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance."""
    return functional.leaky_relu(x, SLOPE) * GAIN


class Attention(nn.Module):
    """Self-attention over places (SAGAN, Zhang et al. 2019), keys and values at half resolution.

    Which place is which it does not know, so a picture that wraps around still does. Its share
    starts at zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 8, 4)
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.output = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        b, _, h, w = x.shape
        query = self.query(x).flatten(2).transpose(1, 2)  # (B, HW, c)
        key = functional.max_pool2d(self.key(x), 2).flatten(2)  # (B, c, HW/4)
        value = functional.max_pool2d(self.value(x), 2).flatten(2).transpose(1, 2)  # (B, HW/4, C/2)
        # Written out, not scaled_dot_product_attention: penalties differentiate twice. In parts,
        # since a 512 x 512 picture has 16,384 places
        parts = [(part @ key).softmax(-1) @ value for part in query.split(4096, dim=1)]
        seen = torch.cat(parts, dim=1).transpose(1, 2).reshape(b, -1, h, w)  # (B, C/2, H, W)
        return torch.as_tensor(x + self.share * self.output(seen))


class GeneratorBlock(nn.Module):
    """Twice a wrapping convolution after a style, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.style = nn.Linear(style, 2 * inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="circular")
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, padding_mode="circular")
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        nn.init.normal_(self.style.weight, std=0.5 / math.sqrt(style))
        nn.init.zeros_(self.style.bias)
        nn.init.normal_(self.second.weight, std=0.01)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(B, inputs, H, W) and (B, style) to (B, outputs, H, W)."""
        scale, shift = self.style(style)[..., None, None].chunk(2, dim=1)  # (B, inputs, 1, 1)
        y = self.first(activated(x * (1.0 + scale) + shift))
        return torch.as_tensor(self.shortcut(x) + self.second(activated(y)))


class Generator(nn.Module):
    """Noise, a class and controls to a picture that repeats.

    Attributes:
        classes: number of classes.
    """

    def __init__(self, spec: GeneratorSpec, classes: int) -> None:
        super().__init__()
        self.spec, self.classes = spec, classes
        low, middle, high = spec.widths
        self.embedding = nn.Sequential(
            nn.Linear(spec.style // 4 + classes + len(CONTROLS), spec.style),
            nn.LeakyReLU(SLOPE),
            nn.Linear(spec.style, spec.style),
        )
        self.low = GeneratorBlock(spec.latents[0], low, spec.style)
        self.middle = GeneratorBlock(low + spec.latents[1], middle, spec.style)
        self.attention = Attention(middle) if spec.attention else nn.Identity()
        self.high = GeneratorBlock(middle + spec.latents[2], high, spec.style)
        self.output = nn.Conv2d(high, 12, 3, padding=1, padding_mode="circular")
        # A tile's contrast and mean, one of each per channel
        self.tone = nn.Linear(spec.style, 6)
        nn.init.normal_(self.tone.weight, std=0.3 / math.sqrt(spec.style))
        nn.init.zeros_(self.tone.bias)
        # The four pixels of a shuffled square start alike, so that no grid is to be unlearned
        with torch.no_grad():
            self.output.weight.copy_(self.output.weight[::4].repeat_interleave(4, dim=0))
        self.mixing: Tensor
        self.register_buffer("mixing", torch.tensor(MIXING)[..., None, None], persistent=False)

    def draw(self, count: int, side: int, random: torch.Generator) -> list[Tensor]:
        """Noise for `count` pictures: the style's, then that of each resolution."""
        noise = [torch.randn((count, self.spec.style // 4), generator=random)]
        for channels, share in zip(self.spec.latents, (8, 4, 2), strict=True):
            size = (count, channels, side // share, side // share)
            noise.append(torch.randn(size, generator=random))
        return noise

    def forward(self, noise: Sequence[Tensor], labels: Tensor, controls: Tensor) -> Tensor:
        """Pictures of -1 to 1, (B, 3, side, side).

        Args:
            noise: of `draw`.
            labels: int64 (B,).
            controls: 0 to 1, (B, 4), in the order of CONTROLS.
        """
        known = functional.one_hot(labels, self.classes).to(noise[0].dtype)  # (B, classes)
        style = self.embedding(torch.cat([noise[0], 3.0 * known, 3.0 * controls], dim=1))
        style = activated(style)  # (B, style)
        x = self.low(noise[1], style)  # (B, low, side/8, side/8)
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        x = self.middle(torch.cat([x, noise[2]], dim=1), style)  # (B, middle, side/4, side/4)
        x = self.attention(x)
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        x = self.high(torch.cat([x, noise[3]], dim=1), style)  # (B, high, side/2, side/2)
        picture = functional.pixel_shuffle(self.output(activated(x)), 2)  # (B, 3, side, side)
        contrast, color = self.tone(style)[..., None, None].chunk(2, dim=1)  # (B, 3, 1, 1)
        picture = picture * torch.exp(contrast) + color  # brightness and two colours
        return torch.tanh(functional.conv2d(picture, self.mixing))


class DiscriminatorBlock(nn.Module):
    """Twice a convolution beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        nn.init.normal_(self.second.weight, std=0.01)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        y = self.first(activated(x))
        return torch.as_tensor(self.shortcut(x) + self.second(activated(y)))


class Discriminator(nn.Module):
    """A crop, its class and controls to one number: larger for real.

    The class and the controls enter by projection (Miyato and Koyama 2018).
    """

    def __init__(self, spec: DiscriminatorSpec, classes: int) -> None:
        super().__init__()
        self.classes = classes
        high, middle, low = spec.widths
        self.input = nn.Conv2d(12, high, 3, padding=1)
        self.high = DiscriminatorBlock(high, high)
        self.middle = DiscriminatorBlock(high, middle)
        self.attention = Attention(middle) if spec.attention else nn.Identity()
        self.low = DiscriminatorBlock(middle, low)
        self.features = nn.Linear(2 * low, 2 * low)
        self.score = nn.Linear(2 * low, 1)
        self.condition = nn.Linear(classes + len(CONTROLS), 2 * low)
        nn.init.normal_(self.condition.weight)
        if spec.spectral_norm:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    spectral_norm(module)

    def forward(self, x: Tensor, labels: Tensor, controls: Tensor) -> Tensor:
        """(B, 3, side, side) of -1 to 1, (B,), (B, 4) to scores (B,)."""
        x = self.input(functional.pixel_unshuffle(x, 2))  # (B, high, side/2, side/2)
        x = self.middle(functional.avg_pool2d(self.high(x), 2))  # (B, middle, side/4, side/4)
        x = self.low(functional.avg_pool2d(self.attention(x), 2))  # (B, low, side/8, side/8)
        x = activated(x)
        # A texture is known by what it has on average and by how much that varies over the tile
        mean = x.mean(dim=(2, 3))  # (B, low)
        spread = ((x - mean[..., None, None]).square().mean(dim=(2, 3)) + 1e-4).sqrt()
        features = activated(self.features(torch.cat([mean, spread], dim=1)))  # (B, 2 low)
        known = functional.one_hot(labels, self.classes).to(x.dtype)
        condition = self.condition(torch.cat([known, controls.to(x.dtype)], dim=1))
        projected = (condition * features).sum(dim=1) / math.sqrt(features.shape[1])
        return torch.as_tensor(self.score(features)[:, 0] + projected)


def count_parameters(module: nn.Module) -> int:
    """How many numbers a network has to learn."""
    return sum(value.numel() for value in module.parameters())
