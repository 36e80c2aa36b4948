"""Networks by name. Each turns a NetworkSpec into what Stable-Baselines3's policies take.

A network is registered with `@network("name")`: a function from (NetworkSpec, observation space)
to the keyword arguments of an SB3 policy that concern its shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import (
    is_image_space,
    is_image_space_channels_first,
)
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)

from drive_rl.errors import UsageError, unknown
from drive_rl.presets import NetworkSpec
from drive_rl.training.attention import EgoAttention

PolicyArguments = dict[str, Any]
Network = Callable[[NetworkSpec, "spaces.Space[Any]"], PolicyArguments]

_NETWORKS: dict[str, Network] = {}

# Torch allocates at multiples of 64 bytes; numpy at 16. Matrix kernels may take another path on
# other alignments, and the last bit of a resumed run must not depend on where numpy put an array.
_ALIGNMENT = 64

_SMALLEST_IMAGE = 36  # NatureCNN's three convolutions need at least this many pixels a side


def network(name: str) -> Callable[[Network], Network]:
    """Register a network under `name`."""

    def register(make: Network) -> Network:
        _NETWORKS[name] = make
        return make

    return register


def resolve_network(
    spec: NetworkSpec, observations: spaces.Space[Any], observation_type: str | None
) -> NetworkSpec:
    """`spec` with "auto" replaced: cnn for images, attention for tables of vehicles, else mlp.

    Args:
        observation_type: as highway-env's configuration names it, such as "Kinematics".

    Raises:
        UsageError: a kind that is not registered.
    """
    if spec.kind == "auto":
        if _is_image(observations):
            kind = "cnn"
        elif observation_type == "Kinematics" and isinstance(observations, spaces.Box):
            kind = "attention"
        else:
            kind = "mlp"
        return spec.model_copy(update={"kind": kind})
    if spec.kind not in _NETWORKS:
        raise unknown("network", spec.kind, _NETWORKS)
    return spec


def policy_arguments(spec: NetworkSpec, observations: spaces.Space[Any]) -> PolicyArguments:
    """Keyword arguments for an SB3 policy with this (resolved) network on these observations.

    Raises:
        UsageError: a network that does not exist or cannot read such observations.
    """
    if spec.kind not in _NETWORKS:
        raise unknown("network", spec.kind, _NETWORKS)
    return _NETWORKS[spec.kind](spec, observations)


@network("mlp")
def _mlp(spec: NetworkSpec, observations: spaces.Space[Any]) -> PolicyArguments:
    """Fully connected layers on flattened observations; dictionaries are concatenated."""
    extractor: type[BaseFeaturesExtractor] = (
        CombinedExtractor if isinstance(observations, spaces.Dict) else AlignedFlatten
    )
    return {"net_arch": list(spec.hidden), "features_extractor_class": extractor}


@network("cnn")
def _cnn(spec: NetworkSpec, observations: spaces.Space[Any]) -> PolicyArguments:
    """NatureCNN (Mnih et al. 2015) on uint8 images, channels first."""
    if not _is_image(observations):
        raise UsageError(
            f"network 'cnn' reads images (uint8, channels first), not {observations}; use 'mlp'"
        )
    height, width = observations.shape[-2:]  # type: ignore[index]
    if min(height, width) < _SMALLEST_IMAGE:
        raise UsageError(
            f"network 'cnn' needs images of at least {_SMALLEST_IMAGE} x {_SMALLEST_IMAGE} pixels, "
            f"not {height} x {width}; use 'mlp'"
        )
    return {
        "net_arch": list(spec.hidden),
        "features_extractor_class": MixedNatureCNN,
        "features_extractor_kwargs": {
            "features_dim": spec.features,
            "precision": spec.precision,
        },
    }


@network("attention")
def _attention(spec: NetworkSpec, observations: spaces.Space[Any]) -> PolicyArguments:
    """Vehicles as a set, read by the ego; fully connected layers on what it read."""
    arguments: dict[str, Any] = {"width": spec.features, "heads": spec.heads}
    arguments["closing"] = spec.closing
    AlignedEgoAttention(observations, **arguments)  # says now what it cannot read
    return {
        "net_arch": list(spec.hidden),
        "activation_fn": torch.nn.ReLU,
        "features_extractor_class": AlignedEgoAttention,
        "features_extractor_kwargs": arguments,
    }


class MixedNatureCNN(NatureCNN):
    """SB3's NatureCNN, computed in bfloat16 where that is asked for; weights stay float32.

    bfloat16 has float32's exponents, so losses need no scaling. What comes out is float32, and so
    is all that follows: heads, distributions, losses.

    Args:
        precision: "full", "mixed", or "auto": mixed on CUDA, full elsewhere.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 512,
        precision: str = "auto",
    ) -> None:
        super().__init__(observation_space, features_dim)
        self.precision = precision

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Encode (batch, channels, height, width) to (batch, features)."""
        if self.precision == "mixed" or (self.precision == "auto" and observations.is_cuda):
            with torch.autocast(observations.device.type, torch.bfloat16):
                features = super().forward(observations)
            return features.float()
        return super().forward(observations)


class AlignedFlatten(FlattenExtractor):
    """SB3's FlattenExtractor, on memory that torch allocated."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Flatten (batch, ...) to (batch, features)."""
        return super().forward(_aligned(observations))


class AlignedEgoAttention(EgoAttention):
    """EgoAttention, on memory that torch allocated."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Encode (batch, vehicles, features) to (batch, 3 * width)."""
        return super().forward(_aligned(observations))


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if tracing or torch.compiler.is_compiling():
        return tensor  # an exporter sees no memory; what it makes is not resumed
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor


def _is_image(space: spaces.Space[Any]) -> bool:
    return is_image_space(space) and is_image_space_channels_first(space)  # type: ignore[arg-type]
