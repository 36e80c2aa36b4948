"""The cameras of running environments: the one that a policy sees through, and free ones.

A free camera renders any `SceneState`, whichever engine simulated it and whatever the policy
observes. Its frames are those of `CameraObservation`, drawn by the same kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.camera import Camera, CameraOptions, Randomization
from drive_rl.environments.compiled import road_network
from drive_rl.environments.scene import Kind, SceneState
from drive_rl.simulator import state as st
from drive_rl.textures.banks import bank_names, load_bank

Picture = npt.NDArray[np.uint8]

VERGES = "verges"
"""The bank of what lies beside roads."""

FREE_VIEWS = {
    "front": CameraOptions(width=288, height=180, field_of_view=90.0, stack_size=1),
    "top": CameraOptions(view="top", width=240, height=200, stack_size=1),
}
"""Free cameras by name."""


def camera_of(envs: Any) -> Camera | None:
    """What a vector environment (of this process) observes with, where that is a camera."""
    simulator = getattr(envs, "simulator", None)
    if simulator is not None:
        observer = simulator.observer
        return observer if isinstance(observer, Camera) else None
    sight = getattr(_first_env(envs), "_sight", None)
    return None if sight is None else sight.camera


def newest_frame(camera: Camera) -> Picture:
    """What the first agent of the first environment saw last, (height, width, 3)."""
    return as_picture(camera.observations[0, 0, -1])


def as_picture(frame: Any) -> Picture:
    """A frame (channels, height, width), grey or coloured, as (height, width, 3); a copy."""
    channels = np.asarray(frame, np.uint8)
    return np.ascontiguousarray(
        np.broadcast_to(channels, (3, *channels.shape[1:])).transpose(1, 2, 0)
    )


def road_textures(camera: Camera | None = None) -> tuple[list[str], Picture]:
    """A tile of each kind of road in the banks that ship, and in the camera's own.

    Returns:
        Names ("bank: class"), and tiles, (count, side, side, 3); a side for all.
    """
    banks = [name for name in bank_names() if name != VERGES]
    own = None if camera is None else camera.randomization.textures.get("road_texture")
    if own is not None and own.bank not in banks:
        banks.append(own.bank)
    names, tiles = [], []
    for name in banks:
        bank = load_bank(name)
        for kind in dict.fromkeys(row["class"] for row in bank.table):
            if kind == "grass":  # a lawn among the photographs
                continue
            names.append(f"{name}: {kind}".replace("_", " "))
            tiles.append(bank.tiles[bank.select(classes=[kind])[0]])
    side = min(len(tile) for tile in tiles)
    fitted = [tile[:: len(tile) // side, :: len(tile) // side] for tile in tiles]
    return names, np.stack(fitted)


def redraw(envs: Any, road: int) -> None:
    """Give the road of the first environment another texture, and take its last frame again.

    Args:
        envs: whose observer is a camera. What it observed before is not touched: look at
            `Camera.observations` for what it observes now.
        road: number of the texture.
    """
    camera = camera_of(envs)
    assert camera is not None
    stacks = camera.observations.copy()
    record = camera.cameras[0]
    record.road = road
    frame = int(record.frame)
    record.frame = 0  # an episode's first frame is taken whatever was dropped
    camera.advance()
    mask = np.zeros(camera.num_envs, np.bool_)
    mask[0] = True
    camera.observe(_state_of(envs), mask, 0, 1)
    record.frame = frame
    camera.observations[0, :, :-1] = stacks[0, :, :-1]
    camera.observations[1:] = stacks[1:]


def _state_of(envs: Any) -> st.State:
    simulator = getattr(envs, "simulator", None)
    if simulator is not None:
        state: st.State = simulator.state
        return state
    from drive_rl.environments.reference_camera import state_of

    return state_of(_first_env(envs).scene_env)


def _first_env(envs: Any) -> Any:
    inner = getattr(envs, "envs", None)
    return inner[0].unwrapped if inner else None


def network_of(envs: Any) -> Any:
    """highway-env's RoadNetwork of the first environment; None where there is none."""
    spec = getattr(envs, "spec_env", None)
    if getattr(envs, "engine", None) == "compiled" and spec is not None:
        return road_network(spec.base, spec.full_config)
    scene_env = getattr(_first_env(envs), "scene_env", None)
    road = getattr(scene_env, "road", None)
    return None if road is None else road.network


class FreeCamera:
    """A camera that looks at scenes, from the ego.

    Args:
        options: of the camera.
        network: the road, highway-env's RoadNetwork.
        like: a camera whose weather and light this one has, as far as its first episode goes.
        names, tiles: of `road_textures`.
    """

    def __init__(
        self,
        options: CameraOptions,
        network: Any,
        like: Camera | None,
        names: Sequence[str],
        tiles: Picture,
    ) -> None:
        varies = Randomization() if like is None else like.randomization
        self._camera = Camera(options, varies, network, 1)
        self._like = like
        self._first_tile = self._camera.offer_roads(tiles, names)
        self._mask = np.ones(1, np.bool_)
        self._camera.begin(self._mask, 0, 1)

    def look(self, scene: SceneState, texture: int | None) -> Picture:
        """What it sees, uint8 (height, width, 3).

        Args:
            texture: which of `road_textures`; None leaves the road as it is.
        """
        camera = self._camera
        record = camera.cameras[0]
        if self._like is not None:
            # Both drew their tiles from the same banks, in the same order.
            np.asarray(camera.cameras)[0] = np.asarray(self._like.cameras)[0]
        record.frame = 0
        if texture is not None:
            record.road = self._first_tile + texture
        camera.observe(state_of_scene(scene), self._mask, 0, 1)
        return newest_frame(camera)


def state_of_scene(scene: SceneState) -> st.State:
    """What a camera sees of a scene, as the simulator's state."""
    on_road = np.flatnonzero(scene.kind <= Kind.TRAFFIC)
    others = np.flatnonzero(scene.kind > Kind.TRAFFIC)
    capacity = st.Capacity(max(len(on_road), 1), len(others), 0, 1)
    state = st.allocate(1, capacity)
    state.environments[0].num_vehicles = len(on_road)
    state.environments[0].num_objects = len(others)
    for records, entries in ((state.vehicles[0], on_road), (state.objects[0], others)):
        records = records[: len(entries)]
        records.x, records.y = scene.position[entries].T
        for name in ("heading", "speed", "length", "width", "crashed", "acceleration"):
            setattr(records, name, getattr(scene, name)[entries])
    vehicles = state.vehicles[0, : len(on_road)]
    vehicles.kind = st.IDM
    # Paint follows `delta`: a number of its own keeps a vehicle's when others leave.
    vehicles.delta = 5.0 + scene.identity[on_road] % 4093
    objects = state.objects[0, : len(others)]
    objects.kind = np.where(scene.kind[others] == Kind.GOAL, st.LANDMARK, st.OBSTACLE)
    ego = np.flatnonzero(on_road == scene.ego)
    state.agents[0, 0] = int(ego[0]) if len(ego) else 0
    return state
