"""docs/generalization.md's table and plot, from the cells that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.generalization.cells import ARMS, OWN_EPISODES, TEST_EPISODES
from benchmarks.written import DOCS, markdown, write_between
from drive_rl.evaluation.statistics import (
    RESAMPLES,
    Estimate,
    interquartile_mean,
    probability_of_improvement,
)

FloatArray = NDArray[np.float64]
COMPETENT = 0.85  # of the teacher's return, on the surface that was trained on

Cells = Mapping[str, Sequence[Mapping[str, Any]]]


def tables(cells: Sequence[Mapping[str, Any]], figure: str = "return") -> FloatArray:
    """A figure of each seed on each real surface, (seeds, surfaces)."""
    names = sorted(cells[0]["test"])
    return np.array([[cell["test"][name][figure] for name in names] for cell in cells], np.float64)


def over_seeds_and_surfaces(values: FloatArray, seed: int = 0) -> Estimate:
    """Interquartile mean of (seeds, surfaces), both resampled."""
    rows, columns = values.shape
    random = np.random.default_rng([0x5EED6, seed])
    replicas = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        some = values[random.integers(0, rows, rows)][:, random.integers(0, columns, columns)]
        replicas[k] = interquartile_mean(some.ravel())
    low, high = np.quantile(replicas, [0.025, 0.975])
    return Estimate(float(interquartile_mean(values.ravel())), float(low), float(high))


def improvement(ours: FloatArray, theirs: FloatArray, seed: int = 0) -> Estimate:
    """Chance that a seed of ours beats one of theirs on a surface, mean over surfaces.

    As Agarwal et al. 2021 have it, with surfaces for tasks; seeds and surfaces are resampled.
    """

    def chance(a: FloatArray, b: FloatArray) -> float:
        return float(
            np.mean([probability_of_improvement(x, y) for x, y in zip(a.T, b.T, strict=True)])
        )

    random = np.random.default_rng([0x5EED7, seed])
    columns = ours.shape[1]
    replicas = np.empty(RESAMPLES // 2)
    for k in range(len(replicas)):
        chosen = random.integers(0, columns, columns)
        a = ours[random.integers(0, len(ours), len(ours))][:, chosen]
        b = theirs[random.integers(0, len(theirs), len(theirs))][:, chosen]
        replicas[k] = chance(a, b)
    low, high = np.quantile(replicas, [0.025, 0.975])
    return Estimate(chance(ours, theirs), float(low), float(high))


def gate(cells: Cells, teacher: Mapping[str, Any]) -> tuple[bool, str]:
    """Does the study say anything: can the one-texture arm drive, and does it lose on others?"""
    one = cells["one"]
    own = interquartile_mean([cell["own"]["return"] for cell in one])
    full = teacher["own"]["return"]
    # Of each seed and surface: what was lost against the same seed's own surface
    lost = np.array([[cell["own"]["return"]] for cell in one]) - tables(one)
    estimate = over_seeds_and_surfaces(lost)
    opened = bool(own >= COMPETENT * full and estimate.low > 0.0)
    return opened, (
        f"The gate: on its own surface the one-texture arm has a return of {own:.1f}, "
        f"{own / full:.0%} of the teacher's {full:.1f} (at least {COMPETENT:.0%} is asked), and on "
        f"unseen surfaces it loses {_interval(estimate, 1)} of it (more than 0 is asked): "
        f"{'open' if opened else 'SHUT: the comparison below says nothing'}."
    )


def write(cells: Cells, teacher: Mapping[str, Any], gan_steps: int) -> None:
    """Replace the table and the plot in docs/generalization.md."""
    arms = [arm for arm in ARMS if cells.get(arm)]
    seeds, surfaces = len(cells[arms[0]]), len(cells[arms[0]][0]["test"])
    scores = {arm: tables(cells[arm]) for arm in arms}
    crashes = {arm: tables(cells[arm], "crash_rate") for arm in arms}
    returns = {arm: over_seeds_and_surfaces(scores[arm]) for arm in arms}
    rows = [
        ["arm", "own surfaces: return", "crashes", "unseen: return", "crashes"]
        + ["better than one", "better than procedural"]
    ]
    for arm in arms:
        own = [cell["own"] for cell in cells[arm]]
        rows.append(
            [
                ARMS[arm],
                f"{float(interquartile_mean([each['return'] for each in own])):.1f}",
                f"{np.mean([each['crash_rate'] for each in own]):.0%}",
                _interval(returns[arm], 1),
                f"{crashes[arm].mean():.0%}",
                *[
                    "" if arm == other else _interval(improvement(scores[arm], scores[other]), 2)
                    for other in ("one", "procedural")
                ],
            ]
        )
    lines = [
        "",
        f"Written by `python -m benchmarks.generalization --write`: {seeds} seeds an arm, "
        f"{surfaces} real surfaces, {TEST_EPISODES} episodes on each, {OWN_EPISODES} on an arm's "
        f"own; a GAN of {gan_steps:,} steps.",
        "",
        gate(cells, teacher)[1],
        "",
        *markdown(rows),
        "",
    ]
    print("\n".join(lines))
    plot(scores, returns, teacher, DOCS / "images" / "generalization.png")
    print(f"Written: {write_between('generalization.md', 'table', lines)}")


def plot(
    scores: Mapping[str, FloatArray],
    returns: Mapping[str, Estimate],
    teacher: Mapping[str, Any],
    path: Path,
) -> None:
    """A row an arm: each seed's mean over the surfaces, the interquartile mean, its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    arms = list(scores)
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(arms) + 1.4), layout="constrained")
    for row, arm in enumerate(arms):
        means = scores[arm].mean(axis=1)
        axes.plot(means, np.full(len(means), row), "o", color="#8aa4c8", markersize=5)
        each = returns[arm]
        axes.plot([each.low, each.high], [row, row], color="#1f3f77", linewidth=2)
        axes.plot([each.mean], [row], "D", color="#1f3f77", markersize=7)
    axes.axvline(teacher["own"]["return"], color="#999999", linestyle="--", linewidth=1)
    axes.text(teacher["own"]["return"], -0.75, "teacher ", ha="right", color="#777777")
    axes.set_yticks(range(len(arms)), [ARMS[arm] for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -1.1)
    axes.set_xlabel("return on real surfaces that no arm has seen")
    axes.grid(axis="x", color="#dddddd")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _interval(estimate: Estimate, digits: int) -> str:
    return f"{estimate.mean:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
