"""Encoders: stacks of frames to features. Each architecture is named with its source.

    nature   Mnih et al. 2015, Human-level control through deep reinforcement learning
    impala   Espeholt et al. 2018, IMPALA, figure 3 (right)
    resnet   He et al. 2016, Deep residual learning, section 4.2: the form for small images

One class serves everywhere: on its own, within the wrapper, and within a policy that is trained
through it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from drive_rl.errors import UsageError
from drive_rl.perception.spec import EncoderSpec

SMALLEST_NATURE = 36  # its three convolutions need at least this many pixels a side

Shape = Sequence[int]


class Encoder(nn.Module):
    """Stacks of uint8 frames to features.

    Args:
        spec: the architecture.
        shape: of a stack, (stack * channels, height, width), newest frame last.
        channels: of one frame, 1 or 3.

    Attributes:
        depth: channels that it looks at, the newest of a stack.
        mean, std: of the pixels of each channel, of 255; set from a training split.

    Raises:
        UsageError: a stack that is too small for the architecture, or has too few frames.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: EncoderSpec, shape: Shape, channels: int) -> None:
        super().__init__()
        self.spec, self.shape, self.channels = spec, tuple(map(int, shape)), channels
        depth, height, width = self.shape
        if depth % channels or depth // channels < spec.frames:
            raise UsageError(
                f"an encoder of {spec.frames} frames of {channels} channels cannot read stacks of "
                f"{depth} channels"
            )
        top, bottom = spec.rows or (0, height)
        if bottom > height:
            raise UsageError(f"rows [{top}, {bottom}] are not in frames of {height} rows")
        self._rows, self.depth = slice(top, bottom), spec.frames * channels
        self.register_buffer("mean", torch.full((channels,), 127.5))
        self.register_buffer("std", torch.full((channels,), 127.5))
        seen = (self.depth, bottom - top, width)
        self.body = _BODIES[spec.kind](spec, seen)
        with torch.no_grad():
            was = self.body.training
            flat = self.body.eval()(torch.zeros(1, *seen)).shape[1]
            self.body.train(was)
        widths = [flat, *([spec.hidden] if spec.hidden else []), spec.features]
        self.head = nn.Sequential()
        for before, after in itertools.pairwise(widths):
            self.head.extend([nn.Linear(before, after), nn.ReLU(inplace=True)])

    def forward(self, frames: Tensor) -> Tensor:
        """Features, (B, features), of stacks (B, stack * channels, H, W) of 0 to 255."""
        seen = frames[:, -self.depth :, self._rows].float()  # (B, frames * channels, h, W)
        seen = seen.contiguous(memory_format=torch.channels_last)
        repeats = self.spec.frames
        scale = 1.0 / self.std.repeat(repeats)[:, None, None]
        level = -self.mean.repeat(repeats)[:, None, None] * scale
        seen = torch.addcmul(level, seen, scale)  # (seen - mean) / std, in one pass
        features: Tensor = self.head(self.body(seen))  # (B, features)
        return features

    def check(self, shape: Shape) -> None:
        """Can it read stacks of this shape?

        Raises:
            UsageError: another size or number of channels.
        """
        depth, height, width = shape
        if (height, width) != self.shape[1:]:
            own = f"{self.shape[2]} x {self.shape[1]}"
            raise UsageError(f"the encoder reads frames of {own} pixels, not {width} x {height}")
        if depth % self.channels or depth < self.depth:
            raise UsageError(
                f"the encoder reads {self.spec.frames} frames of {self.channels} channels "
                f"({self.depth} in all), not stacks of {depth} channels"
            )


def _nature(spec: EncoderSpec, seen: Shape) -> nn.Module:
    """NatureCNN's convolutions."""
    depth, height, width = seen
    if min(height, width) < SMALLEST_NATURE:
        raise UsageError(
            f"network 'nature' needs images of at least {SMALLEST_NATURE} x {SMALLEST_NATURE} "
            f"pixels, not {height} x {width}"
        )
    return nn.Sequential(
        nn.Conv2d(depth, 32, 8, stride=4),  # (B, 32, 20, 20) of 84 x 84
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2),  # (B, 64, 9, 9)
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=1),  # (B, 64, 7, 7)
        nn.ReLU(),
        nn.Flatten(),  # (B, 3136)
    )


class _ImpalaBlock(nn.Module):
    """Two convolutions and a shortcut, the activation first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.second(torch.relu(self.first(torch.relu(x))))
        return result


def _impala(spec: EncoderSpec, seen: Shape) -> nn.Module:
    """Stages of a convolution, a pooling and residual blocks."""
    depth = seen[0]
    layers: list[nn.Module] = []
    for width in spec.widths or (16, 32, 32):
        layers += [nn.Conv2d(depth, width, 3, padding=1), nn.MaxPool2d(3, 2, padding=1)]
        layers += [_ImpalaBlock(width) for _ in range(spec.blocks)]
        depth = width
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten())  # (B, 32 * 11 * 11) of 84 x 84


class _BasicBlock(nn.Module):
    """Two normalised convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, depth: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(depth, width, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        # On processors with AVX2 but not AVX-512, oneDNN (of torch 2.13) writes beyond its memory
        # in the backward pass of a strided 1 x 1 convolution of channels that stand last, if they
        # are fewer than 8. Standing first they are safe, and so few cost nothing.
        self._channels_first = depth < 8 and stride != 1
        if stride != 1 or depth != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(depth, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        # In place: pages that each new array needs took a sixth of a small network's time
        inner = torch.relu_(self.first_norm(self.first(x)))
        inner = self.second_norm(self.second(inner))
        beside = x.contiguous() if self._channels_first else x
        return torch.relu_(inner.add_(self.shortcut(beside)))


class _Foveated(nn.Module):
    """All rows seen coarsely, and a strip of them finely.

    A front camera shows what is further than 10 m in a few rows below the horizon. There a vehicle
    is 2 pixels wide at 50 m: a coarse stem everywhere loses it, a fine one everywhere is dear.

    Args:
        strip: first row and the row after the last, within what is seen.
    """

    def __init__(self, whole: nn.Module, fovea: nn.Module, strip: slice) -> None:
        super().__init__()
        self.whole, self.fovea, self.strip = whole, fovea, strip

    def forward(self, x: Tensor) -> Tensor:
        fine = x[:, :, self.strip].contiguous(memory_format=torch.channels_last)
        return torch.cat([self.whole(x), self.fovea(fine)], dim=1)


def _resnet(spec: EncoderSpec, seen: Shape) -> nn.Module:
    """One that sees all, and where the spec has a fovea a second one for its strip."""
    whole = _stages(spec.stem, spec.widths or (64, 128, 256, 512), spec, seen)
    if spec.fovea is None:
        return whole
    top = spec.rows[0] if spec.rows else 0
    strip = slice(spec.fovea[0] - top, spec.fovea[1] - top)
    if strip.stop > seen[1]:
        raise UsageError(f"fovea {list(spec.fovea)} is not in frames of {top + seen[1]} rows")
    stem, *widths = spec.fovea_widths
    return _Foveated(whole, _stages((stem, 3, 1), widths, spec, seen, halve=True), strip)


def _stages(
    stem_spec: tuple[int, int, int],
    widths: Sequence[int],
    spec: EncoderSpec,
    seen: Shape,
    halve: bool = False,
) -> nn.Sequential:
    """A stem and ResNet-18's stages.

    The first stage keeps the resolution where the stem's stride is 1, unless it should `halve` it.
    """
    stem, kernel, stem_stride = stem_spec
    layers: list[nn.Module] = [
        nn.Conv2d(seen[0], stem, kernel, stem_stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(stem),
        nn.ReLU(inplace=True),
    ]
    depth = stem
    for stage, width in enumerate(widths):
        for block in range(spec.blocks):
            halves = block == 0 and (stage > 0 or stem_stride > 1 or halve)
            layers.append(_BasicBlock(depth, width, 2 if halves else 1))
            depth = width
    if spec.pool == "average":
        layers.append(nn.AdaptiveAvgPool2d(1))  # (B, width, 1, 1)
    return nn.Sequential(*layers, nn.Flatten())


_BODIES = {"nature": _nature, "impala": _impala, "resnet": _resnet}


def fused(encoder: Encoder) -> Encoder:
    """The same encoder for inference: each normalisation becomes part of its convolution.

    It is changed in place, and cannot be trained any more.
    """
    encoder.eval().requires_grad_(False)

    def merge(parent: Any, conv: str, norm: str) -> None:
        merged = fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm))
        setattr(parent, conv, merged)
        setattr(parent, norm, nn.Identity())

    for module in list(encoder.modules()):
        if isinstance(module, _BasicBlock):
            merge(module, "first", "first_norm")
            merge(module, "second", "second_norm")
        if isinstance(module, nn.Sequential):
            names = list(module._modules)
            for one, two in itertools.pairwise(names):
                pair = (getattr(module, one), getattr(module, two))
                if isinstance(pair[0], nn.Conv2d) and isinstance(pair[1], nn.BatchNorm2d):
                    merge(module, one, two)
    return encoder


def count_parameters(module: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_operations(encoder: Encoder) -> int:
    """Multiplications of convolutions and matrices for one stack, each with its addition as one."""
    total = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            places = math.prod(output.shape[2:])
            total += places * module.weight.numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    hooks = [module.register_forward_hook(count) for module in encoder.modules()]
    was = encoder.training
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, *encoder.shape))
    encoder.train(was)
    for hook in hooks:
        hook.remove()
    return total
