"""The monitor's page: every statistic over the windows, with its limit, and what rang. Offline."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from drive_rl.deployment.watcher import Judge

_WIDTH, _HEIGHT = 720, 90

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Monitor: {{ name }}</title>
<style>
:root { color-scheme: light dark; --alarm: #c62828; --line: #1565c0; }
@media (prefers-color-scheme: dark) { :root { --alarm: #ef9a9a; --line: #90caf9; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
svg { width: 100%; height: auto; border-bottom: 1px solid #8888; }
.alarm { color: var(--alarm); font-weight: 600; }
polyline { fill: none; stroke: var(--line); stroke-width: 1.5; }
circle { fill: var(--alarm); } .limit { stroke: var(--alarm); stroke-dasharray: 5 4; }
</style></head><body>
<h1>Monitor: {{ name }}</h1>
<p>{{ windows }} windows of {{ size }} decisions compared with the reference profile;
{% if now %}<span class="alarm">alarm: {{ now|join(", ") }}</span>{% else %}no alarm now{% endif %}.
</p>
<table><tr><th>alarm</th><th>windows with it</th><th>last value</th><th>limit</th></tr>
{% for row in rows %}<tr><td>{{ row.name }}</td>
<td{% if row.count %} class="alarm"{% endif %}>{{ row.count }}</td>
<td>{{ row.last }}</td><td>{{ row.limit }}</td></tr>
{% endfor %}</table>
{% for plot in plots %}<h2>{{ plot.name }}</h2>
<svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="{{ plot.name }} over windows">
<line class="limit" x1="0" x2="{{ width }}" y1="{{ plot.limit }}" y2="{{ plot.limit }}"/>
<polyline points="{{ plot.points }}"/>
{% for x, y in plot.alarms %}<circle cx="{{ x }}" cy="{{ y }}" r="3"/>{% endfor %}</svg>
{% endfor %}
<p>A point is a window, the dashed line the limit that one clean window in 1,000 exceeds.</p>
</body></html>
"""


def render(name: str, judge: Judge) -> str:
    """The page of what a judge has seen (at most its last `KEPT` windows)."""
    verdicts = list(judge.verdicts)
    counts = Counter(alarm for verdict in verdicts for alarm in verdict.alarms)
    limits = judge.profile.limits
    rows: list[dict[str, Any]] = []
    for alarm in judge.names:
        last = verdicts[-1].statistics.get(alarm) if verdicts else None
        rows.append(
            {
                "name": alarm,
                "count": counts[alarm],
                "last": "" if last is None else f"{last:.3g}",
                "limit": f"{limits[alarm]:.3g}" if alarm in limits else "",
            }
        )
    plots = []
    for statistic, limit in limits.items():
        values = [verdict.statistics[statistic] for verdict in verdicts]
        top = max([limit, *values]) * 1.1
        low = min([0.0, *values])
        step = _WIDTH / max(len(values) - 1, 1)

        def height(value: float, low: float = low, top: float = top) -> float:
            return round(_HEIGHT * (1 - (value - low) / max(top - low, 1e-12)), 1)

        points = [(round(k * step, 1), height(value)) for k, value in enumerate(values)]
        plots.append(
            {
                "name": statistic,
                "limit": height(limit),
                "points": " ".join(f"{x},{y}" for x, y in points),
                "alarms": [
                    point
                    for point, verdict in zip(points, verdicts, strict=True)
                    if statistic in verdict.alarms
                ],
            }
        )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_PAGE).render(
        name=name,
        windows=judge.windows,
        size=judge.profile.window,
        now=list(verdicts[-1].alarms) if verdicts else [],
        rows=rows,
        plots=plots,
        width=_WIDTH,
        height=_HEIGHT,
    )
