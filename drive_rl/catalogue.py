"""What highway-env offers: its scenes, their default configurations, and which keys exist.

highway-env itself accepts any key in silence. Here a configuration is checked where it enters:
an unknown key is an error that names it and the closest known one.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from drive_rl.camera import CameraOptions, camera_options, randomization
from drive_rl.errors import UsageError, unknown
from drive_rl.later import imported_later
from drive_rl.perception.options import perception_options

# highway-env observes with pandas and has a plot of its own: 0.8 s of every command's start for
# what the compiled engine does without.
with imported_later("pandas", "matplotlib.pyplot"):
    import highway_env  # noqa: F401  (registers the scenes)
    from highway_env.envs.common import action as actions
    from highway_env.envs.common import observation as observations
    from highway_env.vehicle.behavior import (
        AggressiveVehicle,
        DefensiveVehicle,
        IDMVehicle,
        LinearVehicle,
    )

# Names that a scene's reward looks up with config.get(name, 0), whether or not its defaults list
# them (AbstractEnv._reward of each scene), and one that the roundabout reads the same way.
_OPTIONAL_KEYS = frozenset(
    {
        "collision_reward",
        "right_lane_reward",
        "left_lane_reward",
        "high_speed_reward",
        "lane_change_reward",
        "merging_speed_reward",
        "on_road_reward",
        "arrived_reward",
        "goal_reward",
        "lane_centering_reward",
        "action_reward",
        "incoming_vehicle_destination",
    }
)

# What drive-rl adds to highway-env's configuration
_OWN_KEYS = frozenset({"randomization", "perception"})

_TRAFFIC: tuple[type, ...] = (IDMVehicle, LinearVehicle, AggressiveVehicle, DefensiveVehicle)

_OBSERVATIONS: dict[str, type] = {
    "TimeToCollision": observations.TimeToCollisionObservation,
    "Kinematics": observations.KinematicObservation,
    "OccupancyGrid": observations.OccupancyGridObservation,
    "KinematicsGoal": observations.KinematicsGoalObservation,
    "GrayscaleObservation": observations.GrayscaleObservation,
    "AttributesObservation": observations.AttributesObservation,
    "MultiAgentObservation": observations.MultiAgentObservation,
    "TupleObservation": observations.TupleObservation,
    "LidarObservation": observations.LidarObservation,
    "ExitObservation": observations.ExitObservation,
    "CameraObservation": CameraOptions,
}
_ACTIONS: dict[str, type] = {
    "ContinuousAction": actions.ContinuousAction,
    "DiscreteAction": actions.DiscreteAction,
    "DiscreteMetaAction": actions.DiscreteMetaAction,
    "MultiAgentAction": actions.MultiAgentAction,
}
_POSITIVE = frozenset(
    {
        "duration",
        "simulation_frequency",
        "policy_frequency",
        "lanes_count",
        "controlled_vehicles",
        "vehicles_density",
        "screen_width",
        "screen_height",
        "scaling",
    }
)
_NOT_NEGATIVE = frozenset(
    {"vehicles_count", "other_vehicles", "initial_vehicle_count", "spawn_probability"}
)


def scene_ids() -> list[str]:
    """Every id that highway-env registers, sorted (31 in 1.12.1)."""
    return sorted(
        spec.id
        for spec in gymnasium.registry.values()
        if isinstance(spec.entry_point, str) and spec.entry_point.startswith("highway_env.")
    )


def scene_spec(base: str) -> EnvSpec:
    """Gymnasium's registration of a scene: one of highway-env's, or a user's `module:Name-v0`.

    Raises:
        UsageError: there is no such scene, or its module cannot be imported.
    """
    if ":" in base:
        module = base.split(":", 1)[0]
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UsageError(f"environment {base!r}: cannot import {module!r}: {error}") from None
        name = base.split(":", 1)[1]
        if name not in gymnasium.registry:
            raise unknown(f"environment of module {module}", name, list(gymnasium.registry))
        return gymnasium.registry[name]
    if base not in scene_ids():
        raise unknown("environment", base, scene_ids())
    return gymnasium.registry[base]


def scene_class(base: str) -> type:
    """The AbstractEnv subclass behind an id."""
    entry_point = scene_spec(base).entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    if not (inspect.isclass(creator) and hasattr(creator, "default_config")):
        raise UsageError(f"environment {base!r} is not a highway-env scene (no default_config)")
    return creator


@functools.cache
def _default_config(base: str) -> dict[str, Any]:
    cls = scene_class(base)
    if "config" in inspect.signature(cls).parameters:
        return dict(cls.default_config())  # type: ignore[attr-defined]
    # Three scenes put their differences into a constructor that takes no configuration.
    with own_class_attributes({}):
        config: dict[str, Any] = cls().config
    config["offscreen_rendering"] = None
    return config


def default_config(base: str) -> dict[str, Any]:
    """highway-env's own configuration of a scene, as a fresh copy."""
    return copy.deepcopy(_default_config(base))


@contextmanager
def own_class_attributes(saved: dict[str, Any]) -> Iterator[None]:
    """Keep what a scene writes onto the classes of its traffic to that scene.

    IntersectionEnv sets driver parameters on the class of its traffic (highway-env 1.12.1,
    `IntersectionEnv._make_vehicles`), which changes every other scene of the process. Inside this
    block the classes carry what this scene wrote before (`saved`); on leaving, what it wrote is
    stored there and the classes are as they were. So each environment behaves as in a process of
    its own.
    """
    original = {cls: _parameters(cls) for cls in _TRAFFIC}
    for cls in _TRAFFIC:
        for name, value in saved.get(cls.__name__, {}).items():
            setattr(cls, name, value)
    try:
        yield
    finally:
        for cls, before in original.items():
            for name, value in _parameters(cls).items():
                if name in before and value is before[name]:
                    continue
                saved.setdefault(cls.__name__, {})[name] = value
                if name in before:
                    setattr(cls, name, before[name])
                else:  # inherited so far
                    delattr(cls, name)


def _parameters(cls: type) -> dict[str, Any]:
    """The driver parameters that a class itself sets."""
    return {name: value for name, value in vars(cls).items() if name.isupper()}


def merged_config(base: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The scene's defaults with `config` on top, shallow as in highway-env's `configure`."""
    return default_config(base) | copy.deepcopy(dict(config))


def check_config(base: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Validate what a user wants changed of a scene's configuration.

    Args:
        base: the scene's id.
        config: highway-env configuration keys and values.

    Returns:
        A plain copy; texts that stand for numbers (YAML reads `1e6` as text) became numbers.

    Raises:
        UsageError: an unknown key (the closest is named), or a value of the wrong kind.
    """
    defaults = default_config(base)
    checked: dict[str, Any] = {}
    for key, value in config.items():
        if key not in defaults and key not in _OPTIONAL_KEYS and key not in _OWN_KEYS:
            raise unknown(f"key of {base}", str(key), set(defaults) | _OPTIONAL_KEYS | _OWN_KEYS)
        if key == "observation":
            checked[key] = _check_typed(base, "observation", value, _OBSERVATIONS, defaults[key])
        elif key == "action":
            checked[key] = _check_typed(base, "action", value, _ACTIONS, defaults[key])
        elif key == "randomization":
            randomization(value)
            checked[key] = copy.deepcopy(value)
        elif key == "perception":
            perception_options(value)
            checked[key] = copy.deepcopy(value)
        else:
            checked[key] = _check_value(f"{base}: {key}", key, value, defaults.get(key, 0.0))
    return checked


def _check_typed(
    base: str, key: str, value: Any, classes: Mapping[str, type], default: Any
) -> dict[str, Any]:
    """Check `observation` or `action`: a mapping with a known `type` and that type's options."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{base}: {key} {value!r} is not a mapping with a type")
    if "type" not in value:
        example = default.get("type") if isinstance(default, Mapping) else next(iter(classes))
        raise UsageError(f"{base}: {key} has no type; give one, such as type: {example}")
    if value["type"] not in classes:
        raise unknown(f"{key} type", str(value["type"]), classes)
    known = _options(classes[value["type"]]) | {"type"}
    if value["type"] == "CameraObservation":
        camera_options(value)
        return copy.deepcopy(dict(value))
    if isinstance(default, Mapping):
        known |= set(default)
    checked: dict[str, Any] = {}
    for option, setting in value.items():
        if option not in known:
            raise unknown(f"key of {value['type']}", str(option), known)
        if option in ("observation_config", "action_config"):
            nested = default.get(option, default) if isinstance(default, Mapping) else {}
            setting = _check_typed(base, key, setting, classes, nested)
        elif option == "observation_configs":
            setting = [_check_typed(base, key, each, classes, {}) for each in setting]
        elif option in ("vehicles_count", "stack_size", "cells", "horizon"):
            setting = _number(f"{base}: {key}.{option}", setting, minimum=1)
        checked[option] = copy.deepcopy(setting)
    return checked


def _options(cls: type) -> set[str]:
    """Names of the keyword options of a class and of the classes it passes **kwargs on to."""
    names: set[str] = set()
    for parent in cls.__mro__:
        if "__init__" in vars(parent) and parent is not object:
            names |= set(inspect.signature(parent).parameters)
    return names - {"self", "env", "kwargs"}


def _check_value(where: str, key: str, value: Any, default: Any) -> Any:
    """Check a plain value against the kind of the default it replaces."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise UsageError(f"{where} {value!r} is not true or false")
        return value
    if isinstance(default, (int, float)):
        if key in _POSITIVE:
            number = _number(where, value, minimum=0)
            if number == 0:
                raise UsageError(f"{where} {value!r} must be greater than 0")
            return number
        return _number(where, value, minimum=0 if key in _NOT_NEGATIVE else None)
    if isinstance(default, (list, tuple)) and not isinstance(value, (list, tuple)):
        raise UsageError(f"{where} {value!r} is not a list like {list(default)}")
    if isinstance(default, str) and value is not None and not isinstance(value, str):
        raise UsageError(f"{where} {value!r} is not a text like {default!r}")
    if key == "other_vehicles_type":
        _check_class_path(where, value)
    return copy.deepcopy(value)


def _number(where: str, value: Any, *, minimum: float | None) -> int | float:
    if isinstance(value, str):
        try:
            value = float(value)
            value = int(value) if value.is_integer() else value
        except ValueError:
            raise UsageError(f"{where} {value!r} is not a number") from None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{where} {value!r} is not a number")
    if minimum is not None and value < minimum:
        raise UsageError(f"{where} {value!r} must be at least {minimum}")
    return value


def _check_class_path(where: str, path: str) -> None:
    module, _, name = str(path).rpartition(".")
    try:
        found = hasattr(importlib.import_module(module), name)
    except (ImportError, ValueError):
        found = False
    if not found:
        raise UsageError(
            f"{where} {path!r} is no class that can be imported; "
            "such as 'highway_env.vehicle.behavior.IDMVehicle'"
        )
