"""Policies against each other: on the same episodes, over seeds of training, towards a planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.evaluation import statistics
from drive_rl.evaluation.results import PolicyResult
from drive_rl.evaluation.statistics import UNKNOWN, Estimate

FloatArray = npt.NDArray[np.float64]

COMPARED = {"return": "return", "crash_rate": "crashed", "speed": "speed", "driving_score": "score"}
"""Metrics whose paired differences are given, and their columns."""


def against_others(policies: Sequence[PolicyResult], seed: int = 0) -> list[dict[str, Any]]:
    """The first policy against each other one, for report.json.

    All drove the same episodes, so differences are taken episode by episode: what makes one
    scene harder than another cancels out.
    """
    if not policies:
        return []
    ours = policies[0]
    return [
        {
            "policy": ours.name,
            "against": theirs.name,
            "difference": {
                metric: statistics.paired_difference(
                    ours.episodes[column], theirs.episodes[column], seed=seed
                ).to_json()
                for metric, column in COMPARED.items()
                if column in ours.episodes and column in theirs.episodes
            },
            "probability_of_improvement": improvement(
                ours.episodes["return"], theirs.episodes["return"], seed
            ).to_json(),
        }
        for theirs in policies[1:]
    ]


def improvement(ours: npt.ArrayLike, theirs: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Probability that ours has the higher return on a random episode of each; ties count half.

    The interval resamples the episodes, which both drove, 2,000 times (percentiles).
    """
    pairs = np.stack([np.asarray(ours, np.float64), np.asarray(theirs, np.float64)])
    count = pairs.shape[1]
    observed = statistics.probability_of_improvement(pairs[0], pairs[1])
    if count < 2:
        return Estimate(observed, np.nan, np.nan)
    # Ranks of ours among theirs are all it takes: how often each pair of episodes is drawn
    # weighs a fixed matrix of wins.
    if count > 1000:
        pairs, count = pairs[:, :1000], 1000
    wins = (pairs[0][:, None] > pairs[1]) + 0.5 * (pairs[0][:, None] == pairs[1])
    replicas = []
    for rows in statistics.resampled(count, seed):
        weights = np.zeros((len(rows), count))
        np.add.at(weights, (np.arange(len(rows))[:, None], rows), 1.0)
        replicas.append(((weights @ wins) * weights).sum(axis=1) / count**2)
    low, high = np.quantile(np.concatenate(replicas), [0.025, 0.975])
    return Estimate(observed, float(low), float(high))


def share_of_the_way(
    ours: npt.ArrayLike, bottom: npt.ArrayLike, top: npt.ArrayLike, seed: int = 0
) -> Estimate:
    """Mean return as a share of the way from one policy's (random) to another's (planner).

    All three on the same episodes; the interval resamples episodes.
    """
    rows = np.stack([np.asarray(each, np.float64) for each in (ours, bottom, top)])
    if rows[2].mean() == rows[1].mean():
        return UNKNOWN

    def share(means: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((means[0] - means[1]) / (means[2] - means[1]))

    return statistics.bootstrap(rows, share, seed=seed)


def across_seeds(
    policies: Sequence[PolicyResult], metrics: Mapping[str, str] = COMPARED, seed: int = 0
) -> list[dict[str, Any]]:
    """Runs that differ in their training seed alone: interquartile means over them.

    The interval resamples runs, and episodes within them (a stratified bootstrap, Agarwal et al.
    2021); with few runs it is as wide as few runs deserve.
    """
    groups: dict[tuple[str, str], list[PolicyResult]] = {}
    for policy in policies:
        if "algo" in policy.about and "trained_in" in policy.about:
            key = (str(policy.about["algo"]), str(policy.about["trained_in"]))
            groups.setdefault(key, []).append(policy)
    return [
        {
            "algo": algo,
            "trained_in": trained_in,
            "policies": [policy.name for policy in group],
            "interquartile_mean": {
                metric: over_runs(
                    np.stack([policy.episodes[column] for policy in group]), seed
                ).to_json()
                for metric, column in metrics.items()
                if all(column in policy.episodes for policy in group)
            },
        }
        for (algo, trained_in), group in groups.items()
        if len({policy.about.get("training_seed") for policy in group}) > 1
    ]


def over_runs(values: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Interquartile mean over runs of their means over episodes.

    Args:
        values: (runs, episodes).
    """
    table = np.asarray(values, np.float64)
    observed = float(statistics.interquartile_mean(table.mean(axis=1)))
    runs, episodes = table.shape
    generator = np.random.default_rng([0x5EED5, seed])
    replicas = np.empty(statistics.RESAMPLES)
    for i in range(len(replicas)):
        chosen = table[generator.integers(0, runs, size=(runs, 1))[:, 0]]
        rows = generator.integers(0, episodes, size=(runs, episodes))
        means = np.take_along_axis(chosen, rows, axis=1).mean(axis=1)
        replicas[i] = statistics.interquartile_mean(means)
    low, high = np.quantile(replicas, [0.025, 0.975])
    return Estimate(observed, float(low), float(high))
