"""How hard the planner thinks, scene by scene."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from drive_rl.presets import EnvironmentSpec
from drive_rl.simulator.engine import Simulator

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

AT_ONCE = 2048
"""Futures driven together: enough to feed threads, few enough to stay in memory."""

LONGEST_REGRET = 60.0
"""Seconds of reward that a crash can cost at most, where an episode has no end of its own."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """How hard the planner thinks about one decision.

    Attributes:
        horizon: decisions looked ahead.
        width: drives that a search keeps from one decision to the next.
        width_each: of these, at least, for every first action: each is to have a value.
        rounds: sequences tried in each round of the cross-entropy method.
        elites: sequences that the next round is drawn around.
        hold: decisions for which a continuous action is held.
    """

    horizon: int
    width: int = 32
    width_each: int = 2
    rounds: tuple[int, ...] = (32, 24, 24)
    elites: int = 6
    hold: int = 1


def effort_for(spec: EnvironmentSpec, space: spaces.Space[Any]) -> Effort:
    """Enough to drive well, and little enough to be watched.

    Slow decisions (one a second) are looked at for ten seconds; quick ones (racetracks, car
    parks) for two to four, with actions held for some decisions.
    """
    frequency = float(spec.full_config["policy_frequency"])
    if isinstance(space, spaces.Discrete):
        return Effort(horizon=max(10, round(2.0 * frequency)))
    if frequency <= 2:
        return Effort(horizon=6, rounds=(96, 64, 64), elites=8)
    seconds = 4.0 if spec.base.startswith("parking") else 2.0
    hold = max(1, round(0.4 * frequency))
    return Effort(horizon=hold * max(1, round(seconds * frequency / hold)), hold=hold)


def decisions_left(
    config: Mapping[str, Any], simulator: Simulator, slots: IntArray, horizon: int
) -> FloatArray:
    """Decisions that each episode can still last beyond the horizon, (n,)."""
    frequency = float(config["policy_frequency"])
    longest = LONGEST_REGRET * frequency
    duration = config.get("duration")
    if not isinstance(duration, (int, float)):
        return np.full(len(slots), longest)
    decisions = np.asarray(simulator.state.environments)["decisions"][slots]
    return np.clip(duration * frequency - decisions - horizon, 1.0, longest)
