"""A road, a scene and an environment small enough to know every number of."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from drive_rl.environments.scene import Kind, LaneShape, Line, SceneState

ROAD = tuple(
    LaneShape(
        np.array([[0.0, 4.0 * i], [5000.0, 4.0 * i]]),
        4.0,
        Line.CONTINUOUS_LINE if i == 0 else Line.STRIPED,
        Line.CONTINUOUS_LINE if i == 1 else Line.NONE,
    )
    for i in range(2)
)


def make_scene(
    places: list[tuple[float, float]],
    *,
    speeds: list[float] | None = None,
    headings: list[float] | None = None,
    kinds: list[int] | None = None,
    time: float = 0.0,
    lanes: tuple[LaneShape, ...] = ROAD,
    **changes: Any,
) -> SceneState:
    """A scene whose first entry is the ego."""
    count = len(places)
    values: dict[str, Any] = {
        "heading": np.array(headings or [0.0] * count),
        "speed": np.array(speeds or [20.0] * count),
        "length": np.full(count, 5.0),
        "width": np.full(count, 2.0),
        "crashed": np.zeros(count, np.bool_),
        "kind": np.array(kinds or [Kind.EGO] + [Kind.TRAFFIC] * (count - 1), dtype=np.int64),
        "acceleration": np.zeros(count),
        "steering": np.zeros(count),
        "lane_change": np.zeros(count, np.int64),
    }
    return SceneState(time, lanes, np.array(places, dtype=np.float64), **(values | changes))


class StraightEnv(gymnasium.Env):
    """An ego at 20 m/s that moves by its action across the road; ends after 8 decisions."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Discrete(5)
    DECISIONS = 8

    def __init__(self) -> None:
        self.steps_taken = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.y, self.count = float(seed or 0), 0.0, 0
        return self._observation(), self._info()

    def step(self, action):
        self.steps_taken += 1
        self.x += 20.0
        self.y += {0: -4.0, 2: 4.0}.get(int(action), 0.0)
        self.count += 1
        crashed = self.y > 8.0
        return self._observation(), 1.0, crashed, self.count >= self.DECISIONS, self._info(crashed)

    def scene(self) -> SceneState:
        return make_scene([(self.x, self.y), (self.x + 30, 0.0)], time=float(self.count))

    def get_state(self):
        return {"numbers": np.array([self.x, self.y, self.count])}

    def set_state(self, state):
        self.x, self.y, self.count = (float(n) for n in state["numbers"])

    def _observation(self):
        return np.array([self.x, self.y], dtype=np.float32)

    def _info(self, crashed=False):
        return {"speed": 20.0, "crashed": crashed, "rewards": {"high_speed_reward": 0.5}}


class OneStraight(gymnasium.vector.SyncVectorEnv):
    """A vector environment of one StraightEnv, with drive-rl's additions."""

    def __init__(self) -> None:
        super().__init__([StraightEnv], autoreset_mode=AutoresetMode.DISABLED)

    def scene(self, env: int) -> SceneState:
        return self.envs[env].scene()

    def get_state(self):
        return self.envs[0].get_state()

    def set_state(self, state):
        self.envs[0].set_state(state)


class KeepLane:
    """Always IDLE, and sure of it."""

    name = "keep"

    def predict(self, observations, deterministic=True):
        return np.ones(len(observations), dtype=np.int64)

    def action_probabilities(self, observations):
        return np.tile([0.1, 0.6, 0.1, 0.1, 0.1], (len(observations), 1))

    def value(self, observations):
        return np.asarray(observations)[:, 0]


class MoveRight(KeepLane):
    """Always LANE_RIGHT."""

    name = "right"

    def predict(self, observations, deterministic=True):
        return np.full(len(observations), 2)
