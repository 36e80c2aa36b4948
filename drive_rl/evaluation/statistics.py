"""Estimates with intervals: what a finite set of episodes says about a policy.

All intervals hold 95% unless told otherwise. Means of episodes get a bias-corrected and
accelerated bootstrap (Efron 1987, "Better bootstrap confidence intervals"), which follows the
skew that a few crashes give to returns. Shares of episodes get Wilson's score interval (Wilson
1927), since every resample of "no crash in 100 episodes" again has none, and a bootstrap would
call that certain.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""Maps means of columns (variables, ...) to values (...)."""

RESAMPLES = 2000
CONFIDENCE = 0.95
_NORMAL = NormalDist()  # scipy has it too, and takes 0.2 s to import
_CHUNK = 2_000_000
"""Resampled values held in memory at once."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure and its interval.

    Attributes:
        mean: the figure itself; nan where no episode gives it.
        low, high: the ends of the interval; nan where it cannot be known (a single episode).
    """

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Numbers, with None for what is unknown: JSON has no nan."""
        return {
            field.name: _finite(getattr(self, field.name)) for field in dataclasses.fields(self)
        }


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def mean(values: npt.ArrayLike, *, seed: int = 0, confidence: float = CONFIDENCE) -> Estimate:
    """The mean over episodes, ignoring nan, with its BCa bootstrap interval.

    Args:
        values: one number per episode, (n,).
        seed: of the resampling, so that the same episodes give the same interval.
    """
    sample = np.asarray(values, dtype=np.float64)
    sample = sample[~np.isnan(sample)]
    return bootstrap(sample[None], lambda means: means[0], seed=seed, confidence=confidence)


def rate(flags: npt.ArrayLike, *, confidence: float = CONFIDENCE) -> Estimate:
    """The share of episodes in which something happened, with Wilson's score interval.

    Args:
        flags: 0 or 1 per episode, nan where it does not apply, (n,).
    """
    sample = np.asarray(flags, dtype=np.float64)
    sample = sample[~np.isnan(sample)]
    count = len(sample)
    if count == 0:
        return UNKNOWN
    share = float(sample.mean())
    z = _NORMAL.inv_cdf(0.5 + confidence / 2)
    spread = 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / spread
    half = z / spread * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # The ends touch 0 and 1 exactly when nothing, or everything, happened: no rounding dust.
    low = 0.0 if share == 0.0 else max(centre - half, 0.0)
    high = 1.0 if share == 1.0 else min(centre + half, 1.0)
    return Estimate(share, low, high)


def ratio(
    numerator: npt.ArrayLike,
    denominator: npt.ArrayLike,
    *,
    scale: float = 1.0,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A ratio of totals, such as crashes per kilometre, over resampled episodes (BCa).

    Where nothing was counted, resamples would call that certain; the upper end is then the exact
    one of a Poisson count of zero (Garwood 1936): -ln((1 - confidence) / 2) over the total.

    Args:
        numerator: counts per episode, (n,). denominator: what they are counted over, (n,). An
            episode with a nan in either is left out.
        scale: factor of the result, 1000 for "per km" of metres.
    """
    pairs = np.stack([np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)])
    pairs = pairs[:, ~np.isnan(pairs).any(axis=0)]
    if pairs.shape[1] == 0 or pairs[1].sum() == 0:
        return UNKNOWN
    if not pairs[0].any():
        most = -math.log((1 - confidence) / 2) / float(pairs[1].sum())
        return Estimate(0.0, 0.0, scale * most)

    def of_means(means: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(scale * means[0] / means[1])

    return bootstrap(pairs, of_means, seed=seed, confidence=confidence)


def bootstrap(
    columns: FloatArray,
    statistic: Statistic,
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """A function of the columns' means with its BCa bootstrap interval.

    Args:
        columns: one value per episode in each, (variables, n); episodes are resampled whole.
        statistic: takes means (variables, ...) and reduces the first axis.
        seed: of the resampling.
    """
    count = columns.shape[-1]
    if count == 0:
        return UNKNOWN
    means = columns.mean(axis=-1)
    observed = float(statistic(means))
    if count == 1:
        return Estimate(observed, math.nan, math.nan)
    replicas = np.concatenate(
        [
            statistic(np.stack([column[rows].mean(axis=-1) for column in columns]))
            for rows in resampled(count, seed, resamples)
        ]
    )
    left_out = (count * means[:, None] - columns) / (count - 1)  # each episode in its turn
    low, high = _bca_ends(observed, replicas, statistic(left_out), confidence)
    return Estimate(observed, low, high)


def _bca_ends(
    observed: float, replicas: FloatArray, jackknife: FloatArray, confidence: float
) -> tuple[float, float]:
    """Ends of the BCa interval: Efron 1987, equations 2.3 (bias) and 7.3 (acceleration)."""
    replicas = replicas[np.isfinite(replicas)]
    if len(replicas) == 0:
        return math.nan, math.nan
    if np.ptp(replicas) == 0.0:
        return float(replicas[0]), float(replicas[0])
    # Ties count half: discrete statistics would otherwise look biased.
    below = np.mean(replicas < observed) + 0.5 * np.mean(replicas == observed)
    edge = 0.5 / len(replicas)
    bias = _NORMAL.inv_cdf(float(np.clip(below, edge, 1 - edge)))
    away = jackknife.mean() - jackknife
    cubes, squares = float((away**3).sum()), float((away**2).sum())
    acceleration = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    ends = []
    for tail in (0.5 - confidence / 2, 0.5 + confidence / 2):
        z = bias + _NORMAL.inv_cdf(tail)
        ends.append(_NORMAL.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(replicas, ends)
    return float(low), float(high)


def resampled(count: int, seed: int, resamples: int = RESAMPLES) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of episode indices drawn with replacement, in chunks of (some, count), to be read only.

    The chunking, and so the draws, depend on nothing but the arguments: two policies scored on
    as many episodes are resampled alike, which is what makes their differences paired.
    """
    if count * resamples <= _CHUNK:
        yield _drawn(count, seed, resamples)
        return
    generator = np.random.default_rng(_stream(seed))
    chunk = max(_CHUNK // count, 1)
    for start in range(0, resamples, chunk):
        yield generator.integers(0, count, size=(min(chunk, resamples - start), count))


@functools.lru_cache(maxsize=4)
def _drawn(count: int, seed: int, resamples: int) -> npt.NDArray[np.int64]:
    """One chunk of `resampled`, kept: a report has dozens of intervals over the same episodes."""
    rows = np.random.default_rng(_stream(seed)).integers(0, count, size=(resamples, count))
    rows.flags.writeable = False
    return rows


def _stream(seed: int) -> list[int]:
    return [0x5EED, seed]


def interquartile_mean(values: npt.ArrayLike) -> FloatArray:
    """The mean of the middle half of the last axis (Agarwal et al. 2021, "Deep RL at the edge").

    Where a quarter of the values is no whole number, the values on the edge count in part, so
    that the figure does not jump with the number of runs.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    count = ordered.shape[-1]
    # Value i stands for the stretch [i, i + 1] of the distribution; keep [n/4, 3n/4].
    starts = np.arange(count)
    weights = np.clip(np.minimum(starts + 1, 0.75 * count) - np.maximum(starts, 0.25 * count), 0, 1)
    return np.asarray((ordered * weights).sum(axis=-1) / weights.sum())


def probability_of_improvement(
    ours: Sequence[float] | FloatArray, theirs: Sequence[float] | FloatArray
) -> float:
    """How likely a random episode of ours beats a random one of theirs; ties count half.

    The Mann-Whitney statistic over the product of the sizes (Agarwal et al. 2021).
    """
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    a, b = a[~np.isnan(a)], np.sort(b[~np.isnan(b)])
    if len(a) == 0 or len(b) == 0:
        return math.nan
    beaten = np.searchsorted(b, a, side="left") + np.searchsorted(b, a, side="right")
    return float(beaten.sum() / (2 * len(a) * len(b)))


def paired_difference(
    ours: npt.ArrayLike,
    theirs: npt.ArrayLike,
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """The mean of ours minus theirs on the same episodes, with its BCa interval."""
    difference = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    return mean(difference, seed=seed, confidence=confidence)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
