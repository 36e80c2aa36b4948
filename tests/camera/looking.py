"""What the camera's tests share: environments that look through one, and cameras without one."""

from __future__ import annotations

from typing import Any

import numpy as np

import drive_rl
from drive_rl.camera import CameraOptions, frames
from drive_rl.camera.factors import CAMERA_DTYPE, FACTORS
from drive_rl.camera.projection import project_points
from drive_rl.environments.compiled import CompiledEnv
from drive_rl.simulator.jit import bare, kernel

# One id per scene module
SCENES = (
    "highway-v0",
    "merge-v0",
    "roundabout-v0",
    "intersection-v0",
    "racetrack-v0",
    "exit-v0",
    "two-way-v0",
    "u-turn-v0",
    "parking-v0",
    "lane-keeping-v0",
    "merge-generic-v0",
    "roundabout-generic-v0",
    "racetrack-oval-v0",
    "intersection-multi-agent-v0",
)

# Every factor of the picture at once
EVERYTHING: dict[str, Any] = {
    "road_texture": {"bank": "procedural", "split": "train"},
    "verge_texture": "verges",
    "marking_tint": [0, 1],
    "marking_wear": [0, 0.8],
    "sky": [0, 1],
    "sun_azimuth": [-180, 180],
    "sun_elevation": [15, 80],
    "light": [0.6, 1],
    "contrast": [0.8, 1.2],
    "exposure": [-0.3, 0.3],
    "fog": [0, 0.02],
    "rain": [0, 1],
    "night": [0, 0.6],
    "vehicle_colors": [0, 1],
    "vehicle_size": [0.9, 1.1],
    "camera_height": [-0.2, 0.4],
    "camera_pitch": [-2, 2],
    "camera_roll": [-3, 3],
    "field_of_view": [-8, 8],
    "blur": [0, 0.8],
    "noise": [0, 10],
    "dropped_frames": [0, 0.3],
}


def camera_config(
    randomization: dict[str, Any] | None = None, **observation: Any
) -> dict[str, Any]:
    """A small camera."""
    small = {"type": "CameraObservation", "width": 48, "height": 40, "stack_size": 2}
    return {"observation": {**small, **observation}, "randomization": randomization or {}}


def config_of(
    env_id: str, randomization: dict[str, Any] | None = None, **own: Any
) -> dict[str, Any]:
    """`camera_config`, for each agent where a scene has several."""
    config = camera_config(randomization, **own)
    if "multi-agent" in env_id:
        observation = config["observation"]
        config["observation"] = {"type": "MultiAgentObservation", "observation_config": observation}
    return config


def newest_frame(
    env_id: str,
    *,
    steps: int,
    seed: int,
    randomization: dict[str, Any] | None = None,
    **observation: Any,
) -> Any:
    """The newest frame of an RGB camera after some idle steps, uint8 (height, width, 3)."""
    config = camera_config(randomization, **{"stack_size": 1, **observation})
    env = drive_rl.make(env_id, config=config)
    picture, _ = env.reset(seed=seed)
    for _ in range(steps):
        picture = env.step(idle(env))[0]
    env.close()
    return picture[-3:].transpose(1, 2, 0)


def idle(env: Any) -> Any:
    """The action that changes nothing."""
    if hasattr(env.action_space, "n"):
        return 1
    return np.zeros(env.action_space.shape, np.float32)


def actions(env: Any, count: int, seed: int = 0) -> list[Any]:
    """Actions for a single environment, drawn from a generator of their own."""
    rng = np.random.default_rng(seed)

    def draw(space: Any) -> Any:
        if hasattr(space, "spaces"):
            return tuple(draw(each) for each in space.spaces)
        if hasattr(space, "n"):
            return int(rng.integers(space.n))
        return rng.uniform(-1, 1, space.shape).astype(np.float32)

    return [draw(env.action_space) for _ in range(count)]


def as_arrays(observation: Any) -> list[Any]:
    """An observation, or each agent's."""
    return list(observation) if isinstance(observation, tuple) else [observation]


def compiled(env_id: str, config: dict[str, Any]) -> CompiledEnv:
    """A single compiled environment, reset under seed 3."""
    env = drive_rl.make(env_id, config=config, engine="compiled")
    env.reset(seed=3)
    inner = env.unwrapped
    assert isinstance(inner, CompiledEnv)
    return inner


@bare
def _fill(vehicle, optics, camera, scratch):  # type: ignore[no-untyped-def]
    # As when a frame is drawn: without reference counting, which aim is compiled without there.
    frames.aim(vehicle, optics, camera, scratch)


@kernel
def _aim(vehicle, optics, camera, scratch):  # type: ignore[no-untyped-def]
    _fill(vehicle, optics, camera, scratch)


def pixels_of(env: CompiledEnv, options: CameraOptions, points: Any) -> Any:
    """Where the camera of a compiled environment shows world points (x, y, height): (n, 2)."""
    camera = np.zeros(1, CAMERA_DTYPE).view(np.recarray)
    camera[0]["values"] = [factor.default for factor in FACTORS]
    scratch = frames.make_scratch(options.width, options.height)
    vehicle = env.simulator.state.vehicles[0, int(env.simulator.state.agents[0, 0])]
    look_through = env._compiled.camera
    assert look_through is not None
    _aim(vehicle, look_through._optics[0], camera[0], scratch)
    return project_points(scratch.lens, scratch.foot, points)
