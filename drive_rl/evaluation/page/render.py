"""An evaluation as one HTML file: what the template needs, in words and numbers for people."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from drive_rl.evaluation import score
from drive_rl.evaluation.crashes import AT_FAULT, KINDS
from drive_rl.evaluation.episodes import folder_name
from drive_rl.evaluation.metrics import BASIC, BY_NAME, COMFORT_SHARES, DRIVING, Metric
from drive_rl.evaluation.page import words
from drive_rl.evaluation.page.cards import card_of
from drive_rl.evaluation.page.plots import figures
from drive_rl.evaluation.results import VIDEOS, Evaluation, PolicyResult, write_file
from drive_rl.evaluation.statistics import Estimate
from drive_rl.evaluation.tables import best_policies, counted
from drive_rl.evaluation.videos import Film, write_videos

_TILES = ("return", "crash_rate", "speed", "driving_score", "success_rate", "comfort")
_MAIN = (
    "return",
    "crash_rate",
    "off_road_rate",
    "success_rate",
    "speed",
    "driving_score",
    "crashes_per_100km",
)
CARDS_OPEN = 12
"""Crashes that lie open; the others are behind a heading to select."""
_COMPARED = ("return", "crash_rate", "speed", "driving_score")


def write_page(evaluation: Evaluation, path: Path, videos: int = VIDEOS) -> None:
    """Write the page, to be sent or kept somewhere else than its evaluation.

    Videos of crashes, if there are any, go into a folder beside it: `<page>-videos/`.

    Args:
        videos: crashes that are filmed, at most.

    Raises:
        DriveRLError: it cannot be written there.
    """
    filmed = film_crashes(evaluation, path.with_name(f"{path.stem}-videos"), videos)
    write_file(path, render(evaluation, stored=False, videos=filmed))


def film_crashes(evaluation: Evaluation, folder: Path, most: int) -> dict[int, Film]:
    """Films the first crashes of the first policy into `folder`.

    Returns:
        By the seed of the episode; named as the page beside `folder` names them.

    Raises:
        DriveRLError: they cannot be written.
    """
    lead = evaluation.policies[0]
    if lead.details is None:
        return {}
    films = write_videos(lead.details.cards[:most], folder, lead.name)
    beside = quote(folder.name)
    return {s: dataclasses.replace(film, file=f"{beside}/{film.file}") for s, film in films.items()}


def render(
    evaluation: Evaluation, *, stored: bool = True, videos: Mapping[int, Film] | None = None
) -> str:
    """The page, complete: scripts, styles and data are inside it, and it asks for nothing.

    But for videos, which lie beside it and are fetched when somebody plays them.

    Args:
        stored: whether the evaluation's other files lie beside it, episodes/ among them.
        videos: by the seed of the crash, see `film_crashes`.
    """
    videos = videos or {}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string(_resource("report.html.jinja"))
    lead = evaluation.policies[0]
    plots = figures(evaluation)
    cards = lead.details.cards if lead.details is not None else ()
    names = lead.details.action_names if lead.details is not None else ()
    sections = [
        ("how-well", "How well"),
        ("failures", "Where it fails"),
        ("manner", "How it drives"),
    ]
    if "learning-return" in plots:
        sections.append(("learning", "How it learned"))
    sections.append(("method", "Method"))
    return template.render(
        version=importlib.metadata.version("drive-rl"),
        env=evaluation.env,
        lead=lead,
        seed=evaluation.seed,
        summary=words.summary(evaluation),
        counted_episodes=counted(evaluation.num_episodes, "episode"),
        sections=[{"id": name, "title": title} for name, title in sections],
        tiles=_tiles(lead),
        tables=_tables(evaluation),
        comfort=_table(evaluation, "Comfort, quantity by quantity", COMFORT_SHARES),
        plots=plots,
        comparisons=_comparisons(evaluation),
        compared=[BY_NAME[name] for name in _compared(evaluation)],
        share=_share(lead),
        groups=_groups(evaluation),
        measured=lead.extras.get("measured_from") == "simulation steps",
        measured_note=words.measured_note(evaluation),
        kinds=_kinds(lead),
        crash_sentence=words.crash_sentence(lead),
        crash_count=len(lead.extras.get("crashes", ())),
        at_most=words.at_most(lead),
        cards=[
            card_of(card, names, _again(evaluation, card.seed, stored), videos.get(card.seed))
            for card in cards
        ],
        cards_open=CARDS_OPEN,
        video_count=len(videos),
        stored=stored,
        policies=[
            {"name": each.name, "about": words.about_policy(each)} for each in evaluation.policies
        ],
        deterministic=evaluation.settings.get("deterministic", True),
        max_steps=evaluation.settings.get("max_steps", "?"),
        has_score="driving_score" in lead.metrics,
        formula=score.FORMULA,
        terms=score.TERMS,
        fast_speed=_number(evaluation.settings.get("fast_speed")),
        definitions=[m for m in BASIC + DRIVING if _somebody_has(evaluation, m)],
        command=words.command(evaluation),
        versions=evaluation.settings.get("versions", {}),
        commit=evaluation.settings.get("commit"),
        device=evaluation.settings.get("device", "cpu"),
        config=words.config(evaluation),
        style=Markup(_resource("report.css")),
        script=Markup(_resource("report.js")),
        plotly=Markup(_plotly()),
        figures_json=_script_safe(plots),
    )


def _again(evaluation: Evaluation, seed: int, stored: bool) -> str:
    """What to type to see an episode of the first policy; empty where that cannot be named."""
    lead = evaluation.policies[0]
    if stored:
        return f"drive-rl watch --replay episodes/{folder_name(lead.name)}/{seed}.json"
    named = words.policy_argument(lead)
    return named and f"drive-rl watch {named} --env {evaluation.env} --seed {seed}"


# --- numbers ----------------------------------------------------------------------------------


def _tiles(lead: PolicyResult) -> list[dict[str, str]]:
    tiles = []
    for name in _TILES:
        estimate = lead.metrics.get(name)
        if estimate is None or not math.isfinite(estimate.mean):
            continue
        metric = BY_NAME[name]
        tiles.append(
            {
                "label": metric.label,
                "figure": metric.shown(estimate.mean),
                "unit": metric.unit if metric.unit != "%" else "",
                "ends": words.ends(name, estimate),
            }
        )
    return tiles


def _tables(evaluation: Evaluation) -> list[dict[str, Any]]:
    main = tuple(BY_NAME[name] for name in _MAIN)
    rest = tuple(m for m in BASIC + DRIVING if m not in main)
    return [
        _table(evaluation, "Results", main) or {},
        _table(evaluation, "Manner", rest) or {},
    ]


def _table(evaluation: Evaluation, title: str, metrics: Sequence[Metric]) -> dict[str, Any] | None:
    """A table with a row per policy; None where nobody has any of the metrics."""
    shown = [metric for metric in metrics if _somebody_has(evaluation, metric)]
    if not shown:
        return None
    scales = {metric.name: _scale(evaluation, metric) for metric in shown}
    best = {metric.name: best_policies(evaluation, metric) for metric in shown}
    rows = [
        {
            "name": policy.name,
            "kind": policy.kind,
            "index": index,
            "cells": [
                _cell(policy, metric, scales[metric.name], policy in best[metric.name])
                for metric in shown
            ],
        }
        for index, policy in enumerate(evaluation.policies)
    ]
    return {"title": title, "metrics": shown, "rows": rows}


def _somebody_has(evaluation: Evaluation, metric: Metric) -> bool:
    return any(
        metric.name in policy.metrics and math.isfinite(policy.metrics[metric.name].mean)
        for policy in evaluation.policies
    )


def _scale(evaluation: Evaluation, metric: Metric) -> tuple[float, float]:
    """From the lowest to the highest end of a column's intervals."""
    values = [
        value
        for policy in evaluation.policies
        if metric.name in policy.metrics
        for value in (
            policy.metrics[metric.name].low,
            policy.metrics[metric.name].mean,
            policy.metrics[metric.name].high,
        )
        if math.isfinite(value)
    ]
    return min(values), max(values)


def _cell(
    policy: PolicyResult, metric: Metric, scale: tuple[float, float], best: bool
) -> dict[str, Any]:
    estimate = policy.metrics.get(metric.name)
    if estimate is None or not math.isfinite(estimate.mean):
        return {"value": "", "mean": "–", "ends": "", "bar": "", "best": False}
    return {
        "value": repr(estimate.mean),
        "mean": metric.shown(estimate.mean),
        "ends": words.ends(metric.name, estimate),
        "bar": _bar(estimate, scale),
        "best": best,
    }


def _bar(estimate: Estimate, scale: tuple[float, float]) -> Markup:
    """The interval on its column's scale, as a small drawing."""
    low, high = scale
    width = high - low
    if width <= 0:
        return Markup("")

    def at(value: float) -> float:
        return round(2 + 96 * (value - low) / width, 2)

    left, point, right = at(estimate.low), at(estimate.mean), at(estimate.high)
    return Markup(
        '<svg class="interval" viewBox="0 0 100 7" preserveAspectRatio="none" aria-hidden="true">'
        '<line x1="0" y1="3.5" x2="100" y2="3.5"/>'
        f'<line class="range" x1="{left}" y1="3.5" x2="{right}" y2="3.5"/>'
        f'<line class="point" x1="{point}" y1="0" x2="{point}" y2="7"/></svg>'
    )


def _compared(evaluation: Evaluation) -> list[str]:
    rows = evaluation.settings.get("comparisons", ())
    return [name for name in _COMPARED if any(name in row["difference"] for row in rows)]


def _comparisons(evaluation: Evaluation) -> list[dict[str, Any]]:
    names = _compared(evaluation)
    rows = []
    for row in evaluation.settings.get("comparisons", ()):
        cells = []
        for name in names:
            estimate = words.estimate_of(row["difference"].get(name))
            cells.append(_difference_cell(BY_NAME[name], estimate))
        chance = words.estimate_of(row["probability_of_improvement"])
        cells.append(_chance_cell(chance))
        rows.append({"against": row["against"], "cells": cells})
    return rows


def _difference_cell(metric: Metric, estimate: Estimate) -> dict[str, str]:
    if not math.isfinite(estimate.mean):
        return {"value": "", "mean": "–", "ends": ""}
    ends = f"{_signed(metric, estimate.low)} to {_signed(metric, estimate.high)}"
    return {
        "value": repr(estimate.mean),
        "mean": _signed(metric, estimate.mean),
        "ends": ends if math.isfinite(estimate.low) else "",
    }


def _chance_cell(estimate: Estimate) -> dict[str, str]:
    ends = f"{estimate.low:.0%} to {estimate.high:.0%}" if math.isfinite(estimate.low) else ""
    return {"value": repr(estimate.mean), "mean": f"{estimate.mean:.0%}", "ends": ends}


def _signed(metric: Metric, value: float) -> str:
    """A difference; of shares in percentage points."""
    if not math.isfinite(value):
        return "–"
    if metric.unit == "%":
        return f"{100 * value:+.1f} pp".replace("-", "−")
    sign = "+" if value > 0 else "−" if value < 0 else "±"
    return sign + metric.shown(abs(value))


def _share(lead: PolicyResult) -> str:
    share = lead.extras.get("share_of_the_way")
    if not share or share["mean"] is None:
        return ""
    estimate = words.estimate_of(share)
    ends = f" ({estimate.low:.0%} to {estimate.high:.0%})"
    return f"{estimate.mean:.0%}" + (ends if math.isfinite(estimate.low) else "")


def _groups(evaluation: Evaluation) -> list[dict[str, Any]]:
    groups = []
    for group in evaluation.settings.get("across_seeds", ()):
        figures_of_group = []
        for name, value in group["interquartile_mean"].items():
            estimate, metric = words.estimate_of(value), BY_NAME[name]
            unit = f" {metric.unit}" if metric.unit not in ("", "%") else ""
            figures_of_group.append(
                f"{metric.label} {metric.shown(estimate.mean)}{unit} ({words.ends(name, estimate)})"
            )
        groups.append({**group, "figures": figures_of_group})
    return groups


def _kinds(lead: PolicyResult) -> list[dict[str, Any]]:
    kinds = lead.extras.get("crash_kinds", {})
    most = max(kinds.values(), default=0)
    return [
        {
            "label": KINDS.get(kind, kind),
            "own": kind in AT_FAULT,
            "count": count,
            "percent": round(100 * count / most, 1),
        }
        for kind, count in sorted(kinds.items(), key=lambda item: -item[1])
    ]


def _number(value: Any) -> str:
    return "?" if value is None else f"{value:g}"


# --- inlined ----------------------------------------------------------------------------------


def _resource(name: str) -> str:
    place = importlib.resources.files("drive_rl.evaluation.page")
    return place.joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _plotly() -> str:
    """Plotly's own script, 4.8 MB. `</script` cannot stand in it as it is."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")


def _script_safe(value: Any) -> Markup:
    """JSON that may stand in a script element, whatever names it holds."""

    def plain(each: Any) -> Any:
        if isinstance(each, np.generic):
            return each.item()
        raise TypeError(f"{type(each).__name__} in a figure")

    text = json.dumps(value, default=plain, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
