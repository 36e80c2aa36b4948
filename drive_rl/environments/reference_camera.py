"""A camera in highway-env itself: an observation type that hands highway-env's state to the kernel.

The frames are those of the compiled engine, because the same kernel draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.objects import Landmark
from numpy.typing import NDArray

from drive_rl.camera import Camera
from drive_rl.environments.sight import arranged, camera_space, make_camera
from drive_rl.simulator import state as st

# What highway-env observes meanwhile: it draws no random number
PLACEHOLDER = {"type": "Kinematics", "vehicles_count": 1}


class ReferenceCamera:
    """The camera of one highway-env environment.

    Args:
        config: the full configuration, with a CameraObservation.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.is_multi_agent = config["observation"]["type"] == "MultiAgentObservation"
        self.camera: Camera | None = None
        self._network: Any = None
        self._mask = np.ones(1, np.bool_)

    def placeholder(self) -> dict[str, Any]:
        """The configuration of the observation that highway-env may make itself."""
        if self.is_multi_agent:
            return {"type": "MultiAgentObservation", "observation_config": dict(PLACEHOLDER)}
        return dict(PLACEHOLDER)

    def look(self, env: Any) -> None:
        """Make the camera when there is a road, and show the road that there is."""
        network = env.road.network
        if self.camera is None:
            self.camera = make_camera(self.config, network, 1)
        elif network is not self._network:
            self.camera.set_road(network)
        self._network = network

    def space(self, env: Any) -> gymnasium.Space[Any]:
        """The observation space."""
        self.look(env)
        assert self.camera is not None
        if not self.is_multi_agent:
            return camera_space(self.camera)
        agents = len(env.controlled_vehicles)
        return gymnasium.spaces.Tuple([camera_space(self.camera) for _ in range(agents)])

    def observe(self, env: Any) -> Any:
        """A frame more: uint8 (stack_size * channels, height, width), of several agents a tuple."""
        self.look(env)
        assert self.camera is not None
        self.camera.advance()
        self.camera.observe(state_of(env), self._mask, 0, 1)
        frames: NDArray[np.uint8] = arranged(self.camera.observations[0]).copy()
        return tuple(frames) if self.is_multi_agent else frames[0]


class CameraObserver:
    """What highway-env calls: an observation type."""

    def __init__(self, env: Any, camera: ReferenceCamera) -> None:
        self.env = env
        self.camera = camera

    def space(self) -> gymnasium.Space[Any]:
        """As an observation type of highway-env."""
        return self.camera.space(self.env)

    def observe(self) -> Any:
        """As an observation type of highway-env."""
        return self.camera.observe(self.env)


def seeing(cls: type, camera: ReferenceCamera) -> type:
    """A scene class that observes through a camera."""

    class Seeing(cls):  # type: ignore[misc]
        def define_spaces(self) -> None:
            super().define_spaces()
            if self.road is not None:
                self.observation_type = CameraObserver(self, camera)
                self.observation_space = self.observation_type.space()

    Seeing.__name__, Seeing.__qualname__ = cls.__name__, cls.__qualname__
    return Seeing


def state_of(env: Any) -> st.State:
    """What a camera sees of a highway-env environment, as the simulator's state."""
    vehicles, objects = list(env.road.vehicles), list(env.road.objects)
    capacity = st.Capacity(max(len(vehicles), 1), len(objects), 0, len(env.controlled_vehicles))
    state = st.allocate(1, capacity)
    state.environments[0].num_vehicles = len(vehicles)
    state.environments[0].num_objects = len(objects)
    for row, vehicle in enumerate(vehicles):
        record = state.vehicles[0, row]
        _fill(record, vehicle)
        record.speed = vehicle.speed
        record.acceleration = float(np.squeeze(vehicle.action["acceleration"]))
        record.kind = st.IDM if isinstance(vehicle, IDMVehicle) else st.VEHICLE
        record.delta = getattr(vehicle, "DELTA", 4.0)
    for row, body in enumerate(objects):
        record = state.objects[0, row]
        _fill(record, body)
        record.kind = st.LANDMARK if isinstance(body, Landmark) else st.OBSTACLE
    for agent, vehicle in enumerate(env.controlled_vehicles):
        row = next((k for k, other in enumerate(vehicles) if other is vehicle), 0)
        state.agents[0, agent] = row
    return state


def _fill(record: Any, body: Any) -> None:
    record.x, record.y = body.position
    record.heading = float(body.heading)
    record.length, record.width = body.LENGTH, body.WIDTH
    record.crashed = bool(body.crashed)
