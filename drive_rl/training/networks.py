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
)

from drive_rl.errors import UsageError, unknown
from drive_rl.perception.networks import SMALLEST_NATURE, Encoder
from drive_rl.perception.options import PerceptionOptions, perception_options
from drive_rl.perception.spec import EncoderSpec
from drive_rl.perception.weights import load_encoder
from drive_rl.presets import NetworkSpec, RunSpec
from drive_rl.training.attention import EgoAttention

PolicyArguments = dict[str, Any]
Network = Callable[[NetworkSpec, "spaces.Space[Any]"], PolicyArguments]

IMAGES = ("cnn", "impala", "resnet", "encoder")
"""Kinds of networks that read images."""

_VEHICLES = ("Kinematics", "ExitObservation")  # observations whose rows are vehicles
_NETWORKS: dict[str, Network] = {}

# Torch allocates at multiples of 64 bytes; numpy at 16. Matrix kernels may take another path on
# other alignments, and the last bit of a resumed run must not depend on where numpy put an array.
_ALIGNMENT = 64


def network(name: str) -> Callable[[Network], Network]:
    """Register a network under `name`."""

    def register(make: Network) -> Network:
        _NETWORKS[name] = make
        return make

    return register


def resolve_network(
    spec: NetworkSpec,
    observations: spaces.Space[Any],
    observation_type: str | None,
    perception: PerceptionOptions | None = None,
) -> NetworkSpec:
    """`spec` with "auto" replaced: cnn for images, attention for tables of vehicles, else mlp.

    Args:
        observation_type: as highway-env's configuration names it, such as "Kinematics".
        perception: the environment's; of a frozen encoder there are features to read, and another
            is itself the network that reads the images.

    Raises:
        UsageError: a kind that is not registered.
    """
    if perception is not None and spec.kind in ("auto", *IMAGES):
        if perception.frozen:
            return spec.model_copy(update={"kind": "mlp"})
        return spec.model_copy(update={"kind": "encoder", "encoder": perception.encoder})
    if spec.kind == "auto":
        if _is_image(observations):
            kind = "cnn"
        elif observation_type in _VEHICLES and isinstance(observations, spaces.Box):
            kind = "attention"
        else:
            kind = "mlp"
        return spec.model_copy(update={"kind": kind})
    if spec.kind not in _NETWORKS:
        raise unknown("network", spec.kind, _NETWORKS)
    return spec


def resolved_network(spec: RunSpec, observations: spaces.Space[Any]) -> NetworkSpec:
    """The network of a run on its environment's observations; see `resolve_network`."""
    config = spec.env.full_config
    kind = (config.get("observation") or {}).get("type")
    perception = perception_options(config.get("perception"))
    return resolve_network(spec.agent.network, observations, kind, perception)


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
    _check_images(spec, observations)
    height, width = observations.shape[-2:]  # type: ignore[index]
    if min(height, width) < SMALLEST_NATURE:
        raise UsageError(
            f"network 'cnn' needs images of at least {SMALLEST_NATURE} x {SMALLEST_NATURE} pixels, "
            f"not {height} x {width}; use 'mlp'"
        )
    return _on_images(spec, {"architecture": EncoderSpec(kind="nature", **_whole(spec))})


@network("impala")
def _impala(spec: NetworkSpec, observations: spaces.Space[Any]) -> PolicyArguments:
    """IMPALA's residual CNN (Espeholt et al. 2018) on uint8 images, channels first."""
    _check_images(spec, observations)
    return _on_images(spec, {"architecture": EncoderSpec(kind="impala", **_whole(spec))})


@network("resnet")
def _resnet(spec: NetworkSpec, observations: spaces.Space[Any]) -> PolicyArguments:
    """ResNet-18 for small images (He et al. 2016) on uint8 images, channels first."""
    _check_images(spec, observations)
    return _on_images(spec, {"architecture": EncoderSpec(kind="resnet", **_whole(spec))})


@network("encoder")
def _encoder(spec: NetworkSpec, observations: spaces.Space[Any]) -> PolicyArguments:
    """A trained encoder, trained on."""
    _check_images(spec, observations)
    if spec.encoder is None:
        raise UsageError("network 'encoder' needs agent.network.encoder, such as road")
    load_encoder(spec.encoder).build_encoder().check(observations.shape)  # type: ignore[arg-type]
    return _on_images(spec, {"encoder": spec.encoder})


def _check_images(spec: NetworkSpec, observations: spaces.Space[Any]) -> None:
    if not _is_image(observations):
        raise UsageError(
            f"network {spec.kind!r} reads images (uint8, channels first), not {observations}; "
            "use 'mlp'"
        )


def _whole(spec: NetworkSpec) -> dict[str, Any]:
    """Settings of an encoder that looks at all channels of a stack, as one frame."""
    return {"frames": 1, "features": spec.features}


def _on_images(spec: NetworkSpec, arguments: dict[str, Any]) -> PolicyArguments:
    return {
        "net_arch": list(spec.hidden),
        "features_extractor_class": ImageEncoder,
        "features_extractor_kwargs": {**arguments, "precision": spec.precision},
    }


class ImageEncoder(BaseFeaturesExtractor):
    """An encoder of drive_rl.perception as SB3 takes it.

    It is computed in bfloat16 where that is asked for; weights stay float32. bfloat16 has float32's
    exponents, so losses need no scaling. What comes out is float32, and so is all that follows:
    heads, distributions, losses.

    Args:
        observation_space: of images.
        architecture: of an encoder to begin anew; or
        encoder: the name of a trained one.
        precision: "full", "mixed", or "auto": mixed on CUDA, full elsewhere.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        architecture: EncoderSpec | None = None,
        encoder: str | None = None,
        precision: str = "auto",
    ) -> None:
        if encoder is not None:
            trained = load_encoder(encoder).build_encoder()
            super().__init__(observation_space, trained.spec.features)
            self.encoder = trained
        else:
            assert architecture is not None
            super().__init__(observation_space, architecture.features)
            shape = observation_space.shape
            self.encoder = Encoder(architecture, shape, shape[0])
        self.precision = precision

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Features of stacks (batch, channels, height, width), which SB3 has scaled to 0 to 1."""
        features: torch.Tensor
        if self.precision == "mixed" or (self.precision == "auto" and observations.is_cuda):
            with torch.autocast(observations.device.type, torch.bfloat16):
                features = self.encoder(255.0 * observations)
            return features.float()
        features = self.encoder(255.0 * observations)
        return features

    def train(self, mode: bool = True) -> ImageEncoder:
        """Normalisations keep the statistics that they have: a rollout's would be others."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return self


@network("attention")
def _attention(spec: NetworkSpec, observations: spaces.Space[Any]) -> PolicyArguments:
    """Vehicles as a set, read by the ego; fully connected layers on what it read."""
    arguments: dict[str, Any] = {"width": spec.features, "heads": spec.heads}
    arguments |= {"closing": spec.closing, "layers": spec.layers}
    AlignedEgoAttention(observations, **arguments)  # says now what it cannot read
    return {
        "net_arch": list(spec.hidden),
        "activation_fn": torch.nn.ReLU,
        "features_extractor_class": AlignedEgoAttention,
        "features_extractor_kwargs": arguments,
    }


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
