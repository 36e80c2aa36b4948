"""The page's plots, as Plotly figures in plain data.

Colours are names (`policy0`, `ink`, ...) that the page's script replaces by those of its light or
dark theme; each policy also has a dash and a marker of its own, for eyes that see no colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from drive_rl.evaluation import statistics
from drive_rl.evaluation.results import Evaluation, PolicyResult

Figure = dict[str, Any]

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_MARKERS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
_BINS = 6


def figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Every plot that the evaluation has data for, by the id of its place in the page."""
    policies = evaluation.policies
    found = {
        "speed-crashes": _speed_and_crashes(policies),
        "returns": _returns(policies),
        "speeds": _histogram(policies, "speed", "speed [m/s]"),
        "headways": _histogram(policies, "headway", "time headway [s]"),
        "ttcs": _histogram(policies, "ttc", "time to collision [s]"),
        "failures-density": _failures(policies, "density", "vehicles within 100 m"),
        "failures-speed": _failures(policies, "speed", "mean speed of the episode [m/s]"),
        "learning-return": _learning(policies, "return", "return"),
        "learning-crashes": _learning(policies, "crash_rate", "crashes"),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def look_of(index: int) -> dict[str, str]:
    """Colour, dash and marker of a policy, by its place in the evaluation."""
    return {
        "color": f"policy{index % 8}",
        "dash": _DASHES[index % len(_DASHES)],
        "symbol": _MARKERS[index % len(_MARKERS)],
    }


def _speed_and_crashes(policies: Sequence[PolicyResult]) -> Figure | None:
    traces = []
    for index, policy in enumerate(policies):
        speed, crashes = policy.metrics.get("speed"), policy.metrics.get("crash_rate")
        if speed is None or crashes is None or not np.isfinite([speed.mean, crashes.mean]).all():
            continue
        look = look_of(index)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": policy.name,
                "x": [speed.mean],
                "y": [crashes.mean],
                "error_x": _ends(speed),
                "error_y": _ends(crashes),
                "marker": {"color": look["color"], "symbol": look["symbol"], "size": 11},
                "hovertemplate": "%{x:.2f} m/s, %{y:.1%} crashes<extra>%{fullData.name}</extra>",
                "cliponaxis": False,
            }
        )
    if not traces:
        return None
    layout = _layout("mean speed [m/s]", "episodes with a crash", percent=True)
    layout["yaxis"] |= {"rangemode": "tozero"}
    return {"data": traces, "layout": layout}


def _returns(policies: Sequence[PolicyResult]) -> Figure | None:
    known = [p for p in policies if "return" in p.episodes and len(p.episodes["return"])]
    if not known:
        return None
    everything = np.concatenate([p.episodes["return"] for p in known])
    low, high = float(everything.min()), float(everything.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 41)
    traces = [
        _steps(index, policy.name, edges, np.histogram(policy.episodes["return"], edges)[0])
        for index, policy in enumerate(policies)
        if "return" in policy.episodes
    ]
    return {"data": traces, "layout": _layout("return of an episode", "episodes", percent=True)}


def _histogram(policies: Sequence[PolicyResult], name: str, label: str) -> Figure | None:
    traces = []
    for index, policy in enumerate(policies):
        histogram = policy.extras.get("histograms", {}).get(name)
        if histogram and sum(histogram["counts"]):
            edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"])
            traces.append(_steps(index, policy.name, edges, counts))
    if not traces:
        return None
    layout = _layout(label, "simulation steps", percent=True)
    used = [x for trace in traces for x, y in zip(trace["x"], trace["y"], strict=True) if y > 0]
    layout["xaxis"] |= {"range": [min(used) - 0.2, max(used) + 0.2]}
    if name == "ttc":
        layout["shapes"] = [
            {
                "type": "line",
                "x0": 0.95,
                "x1": 0.95,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": "warn", "width": 1.5, "dash": "dot"},
            }
        ]
    return {"data": traces, "layout": layout}


def _steps(index: int, name: str, edges: Any, counts: Any) -> dict[str, Any]:
    """A histogram's outline, as shares."""
    look = look_of(index)
    shares = counts / max(counts.sum(), 1)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": np.round(np.repeat(edges, 2)[1:-1], 4).tolist(),
        "y": np.round(np.repeat(shares, 2), 5).tolist(),
        "line": {"color": look["color"], "dash": look["dash"], "width": 2 if index == 0 else 1.5},
        "fill": "tozeroy" if index == 0 else "none",
        "fillcolor": f"{look['color']}-fill",
        "hovertemplate": "%{x:.3g}: %{y:.1%}",
    }


def _failures(policies: Sequence[PolicyResult], column: str, label: str) -> Figure | None:
    """Share of failed episodes over bins with as many episodes each."""
    traces = []
    for index, policy in enumerate(policies):
        if policy.kind != "policy" or column not in policy.episodes:
            continue
        values = np.asarray(policy.episodes[column], np.float64)
        failed = policy.episodes["crashed"].astype(bool)
        if "off_road" in policy.episodes:
            failed = failed | (np.nan_to_num(policy.episodes["off_road"]) > 0)
        known = ~np.isnan(values)
        order = np.argsort(values[known], kind="stable")
        bins = min(_BINS, len(order) // 10)
        if bins < 2:
            continue
        points = [
            (float(values[known][rows].mean()), statistics.rate(failed[known][rows]))
            for rows in np.array_split(order, bins)
        ]
        look = look_of(index)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": policy.name,
                "x": [round(x, 4) for x, _ in points],
                "y": [rate.mean for _, rate in points],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [rate.high - rate.mean for _, rate in points],
                    "arrayminus": [rate.mean - rate.low for _, rate in points],
                    "thickness": 1,
                    "width": 3,
                },
                "line": {"color": look["color"], "dash": look["dash"], "width": 1.5},
                "marker": {"color": look["color"], "symbol": look["symbol"], "size": 8},
                "hovertemplate": "%{x:.3g}: %{y:.1%}",
            }
        )
    if not traces:
        return None
    layout = _layout(label, "failed episodes", percent=True)
    layout["yaxis"] |= {"rangemode": "tozero"}
    return {"data": traces, "layout": layout}


def _learning(policies: Sequence[PolicyResult], name: str, label: str) -> Figure | None:
    traces = []
    for index, policy in enumerate(policies):
        curve = policy.extras.get("learning_curve")
        if not curve or all(value is None for value in curve.get(name, ())):
            continue
        look = look_of(index)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines" if len(curve["step"]) > 1 else "markers",
                "name": policy.name,
                "x": curve["step"],
                "y": curve[name],
                "line": {"color": look["color"], "dash": look["dash"], "width": 2},
                "hovertemplate": "%{x:,} steps: %{y:.3g}",
            }
        )
    if not traces:
        return None
    layout = _layout("environment steps", label, percent=name == "crash_rate")
    if name == "crash_rate":
        most = max(y for trace in traces for y in trace["y"] if y is not None)
        layout["yaxis"] |= {"range": [0, max(1.05 * most, 0.01)]}
    return {"data": traces, "layout": layout}


def _ends(estimate: statistics.Estimate) -> dict[str, Any]:
    if not np.isfinite([estimate.low, estimate.high]).all():
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": [estimate.high - estimate.mean],
        "arrayminus": [estimate.mean - estimate.low],
        "thickness": 1.5,
        "width": 4,
    }


def _layout(x: str, y: str, *, percent: bool = False) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}, "tickformat": ".0%" if percent else ""},
    }
