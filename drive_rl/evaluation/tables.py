"""An evaluation as a table for people."""

from __future__ import annotations

import math

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from drive_rl.evaluation.metrics import Metric
from drive_rl.evaluation.results import Evaluation, PolicyResult
from drive_rl.evaluation.statistics import Estimate

_ONE_LINE = 2
"""Up to so many policies, a figure and its interval fit on one line of 80 characters."""


def table(evaluation: Evaluation) -> Table:
    """A row per metric, a column per policy; beside or under each figure its 95% interval."""
    last = evaluation.seed + evaluation.num_episodes - 1
    engines = " and ".join(dict.fromkeys(policy.engine for policy in evaluation.policies))
    title = f"{evaluation.env}: {counted(evaluation.num_episodes, 'episode')}, "
    title += f"seeds {evaluation.seed} to {last}, {engines} engine"
    shown = Table(
        title=escape(title),
        min_width=len(title),
        caption="each with its 95% interval",
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
    )
    shown.add_column("", no_wrap=True)
    for policy in evaluation.policies:
        style = "bold" if policy.kind == "policy" else "dim"
        shown.add_column(Text(policy.name, style=style), justify="right")
    gap = " " if len(evaluation.policies) <= _ONE_LINE else "\n"
    for metric in shown_metrics(evaluation):
        unit = f" [{metric.unit}]" if metric.unit not in ("", "%") else ""
        best = best_policies(evaluation, metric)
        cells = [_cell(policy, metric, policy in best, gap) for policy in evaluation.policies]
        shown.add_row(Text(metric.label).append(unit, style="dim"), *cells)
    return shown


def print_table(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print the table, by default on stdout."""
    (console or Console()).print(table(evaluation))


def shown_metrics(evaluation: Evaluation) -> list[Metric]:
    """Metrics that some policy has."""
    return [
        metric
        for metric in evaluation.shown
        if any(_finite(policy.metrics.get(metric.name)) for policy in evaluation.policies)
    ]


def best_policies(evaluation: Evaluation, metric: Metric) -> list[PolicyResult]:
    """The policies with the best figure; none where all have it, or more is not better or worse."""
    known = [p for p in evaluation.policies if _finite(p.metrics.get(metric.name))]
    if metric.better is None or len(known) < 2:
        return []
    choose = max if metric.better == "more" else min
    best = choose(p.metrics[metric.name].mean for p in known)
    first = [p for p in known if p.metrics[metric.name].mean == best]
    return first if len(first) < len(known) else []


def _finite(estimate: Estimate | None) -> bool:
    return estimate is not None and math.isfinite(estimate.mean)


def _cell(policy: PolicyResult, metric: Metric, best: bool, gap: str) -> Text:
    estimate = policy.metrics.get(metric.name)
    if estimate is None:
        return Text("–", style="dim")
    text = Text(metric.shown(estimate.mean), style="bold green" if best else "")
    if math.isfinite(estimate.low):
        # Many columns leave no room for a word; a minus sign beside a dash would be a puzzle.
        to = "–" if gap == "\n" and estimate.low >= 0 else " to "
        ends = f"{metric.shown(estimate.low)}{to}{metric.shown(estimate.high)}"
        text.append(f"{gap}{ends}", style="not bold dim")
    return text


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
