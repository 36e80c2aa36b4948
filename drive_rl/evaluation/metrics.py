"""What is measured of a policy: each metric's name, meaning and way of estimation.

This list is the one place that knows the metrics: the table, report.json, episodes.csv and the
page all read it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drive_rl.evaluation import statistics
from drive_rl.evaluation.kinematics import COMFORT
from drive_rl.evaluation.rollout import Episodes
from drive_rl.evaluation.statistics import Estimate

Kind = Literal["mean", "rate", "ratio"]


@dataclasses.dataclass(frozen=True)
class Metric:
    """One figure about a policy.

    Attributes:
        name: its key in report.json.
        label: for people.
        unit: for people; "%" shows a share as percent.
        kind: "mean" of the episodes' values, "rate" of episodes with a flag set, or "ratio" of
            the totals of two columns.
        column: the episodes' values; for a ratio the numerator.
        per: a ratio's denominator.
        scale: a ratio is multiplied by this.
        better: whether more or less of it is better; None where neither is.
        digits: after the point, for people.
        optional: left out where no episode gives it.
        description: what it is, in one sentence.
    """

    name: str
    label: str
    unit: str
    kind: Kind
    column: str
    description: str
    per: str = ""
    scale: float = 1.0
    better: Literal["more", "less"] | None = None
    digits: int = 2
    optional: bool = False

    def estimate(self, columns: Mapping[str, npt.NDArray[Any]], seed: int = 0) -> Estimate:
        """The figure with its 95% interval, from the episodes' columns."""
        values = np.asarray(columns[self.column], np.float64)
        if self.kind == "rate":
            return statistics.rate(values)
        if self.kind == "ratio":
            return statistics.ratio(values, columns[self.per], scale=self.scale, seed=seed)
        return statistics.mean(values, seed=seed)

    def shown(self, value: float) -> str:
        """A value as people read it, without its unit but for %."""
        if not np.isfinite(value):
            return "–"
        if self.unit == "%":
            return f"{100 * value:.{self.digits}f}%"
        whole_digits = len(str(int(abs(value))))  # of large numbers nobody reads the cents
        return f"{value:.{max(self.digits - max(whole_digits - 2, 0), 0)}f}"


BASIC = (
    Metric(
        "return",
        "return",
        "",
        "mean",
        "return",
        "Sum of the rewards of an episode.",
        better="more",
    ),
    Metric(
        "crash_rate",
        "crashes",
        "%",
        "rate",
        "crashed",
        "Share of episodes in which the ego vehicle crashes.",
        better="less",
        digits=1,
    ),
    Metric(
        "off_road_rate",
        "off road",
        "%",
        "rate",
        "off_road",
        "Share of episodes in which the ego vehicle leaves the road.",
        better="less",
        digits=1,
    ),
    Metric(
        "success_rate",
        "success",
        "%",
        "rate",
        "success",
        "Share of episodes in which the scene's goal is reached.",
        better="more",
        digits=1,
        optional=True,
    ),
    Metric(
        "speed",
        "speed",
        "m/s",
        "mean",
        "speed",
        "Mean forward speed of an episode.",
        better="more",
    ),
    Metric(
        "lane_changes",
        "lane changes",
        "",
        "mean",
        "lane_changes",
        "Lane changes in an episode.",
        digits=1,
    ),
    Metric(
        "episode_length",
        "length",
        "decisions",
        "mean",
        "episode_length",
        "Decisions until an episode ends.",
        better="more",
        digits=1,
    ),
)

DRIVING = (
    Metric(
        "driving_score",
        "driving score",
        "",
        "mean",
        "score",
        "Safety, time to collision, progress and comfort in one number from 0 to 100.",
        better="more",
        digits=1,
        optional=True,
    ),
    Metric(
        "crashes_per_100km",
        "crashes per 100 km",
        "",
        "ratio",
        "crashed",
        "Crashes over the distance driven.",
        per="distance",
        scale=1e5,
        better="less",
        digits=1,
        optional=True,
    ),
    Metric(
        "progress",
        "progress",
        "m",
        "mean",
        "progress",
        "Distance driven forward in an episode, less what was driven backward.",
        better="more",
        digits=0,
    ),
    Metric(
        "time_headway",
        "time headway",
        "s",
        "mean",
        "time_headway",
        "Distance to the vehicle ahead over the own speed, while there is one within 100 m.",
        better="more",
        optional=True,
    ),
    Metric(
        "ttc_below",
        "TTC under 0.95 s",
        "%",
        "mean",
        "ttc_below",
        "Share of the time with a time to collision under 0.95 s.",
        better="less",
        digits=1,
        optional=True,
    ),
    Metric(
        "comfort",
        "comfortable",
        "%",
        "mean",
        "comfort",
        "Share of simulation steps within all of nuPlan's comfort bounds.",
        better="more",
        digits=1,
        optional=True,
    ),
    Metric(
        "lane_changes_per_km",
        "lane changes per km",
        "",
        "ratio",
        "lane_changes",
        "Lane changes over the distance driven.",
        per="distance",
        scale=1e3,
        optional=True,
    ),
)

COMFORT_SHARES = tuple(
    Metric(
        f"comfort_{bound.name}",
        bound.label,
        "%",
        "mean",
        f"comfort_{bound.name}",
        f"Share of simulation steps with it between {bound.low} and {bound.high} {bound.unit}.",
        better="more",
        digits=1,
        optional=True,
    )
    for bound in COMFORT
)

ALL = BASIC + DRIVING + COMFORT_SHARES
BY_NAME = {metric.name: metric for metric in ALL}

TABLE = BASIC + tuple(
    BY_NAME[name]
    for name in ("driving_score", "crashes_per_100km", "time_headway", "ttc_below", "comfort")
)
"""What the table on a terminal shows."""


def columns_of(episodes: Episodes) -> dict[str, npt.NDArray[Any]]:
    """The episodes' values under the names that episodes.csv uses."""
    renamed = {"returns": "return", "length": "episode_length"}
    return {
        renamed.get(field.name, field.name): getattr(episodes, field.name)
        for field in dataclasses.fields(episodes)
    }


def estimates(
    columns: Mapping[str, npt.NDArray[Any]],
    metrics: tuple[Metric, ...] = ALL,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Every metric that the columns give, in the order of `metrics`."""
    found = {}
    for metric in metrics:
        if metric.column not in columns or (metric.per and metric.per not in columns):
            continue
        estimate = metric.estimate(columns, seed)
        if metric.optional and np.isnan(estimate.mean):
            continue
        found[metric.name] = estimate
    return found
