"""The cross-entropy method over continuous actions, with the compiled simulator as its model.

Reference: de Boer, Kroese, Mannor and Rubinstein (2005), A tutorial on the cross-entropy method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.evaluation.effort import AT_ONCE, Effort, decisions_left
from drive_rl.simulator.engine import Simulator
from drive_rl.simulator.futures import FAILED, Futures, Outcome

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class CrossEntropy:
    """The cross-entropy method over continuous actions: knots, each held for some decisions.

    Args:
        neutral: what does nothing, (num_agents, action_size).
    """

    BLIND = 0.5
    """Spread of the first round, as a share of half the action's range."""

    NARROWEST = 0.03

    def __init__(
        self, simulator: Simulator, config: Mapping[str, Any], effort: Effort, neutral: FloatArray
    ) -> None:
        self.simulator, self.config, self.effort = simulator, config, effort
        self.neutral = neutral.reshape(-1)
        self.shape, self.size = neutral.shape, neutral.size
        self.group = min(simulator.num_envs, max(1, AT_ONCE // max(effort.rounds)))
        self.futures = Futures(simulator, config, max(effort.rounds) * self.group)
        self.plans = np.zeros((simulator.num_envs, effort.horizon, self.size))
        self.planned_at = np.full(simulator.num_envs, -1, np.int64)  # -1: no plan yet

    def forget(self, slots: IntArray) -> None:
        """Do without the last plans of these slots."""
        self.planned_at[slots] = -1

    def plan(self, seeds: IntArray) -> tuple[FloatArray, FloatArray]:
        """First actions, (num_envs, num_agents * action_size); uncountable ones have no values."""
        count = self.simulator.num_envs
        for at in range(0, count, self.group):
            slots = np.arange(at, min(at + self.group, count))
            self._plan(slots, seeds[slots])
        return self.plans[:, 0].copy(), np.zeros((count, 0))

    def _plan(self, slots: IntArray, seeds: IntArray) -> None:
        effort, n = self.effort, len(slots)
        decisions = np.asarray(self.simulator.state.environments)["decisions"][slots]
        streams = [
            np.random.default_rng([0x91A77E5, seed, decision])
            for seed, decision in zip(seeds.tolist(), decisions.tolist(), strict=True)
        ]
        left = decisions_left(self.config, self.simulator, slots, effort.horizon)
        tried = np.zeros((n, 0, effort.horizon, self.size))
        worth = np.zeros((n, 0))
        for number, size in enumerate(effort.rounds):
            fresh = np.zeros((n, size, effort.horizon, self.size))
            for i, stream in enumerate(streams):
                if number == 0:
                    fresh[i] = self._blind(stream, size, self._shifted(slots[i], decisions[i]))
                else:
                    best = np.argsort(-worth[i], kind="stable")[: effort.elites]
                    fresh[i] = self._near(stream, size, tried[i, best])
            outcome = self.futures.drive(
                np.repeat(slots, size), fresh.reshape(n * size, effort.horizon, *self.shape)
            )
            tried = np.concatenate([tried, fresh], axis=1)
            worth = np.concatenate([worth, self._worth(outcome, left, size)], axis=1)
        self.plans[slots] = tried[np.arange(n), np.argmax(worth, axis=1)]
        self.planned_at[slots] = decisions

    def _shifted(self, slot: int, decision: int) -> FloatArray | None:
        """What is left of a slot's last plan, its end held: (horizon, size)."""
        passed = decision - self.planned_at[slot]
        if self.planned_at[slot] < 0 or not 0 <= passed < self.effort.horizon:
            return None
        plan = self.plans[slot]
        return np.concatenate([plan[passed:], np.repeat(plan[-1:], passed, axis=0)])

    def _blind(self, stream: np.random.Generator, size: int, last: FloatArray | None) -> FloatArray:
        """The first round around the last plan, if any: (size, horizon, action_size)."""
        nothing = np.tile(self.neutral, (self.effort.horizon, 1))
        middle = (nothing if last is None else last)[:: self.effort.hold]
        sequences = self._draw(stream, size, middle, np.full(middle.shape, self.BLIND))
        sequences[0] = nothing
        if last is not None and size > 1:
            sequences[1] = last
        return sequences

    def _near(self, stream: np.random.Generator, size: int, elites: FloatArray) -> FloatArray:
        """A further round, around the best so far (best first)."""
        knots = elites[:, :: self.effort.hold]
        spread = np.maximum(knots.std(axis=0), self.NARROWEST)
        return self._draw(stream, size, 0.5 * (knots.mean(axis=0) + knots[0]), spread)

    def _draw(
        self, stream: np.random.Generator, size: int, middle: FloatArray, spread: FloatArray
    ) -> FloatArray:
        knots = middle + spread * stream.standard_normal((size, *middle.shape))
        return np.repeat(np.clip(knots, -1.0, 1.0), self.effort.hold, axis=1)

    def _worth(self, outcome: Outcome, left: FloatArray, size: int) -> FloatArray:
        """What each sequence is worth, (n, size), as `Found.values` has it."""
        horizon = self.effort.horizon
        rewards = outcome.rewards.reshape(-1, size, horizon)
        length = outcome.length.reshape(-1, size)
        failed = outcome.ending.reshape(-1, size) == FAILED
        total = rewards.sum(axis=2)
        lowest = np.minimum(rewards.min(axis=(1, 2)), 0.0)[:, None]
        well = np.where(failed, -np.inf, total * horizon / length)
        usual = np.max(well, axis=1, keepdims=True) / horizon
        usual = np.where(np.isfinite(usual), usual, lowest)
        lost = np.maximum(usual - lowest, 0.0) * left[:, None]
        return np.where(failed, total + lowest * (horizon - length) - lost, well)
