"""One number for how an episode was driven, its formula written out.

    score = 100 · safe · (5 · calm + 5 · swift + 2 · comfort) / 12

    safe     0 after a crash or off the road, else 1
    calm     1 if the time to collision never fell below 0.95 s, else 0
    swift    mean forward speed over the scene's fast speed, cut to between 0 and 1
    comfort  share of simulation steps within nuPlan's comfort bounds

The form and the weights are those of nuPlan's closed-loop score (docs/nuplan_metrics_aggeregation
of nuplan-devkit) as NAVSIM's PDM score has it: multipliers for what must not happen, and a
weighted mean, time to collision 5, progress 5, comfort 2. highway-env has no expert whose
progress could be the measure, so the speed that the scene's own reward calls fast is; comfort,
which almost no meta-action keeps to in every step, counts by its share of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.presets import EnvironmentSpec

FloatArray = npt.NDArray[np.float64]

WEIGHTS = {"calm": 5, "swift": 5, "comfort": 2}

FORMULA = "score = 100 · safe · (5 · calm + 5 · swift + 2 · comfort) / 12"
TERMS = (
    ("safe", "0 after a crash or off the road, else 1"),
    ("calm", "1 if the time to collision never fell below 0.95 s, else 0"),
    ("swift", "mean forward speed over the scene's fast speed, cut to between 0 and 1"),
    ("comfort", "share of simulation steps within nuPlan's comfort bounds"),
)


def fast_speed(spec: EnvironmentSpec) -> float | None:
    """The speed that counts as full progress in a scene [m/s]; None where it has none.

    The upper end of the reward's speed range, else the fastest that the meta-actions reach.
    """
    config = spec.full_config
    rewarded = config.get("reward_speed_range")
    if isinstance(rewarded, (list, tuple)) and len(rewarded) == 2 and rewarded[1] > 0:
        return float(rewarded[1])
    action = config["action"]
    action = action.get("action_config", action)
    if action.get("type") == "DiscreteMetaAction" and action.get("longitudinal", True):
        speeds = action.get("target_speeds")
        return float(np.max(speeds)) if speeds is not None and len(speeds) else 30.0
    return None


def driving_score(columns: Mapping[str, npt.NDArray[Any]], fast: float | None) -> FloatArray | None:
    """The score of every episode, 0 to 100, (n,); None where its terms are not all known."""
    needed = ("crashed", "off_road", "speed", "ttc_min", "comfort")
    if fast is None or any(name not in columns for name in needed):
        return None
    if np.isnan(columns["off_road"]).all():
        return None
    safe = ~(columns["crashed"].astype(bool) | (columns["off_road"] > 0))
    with np.errstate(invalid="ignore"):
        calm = ~(columns["ttc_min"] < 0.95)  # never closing in on anybody is calm
    swift = np.clip(columns["speed"] / fast, 0.0, 1.0)
    comfort = np.nan_to_num(columns["comfort"])  # crashed before the first step
    weighted = WEIGHTS["calm"] * calm + WEIGHTS["swift"] * swift + WEIGHTS["comfort"] * comfort
    return np.asarray(100.0 * safe * weighted / sum(WEIGHTS.values()))
