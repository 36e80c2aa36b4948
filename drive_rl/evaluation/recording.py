"""Every simulation step, not only every decision: what bodies did between two observations.

Both engines can be made to report the frames of each decision as `info["frames"]`: float64 of
shape (frames, bodies, fields), bodies as `kinematics.FIELDS`, the (first) ego in row 0, rows
without a body with role NOBODY.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from drive_rl.environments import make_vec
from drive_rl.environments.perceived import perceived_vec
from drive_rl.environments.vector import make_reference_vector
from drive_rl.evaluation.kinematics import EGO, FIELDS, NOBODY, OBSTACLE, ROLE, VEHICLE
from drive_rl.presets import EnvironmentSpec

FloatArray = npt.NDArray[np.float64]

MOST_BODIES = 64
"""Bodies reported of a reference environment; of more, the nearest to the ego."""


def make_recording_vec(
    spec: EnvironmentSpec, num_envs: int, *, engine: str, num_threads: int | None = None
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """A vector environment, autoreset disabled, that reports frames where its engine can.

    Args:
        engine: "compiled" or "reference".
    """
    if engine == "reference":
        recorded = make_reference_vector(spec, num_envs, AutoresetMode.DISABLED, wrap=FrameRecorder)
        return perceived_vec(recorded, spec)
    envs = make_vec(
        spec,
        num_envs,
        engine=engine,
        num_threads=num_threads,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    if hasattr(envs, "record_frames"):
        envs.record_frames(True)
    return envs


class FrameRecorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Reports the frames of a reference environment.

    highway-env says nothing between two decisions, so its road is listened to: `road.step` runs
    once per frame.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._scene: Any = env.unwrapped.scene_env  # type: ignore[attr-defined]
        config = self._scene.config
        self._frames_per_decision = int(
            config["simulation_frequency"] // config["policy_frequency"]
        )
        self._frames: list[FloatArray] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, on a new road."""
        result = self.env.reset(**kwargs)
        road = self._scene.road
        step = road.step

        def listened(dt: float) -> None:
            step(dt)
            self._frames.append(bodies_of(self._scene))

        road.step = listened
        return result

    def step(self, action: Any) -> tuple[Any, Any, Any, bool, dict[str, Any]]:
        """One decision, its frames in the info."""
        self._frames.clear()
        observation, reward, terminated, truncated, info = self.env.step(action)
        frames = np.zeros((self._frames_per_decision, MOST_BODIES, len(FIELDS)))
        frames[..., ROLE] = NOBODY
        latest = self._frames[-self._frames_per_decision :]
        if latest:
            frames[-len(latest) :] = np.stack(latest)
        return observation, reward, terminated, truncated, {**info, "frames": frames}


def bodies_of(scene: Any) -> FloatArray:
    """The bodies of a highway-env scene now, (MOST_BODIES, fields)."""
    from highway_env.vehicle.objects import Landmark

    ego = scene.vehicle
    entries = [(vehicle, VEHICLE) for vehicle in scene.road.vehicles if vehicle is not ego]
    entries += [(o, OBSTACLE) for o in scene.road.objects if not isinstance(o, Landmark)]
    rows = np.array(
        [
            (*o.position, o.heading, o.speed, o.LENGTH, o.WIDTH, o.crashed, role)
            for o, role in [(ego, EGO), *entries]
        ],
        dtype=np.float64,
    )
    if len(rows) > MOST_BODIES:
        apart = np.hypot(rows[:, 0] - rows[0, 0], rows[:, 1] - rows[0, 1])
        nearest = np.argpartition(apart, MOST_BODIES)[:MOST_BODIES]
        rows = rows[np.sort(nearest)]  # the ego, 0 m away, stays first
    bodies = np.zeros((MOST_BODIES, len(FIELDS)))
    bodies[:, ROLE] = NOBODY
    bodies[: len(rows)] = rows
    return bodies
