"""report.html of a grid: every environment and agent over its seeds, and every run. Offline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from drive_rl.evaluation.statistics import mean

PAGE = "report.html"

_WIDTH, _HEIGHT = 240, 16

_METRICS = (
    ("return", "return", "{:.2f}"),
    ("crash_rate", "crashes", "{:.1%}"),
    ("speed", "speed [m/s]", "{:.1f}"),
)

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Grid: {{ rows|length }} runs</title>
<style>
:root { color-scheme: light dark; --dot: #1565c0; }
@media (prefers-color-scheme: dark) { :root { --dot: #90caf9; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
small { color: GrayText; } svg { vertical-align: middle; width: 240px; }
circle { fill: var(--dot); fill-opacity: .6; } line { stroke: #8888; }
</style></head><body>
<h1>{{ rows|length }} of {{ total }} runs</h1>
<p>Means over seeds, with 95% intervals from resampling the seeds; each seed's value is the mean
over the episodes of its run's last evaluation. Dots: return, a seed each, all agents of an
environment on one scale.</p>
{% for env, agents in groups %}<h2>{{ env }}</h2>
<table><tr><th>agent</th><th>seeds</th>
{% for name in names %}<th>{{ name }}</th>{% endfor %}<th>return by seed</th></tr>
{% for agent in agents %}<tr><td>{{ agent.name }}</td><td>{{ agent.seeds }}</td>
{% for cell in agent.cells %}<td>{{ cell.mean }} <small>{{ cell.interval }}</small></td>{% endfor %}
<td><svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="returns of all seeds">
<line x1="0" x2="{{ width }}" y1="{{ height / 2 }}" y2="{{ height / 2 }}"/>
{% for x in agent.dots %}<circle cx="{{ x }}" cy="{{ height / 2 }}" r="4"/>{% endfor %}</svg></td>
</tr>{% endfor %}</table>
{% endfor %}<h2>Runs</h2>
<table><tr><th>run</th><th>seed</th>{% for name in names %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}<tr><td>{% if row.page %}<a href="{{ row.page }}">{% endif %}{{ row.label }}
{%- if row.page %}</a>{% endif %}</td><td>{{ row.seed }}</td>
{% for value in row.cells %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table>
</body></html>
"""


def render(rows: Sequence[dict[str, Any]], total: int, root: Path) -> str:
    """The page of a grid's finished runs.

    Args:
        rows: as in results.csv.
        total: runs in the grid.
        root: the grid's folder, which links are relative to.
    """
    by_env: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        by_env.setdefault(row["env"], {}).setdefault(row["algo"], []).append(row)
    groups = []
    for env, agents in by_env.items():
        returns = [row["return"] for each in agents.values() for row in each if _known(row)]
        low, high = (min(returns), max(returns)) if returns else (0.0, 0.0)
        groups.append((env, [_agent(name, each, low, high - low) for name, each in agents.items()]))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_TEMPLATE).render(
        groups=groups,
        rows=[_run(row, root) for row in rows],
        total=total,
        names=[name for _, name, _ in _METRICS],
        width=_WIDTH,
        height=_HEIGHT,
    )


def _agent(name: str, rows: list[dict[str, Any]], low: float, span: float) -> dict[str, Any]:
    cells = []
    for key, _, form in _METRICS:
        values = [row[key] for row in rows if row[key] is not None]
        if not values:
            cells.append({"mean": "", "interval": ""})
            continue
        found = mean(values)
        interval = f"{form.format(found.low)} to {form.format(found.high)}"
        cells.append(
            {"mean": form.format(found.mean), "interval": interval if len(values) > 1 else ""}
        )
    inner = _WIDTH - 10
    dots = [
        round(5 + inner * ((row["return"] - low) / span if span else 0.5), 1)
        for row in rows
        if _known(row)
    ]
    return {"name": name, "seeds": len(rows), "cells": cells, "dots": dots}


def _run(row: dict[str, Any], root: Path) -> dict[str, Any]:
    page = Path(row["run"]) / "evaluation" / "final" / "report.html"
    cells = ["" if row[key] is None else form.format(row[key]) for key, _, form in _METRICS]
    return {
        "label": f"{row['env']} {row['algo']}",
        "seed": row["seed"],
        "cells": cells,
        "page": Path(os.path.relpath(page, root)).as_posix() if page.is_file() else "",
    }


def _known(row: dict[str, Any]) -> bool:
    return row["return"] is not None
