"""What would come of sequences of actions: copies of environments, driven ahead.

The simulator is its own perfect model. A copy has the random stream of its original too, so what
will appear (vehicles at an intersection) appears in the copy, and the original draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import dynamics
from drive_rl.simulator.engine import Simulator
from drive_rl.simulator.tracing import NO_TRACE

# What an end was, in `Outcome.ending`
GOING_ON, ENDED, FAILED = 0, 1, 2


class Outcome(NamedTuple):
    """What came of each sequence of actions, in the order in which they were given."""

    rewards: Any  # (n, horizon) f8, zero after the end
    length: Any  # (n,) i8: decisions until the end, at most the horizon
    ending: Any  # (n,) i8: GOING_ON, ENDED (goal or time limit), FAILED (crash or off the road)


class Futures:
    """Room for copies of a simulator's environments.

    Either `drive` whole sequences, or `start` and then `branch` again and again, decision by
    decision, from those copies that are worth it.

    Args:
        source: the simulator whose environments are copied.
        config: its configuration; nothing is observed here, so of the observation nothing counts.
        size: copies at once.
    """

    def __init__(self, source: Simulator, config: Mapping[str, Any], size: int) -> None:
        self.source = source
        self.size = size
        self._model = Simulator(
            source.env_id,
            {**config, "observation": {"type": "Kinematics"}},
            source.roads.source,
            size,
            source.num_threads,
            int(source.settings.common[0].max_decisions),
        )
        self._ending = np.zeros(size, np.int64)

    def drive(self, environments: Any, sequences: Any) -> Outcome:
        """Try sequences of actions, at most `size` of them.

        Args:
            environments: of the source, where each sequence begins, (n,).
            sequences: numbers of shape (n, horizon, num_agents, action_size).
        """
        count, horizon = sequences.shape[:2]
        outcome = Outcome(
            rewards=np.zeros((count, horizon)),
            length=np.zeros(count, np.int64),
            ending=np.zeros(count, np.int64),
        )
        self.start(environments)

        def work(low: int, high: int) -> None:
            alive = np.arange(low, high)  # the sequence that each copy from `low` on drives
            for decision in range(horizon):
                end = low + len(alive)
                self._model._actions[low:end] = sequences[alive, decision]
                self._decide(low, end)
                outcome.rewards[alive, decision] = self._model.result.rewards[low:end]
                outcome.length[alive] = decision + 1
                ending = self._ending[low:end]
                outcome.ending[alive] = ending
                if ending.any():  # those that have ended make room
                    rows = low + np.flatnonzero(ending == GOING_ON)
                    alive = alive[ending == GOING_ON]
                    if not len(alive):
                        return
                    self._model.copy_state(rows, np.arange(low, low + len(alive)))

        self._model._each_share(count, work)
        return outcome

    def start(self, environments: Any) -> None:
        """Copy environments of the source, (n,), to the first n rows."""
        self._model.copy_from(self.source, environments, np.arange(len(environments)))

    def branch(self, rows: Any, actions: Any) -> tuple[Any, Any]:
        """Drive a decision on from some of the copies; these are then the first n rows.

        Args:
            rows: where each branch begins, (n,); one may occur often.
            actions: numbers of shape (n, num_agents, action_size).

        Returns:
            The rewards of this decision, (n,), and what ended, as in `Outcome`, (n,).
        """
        count = len(rows)
        self._model.copy_state(rows, np.arange(count))
        self._model._actions[:count] = actions
        self._model._each_share(count, self._decide)
        return self._model.result.rewards[:count].copy(), self._ending[:count].copy()

    def fingerprints(self, count: int) -> Any:
        """A number for where the agents of each of the first rows are, (count,) u8.

        Branches that differ in it differ; those that agree began alike and are the same.
        """
        marks = np.zeros(count, np.uint64)
        for agent in self._agents(slice(count)).T:
            for field in ("x", "y", "heading", "speed", "target_speed", "target_lane"):
                bits = np.ascontiguousarray(agent[field]).view(np.uint64)
                marks = (marks ^ (bits >> np.uint64(29)) ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        return marks

    def _agents(self, rows: slice) -> Any:
        """The vehicles that are driven, (rows, num_agents) VEHICLE_DTYPE."""
        state = self._model.state
        places = np.asarray(state.agents)[rows]
        return np.take_along_axis(np.asarray(state.vehicles)[rows], places, axis=1)

    def _decide(self, low: int, high: int) -> None:
        """The recipe of a decision without observing; `_ending` says what has ended."""
        model = self._model
        state, network, settings = model.state, model.roads.network, model.settings
        r = model.result
        dynamics.simulate(state, network, settings, model._actions, NO_TRACE, model._all, low, high)
        model.scene.evaluate(
            state, network, settings, model.options, model._actions,
            r.rewards, r.info.rewards, r.terminated, r.truncated, low, high,
        )  # fmt: skip
        dynamics.finish(state, settings, r.terminated, r.truncated, r.done, low, high)
        dynamics.describe(
            state, network, r.info.speed, r.info.crashed, r.info.on_road, r.info.lane_index,
            low, high,
        )  # fmt: skip
        rows = slice(low, high)
        crashed = self._agents(rows)["crashed"].any(axis=1)
        failed = r.terminated[rows] & (crashed | ~r.info.on_road[rows])
        self._ending[rows] = np.where(failed, FAILED, np.where(r.done[rows], ENDED, GOING_ON))
        if hasattr(model.scene, "after_observing"):
            model.scene.after_observing(
                state, network, settings, model.options, model._all, low, high
            )

    def close(self) -> None:
        """Let the threads go."""
        self._model.close()
