"""Road and verge surfaces made by rules: tileable by construction, one class per kind of surface.

Every pattern lives on a torus: noise is filtered by Fourier transform, cracks and patches wrap
around. A tile stands for 4 m of ground and is drawn at twice its size, then averaged down.

    tiles, table = make_tiles(ROADS, per_class=12, seed=0, side=64)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.errors import UsageError, unknown

FloatArray = NDArray[np.float64]
Rng = np.random.Generator

ORIGIN = "drive_rl.textures.procedural"
LICENCE = "MIT"


def noise(rng: Rng, side: int, size: float, roughness: float = 1.0) -> FloatArray:
    """Tileable noise of mean 0 and deviation 1, (side, side).

    Args:
        size: of its features, as a share of the tile.
        roughness: above 1 leaves large features only, below 1 adds fine ones.
    """
    k = np.fft.fftfreq(side) * side
    frequency = np.hypot(k[:, None], k[None, :]) * size
    spectrum = 1.0 / (1.0 + frequency**2) ** roughness
    spectrum[0, 0] = 0.0
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * spectrum).real
    return np.asarray(field / (field.std() + 1e-12), np.float64)


def grains(rng: Rng, side: int, count: int, radius: float) -> FloatArray:
    """Distance to the nearest of `count` random points on the torus, in units of `radius` [px]."""
    points = rng.uniform(0, side, (count, 2))
    grid = np.arange(side) + 0.5
    nearest = np.full((side, side), np.inf)
    for x, y in points:
        dx, dy = np.abs(grid - x), np.abs(grid - y)
        dx, dy = np.minimum(dx, side - dx), np.minimum(dy, side - dy)
        np.minimum(nearest, dx[None, :] ** 2 + dy[:, None] ** 2, out=nearest)
    distance: FloatArray = np.sqrt(nearest) / radius
    return distance


def cracks(rng: Rng, side: int, count: int) -> FloatArray:
    """Wandering lines that wrap around, 0 to 1, (side, side)."""
    drawn = np.zeros((side, side))
    for _ in range(count):
        x, y = rng.uniform(0, side, 2)
        angle = rng.uniform(0, 2 * np.pi)
        length = int(side * rng.uniform(0.5, 1.6))
        strength = rng.uniform(0.5, 1.0)
        for _ in range(length):
            angle += rng.normal(0, 0.22)
            x, y = (x + np.cos(angle)) % side, (y + np.sin(angle)) % side
            drawn[int(y) % side, int(x) % side] = strength
            if rng.random() < 0.004:
                angle += rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.2)
    return drawn


def patch(rng: Rng, side: int) -> FloatArray:
    """A rectangle that wraps around: 1 inside, 2 on its sealed rim, 0 outside."""
    width, height = (int(side * rng.uniform(0.25, 0.6)) for _ in range(2))
    rim = max(side // 48, 1)
    box = np.zeros((side, side))
    box[:height, :width] = 2.0
    box[rim : height - rim, rim : width - rim] = 1.0
    shift = rng.integers(0, side, 2)
    return np.roll(box, tuple(shift), axis=(0, 1))


def _gray(level: FloatArray, tint: Sequence[float] = (1.0, 1.0, 1.0)) -> FloatArray:
    tinted: FloatArray = np.clip(level, 0, 255)[..., None] * np.asarray(tint)
    return tinted


def _aggregate(rng: Rng, side: int, level: float, contrast: float) -> FloatArray:
    """Stones in bitumen: fine noise, brighter and darker grains, broad stains."""
    fine = noise(rng, side, 0.008, 0.7)
    middle = noise(rng, side, 0.04, 1.2)
    broad = noise(rng, side, 0.35, 1.5)
    stones = np.clip(1.0 - grains(rng, side, side * side // 40, 1.6), 0, 1)
    sign = np.where(noise(rng, side, 0.02) > 0, 1.0, -0.6)
    return level + contrast * (0.5 * fine + 0.35 * middle + 0.35 * broad + 1.1 * stones * sign)


def asphalt_new(rng: Rng, side: int) -> FloatArray:
    """Dark, even and slightly bluish."""
    level = _aggregate(rng, side, rng.uniform(46, 66), rng.uniform(4, 8))
    return _gray(level, (0.98, 1.0, 1.04))


def asphalt_old(rng: Rng, side: int) -> FloatArray:
    """Bleached, with the stones laid bare."""
    level = _aggregate(rng, side, rng.uniform(88, 128), rng.uniform(9, 16))
    warm = rng.uniform(0.96, 1.04)
    return _gray(level, (warm, 1.0, 2 - warm))


def concrete(rng: Rng, side: int) -> FloatArray:
    """Light slabs with joints across."""
    level = rng.uniform(150, 188) + 6 * noise(rng, side, 0.2, 1.4) + 4 * noise(rng, side, 0.01)
    level += 3 * noise(rng, side, 0.05)
    joint = max(side // 40, 1)
    start = rng.integers(0, side)
    level[np.arange(start, start + joint) % side] *= 0.62
    if rng.random() < 0.5:
        level[:, np.arange(start, start + joint) % side] *= 0.66
    return _gray(level, (1.02, 1.0, 0.95))


def gravel(rng: Rng, side: int) -> FloatArray:
    """Pebbles of many tones."""
    distance = grains(rng, side, side * side // 22, 2.6)
    tone = noise(rng, side, 0.03, 0.6)
    level = rng.uniform(112, 146) + 22 * tone + 26 * (1.0 - np.clip(distance, 0, 1.6))
    level += 8 * noise(rng, side, 0.3, 1.5)
    return _gray(level, (1.05, 1.0, 0.9))


def wet(rng: Rng, side: int) -> FloatArray:
    """Dark asphalt with films of water that mirror the sky."""
    level = _aggregate(rng, side, rng.uniform(40, 58), rng.uniform(4, 8))
    film = np.clip(0.5 + 0.8 * (noise(rng, side, 0.22, 1.6) + 0.3), 0, 1)
    sky = np.array([122.0, 136.0, 156.0])
    share = (0.42 * film)[..., None]
    return np.asarray(_gray(level) * (1 - share) + sky * share)


def snow(rng: Rng, side: int) -> FloatArray:
    """Trodden snow over asphalt that shows in places."""
    ground = _gray(_aggregate(rng, side, 78, 8))
    cover = np.clip(0.8 + 0.55 * (noise(rng, side, 0.18, 1.4) + rng.uniform(0.1, 0.9)), 0, 1)
    level = rng.uniform(205, 226) + 9 * noise(rng, side, 0.05, 1.0) + 4 * noise(rng, side, 0.01)
    white = _gray(level, (0.97, 0.99, 1.03))
    return np.asarray(ground * (1 - cover[..., None]) + white * cover[..., None])


def patched(rng: Rng, side: int) -> FloatArray:
    """Old asphalt with darker repairs, their rims sealed."""
    picture = asphalt_old(rng, side)
    for _ in range(rng.integers(1, 4)):
        box = patch(rng, side)
        repair = _gray(_aggregate(rng, side, rng.uniform(52, 84), 7))
        picture = np.where((box == 1)[..., None], repair, picture)
        picture = np.where((box == 2)[..., None], picture * 0.38, picture)
    return np.asarray(picture)


def cracked(rng: Rng, side: int) -> FloatArray:
    """Old asphalt with cracks, some sealed with tar."""
    picture = asphalt_old(rng, side)
    lines = cracks(rng, side, int(rng.integers(4, 10)))
    if rng.random() < 0.5:
        lines = np.maximum(lines, np.roll(lines, 1, axis=1))
    return np.asarray(picture * (1 - 0.62 * lines[..., None]))


def grass(rng: Rng, side: int) -> FloatArray:
    """Blades in many greens."""
    level = 1.0 + 0.16 * noise(rng, side, 0.012, 0.7) + 0.13 * noise(rng, side, 0.15, 1.4)
    base = np.array([rng.uniform(70, 100), rng.uniform(104, 128), rng.uniform(46, 62)])
    yellow = 0.12 * noise(rng, side, 0.08, 1.2)[..., None] * np.array([1.0, 0.3, -0.2])
    return np.asarray(base * (level[..., None] + yellow))


def dry_grass(rng: Rng, side: int) -> FloatArray:
    """Straw with some soil."""
    level = 1.0 + 0.15 * noise(rng, side, 0.012, 0.7) + 0.12 * noise(rng, side, 0.2, 1.4)
    base = np.array([rng.uniform(150, 176), rng.uniform(134, 150), rng.uniform(84, 100)])
    return np.asarray(base * level[..., None])


def soil(rng: Rng, side: int) -> FloatArray:
    """Brown earth with clods."""
    clods = np.clip(1.2 - grains(rng, side, side * side // 60, 4.0), 0, 1)
    level = 0.86 + 0.14 * noise(rng, side, 0.03, 0.9) + 0.2 * clods
    base = np.array([rng.uniform(104, 126), rng.uniform(82, 96), rng.uniform(58, 70)])
    return np.asarray(base * level[..., None])


def sand(rng: Rng, side: int) -> FloatArray:
    """Pale sand with soft ripples."""
    level = 1.0 + 0.04 * noise(rng, side, 0.01) + 0.06 * noise(rng, side, 0.12, 1.6)
    base = np.array([rng.uniform(196, 216), rng.uniform(174, 190), rng.uniform(130, 146)])
    return np.asarray(base * level[..., None])


def snow_field(rng: Rng, side: int) -> FloatArray:
    """Fresh snow, in shades of blue."""
    level = rng.uniform(222, 236) + 6 * noise(rng, side, 0.2, 1.5) + 2 * noise(rng, side, 0.01)
    return _gray(level, (0.98, 1.0, 1.03))


ROADS: dict[str, Callable[[Rng, int], FloatArray]] = {
    maker.__name__: maker
    for maker in (asphalt_new, asphalt_old, concrete, gravel, wet, snow, patched, cracked)
}
VERGES: dict[str, Callable[[Rng, int], FloatArray]] = {
    "grass": grass,
    "dry_grass": dry_grass,
    "soil": soil,
    "sand": sand,
    "gravel": gravel,
    "snow": snow_field,
}

# Of every 6 tiles, one is kept for validation and one is held out
SPLITS = ("train", "train", "validation", "train", "train", "held_out")


def make_tile(maker: Callable[[Rng, int], FloatArray], rng: Rng, side: int) -> NDArray[np.uint8]:
    """One tile, (side, side, 3)."""
    large = maker(rng, 2 * side)
    mean = large.reshape(side, 2, side, 2, 3).mean(axis=(1, 3))
    # Averaging takes contrast away that the eye would still see
    mean = mean.mean(axis=(0, 1)) + 1.25 * (mean - mean.mean(axis=(0, 1)))
    return calm_edges(np.clip(np.rint(mean), 0, 255).astype(np.uint8))


def calm_edges(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same surface with its edges where neighbours differ least: no joint looks like a seam."""
    for axis in (0, 1):
        values = tile.astype(np.int64)
        steps = np.abs(values - np.roll(values, 1, axis=axis)).sum(axis=(1 - axis, 2))
        tile = np.roll(tile, -int(steps.argmin()), axis=axis)
    return tile


def make_tiles(
    makers: dict[str, Callable[[Rng, int], FloatArray]],
    *,
    per_class: int,
    seed: int = 0,
    side: int = 64,
) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """A bank's tiles and table, `per_class` of each class.

    Returns:
        uint8 (count, side, side, 3), and a row per tile, as `banks.Bank` has them.

    Raises:
        UsageError: a count below 1, or a side that is no power of two from 16 to 512.
    """
    if per_class < 1:
        raise UsageError(f"{per_class} tiles of each class is not at least 1")
    if side not in (16, 32, 64, 128, 256, 512):
        raise UsageError(f"side {side} is not a power of two from 16 to 512")
    tiles, table = [], []
    for number, (name, maker) in enumerate(makers.items()):
        for k in range(per_class):
            tiles.append(make_tile(maker, np.random.default_rng([seed, number, k]), side))
            table.append(
                {
                    "name": f"{name}-{k:02d}",
                    "class": name,
                    "split": SPLITS[k % len(SPLITS)],
                    "origin": ORIGIN,
                    "licence": LICENCE,
                }
            )
    return np.stack(tiles), table


def makers_of(classes: Sequence[str] | None) -> dict[str, Any]:
    """The makers of some classes of roads, or of all.

    Raises:
        UsageError: an unknown class.
    """
    if classes is None:
        return dict(ROADS)
    for name in classes:
        if name not in ROADS and name not in VERGES:
            raise unknown("class of surfaces", name, {**ROADS, **VERGES})
    return {name: (ROADS | VERGES)[name] for name in classes}
