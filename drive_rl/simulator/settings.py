"""What every scene needs from highway-env's configuration, as records that kernels read.

A scene's and an observation's own keys live in their modules (`Options`). Arrays of one record
rather than a tuple of scalars: values never take part in a kernel's type, so no configuration
value causes a recompilation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import state

# Action types, `settings.common[0].action`
META_ACTION, CONTINUOUS_ACTION, DISCRETE_ACTION = 0, 1, 2

COMMON_DTYPE = np.dtype(
    [
        ("dt", "f8"),  # one frame [s]
        ("decision", "f8"),  # one decision [s]
        ("frames", "i8"),  # frames per decision
        ("warm_up", "i8"),  # frames that traffic has for itself before an episode begins
        ("duration", "f8"),  # [s], inf where the scene has none
        ("max_decisions", "i8"),  # the registered time limit, 0 for none
        ("connected_lanes", "?"),  # neighbour_vehicles_connected_lanes
        ("regulated", "?"),  # the road is a RegulatedRoad
        ("traffic", "i8"),  # kind of the other vehicles
        ("state_noise", "f8"),  # half ranges of what is added to observed attributes
        ("derivative_noise", "f8"),
        # The driver models of the traffic (attributes of highway-env's vehicle classes)
        ("acc_max", "f8"),  # [m/s2]
        ("comfort_acc_max", "f8"),  # [m/s2]
        ("comfort_acc_min", "f8"),  # [m/s2]
        ("distance_wanted", "f8"),  # [m]
        ("time_wanted", "f8"),  # [s]
        ("delta", "f8"),
        ("politeness", "f8"),
        ("lane_change_min_acc_gain", "f8"),  # [m/s2]
        ("lane_change_max_braking_imposed", "f8"),  # [m/s2]
        ("lane_change_delay", "f8"),  # [s]
        ("acceleration_parameters", "f8", (3,)),  # LINEAR and its variants
        ("steering_parameters", "f8", (2,)),
        # The agents' actions
        ("action", "i8"),  # META_ACTION, ...
        ("agent", "i8"),  # kind of the controlled vehicles
        ("longitudinal", "?"),
        ("lateral", "?"),
        ("clip_action", "?"),
        ("actions_per_axis", "i8"),
        ("acceleration_low", "f8"),  # [m/s2]
        ("acceleration_high", "f8"),
        ("steering_low", "f8"),  # [rad]
        ("steering_high", "f8"),
        ("speed_low", "f8"),  # reachable speeds of the agents [m/s]
        ("speed_high", "f8"),
    ],
    align=True,
)

TRAFFIC = {
    "highway_env.vehicle.behavior.IDMVehicle": state.IDM,
    "highway_env.vehicle.behavior.LinearVehicle": state.LINEAR,
    "highway_env.vehicle.behavior.AggressiveVehicle": state.AGGRESSIVE,
    "highway_env.vehicle.behavior.DefensiveVehicle": state.DEFENSIVE,
}


class Settings(NamedTuple):
    """Scalars in `common[0]`, and what has a length of its own."""

    common: Any  # (1,) COMMON_DTYPE
    target_speeds: Any  # (n,) f8, of the MDP vehicles [m/s]
    axis: Any  # (n,) f8, the values in [-1, 1] that a DiscreteAction chooses from
    rules: Any = None  # an array where the road is regulated: kernels without rules compile sooner


def settings(config: Mapping[str, Any], max_decisions: int = 0) -> Settings:
    """Read the keys that all scenes share out of a full highway-env configuration."""
    common = np.zeros(1, COMMON_DTYPE).view(np.recarray)
    c = common[0]
    c.dt = 1 / config["simulation_frequency"]
    c.decision = 1 / config["policy_frequency"]
    c.frames = int(config["simulation_frequency"] // config["policy_frequency"])
    c.duration = config.get("duration", np.inf)
    c.max_decisions = max_decisions
    c.connected_lanes = bool(config["neighbour_vehicles_connected_lanes"])
    c.state_noise = config.get("state_noise", 0.0)
    c.derivative_noise = config.get("derivative_noise", 0.0)
    c.traffic = TRAFFIC[config["other_vehicles_type"]]
    _driver(c)
    action = config["action"]
    target_speeds = _action(c, action.get("action_config", action))
    # float32, as the bounds of the Box that highway-env takes the values from
    ends = np.array([[-1.0], [1.0]], dtype=np.float32)
    axis = np.linspace(ends[0], ends[1], int(c.actions_per_axis))[:, 0]
    return Settings(common, target_speeds, axis.astype(np.float64))


def _driver(c: Any) -> None:
    """The class attributes of IDMVehicle and its subclasses; intersections change them."""
    c.acc_max, c.comfort_acc_max, c.comfort_acc_min = 6.0, 3.0, -5.0
    c.distance_wanted, c.time_wanted, c.delta = 10.0, 1.5, 4.0
    c.politeness, c.lane_change_min_acc_gain = 0.0, 0.2
    c.lane_change_max_braking_imposed, c.lane_change_delay = 2.0, 1.0
    if c.traffic != state.IDM:
        c.time_wanted = 2.5
        c.acceleration_parameters = (0.3, 0.3, 2.0)
        c.steering_parameters = (1 / 0.2, (1 / 0.2) * (1 / 0.6))
    if c.traffic in (state.AGGRESSIVE, state.DEFENSIVE):
        gain, last = (0.8, 0.5) if c.traffic == state.AGGRESSIVE else (1.2, 2.0)
        c.lane_change_min_acc_gain = 1.0
        c.acceleration_parameters = (gain / ((1 - 0.75) * 30), gain / (0.75 * 30), last)


def _action(c: Any, action: Mapping[str, Any]) -> Any:
    kinds = {
        "DiscreteMetaAction": META_ACTION,
        "ContinuousAction": CONTINUOUS_ACTION,
        "DiscreteAction": DISCRETE_ACTION,
    }
    c.action = kinds[action["type"]]
    c.longitudinal = bool(action.get("longitudinal", True))
    c.lateral = bool(action.get("lateral", True))
    c.clip_action = bool(action.get("clip", True))
    c.actions_per_axis = action.get("actions_per_axis", 3)
    c.acceleration_low, c.acceleration_high = action.get("acceleration_range") or (-5, 5.0)
    c.steering_low, c.steering_high = action.get("steering_range") or (-np.pi / 4, np.pi / 4)
    speeds = action.get("speed_range") if c.action == CONTINUOUS_ACTION else None
    c.speed_low, c.speed_high = speeds or (-40.0, 40.0)
    dynamical = bool(action.get("dynamical", False))
    c.agent = (
        state.MDP if c.action == META_ACTION else state.BICYCLE if dynamical else state.VEHICLE
    )
    target_speeds = action.get("target_speeds")
    if target_speeds is None:
        target_speeds = np.linspace(20, 30, 3)
    return np.array(target_speeds, dtype=np.float64)


def action_size(settings: Settings) -> int:
    """Numbers in one agent's action."""
    c = settings.common[0]
    return 2 if c.action == CONTINUOUS_ACTION and c.longitudinal and c.lateral else 1


def neutral_action(settings: Settings) -> float:
    """The action that changes nothing: IDLE, zero, or the middle one."""
    c = settings.common[0]
    if c.action == META_ACTION:
        return 1.0
    if c.action == CONTINUOUS_ACTION:
        return 0.0
    size = 2 if c.longitudinal and c.lateral else 1
    return float(c.actions_per_axis**size // 2)
