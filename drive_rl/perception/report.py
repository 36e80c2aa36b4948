"""The page of an encoder's scores: figures, confusion matrices, the worst mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from numpy.typing import NDArray

from drive_rl.errors import UsageError
from drive_rl.perception.evaluate import SPLITS, Mistake, Scores

_ZOOM = 2  # a frame is small

FIGURES = {  # figure: (words, unit, digits)
    "lane_f1": ("ego lane, F1", "", 3),
    "lane_accuracy": ("ego lane, accuracy", "", 3),
    "car_ahead_f1": ("car ahead within 50 m, F1", "", 3),
    "car_ahead_accuracy": ("car ahead, accuracy", "", 3),
    "lateral_offset_mae": ("lateral offset, mean error", "m", 3),
    "heading_error_mae": ("heading, mean error", "rad", 4),
    "front_gap_relative_error": ("gap ahead up to 60 m, mean relative error", "", 3),
    "front_gap_within_10_percent": ("gap ahead, share within 10%", "", 3),
    "front_gap_mae": ("gap ahead, mean error", "m", 2),
    "front_speed_mae": ("relative speed ahead, mean error", "m/s", 2),
    "gap_ahead_mae": ("gaps ahead in all lanes, mean error", "m", 2),
    "gap_behind_mae": ("gaps behind in all lanes, mean error", "m", 2),
    "speed_mae": ("own speed, mean error", "m/s", 2),
    "drivable_iou": ("drivable area, IoU", "", 3),
    "occupied_iou": ("vehicles, IoU", "", 3),
}


def table_of(document: Mapping[str, Any]) -> list[list[str]]:
    """The scores as texts, the headings first."""
    rows = [["", "test", "held-out textures"]]
    for name, (words, unit, digits) in FIGURES.items():
        label = f"{words} [{unit}]" if unit else words
        rows.append([label, *(f"{document[split][name]:.{digits}f}" for split in SPLITS)])
    return rows


def write_report(scores: Scores, path: Path) -> None:
    """Write the page; it needs no network.

    Raises:
        UsageError: it cannot be written.
    """
    text = _TEMPLATE.render(
        document=scores.document,
        table=table_of(scores.document),
        splits={
            name: {
                "lanes": _shares(scores.lanes[name]),
                "cars": _shares(scores.cars[name]),
                "mistakes": [(each, _picture(each)) for each in scores.mistakes[name]],
            }
            for name in SPLITS
        },
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from None


def _shares(matrix: NDArray[Any]) -> list[list[tuple[int, float]]]:
    """Counts, and what share of their row they are."""
    return [[(int(n), float(n) / max(row.sum(), 1)) for n in row] for row in matrix]


def _picture(mistake: Mistake) -> str:
    from PIL import Image

    image = Image.fromarray(mistake.frame)
    image = image.resize((image.width * _ZOOM, image.height * _ZOOM), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


_TEMPLATE = jinja2.Environment(
    autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8">
<title>Perception: {{ document.encoder }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
figure { display: inline-block; margin: .3rem; font-size: 12px; max-width: 172px }
</style>
<h1>Perception: {{ document.encoder }}</h1>
<p>{{ document.env }}, {{ document.frames }} frames of each split, seed {{ document.seed }}. The
held-out frames are of the same episodes, on road surfaces that nothing was trained on.</p>
<table>
{% for row in table %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% for name, split in splits.items() %}
<h2>{{ name.replace("_", "-") }}</h2>
{% for title, matrix in [("Ego lane", split.lanes), ("Car ahead: no, yes", split.cars)] %}
<h3>{{ title }}</h3>
<p>Rows: what is true. Columns: what was said.</p>
<table>
{% for row in matrix %}
<tr><th>{{ loop.index0 }}</th>{% for count, share in row %}
<td style="background: rgba(40, 110, 200, {{ "%.2f" | format(share * 0.6) }})">{{ count }}</td>
{% endfor %}</tr>
{% endfor %}
</table>
{% endfor %}
<h3>The worst mistakes</h3>
{% for mistake, picture in split.mistakes %}
<figure><img alt="frame" src="data:image/png;base64,{{ picture }}">
<figcaption>{{ mistake.kind }}: {{ mistake.text }}</figcaption></figure>
{% endfor %}
{% endfor %}
</html>
""")
