"""What a report tells beyond figures: crashes to look at, how a policy learned, who it is."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from drive_rl.environments import make
from drive_rl.environments.scene import LaneShape
from drive_rl.evaluation.batches import length
from drive_rl.evaluation.crashes import Crash
from drive_rl.evaluation.driving import DrivingObserver, Histogram
from drive_rl.evaluation.episodes import DecisionLog
from drive_rl.evaluation.results import CrashCard, Details
from drive_rl.presets import EnvironmentSpec

_CURVE = ("return", "crash_rate", "speed")
_CURVE_POINTS = 200

_META_ACTIONS = {
    (True, True): ("left", "idle", "right", "faster", "slower"),
    (True, False): ("slower", "idle", "faster"),
    (False, True): ("left", "idle", "right"),
}


def details_of(
    policy: Any,
    spec: EnvironmentSpec,
    engine: str,
    seed: int,
    driving: DrivingObserver,
    log: DecisionLog,
) -> Details:
    """Cards of the first crashes, and everybody's actions.

    Args:
        policy: asked again what it thought of its last decisions.
        driving, log: what was noted while it drove.
    """
    lanes = _lanes(spec, engine, [seed + k for k in driving.traces])
    cards = tuple(
        CrashCard(
            crash=driving.crashes[k],
            trace=driving.traces[k],
            seed=seed + k,
            lanes=lanes.get(seed + k, ()),
            actions=_last(log.actions[k], length(log.last_seen[k])) if k in log.last_seen else (),
            probabilities=_probabilities(policy, log.last_seen.get(k)),
            decision_period=1.0 / float(spec.full_config["policy_frequency"]),
        )
        for k in sorted(driving.traces)
    )
    return Details(spec, log.actions, cards, action_names(spec))


def extras_of(driving: DrivingObserver) -> dict[str, Any]:
    """What report.json says of how a policy drove, beside its metrics."""
    if not driving.seen:
        return {"measured_from": "decisions"}
    crashes: list[Crash] = [driving.crashes[k] for k in sorted(driving.crashes)]
    return {
        "measured_from": "simulation steps",
        "crash_kinds": dict(Counter(crash.kind for crash in crashes).most_common()),
        "crashes": [crash.to_json() for crash in crashes],
        "histograms": {name: _plain(one) for name, one in driving.histograms.items()},
    }


def action_names(spec: EnvironmentSpec) -> tuple[str, ...]:
    """Names of the meta-actions in their order; empty for other kinds of actions."""
    action = spec.full_config["action"]
    if action.get("type") != "DiscreteMetaAction":
        return ()
    axes = (bool(action.get("longitudinal", True)), bool(action.get("lateral", True)))
    return _META_ACTIONS.get(axes, ())


def learning_curve(source: str | os.PathLike[str]) -> dict[str, list[float | None]] | None:
    """How a run learned, from its metrics.jsonl: at most 200 points; None where there are none.

    Args:
        source: a run folder, or a checkpoint folder in one.
    """
    place = Path(source)
    for folder in (place, place.resolve().parent.parent):
        if (folder / "metrics.jsonl").is_file():
            break
    else:
        return None
    points = []
    try:
        with (folder / "metrics.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    point = json.loads(line)
                except ValueError:  # the line that a killed run was writing
                    continue
                if isinstance(point, dict) and isinstance(point.get("step"), int):
                    points.append(point)
    except (OSError, UnicodeDecodeError):
        return None
    if not points:
        return None
    rows = np.unique(np.linspace(0, len(points) - 1, min(len(points), _CURVE_POINTS)).astype(int))
    chosen = [points[row] for row in rows.tolist()]
    curve: dict[str, list[float | None]] = {"step": [point["step"] for point in chosen]}
    for name in _CURVE:
        curve[name] = [_number(point.get(name)) for point in chosen]
    return curve


def run_facts(folder: str | os.PathLike[str] | None) -> dict[str, str]:
    """How a run was trained, out of its run.yaml: `revision`, `device`, `trained_by`."""
    if folder is None:
        return {}
    try:
        document = yaml.safe_load((Path(folder) / "run.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    if not isinstance(document, dict):
        return {}
    named = {"revision": "git", "device": "device", "trained_by": "command"}
    return {ours: str(document[key]) for ours, key in named.items() if document.get(key)}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def _plain(histogram: Histogram) -> dict[str, list[float]]:
    return {
        "edges": [round(edge, 6) for edge in histogram.edges],
        "counts": list(histogram.counts),
    }


def _lanes(
    spec: EnvironmentSpec, engine: str, seeds: list[int]
) -> dict[int, tuple[LaneShape, ...]]:
    """The road of each episode: some scenes draw it by the seed."""
    if not seeds:
        return {}
    env: Any = make(spec, engine=engine)
    lanes = {}
    try:
        for seed in seeds:
            env.reset(seed=seed)
            lanes[seed] = env.unwrapped.scene().lanes
    finally:
        env.close()
    return lanes


def _last(actions: Any, count: int) -> tuple[Any, ...]:
    if isinstance(actions, tuple):
        return tuple(zip(*(part[-count:].tolist() for part in actions), strict=True))
    return tuple(actions[-count:].tolist())


def _probabilities(policy: Any, observations: Any) -> npt.NDArray[np.float64] | None:
    ask = getattr(policy, "action_probabilities", None)
    if ask is None or observations is None:
        return None
    answer = ask(observations)
    return None if answer is None else np.asarray(answer, np.float64)
