"""A batch of cameras: what the environments hold, seed, reset and read frames from."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.camera import frames
from drive_rl.camera.factors import CAMERA_DTYPE, NAMES, Variation, stream_of
from drive_rl.camera.ground import make_ground
from drive_rl.camera.lens import make_noise
from drive_rl.camera.options import CameraOptions
from drive_rl.camera.pyramids import Textures, make_textures
from drive_rl.camera.randomization import Randomization
from drive_rl.camera.sky import make_clouds, make_trees
from drive_rl.camera.stacks import Stacks
from drive_rl.simulator.state import State

TILE_METRES = 4.0  # a tile's side on the ground

_tables: dict[str, Any] = {}


class Camera:
    """Cameras of a batch of environments on one road network.

    Args:
        options: of all cameras.
        randomization: what varies from episode to episode.
        road_network: highway-env's RoadNetwork.
        num_envs: environments.
        num_agents: agents that have a camera, in each environment.
    """

    BEGIN = staticmethod(frames.begin)
    LOOK = staticmethod(frames.observe)

    def __init__(
        self,
        options: CameraOptions,
        randomization: Randomization,
        road_network: Any,
        num_envs: int,
        num_agents: int = 1,
    ) -> None:
        self.options = options
        self.randomization = randomization
        self.num_envs = num_envs
        self.cameras: Any = np.zeros(num_envs, CAMERA_DTYPE).view(np.recarray)
        channels, height, width = options.num_channels, options.height, options.width
        self.stacks = Stacks((num_envs, num_agents, options.stack_size, channels, height, width))
        self.set_road(road_network)
        self._optics = _optics(options)
        low, high = randomization.limits()
        roads, self.road_names, road_tiles = _textures(randomization, "road_texture", options)
        verges, self.verge_names, verge_tiles = _textures(randomization, "verge_texture", options)
        self._variation = Variation(low, high, road_tiles, verge_tiles)
        if not _tables:
            _tables.update(clouds=make_clouds(), trees=make_trees(), noise=make_noise())
        self._surfaces = frames.Surfaces(roads, verges, **_tables)
        self._scratch = threading.local()

    def set_road(self, road_network: Any) -> None:
        """Show another road."""
        self._ground = make_ground(road_network)

    def offer_roads(self, tiles: Any, names: Any) -> int:
        """Add tiles to the road's textures, behind those that episodes draw from.

        Args:
            tiles: uint8 (count, side, side, 3), of any side that is a power of two.
            names: of the tiles, (count,).

        Returns:
            The number of the first: `cameras[env].road` takes it, until the next episode.
        """
        roads = self._surfaces.road
        more = _textures_of(_of_side(tiles, int(roads.side[0])), self.options)
        first = len(roads.texels)
        roads = roads._replace(
            texels=np.concatenate([roads.texels, more.texels]),
            smooth=np.concatenate([roads.smooth, more.smooth]),
        )
        self._surfaces = self._surfaces._replace(road=roads)
        self.road_names = np.concatenate([self.road_names, np.asarray(names, np.str_)])
        return first

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one agent's observation: (stack_size * channels, height, width)."""
        return self.options.shape

    @property
    def observations(self) -> NDArray[np.uint8]:
        """Stacks of frames, newest last: (num_envs, num_agents, stack, channels, height, width)."""
        current: NDArray[np.uint8] = self.stacks.current
        return current

    def seed(self, env: int, words: Any) -> None:
        """Start an environment's stream, from the words of its freshly seeded generator."""
        self.cameras[env].stream = stream_of(words)
        self.cameras[env].episode = 0

    def position(self, env: int) -> tuple[int, int]:
        """Where an environment's stream is: the stream and the episodes drawn from it."""
        camera = self.cameras[env]
        return int(camera.stream), int(camera.episode)

    def go_to(self, env: int, stream: int, episode: int) -> None:
        """Put an environment's stream somewhere: the next episode is number `episode`."""
        self.cameras[env].stream, self.cameras[env].episode = stream, episode

    def advance(self, keep: Any = None) -> NDArray[np.uint8]:
        """Give the array that the next frames go to; rows of the mask `keep` are carried over."""
        stacks: NDArray[np.uint8] = self.stacks.advance(keep)
        return stacks

    def begin(self, mask: Any, low: int, high: int) -> None:
        """Draw what varies, in the environments of a mask within [low, high): an episode begins."""
        self.BEGIN(self.sight(), mask, low, high)

    def observe(self, state: State, mask: Any, low: int, high: int) -> None:
        """Add a frame to the stacks of the environments of a mask within [low, high)."""
        self.LOOK(state, self.sight(), mask, self.stacks.current, low, high)

    def sight(self) -> frames.Sight:
        """What the stages look with, in calls of this thread within one step."""
        scratch = getattr(self._scratch, "value", None)
        if scratch is None:
            scratch = frames.make_scratch(self.options.width, self.options.height)
            self._scratch.value = scratch
        return frames.Sight(
            self._ground, self._surfaces, self._optics, self.cameras, self._variation, scratch,
            self.stacks.previous,
        )  # fmt: skip

    def drawn(self) -> dict[str, NDArray[Any]]:
        """What varies and what was drawn for the present episodes, arrays (num_envs,)."""
        columns = np.asarray(self.cameras)["values"].T.copy()  # (len(NAMES), num_envs)
        values = {name: columns[NAMES.index(name)] for name in self.randomization.ranges}
        if "road_texture" in self.randomization.textures:
            values["road_texture"] = self.road_names[self.cameras.road]
        if "verge_texture" in self.randomization.textures:
            values["verge_texture"] = self.verge_names[self.cameras.verge]
        return values

    def get_state(self, rows: Any) -> dict[str, NDArray[Any]]:
        """Streams and stacks of some environments."""
        records = np.ascontiguousarray(np.asarray(self.cameras)[rows])
        records = records.view(np.uint8).reshape(len(records), CAMERA_DTYPE.itemsize)
        return {"camera": records.copy(), "frames": self.stacks.current[rows].copy()}

    def set_state(self, snapshot: Mapping[str, Any], rows: Any) -> None:
        """Put streams and stacks back."""
        records = np.ascontiguousarray(snapshot["camera"])
        np.asarray(self.cameras)[rows] = records.view(CAMERA_DTYPE)[..., 0]
        self.stacks.current[rows] = snapshot["frames"]

    def copy_from(self, other: Camera, source: Any, target: Any) -> None:
        """Copy environments of another camera like this one, or of this one itself."""
        np.asarray(self.cameras)[target] = np.asarray(other.cameras)[source]
        self.stacks.current[target] = other.stacks.current[source]


def _optics(options: CameraOptions) -> Any:
    optics = np.zeros(1, frames.OPTICS_DTYPE).view(np.recarray)
    o = optics[0]
    o.plan, o.rotate = options.view == "top", options.rotate
    o.field_of_view, o.pitch = options.field_of_view, options.pitch
    o.ahead, o.right, o.up = options.position
    o.scaling = options.pixels_per_metre
    o.across, o.down = options.centering_position
    return optics


def _textures(
    randomization: Randomization, surface: str, options: CameraOptions
) -> tuple[Textures, NDArray[np.str_], NDArray[np.int64]]:
    """The tiles that may be drawn, their names, and their numbers."""
    bank, chosen = randomization.tiles(surface)
    names = np.array([bank.table[index]["name"] for index in chosen], np.str_)
    textures = _textures_of(bank.tiles[chosen], options)
    return textures, names, np.arange(len(chosen), dtype=np.int64)


def _textures_of(tiles: Any, options: CameraOptions) -> Textures:
    if not options.textures:
        mean = tiles.mean(axis=(1, 2), keepdims=True)
        tiles = np.broadcast_to(np.rint(mean), tiles.shape).astype(np.uint8)
    return make_textures(tiles, TILE_METRES)


def _of_side(tiles: Any, side: int) -> Any:
    """Tiles at another side, both powers of two: averaged down, or repeated."""
    count, own = tiles.shape[:2]
    if own > side:
        shape = (count, side, own // side, side, own // side, 3)
        return np.rint(tiles.reshape(shape).mean(axis=(2, 4))).astype(np.uint8)
    return tiles.repeat(side // own, axis=1).repeat(side // own, axis=2)
