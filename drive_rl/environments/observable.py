"""Which observation configurations the compiled simulator covers, and why not the others.

Only what the parity tests compare with highway-env is covered; where highway-env itself fails or
shows something strange, the reference engine says so in its own words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from drive_rl.simulator.observations import OBSERVATIONS
from drive_rl.simulator.observations.attributes import ATTRIBUTES
from drive_rl.simulator.observations.kinematics import FEATURES

Config = Mapping[str, Any]

# What obstacles and landmarks have (RoadObject.to_dict)
OBJECT_FEATURES = tuple(name for name in FEATURES if name != "heading" and "_off" not in name)


def uncovered_observation(env_id: str, config: Config) -> str | None:
    """Why the compiled engine does not observe this, or None if it does.

    Args:
        env_id: highway-env's id of the scene.
        config: its full configuration.
    """
    own = config["observation"]
    if own["type"] == "MultiAgentObservation":
        own = own["observation_config"]
        if own["type"] in ("TupleObservation", "MultiAgentObservation"):
            return f"observation {own['type']} within MultiAgentObservation is not covered"
    if own["type"] == "CameraObservation":
        return None
    return _uncovered(env_id, config, own)


def _uncovered(env_id: str, config: Config, own: Config) -> str | None:
    name = own["type"]
    if name == "GrayscaleObservation":
        reason = _grayscale(config, own)
        return f"{name} {reason}" if reason else None
    if name not in OBSERVATIONS:
        return f"observation {name} is not covered"
    reason = _REASONS[name](env_id, config, own)
    return f"{name} {reason}" if reason else None


def _grayscale(config: Config, own: Config) -> str | None:
    for name, count in (("observation_shape", 2), ("weights", 3)):
        value = own.get(name)
        if not isinstance(value, (list, tuple)) or len(value) != count:
            return f"needs {name}, {count} numbers"
        if not all(_is_number(each) for each in value):
            return f"needs {name}, {count} numbers"
    numbers = [*own["observation_shape"], own.get("stack_size")]
    if not all(_is_number(each) and each == int(each) and each >= 1 for each in numbers):
        return "needs an observation_shape and a stack_size of whole numbers from 1"
    scaling = own.get("scaling") or config["scaling"]
    if not _is_number(scaling) or not 0.1 <= scaling <= 200:
        return "with a scaling beyond 0.1 to 200 px/m is not covered"
    place = own.get("centering_position") or config["centering_position"]
    if len(place) != 2 or not all(_is_number(each) for each in place):
        return "needs a centering_position of 2 numbers"
    if config.get("show_trajectories"):
        return "with show_trajectories is not covered"
    return None


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def _features(known: tuple[str, ...], own: Config) -> str | None:
    features = own.get("features") or FEATURES[:5]
    for feature in features:
        if feature not in known:
            return f"has no feature {feature!r}"
    if len(set(features)) < len(features):
        return "with a feature named twice is not covered"
    return None


def _kinematics(env_id: str, config: Config, own: Config) -> str | None:
    if own.get("vehicles_count", 5) < 2:
        return "of one vehicle is not covered (highway-env then shows all of them)"
    return _features(FEATURES, own)


def _exit(env_id: str, config: Config, own: Config) -> str | None:
    if not env_id.startswith("exit-"):
        return "needs an exit"
    return _kinematics(env_id, config, own)


def _grid(env_id: str, config: Config, own: Config) -> str | None:
    return "with absolute=True does not exist in highway-env" if own.get("absolute") else None


def _time_to_collision(env_id: str, config: Config, own: Config) -> str | None:
    action = config["action"]
    action = action.get("action_config", action)
    if action["type"] != "DiscreteMetaAction":
        return "needs the target speeds of DiscreteMetaAction"
    if config["observation"]["type"] == "MultiAgentObservation":
        return "of several agents is not covered (its lanes are those of the first one's road)"
    return None


def _lidar(env_id: str, config: Config, own: Config) -> str | None:
    return None


def _goal(env_id: str, config: Config, own: Config) -> str | None:
    if not env_id.startswith("parking-"):
        return "needs a goal"
    if len(own["scales"]) != len(own.get("features") or FEATURES[:5]):
        return "needs a scale for each feature"
    return _features(OBJECT_FEATURES, own)


def _attributes(env_id: str, config: Config, own: Config) -> str | None:
    unknown = [name for name in own["attributes"] if name not in ATTRIBUTES]
    if not env_id.startswith("lane-keeping-") or unknown:
        return f"of anything but {', '.join(ATTRIBUTES)} of lane-keeping is not covered"
    if not config["action"].get("dynamical", False):
        return "needs a vehicle with dynamics (action: dynamical)"
    return None


def _tuple(env_id: str, config: Config, own: Config) -> str | None:
    if not own["observation_configs"]:
        return "of nothing is not covered"
    for part in own["observation_configs"]:
        if part["type"] in ("TupleObservation", "MultiAgentObservation"):
            return f"of a {part['type']} is not covered"
        if part["type"] == "GrayscaleObservation":
            return "of a GrayscaleObservation is not covered"
        reason = _uncovered(env_id, config, part)
        if reason:
            return f"of {reason}"
    return None


_REASONS: dict[str, Callable[[str, Config, Config], str | None]] = {
    "Kinematics": _kinematics,
    "ExitObservation": _exit,
    "OccupancyGrid": _grid,
    "TimeToCollision": _time_to_collision,
    "LidarObservation": _lidar,
    "KinematicsGoal": _goal,
    "AttributesObservation": _attributes,
    "TupleObservation": _tuple,
}
