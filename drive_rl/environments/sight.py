"""Which environments look through a camera, and how one is made for either engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from drive_rl.camera import Camera, camera_options, randomization
from drive_rl.camera.grayscale import Grayscale, GrayscaleOptions
from drive_rl.camera.traffic import Traffic
from drive_rl.errors import UsageError
from drive_rl.simulator.network import flatten

CAMERA = "CameraObservation"
GRAYSCALE = "GrayscaleObservation"


def observation_of_agent(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The observation's configuration of one agent."""
    own: Mapping[str, Any] = config["observation"]
    return own.get("observation_config", own) if own["type"] == "MultiAgentObservation" else own


def has_camera(config: Mapping[str, Any]) -> bool:
    """Is a camera what observes?"""
    return bool(observation_of_agent(config)["type"] == CAMERA)


def make_camera(config: Mapping[str, Any], road_network: Any, num_envs: int) -> Camera | None:
    """The camera that a configuration asks for, if it does.

    Raises:
        UsageError: a camera that cannot be, or factors of a camera where there is none.
    """
    varies = randomization(config.get("randomization"))
    if not has_camera(config):
        for name in [*varies.ranges, *varies.textures]:
            raise UsageError(
                f"randomization: {name} is seen by a {CAMERA} only, and the observation is "
                f"{config['observation']['type']}"
            )
        return None
    options = camera_options(observation_of_agent(config))
    return Camera(options, varies, road_network, num_envs, _observers(config))


def make_grayscale(
    base: str, config: Mapping[str, Any], road_network: Any, num_envs: int
) -> Grayscale | None:
    """highway-env's grey pictures, where a configuration asks for them.

    Args:
        base: highway-env's id of the scene.
        config: the full configuration.
        road_network: highway-env's RoadNetwork.
        num_envs: environments.
    """
    own = observation_of_agent(config)
    if own["type"] != GRAYSCALE:
        return None
    width, height = own["observation_shape"]
    red, green, blue = own["weights"]
    across, down = own.get("centering_position") or config["centering_position"]
    options = GrayscaleOptions(
        int(width),
        int(height),
        int(own["stack_size"]),
        (float(red), float(green), float(blue)),
        float(own.get("scaling") or config["scaling"]),
        (float(across), float(down)),
        green_agents=base.startswith("parking-"),
    )
    return Grayscale(
        options, road_network, flatten(road_network).network, num_envs, _observers(config)
    )


def _observers(config: Mapping[str, Any]) -> int:
    """Agents that observe: all of them, or the first."""
    is_multi_agent = config["observation"]["type"] == "MultiAgentObservation"
    return int(config.get("controlled_vehicles", 1)) if is_multi_agent else 1


def camera_space(camera: Camera | Grayscale) -> spaces.Box:
    """Of one agent's observation: uint8 (stack_size * channels, height, width); of a grey picture
    of highway-env's, (stack_size, width, height)."""
    return spaces.Box(0, 255, camera.shape, np.uint8)


def batched_camera_space(camera: Camera | Grayscale, num_envs: int) -> spaces.Box:
    """The observation space of many environments with one agent each.

    Gymnasium's own keeps four arrays as large as the observations (bounds, and whether there are
    any): here they are views of one number each.
    """
    box = spaces.Box(0, 255, (1,), np.uint8)
    shape = (num_envs, *camera.shape)
    box._shape = shape
    for name in ("low", "high", "bounded_below", "bounded_above"):
        setattr(box, name, np.broadcast_to(getattr(box, name), shape))
    return box


def arranged(raw: Any) -> Any:
    """Stacks (..., stack, channels, height, width) as observations; a view."""
    *leading, stack, channels, height, width = raw.shape
    return raw.reshape(*leading, stack * channels, height, width)


def make_traffic(base: str, config: Mapping[str, Any], num_envs: int) -> Traffic | None:
    """What varies in the traffic that a configuration asks for, if anything does.

    Raises:
        UsageError: a factor that the scene's traffic does not have.
    """
    varies = randomization(config.get("randomization"))
    if not varies.traffic:
        return None
    if "density" in varies.traffic and "vehicles_density" not in config:
        raise UsageError(
            f"randomization: density needs vehicles_density, which {base} does not have"
        )
    if not str(config["other_vehicles_type"]).endswith(".IDMVehicle"):
        for name in ("politeness", "time_headway"):
            if name in varies.traffic:
                raise UsageError(f"randomization: {name} needs traffic of type IDMVehicle")
    return Traffic(varies, num_envs)


def vary_traffic(env: Any, class_attributes: dict[str, Any], drawn: Mapping[str, float]) -> None:
    """Give an episode's factors to a highway-env scene, before it is reset.

    Args:
        env: the scene.
        class_attributes: its own values of attributes of the traffic's classes
            (`catalogue.own_class_attributes`).
        drawn: by name.
    """
    own = class_attributes.setdefault("IDMVehicle", {})
    if "politeness" in drawn:
        own["POLITENESS"] = drawn["politeness"]
    if "time_headway" in drawn:
        own["TIME_WANTED"] = drawn["time_headway"]
    if "density" in drawn:
        if not hasattr(env, "plain_density"):
            env.plain_density = env.config["vehicles_density"]
        env.config["vehicles_density"] = env.plain_density * drawn["density"]
