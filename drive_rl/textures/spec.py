"""The settings of a texture GAN: assets/textures/*.yaml -> a frozen, validated spec.

spec = load_spec("roadgan", {"loss": "wasserstein", "steps": 2000})
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from drive_rl.specs import Spec, TrainingSpec, load_settings

ASSETS = "textures"
CONTROLS = ("wetness", "wear", "cracks", "snow")
LOSSES = ("minimax", "wasserstein", "relativistic")


class GeneratorSpec(Spec):
    """The generator's size.

    Attributes:
        widths: channels at an eighth, a quarter and half of the tile's resolution.
        latents: channels of noise at each of these resolutions.
        style: numbers that a whole tile shares; a quarter as many are drawn for it.
        attention: self-attention at a quarter of the resolution (SAGAN).
    """

    widths: tuple[int, int, int] = (80, 48, 24)
    latents: tuple[int, int, int] = (16, 8, 8)
    style: int = Field(default=64, ge=8, le=512)
    attention: bool = False

    @model_validator(mode="after")
    def _positive(self) -> GeneratorSpec:
        if min(*self.widths, *self.latents) < 1:
            raise ValueError("widths and latents must be at least 1")
        return self


class DiscriminatorSpec(Spec):
    """The discriminator's size.

    Attributes:
        widths: channels at half, a quarter and an eighth of the crop's resolution.
        attention: self-attention at a quarter of the resolution (SAGAN).
        spectral_norm: divide each weight by its largest singular value (Miyato et al. 2018).
    """

    widths: tuple[int, int, int] = (24, 48, 96)
    attention: bool = False
    spectral_norm: bool = False

    @model_validator(mode="after")
    def _positive(self) -> DiscriminatorSpec:
        if min(self.widths) < 1:
            raise ValueError("widths must be at least 1")
        return self


class GanSpec(TrainingSpec):
    """A texture GAN and its training.

    Attributes:
        side: of the tiles that it is trained at [px].
        loss: minimax (Goodfellow et al.), wasserstein (Gulrajani et al.), relativistic (R3GAN).
        penalty: weight of the gradient penalty: gamma of R1 and R2, lambda of Wasserstein's.
        penalty_interval: steps from one penalty to the next; its weight grows as much.
        batch_size, early_batch_size: crops a step; the early size in the first half of the steps.
        learning_rate: of both networks at the start; it falls to `final_learning_rate` on a cosine.
        ema_halflife: of the generator's average [steps]; shorter in the beginning.
        augment: parts of DiffAugment on what the discriminator sees.
        tone: share by which the brightness of a real crop is varied, and a third of it its colour.
        control_share: of the real crops gets controls composited in; the others are as they were.
        sheet_interval: steps between sample sheets, where collapse is looked for too.
    """

    side: Literal[32, 64, 128] = 64
    generator: GeneratorSpec = GeneratorSpec()
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    loss: Literal["minimax", "wasserstein", "relativistic"] = "relativistic"
    penalty: float = Field(default=0.5, ge=0.0)
    penalty_interval: int = Field(default=4, ge=1)
    batch_size: int = Field(default=16, ge=2)
    early_batch_size: int = Field(default=8, ge=2)
    learning_rate: float = Field(default=5e-4, gt=0.0)
    final_learning_rate: float = Field(default=1e-4, gt=0.0)
    betas: tuple[float, float] = (0.0, 0.99)
    weight_decay: float = Field(default=0.0, ge=0.0)
    ema_halflife: float = Field(default=500.0, gt=0.0)
    augment: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation")
    tone: float = Field(default=0.2, ge=0.0, lt=1.0)
    control_share: float = Field(default=0.4, ge=0.0, le=1.0)
    sheet_interval: int = Field(default=500, ge=1)


def load_spec(name: str | Path, overrides: Mapping[str, Any] | None = None) -> GanSpec:
    """The settings of a shipped name or of a YAML file, with some changed; see `load_settings`."""
    return load_settings(GanSpec, ASSETS, name, overrides)
