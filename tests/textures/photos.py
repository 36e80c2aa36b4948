"""Small photographs that are made up, and small networks, for the tests of textures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from drive_rl.specs import changed
from drive_rl.textures.prepare import Data, prepare
from drive_rl.textures.spec import GanSpec

TINY: dict[str, Any] = {
    "side": 32,
    "steps": 6,
    "batch_size": 4,
    "early_batch_size": 4,
    "penalty_interval": 2,
    "checkpoint_interval": 2,
    "sheet_interval": 3,
    "num_threads": 1,
    "generator": {"widths": [8, 8, 8], "latents": [4, 2, 2], "style": 16},
    "discriminator": {"widths": [8, 8, 16]},
}


def tiny_spec(**overrides: Any) -> GanSpec:
    """Settings of a GAN that takes milliseconds a step."""
    return changed(GanSpec, TINY, overrides)


def save_photo(path: Path, seed: int, size: int = 80, level: float = 110.0) -> Path:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = np.clip(rng.normal(level, 30, (size, size, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def make_data(folder: Path, photos: int = 3, classes: tuple[str, ...] = ("asphalt", "mud")) -> Data:
    """Data of some photographs of each class, in crops of 32 px."""
    for number, name in enumerate(classes):
        for k in range(photos):
            save_photo(
                folder / "photos" / name / f"{k}.png", 10 * number + k, level=80 + 60 * number
            )
    return prepare(
        [str(folder / "photos")], folder / "data", side=32, crops=6, say=lambda text: None
    )
