"""A beam search over discrete actions, with the compiled simulator as its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.evaluation.effort import AT_ONCE, Effort, decisions_left
from drive_rl.simulator.engine import Simulator
from drive_rl.simulator.futures import ENDED, FAILED, GOING_ON, Futures

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Beam:
    """Keeps the best drives so far, decision by decision, each with every action tried on it.

    Args:
        choices: what may be done at a decision, (num_actions, num_agents): with several agents,
            their joint actions.
        neutral: the row of `choices` that does nothing.
    """

    def __init__(
        self,
        simulator: Simulator,
        config: Mapping[str, Any],
        effort: Effort,
        choices: FloatArray,
        neutral: int,
    ) -> None:
        self.simulator, self.config, self.effort = simulator, config, effort
        self.choices, num_actions = choices, len(choices)
        # Of equals the first is taken: doing nothing
        others = [action for action in range(num_actions) if action != neutral]
        self.actions = np.array([neutral, *others])
        most = (effort.width + num_actions * effort.width_each) * num_actions
        self.group = min(simulator.num_envs, max(1, AT_ONCE // most))
        self.futures = Futures(simulator, config, most * self.group)

    def forget(self, slots: IntArray) -> None:
        """There is nothing to forget."""

    def plan(self, seeds: IntArray) -> tuple[FloatArray, FloatArray]:
        """First actions, (num_envs, num_agents), and each one's value, (num_envs, num_actions)."""
        count = self.simulator.num_envs
        slots = np.arange(count)
        parts = [self._search(slots[at : at + self.group]) for at in range(0, count, self.group)]
        values = np.concatenate(parts)
        preferred = np.argmax(values[:, self.actions], axis=1)
        return self.choices[self.actions[preferred]], values

    def _search(self, slots: IntArray) -> FloatArray:
        """The value of each action in some environments, (n, num_actions)."""
        n, num_actions, effort = len(slots), len(self.actions), self.effort
        found = Found(n, num_actions)
        self.futures.start(slots)
        owner = np.arange(n)  # of each drive kept: the environment it started from
        first = np.zeros(n, np.int64)  # its first action
        total = np.zeros(n)
        rows = np.arange(n)
        for depth in range(effort.horizon):
            actions = np.tile(self.actions, len(rows))
            owner, rows = np.repeat(owner, num_actions), np.repeat(rows, num_actions)
            total = np.repeat(total, num_actions)
            first = np.repeat(first, num_actions) if depth else actions
            rewards, ending = self.futures.branch(rows, self.choices[actions][:, :, None])
            total = total + rewards
            found.note(owner, first, total, rewards, ending, depth + 1)
            going = np.flatnonzero(ending == GOING_ON)
            marks = self.futures.fingerprints(len(ending))[going]
            if depth == 0:
                twin = _first_of_each(owner[going], marks, rewards[going])
                found.twins(owner[going], first[going], first[going][twin])
                kept = going[twin == np.arange(len(going))]
            else:
                kept = going[self._best(owner[going], first[going], total[going], marks)]
            if not len(kept):
                break
            owner, first, total, rows = owner[kept], first[kept], total[kept], kept
        left = decisions_left(self.config, self.simulator, slots, effort.horizon)
        return found.values(effort.horizon, left)

    def _best(self, owner: IntArray, first: IntArray, total: FloatArray, marks: Any) -> IntArray:
        """Which drives to keep: the best of each environment, and some of each first action."""
        effort = self.effort
        order = np.lexsort((-total, marks, owner))
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = (owner[order][1:] != owner[order][:-1]) | (
            marks[order][1:] != marks[order][:-1]
        )
        unique = order[fresh]
        unique = unique[np.lexsort((unique, -total[unique], owner[unique]))]
        kept = unique[_rank(owner[unique]) < effort.width]
        own = owner * len(self.actions) + first
        order = np.lexsort((-total, marks, own))
        fresh[1:] = (own[order][1:] != own[order][:-1]) | (marks[order][1:] != marks[order][:-1])
        unique = order[fresh]
        unique = unique[np.lexsort((unique, -total[unique], own[unique]))]
        return np.union1d(kept, unique[_rank(own[unique]) < effort.width_each])


class Found:
    """The best that a search has found, per environment and first action, (n, num_actions)."""

    def __init__(self, n: int, num_actions: int) -> None:
        shape = (n, num_actions)
        self.going = np.full(shape, -np.inf)  # totals of drives that go on
        self.ended = [np.full(shape, -np.inf), np.zeros(shape)]  # total, and mean reward
        self.failed = [np.full(shape, -np.inf), np.zeros(shape)]  # total, and length
        self.lowest = np.zeros(n)
        self.twin = np.tile(np.arange(num_actions), (n, 1))

    def note(
        self,
        owner: IntArray,
        first: IntArray,
        total: FloatArray,
        rewards: FloatArray,
        ending: IntArray,
        length: int,
    ) -> None:
        """What came of a decision of each drive."""
        np.minimum.at(self.lowest, owner, rewards)
        self.going[:] = -np.inf
        for kind, table in ((GOING_ON, self.going), (ENDED, None), (FAILED, None)):
            which = np.flatnonzero(ending == kind)
            if table is not None:
                np.maximum.at(table, (owner[which], first[which]), total[which])
                continue
            best, about = self.ended if kind == ENDED else self.failed
            for k in which:
                place = owner[k], first[k]
                # Of crashes the latest, then the best; of good ends the best on average
                mean = total[k] / length
                now = (length, total[k]) if kind == FAILED else (mean, total[k])
                if best[place] == -np.inf or now > (about[place], best[place]):
                    best[place], about[place] = total[k], now[0]

    def twins(self, owner: IntArray, first: IntArray, same: IntArray) -> None:
        """First actions that come to the same as another."""
        self.twin[owner, first] = same

    def values(self, horizon: int, left: FloatArray) -> FloatArray:
        """The value of each first action, (n, num_actions).

        An episode that ends well is taken to go on at its mean reward: an end is neither sought
        nor shunned. One that ends in a crash loses what the best drive gets, for every decision
        that it could have lasted.

        Args:
            left: decisions that each episode could last beyond the horizon, (n,).
        """
        best, mean = self.ended
        ended = np.where(best > -np.inf, horizon * mean, -np.inf)
        well = np.maximum(self.going, ended)
        best, length = self.failed
        lowest = self.lowest[:, None]
        usual = np.max(well, axis=1, keepdims=True) / horizon
        usual = np.where(np.isfinite(usual), usual, lowest)
        lost = np.maximum(usual - lowest, 0.0) * left[:, None]
        values = np.maximum(well, best + lowest * (horizon - length) - lost)
        values = np.take_along_axis(values, self.twin, axis=1)
        return values


def _rank(groups: IntArray) -> IntArray:
    """The place of each entry within its group; groups stand together."""
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else groups
    sizes = np.diff(np.r_[starts, len(groups)])
    return np.arange(len(groups)) - np.repeat(starts, sizes)


def _first_of_each(owner: IntArray, marks: Any, rewards: FloatArray) -> IntArray:
    """For each entry, the first with the same owner, mark and reward."""
    order = np.lexsort((np.arange(len(owner)), rewards, marks, owner))
    same = np.zeros(len(order), np.bool_)
    for column in (owner, marks, rewards):
        differs = column[order][1:] != column[order][:-1]
        same[1:] = differs if column is owner else same[1:] | differs
    heads = np.maximum.accumulate(np.where(np.r_[True, same[1:]], np.arange(len(order)), 0))
    result = np.zeros(len(order), np.int64)
    result[order] = order[heads]
    return result
