"""The rule: IDM and MOBIL, highway-env's own traffic model, driving the ego.

What they would do (a lane, an acceleration, a steering angle) is worked out by the engine: on the
compiled one by the simulator's kernels, on the reference engine by highway-env's objects. What of
that the scene's actions can say is one code path for both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from drive_rl.errors import UsageError
from drive_rl.evaluation.baselines import Baseline
from drive_rl.simulator.driver import (
    ACCELERATION,
    COLUMNS,
    SIDE,
    SPEED,
    STEERING,
    TARGET_SPEED,
    allocate_wishes,
    driver_manners,
    driver_settings,
    intend,
)
from drive_rl.simulator.driver import LANE as LANE_ROW
from drive_rl.simulator.state import CONTROLLED, allocate

FloatArray = npt.NDArray[np.float64]

FASTEST = 30.0
"""Speed wanted where neither the actions nor the rewards name one; lanes have limits [m/s]."""

TRACKING = 1 / 0.6
"""How quickly meta-actions approach a target speed (ControlledVehicle.KP_A) [1/s]."""

THOUGHT = 1.0
"""Seconds between thoughts of changing lane (IDMVehicle.LANE_CHANGE_DELAY)."""

KEEPING_RIGHT = ("exit-",)
"""Scenes where the last lane is wanted."""

CROSSINGS = ("intersection-",)
"""Scenes where ways cross and routes can be looked up ahead (on roundabouts highway-env's look-up
fails where a road has fewer lanes than the one before)."""


class RulePolicy(Baseline):
    """IDM for the speed, MOBIL for the lane, through the scene's own actions.

    It has no memory of its own: the lane that a steered vehicle follows is noted with the vehicle,
    so it goes wherever its state goes.
    """

    name = "rule"

    def bind(self, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        """Take the vector environment to drive.

        Raises:
            UsageError: a car park, where there is neither traffic nor a lane to follow.
        """
        super().bind(envs)
        assert self.spec_env is not None
        self._check_scene()
        config = self.spec_env.full_config
        action = config["action"]
        self._action: Mapping[str, Any] = action.get("action_config", action)
        frequency = float(config["policy_frequency"])
        self._decision = 1.0 / frequency
        scene = self.spec_env.base.rpartition(":")[2]
        manners = driver_manners(
            speed=_wanted_speed(self._action, config),
            period=max(1, round(THOUGHT * frequency)),
            keep_right=scene.startswith(KEEPING_RIGHT),
            gives_way=scene.startswith(CROSSINGS),
        )
        self._mind: _CompiledMind | _ReferenceMind = (
            _CompiledMind(envs, manners)
            if getattr(envs, "engine", None) == "compiled"
            else _ReferenceMind(envs, manners)
        )

    def act(self, observations: Any, count: int) -> Any:
        """Actions of all environments, batched as the vector environment takes them."""
        if self._envs is None:
            self._check_scene()
            raise UsageError("the rule drives environments, it knows nothing of observations")
        wishes = self._mind.wishes()
        if isinstance(self.action_space, spaces.Tuple):
            return tuple(
                self._actions(space, wishes[:, agent])
                for agent, space in enumerate(self.action_space.spaces)
            )
        return self._actions(self.action_space, wishes[:, 0])

    def _check_scene(self) -> None:
        base = "" if self.spec_env is None else self.spec_env.base.rpartition(":")[2]
        if base.startswith("parking"):
            raise UsageError(f"no rule is known for {base}: IDM and MOBIL follow lanes")

    def _actions(self, space: spaces.Space[Any], wishes: FloatArray) -> Any:
        """Actions of one agent in every environment, from what it wants, (n, COLUMNS)."""
        kind = self._action["type"]
        longitudinal = bool(self._action.get("longitudinal", True))
        lateral = bool(self._action.get("lateral", True))
        if kind == "DiscreteMetaAction":
            return meta_actions(
                wishes, _target_speeds(self._action), self._decision, longitudinal, lateral
            )
        throttle = _unit(wishes[:, ACCELERATION], self._action.get("acceleration_range"), 5.0)
        wheel = _unit(wishes[:, STEERING], self._action.get("steering_range"), math.pi / 4)
        axes = [throttle] * longitudinal + [wheel] * lateral
        if isinstance(space, spaces.Box):
            return np.stack(axes, axis=1).astype(space.dtype)
        n = int(self._action.get("actions_per_axis", 3))
        index = np.zeros(len(wishes), np.int64)
        for axis in axes:  # a point of highway-env's grid, throttle first
            index = index * n + np.rint((axis + 1.0) / 2.0 * (n - 1)).astype(np.int64)
        return index


def meta_actions(
    wishes: FloatArray,
    target_speeds: FloatArray,
    decision: float,
    longitudinal: bool = True,
    lateral: bool = True,
) -> npt.NDArray[np.int64]:
    """highway-env's meta-actions for what IDM and MOBIL want, (n,).

    A change of lane comes first; else the action whose target speed leads, within a decision,
    closest to the speed that IDM would have then.

    Args:
        wishes: (n, COLUMNS) of `simulator.driver`.
        target_speeds: that FASTER and SLOWER choose from [m/s].
        decision: its length [s].
    """
    idle = np.ones(len(wishes), np.int64)
    chosen = idle.copy()
    if longitudinal:
        slower, faster = (4, 3) if lateral else (0, 2)
        speed, last = wishes[:, SPEED], len(target_speeds) - 1
        wanted = np.maximum(speed + wishes[:, ACCELERATION] * decision, 0.0)
        share = (speed - target_speeds[0]) / (target_speeds[-1] - target_speeds[0])
        now = np.clip(np.round(share * last), 0, last).astype(np.int64)
        reached = 1.0 - math.exp(-TRACKING * decision)
        options = (
            (1, wishes[:, TARGET_SPEED]),
            (slower, target_speeds[np.maximum(now - 1, 0)]),
            (faster, target_speeds[np.minimum(now + 1, last)]),
        )
        closest = np.full(len(wishes), np.inf)
        for action, target in options:
            miss = np.abs(speed + (target - speed) * reached - wanted)
            better = miss < closest - 1e-9
            chosen[better], closest[better] = action, miss[better]
    if lateral:
        side = wishes[:, SIDE]
        chosen[side < 0], chosen[side > 0] = 0, 2
    return chosen


def _target_speeds(action: Mapping[str, Any]) -> FloatArray:
    speeds = action.get("target_speeds")
    return np.linspace(20.0, 30.0, 3) if speeds is None else np.asarray(speeds, np.float64)


def _wanted_speed(action: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """The speed that IDM is to drive on an empty road [m/s]."""
    if action["type"] == "DiscreteMetaAction":
        return float(_target_speeds(action).max())
    rewarded = config.get("reward_speed_range")
    return float(rewarded[1]) if rewarded else FASTEST


def _unit(values: FloatArray, bounds: Any, reach: float) -> FloatArray:
    """Values of a range, by default [-reach, reach], mapped to [-1, 1]."""
    low, high = bounds or (-reach, reach)
    return np.clip(2.0 * (values - low) / (high - low) - 1.0, -1.0, 1.0)


class _CompiledMind:
    """What IDM and MOBIL want on the compiled engine."""

    def __init__(self, envs: Any, manners: Any) -> None:
        self._simulator, self._manners = envs.simulator, manners
        self._settings = driver_settings(self._simulator.settings)
        self._copy = allocate(envs.num_envs, self._simulator.capacity)
        self._wishes = allocate_wishes(envs.num_envs, self._simulator.capacity.agents)

    def wishes(self) -> FloatArray:
        """(num_envs, num_agents, COLUMNS)."""
        simulator = self._simulator
        for here, there in zip(self._copy, simulator.state, strict=True):
            np.copyto(np.asarray(here), np.asarray(there))
        intend(
            self._copy, simulator.roads.network, self._settings, self._manners,
            self._wishes, 0, simulator.num_envs,
        )  # fmt: skip
        environments = np.arange(simulator.num_envs)
        vehicles = np.asarray(simulator.state.vehicles)
        for agent, rows in enumerate(np.asarray(simulator.state.agents).T):
            steered = vehicles["kind"][environments, rows] < CONTROLLED
            where = environments[steered], rows[steered]
            vehicles["target_lane"][where] = self._wishes[steered, agent, LANE_ROW]
        wishes: FloatArray = self._wishes.copy()
        return wishes


class _ReferenceMind:
    """What IDM and MOBIL want on the reference engine."""

    def __init__(self, envs: Any, manners: Any) -> None:
        self._envs, self._manners = envs, manners

    def wishes(self) -> FloatArray:
        """(num_envs, num_agents, COLUMNS)."""
        answers = self._envs.call("ask", wishes_of_scene, self._manners)
        return np.stack(answers)


def wishes_of_scene(scene: Any, manners: Any) -> FloatArray:
    """What IDM and MOBIL would do at the wheels of a highway-env scene, (num_agents, COLUMNS).

    Equals `simulator.driver.intend`: an IDMVehicle takes each agent's place for a moment.
    """
    from highway_env.vehicle.behavior import IDMVehicle
    from highway_env.vehicle.controller import ControlledVehicle

    how = manners[0]
    decisions = round(scene.time * scene.config["policy_frequency"])
    road = scene.road
    wishes = np.zeros((len(scene.controlled_vehicles), COLUMNS))
    for row, agent in zip(wishes, scene.controlled_vehicles, strict=True):
        is_controlled_vehicle = isinstance(agent, ControlledVehicle)
        lane = agent.target_lane_index if is_controlled_vehicle else _kept_lane(agent)
        route = getattr(agent, "route", None)
        if how.keep_right:
            origin, destination, _ = agent.lane_index
            last = len(road.network.graph[origin][destination]) - 1
            route = [(origin, destination, last)]
        driver = IDMVehicle(
            road,
            agent.position.copy(),
            heading=agent.heading,
            speed=agent.speed,
            target_lane_index=lane,
            target_speed=float(how.speed),
            route=None if route is None else list(route),
            timer=math.inf if decisions % how.period == 0 else 1e-9,
        )
        driver.LENGTH, driver.WIDTH = agent.LENGTH, agent.WIDTH
        place = road.vehicles.index(agent)
        road.vehicles[place] = driver
        try:
            if how.gives_way and _gives_way(road, driver, place):
                driver.target_speed = 0
            driver.act()
        finally:
            road.vehicles[place] = agent
        target = driver.target_lane_index
        if not is_controlled_vehicle:
            agent.lane_to_follow = target
        row[SIDE] = np.sign(target[2] - lane[2]) if target[:2] == lane[:2] else 0.0
        row[ACCELERATION] = driver.action["acceleration"]
        row[STEERING] = driver.action["steering"]
        row[SPEED] = agent.speed
        row[TARGET_SPEED] = getattr(agent, "target_speed", agent.speed)
    return wishes


def _kept_lane(agent: Any) -> Any:
    """As `simulator.driver.kept_lane`; the note stands on the vehicle itself."""
    index = getattr(agent, "lane_to_follow", agent.lane_index)
    lane = agent.road.network.get_lane(index)
    s, lateral = lane.local_coordinates(agent.position)
    if abs(lateral) > 2 * lane.width_at(s) or not s >= -5.0:
        return agent.lane_index
    return index


def _gives_way(road: Any, driver: Any, place: int) -> bool:
    """As `simulator.driver.gives_way`."""
    speed, driver.speed = driver.speed, max(driver.speed, driver.target_speed)
    try:
        return any(
            _yields_to(other, driver, other_place < place)
            for other_place, other in enumerate(road.vehicles)
            if other is not driver
        )
    finally:
        driver.speed = speed


def _yields_to(other: Any, driver: Any, is_earlier: bool) -> bool:
    from highway_env.road.regulation import RegulatedRoad

    pair = (other, driver) if is_earlier else (driver, other)
    return (
        RegulatedRoad.is_conflict_possible(*pair)
        and RegulatedRoad.respect_priorities(*pair) is driver
    )
