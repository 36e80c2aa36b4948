"""The settings of an encoder and of its training: assets/perception/*.yaml -> frozen specs.

spec = load_spec("road", {"objective": "vicreg", "steps": 2000})
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from drive_rl.specs import Count, Fraction, NotNegative, Positive, Spec, TrainingSpec, load_settings

ASSETS = "perception"
OBJECTIVES = ("supervised", "vicreg", "contrastive", "both")


class EncoderSpec(Spec):
    """An encoder's architecture.

    Attributes:
        kind: `nature` (Mnih et al. 2015), `impala` (Espeholt et al. 2018) or `resnet` (He et al.
            2016, the small-image form).
        frames: newest frames of a stack that it looks at.
        rows: first row of a frame that it looks at and the row after the last [px]; None for all.
        features: numbers that it makes of a stack.
        stem: channels, kernel and stride of a `resnet`'s first convolution.
        widths: channels of an `impala`'s or a `resnet`'s stages, each at half the resolution of
            the one before; None for those of the paper.
        blocks: residual blocks in a stage.
        pool: a `resnet`'s end: `average` over all places, as in the paper, or `flatten`, which
            keeps where something is.
        fovea: first row and the row after the last of a strip that a second `resnet` sees as
            finely as it is, beside the first with its coarse stem [px]; None for one alone.
        fovea_widths: channels of the fovea's stem and of its stages.
        hidden: width of a layer between the convolutions and the features; None for no such one.
    """

    kind: Literal["nature", "impala", "resnet"] = "nature"
    frames: Count = 4
    rows: tuple[int, int] | None = None
    features: Count = 256
    stem: tuple[Count, Count, Count] = (64, 3, 1)
    widths: tuple[Count, ...] | None = None
    blocks: Count = 2
    pool: Literal["average", "flatten"] = "average"
    fovea: tuple[int, int] | None = None
    fovea_widths: tuple[Count, ...] = (16, 24, 48)
    hidden: Count | None = None

    @model_validator(mode="after")
    def _in_order(self) -> EncoderSpec:
        for name, rows in (("rows", self.rows), ("fovea", self.fovea)):
            if rows is not None and not 0 <= rows[0] < rows[1]:
                raise ValueError(f"{name} must be [first, end] with first below end")
        if self.fovea is not None:
            if self.kind != "resnet":
                raise ValueError(f"fovea is of a resnet, not of {self.kind}")
            if self.rows is not None and not (
                self.rows[0] <= self.fovea[0] and self.fovea[1] <= self.rows[1]
            ):
                raise ValueError(f"fovea {list(self.fovea)} is not in rows {list(self.rows)}")
        return self


class AugmentSpec(Spec):
    """What is changed in the frames that a network learns from.

    Attributes:
        shift: largest shift of a stack, either way [px].
        crop: largest share of a side that is cut off, before the rest is scaled up again.
        color: largest change of brightness, contrast and of each colour, as a share.
        convolution: share of the stacks that pass through a random convolution.
    """

    shift: int = Field(default=1, ge=0, le=16)
    crop: Fraction = 0.0
    color: Fraction = 0.2
    convolution: Fraction = 0.05


class PerceptionSpec(TrainingSpec):
    """An encoder and its training.

    Attributes:
        encoder: the architecture.
        objective: `supervised` on the labels; `vicreg` (Bardes et al. 2022) or `contrastive`
            (SimCLR, Chen et al. 2020) without any; `both`: supervised and VICReg together.
        label_share: of the training episodes whose labels are known, where labels are used.
        steps, batch_size: of the optimiser, and stacks in each.
        learning_rate: at its highest; it rises over `warmup` steps and falls on a cosine.
        augment: of supervised training, and of one view; views of VICReg and contrast use
            `view_augment`.
        mirror: share of the stacks that are mirrored with their labels, in supervised training.
        time_shift: decisions between the two views of a self-supervised pair, at most.
        projector: width of the layers between features and a self-supervised loss.
        grid_weight, self_weight: of the grids' loss and of VICReg's, beside the affordances'.
        ema_decay: of the weights' average, which is what is kept; 0 keeps the last weights.
    """

    encoder: EncoderSpec = EncoderSpec()
    objective: Literal["supervised", "vicreg", "contrastive", "both"] = "vicreg"
    label_share: Positive = 1.0
    steps: Count = 4_000
    batch_size: Count = 128
    learning_rate: Positive = 2e-3
    warmup: Count = 100
    weight_decay: NotNegative = 0.02
    max_grad_norm: Positive = 1.0
    augment: AugmentSpec = AugmentSpec()
    view_augment: AugmentSpec = AugmentSpec(shift=4, crop=0.1, color=0.4, convolution=0.2)
    mirror: Fraction = 0.0
    time_shift: int = Field(default=1, ge=0, le=16)
    projector: Count = 512
    grid_weight: NotNegative = 0.5
    self_weight: NotNegative = 0.05
    ema_decay: float = Field(default=0.998, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _some_labels(self) -> PerceptionSpec:
        if self.label_share > 1.0:
            raise ValueError("label_share must be at most 1")
        return self


def load_spec(name: str | Path, overrides: Mapping[str, Any] | None = None) -> PerceptionSpec:
    """The settings of a shipped name or of a YAML file, with some changed; see `load_settings`."""
    return load_settings(PerceptionSpec, ASSETS, name, overrides)
