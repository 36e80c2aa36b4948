"""How good a bank of textures is, in numbers, against photographs that nothing was learned from.

    kernel_distance    squared maximum mean discrepancy of features with the kernel (x.y/d + 1)^3,
                       unbiased (Binkowski et al. 2018)
    frechet_distance   between Gaussians fitted to the features (Heusel et al. 2017)
    precision, recall  shares of tiles among real ones and of real ones among tiles, by the balls
                       around the third neighbour (Kynkaanniemi et al. 2019), of equally many
                       independent samples of both: one crop of a photograph, mean over draws
    sliced_wasserstein of pixels in patches of 7 x 7, along random directions (Karras et al. 2018)
    spectrum_distance  root mean square difference of the mean logarithmic power spectra [nepers]
    seam_ratio         difference across the border over that of inner neighbours; 1 is seamless
    ms_ssim            between pairs of tiles of a class; lower is more diverse
    nearest_train      distance in features of a tile to the nearest training crop, over the median
                       such distance of the training crops to each other; near 0 is a copy
    discriminator_gap  the discriminator's mean score of training crops less that of held-out ones,
                       over its deviation; near 0 means that it has not learned them by heart

Distances, precision and recall are of the surfaces that both sets have, each counting as much, and
each of its photographs. The features are named, and are not those of FID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.textures.crops import Crops, Tiles
from drive_rl.textures.features import Features

Floats = NDArray[np.float64]
SCHEMA = 1
NEIGHBOURS = 3
DRAWS = 200  # of independent samples, for precision and recall
MEMORISED = 0.1  # of nearest_train, below which a tile counts as copied


def score_crops(
    made: Crops, real: Crops, train: Crops | None, counts: Mapping[str, int], *, seed: int = 0
) -> dict[str, float | int | None]:
    """All scores of some tiles but the discriminator's.

    Args:
        real: crops that nothing was learned from.
        train: those that were learned from; None where they are not known.
        counts: the surfaces to compare over, and of how many independent samples of each
            precision and recall are (`crops.samples`).
    """
    rng = np.random.default_rng(seed)
    side = real.tiles.shape[1]
    here, there = made.of(list(counts)), real.of(list(counts))
    seen = here.tiles[:, :side, :side]
    precision, recall = precision_recall(real, made, counts, seed=seed)
    found = {
        "tiles": len(made.tiles),
        **compared(there, here),
        "precision": precision,
        "recall": recall,
        "sliced_wasserstein": sliced_wasserstein(there.tiles, seen, rng),
        "spectrum_distance": spectrum_distance(there.tiles, seen),
        "seam_ratio": seam_ratio(made.tiles),
        "ms_ssim": diversity(made.tiles[:, :side, :side], made.surfaces, rng),
    }
    if train is None:
        return found
    nearest = nearest_train(made.found, train.found)
    return found | {
        "nearest_train": float(np.median(nearest)),
        "nearest_train_lowest": float(nearest.min()),
        "memorised": int((nearest < MEMORISED).sum()),
    }


def compared(real: Crops, made: Crops) -> dict[str, float]:
    """The distances of features."""
    return {
        "kernel_distance": kernel_distance(real.found, made.found),
        "frechet_distance": frechet_distance(real.found, made.found),
    }


def kernel_distance(x: Features, y: Features) -> float:
    """Unbiased, so that it can be slightly below 0 for two halves of one set."""
    if len(x) < 2 or len(y) < 2:
        return float("nan")
    within = 0.0
    for each in (x, y):
        kernel = (each @ each.T / each.shape[1] + 1.0) ** 3
        within += (kernel.sum() - np.trace(kernel)) / (len(each) * (len(each) - 1))
    return float(within - 2.0 * ((x @ y.T / x.shape[1] + 1.0) ** 3).mean())


def frechet_distance(x: Features, y: Features) -> float:
    """Of features reduced to the reals' 64 main directions: fewer than there are crops."""
    if len(x) < 3 or len(y) < 3:
        return float("nan")
    mean = x.mean(axis=0)
    _, _, axes = np.linalg.svd(x - mean, full_matrices=False)
    axes = axes[: min(64, len(x) - 1, len(y) - 1)]
    a, b = (x - mean) @ axes.T, (y - mean) @ axes.T
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    # trace of sqrt(A B) = sum of square roots of the eigenvalues of the symmetric sqrt(A) B sqrt(A)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    shift = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return float(shift + np.trace(first) + np.trace(second) - 2.0 * cross)


def precision_recall(
    real: Crops, made: Crops, counts: Mapping[str, int], *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Improved precision and recall with k = 3; NaN where there are not four samples.

    Both estimate the supports of two distributions from balls around samples, whose radii shrink
    with their number and with their likeness. They mean the same on both sides only for equally
    many independent samples. Crops of one photograph are not independent: a photograph gives one.

    Args:
        counts: so many samples of each surface, of both sets; each surface counts as much.
        draws: of samples, over which the mean is taken.
    """
    if sum(counts.values()) <= NEIGHBOURS:
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, NEIGHBOURS])
    surface = np.repeat(np.arange(len(counts)), list(counts.values()))
    found = np.empty((draws, 2))
    for k in range(draws):
        x, y = real.drawn(counts, rng).found, made.drawn(counts, rng).found
        across = distances(x, y)
        inside = np.stack(
            [
                (across <= _radii(x)[:, None]).any(axis=0),  # tiles, in a ball around a real one
                (across <= _radii(y)[None]).any(axis=1),  # real ones, in a ball around a tile
            ]
        )
        found[k] = np.mean([inside[:, surface == s].mean(axis=1) for s in set(surface)], axis=0)
    precision, recall = found.mean(axis=0)
    return float(precision), float(recall)


def _radii(x: Features) -> Floats:
    """Of each, the distance to the third nearest other one."""
    own = distances(x, x)
    np.fill_diagonal(own, np.inf)
    return np.asarray(np.sort(own, axis=1)[:, NEIGHBOURS - 1])


def nearest_train(made: Features, train: Features) -> Floats:
    """Of each tile, the distance to the nearest training crop over the crops' own median."""
    own = distances(train, train)
    np.fill_diagonal(own, np.inf)
    typical = float(np.median(own.min(axis=1)))
    return np.asarray(distances(made, train).min(axis=1) / max(typical, 1e-12))


def distances(x: Features, y: Features) -> Floats:
    """Euclidean, (len(x), len(y))."""
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2.0 * (x @ y.T)
    return np.asarray(np.sqrt(np.clip(squared, 0.0, None)))


def sliced_wasserstein(x: Tiles, y: Tiles, rng: np.random.Generator) -> float:
    """Mean over 64 directions of the distance between sorted projections, patches of 0 to 1."""
    first, second = _patches(x, rng), _patches(y, rng)
    directions = rng.standard_normal((first.shape[1], 64))
    directions /= np.linalg.norm(directions, axis=0)
    a, b = np.sort(first @ directions, axis=0), np.sort(second @ directions, axis=0)
    return float(np.abs(a - b).mean())


def _patches(tiles: Tiles, rng: np.random.Generator, count: int = 8192, side: int = 7) -> Floats:
    which = rng.integers(0, len(tiles), count)
    y, x = rng.integers(0, tiles.shape[1] - side + 1, (2, count))
    step = np.arange(side)
    rows, columns = y[:, None, None] + step[:, None], x[:, None, None] + step
    found = tiles[which[:, None, None], rows, columns]  # (count, 7, 7, 3)
    return np.asarray(found.reshape(count, -1) / 255.0)


def spectrum_distance(x: Tiles, y: Tiles) -> float:
    """Between the mean logarithms of the power over all frequencies but the mean."""
    difference = _log_spectrum(x) - _log_spectrum(y)
    return float(np.sqrt((difference.ravel()[1:] ** 2).mean()))


def _log_spectrum(tiles: Tiles) -> Floats:
    gray = tiles.mean(axis=-1) / 255.0
    side = gray.shape[1]
    # Crops of photographs have a border, whose jump would be in their spectrum but not in a tile's
    window = np.hanning(side + 2)[1:-1]
    gray = (gray - gray.mean(axis=(1, 2), keepdims=True)) * window[:, None] * window
    power = np.abs(np.fft.rfft2(gray)) ** 2 / side**2
    return np.asarray(0.5 * np.log(power + 1e-8).mean(axis=0))


def seam_ratio(tiles: Tiles) -> float:
    """Over both axes, the difference across the border over that of inner neighbours."""
    values = tiles.astype(np.float64)
    ratios = []
    for axis in (1, 2):
        steps = np.abs(values - np.roll(values, 1, axis=axis))
        border = steps.take([0], axis=axis).mean()
        inside = steps.take(range(1, tiles.shape[axis]), axis=axis).mean()
        ratios.append(border / max(inside, 1e-9))
    return float(np.mean(ratios))


def diversity(
    tiles: Tiles, classes: Sequence[str] | None, rng: np.random.Generator
) -> float | None:
    """Mean MS-SSIM of up to 96 pairs of tiles of a class; None where no class has two."""
    groups = [np.arange(len(tiles))]
    if classes is not None:
        groups = [np.flatnonzero([c == name for c in classes]) for name in sorted(set(classes))]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return None
    pairs = [rng.choice(groups[k % len(groups)], 2, replace=False) for k in range(96)]
    gray = tiles.mean(axis=-1) / 255.0
    return float(np.mean([ms_ssim(gray[a], gray[b]) for a, b in pairs]))


def ms_ssim(x: Floats, y: Floats) -> float:
    """Multi-scale structural similarity (Wang et al. 2003) of grey pictures of 0 to 1.

    Three scales, the weights of the paper's first three made to sum to 1: a tile of 64 px has no
    more.
    """
    from scipy.ndimage import gaussian_filter

    weights = np.array([0.0448, 0.2856, 0.3001])
    weights /= weights.sum()
    total = 1.0
    for scale, weight in enumerate(weights):
        mean_x, mean_y = (gaussian_filter(each, 1.5, mode="wrap") for each in (x, y))
        var_x = gaussian_filter(x * x, 1.5, mode="wrap") - mean_x**2
        var_y = gaussian_filter(y * y, 1.5, mode="wrap") - mean_y**2
        covariance = gaussian_filter(x * y, 1.5, mode="wrap") - mean_x * mean_y
        similar = (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2)
        if scale == len(weights) - 1:
            similar = similar * (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        total *= max(float(similar.mean()), 0.0) ** weight
        x, y = (each.reshape(len(each) // 2, 2, -1, 2).mean(axis=(1, 3)) for each in (x, y))
    return total


def discriminator_gap(
    weights: Any, train: Tiles, train_classes: list[str], real: Tiles, real_classes: list[str]
) -> float | None:
    """Mean score of training crops less that of held-out ones, in deviations of the former.

    Over the classes that both have; None where there is none.
    """
    import torch

    discriminator = weights.build_discriminator()
    common = set(train_classes) & set(real_classes) & set(weights.classes)
    if not common:
        return None
    gaps = []
    for name in sorted(common):
        scores = []
        for tiles, classes in ((train, train_classes), (real, real_classes)):
            chosen = tiles[[c == name for c in classes]]
            chosen = chosen[:: -(-len(chosen) // 128)]
            pixels = torch.from_numpy(np.ascontiguousarray(chosen)).permute(0, 3, 1, 2).float()
            labels = torch.full((len(chosen),), weights.classes.index(name))
            with torch.inference_mode():
                scores.append(
                    discriminator(pixels / 127.5 - 1.0, labels, torch.zeros(len(chosen), 4))
                )
        gaps.append(float((scores[0].mean() - scores[1].mean()) / scores[0].std().clamp_min(1e-6)))
    return float(np.mean(gaps))
