"""The planner: what a driver would do who knew exactly what comes of everything he might do.

At every decision it tries sequences of actions on copies of the environment, in the compiled
simulator, and takes the first action of the best. It looks behind the observation and into the
future, so it is no rival but a ceiling for policies, and a teacher.

Discrete actions are searched decision by decision, keeping what is best so far (a beam, `beam`):
most sequences of meta-actions are the same drive (LANE_RIGHT on the rightmost lane, FASTER at top
speed), and a search notices and drives each once. On ten episodes of highway-fast-v0 it had a
return of 29.0 where the cross-entropy method had 28.5 for the same time. Continuous actions are
left to the latter (`cross_entropy`). Several agents are one driver with several wheels: what is
searched are their joint actions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from drive_rl.environments.reference import neutral_action
from drive_rl.errors import UsageError
from drive_rl.evaluation.baselines import Baseline
from drive_rl.evaluation.beam import Beam
from drive_rl.evaluation.cross_entropy import CrossEntropy
from drive_rl.evaluation.effort import Effort, effort_for
from drive_rl.presets import EnvironmentSpec
from drive_rl.simulator.engine import Simulator

MOST_CHOICES = 125  # joint actions of several agents that are tried at each decision

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Planner(Baseline):
    """Tries sequences of actions with the simulator as its model, and takes the best.

    A search draws nothing; the cross-entropy method draws from a stream that derives from the
    episode's seed and the decision's number. So neither the number of environments nor the slot of
    an episode nor threads show in what it does.
    """

    name = "planner"

    def __init__(
        self,
        spec_env: EnvironmentSpec | None = None,
        seed: int = 0,
        effort: Effort | None = None,
    ) -> None:
        super().__init__(spec_env, seed)
        self._wanted = effort
        self._method: Beam | CrossEntropy | None = None
        self._seeds = np.zeros(0, np.int64)

    def bind(self, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        """Take the vector environment to drive.

        Raises:
            UsageError: it does not run on the compiled engine, or its agents have more joint
                actions than MOST_CHOICES.
        """
        if getattr(envs, "engine", None) != "compiled":
            raise UsageError(
                "the planner needs the compiled engine as its model, and this environment runs on "
                "the reference engine; use engine 'compiled' where it covers the scene"
            )
        space = envs.single_action_space
        wheels = space.spaces if isinstance(space, spaces.Tuple) else (space,)
        choices = _joint_actions(wheels)
        self._method = None
        super().bind(envs)
        assert self.spec_env is not None
        config = self.spec_env.full_config
        self.effort = self._wanted or effort_for(self.spec_env, wheels[0])
        self._simulator: Simulator = envs.simulator  # type: ignore[attr-defined]
        neutral = np.asarray(neutral_action(space, config["action"]), np.float64)
        neutral = neutral.reshape(len(wheels), -1)
        if choices is None:
            self._method = CrossEntropy(self._simulator, config, self.effort, neutral)
        else:
            nothing = int(np.flatnonzero((choices == neutral[:, 0]).all(axis=1))[0])
            self._method = Beam(self._simulator, config, self.effort, choices, nothing)
        self._thought_at = b""

    def start_episodes(self, slots: IntArray, seeds: IntArray) -> None:
        """Forget the plans of these slots, and take their episodes' seeds."""
        if len(self._seeds) != self.num_envs:
            self._seeds = np.zeros(self.num_envs, np.int64)
        self._seeds[slots] = seeds
        if self._method is not None:
            self._method.forget(slots)
            self._thought_at = b""

    def act(self, observations: Any, count: int) -> Any:
        """The first actions of the best plans, (count, ...) as the action space has them."""
        self._think()
        space = self.action_space
        if not isinstance(space, spaces.Tuple):
            return _as_of(space, self._first)
        parts = np.split(self._first, len(space.spaces), axis=1)
        return tuple(_as_of(wheel, part) for wheel, part in zip(space.spaces, parts, strict=True))

    def action_values(self, observations: Any = None) -> FloatArray | None:
        """The best return found for each first action, (num_envs, num_actions).

        Returns count from now to the planner's horizon, less what a crash would cost. None where
        actions are continuous, or those of several agents.

        Args:
            observations: not looked at; the bound environments are, as they are now.
        """
        if not isinstance(self.action_space, spaces.Discrete):
            return None
        self._think()
        return self._values.copy()

    def _think(self) -> None:
        """Plan for every environment as it is now, unless that has just been done."""
        if self._method is None:
            raise UsageError("the planner plans for environments, not for single observations")
        state = self._simulator.state
        now = np.asarray(state.environments).tobytes() + np.asarray(state.vehicles).tobytes()
        if now != self._thought_at:
            self._first, self._values = self._method.plan(self._seeds)
            self._thought_at = now


def _joint_actions(wheels: Sequence[spaces.Space[Any]]) -> FloatArray | None:
    """Everything that agents may do together, (num_actions, num_agents); None: it is continuous.

    Raises:
        UsageError: there are more than MOST_CHOICES.
    """
    numbers = [range(int(wheel.n)) for wheel in wheels if isinstance(wheel, spaces.Discrete)]
    if not numbers:
        return None
    count = math.prod(len(each) for each in numbers)
    if count > MOST_CHOICES:
        raise UsageError(
            f"the planner tries joint actions, and {len(wheels)} agents have {count:,} of them, "
            f"more than {MOST_CHOICES}; use 'rule', or a smaller config controlled_vehicles"
        )
    return np.array(list(itertools.product(*numbers)), np.float64)


def _as_of(space: spaces.Space[Any], actions: FloatArray) -> Any:
    """Actions of one agent, (count, action_size), as its space has them."""
    if isinstance(space, spaces.Discrete):
        return actions[:, 0].astype(np.int64)
    return actions.reshape(-1, *(space.shape or ())).astype(space.dtype)
