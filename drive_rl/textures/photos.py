"""Surfaces cut from the photographs that ship inside scikit-image, made to repeat.

Three of its sample images are photographs of surfaces, in grey, under CC0: `gravel` (Gravel04 of
ambientCG, then CC0Textures), `brick` (Bricks25 of the same) and `grass` (Grass 01 by linolafett).
Cuts are blended with themselves, moved by half their side, so that edges meet; the spread that
averaging takes away is put back (as Heitz and Neyret 2018 do, here for Gaussian histograms).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.textures.procedural import SPLITS, calm_edges

CUT = 256  # side of a cut in the photograph [px]

# class: (image of skimage.data, colour of its mean)
PHOTOS = {
    "gravel": ("gravel", (138.0, 132.0, 120.0)),
    "paving": ("brick", (136.0, 122.0, 112.0)),
    "grass": ("grass", (88.0, 118.0, 56.0)),
}
ORIGINS = {
    "gravel": "skimage.data.gravel: CC0Textures Gravel04",
    "paving": "skimage.data.brick: CC0Textures Bricks25",
    "grass": "skimage.data.grass: linolafett, deviantart.com, Grass 01",
}


def make_photo_tiles(per_class: int, side: int = 64) -> tuple[Any, list[dict[str, str]]]:
    """A bank's tiles, uint8 (count, side, side, 3), and its table. Needs scikit-image."""
    from skimage import data

    tiles, table = [], []
    for number, (name, (image, color)) in enumerate(PHOTOS.items()):
        photo = getattr(data, image)().astype(np.float64)
        for k in range(per_class):
            rng = np.random.default_rng([number, k])
            y, x = rng.integers(0, [photo.shape[0] - CUT, photo.shape[1] - CUT])
            cut = repeatable(photo[y : y + CUT, x : x + CUT])
            small = cut.reshape(side, CUT // side, side, CUT // side).mean(axis=(1, 3))
            tinted = (small / small.mean())[..., None] * np.array(color) * rng.uniform(0.85, 1.15)
            tiles.append(calm_edges(np.clip(np.rint(tinted), 0, 255).astype(np.uint8)))
            table.append(
                {
                    "name": f"{name}-photo-{k:02d}",
                    "class": name,
                    "split": SPLITS[k % len(SPLITS)],
                    "origin": ORIGINS[name],
                    "licence": "CC0-1.0",
                }
            )
    return np.stack(tiles), table


def repeatable(cut: NDArray[np.float64]) -> NDArray[np.float64]:
    """A square picture blended into one that repeats without a seam."""
    side = cut.shape[0]
    even = cut - _broad(cut)
    ramp = np.abs(np.linspace(-1, 1, side, endpoint=False) + 1 / side)
    inner = np.clip(1.6 * (1 - np.maximum(ramp[:, None], ramp[None, :])), 0, 1)
    weight = 3 * inner**2 - 2 * inner**3
    moved = np.roll(even, (side // 2, side // 2), axis=(0, 1))
    # The moved copy has its seam in the middle, where the picture itself counts alone
    blended = even * weight + moved * (1 - weight)
    return np.asarray(blended / np.sqrt(weight**2 + (1 - weight) ** 2) + cut.mean())


def _broad(cut: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brightness over the large, which would show where tiles repeat, and the mean."""
    side = cut.shape[0]
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    basis = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2], axis=-1).reshape(-1, 6)
    weights, *_ = np.linalg.lstsq(basis, cut.reshape(-1), rcond=None)
    return np.asarray((basis @ weights).reshape(side, side))
