"""highway-env's GrayscaleObservation, drawn for a batch: the same grey pixels as its viewer's.

What is drawn, in which order and how lengths are cut to whole pixels is that of highway-env's
`RoadGraphics`, `LaneGraphics`, `RoadObjectGraphics` and `VehicleGraphics`. Colours are greys from
the start: each colour that these know is weighted once.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.camera import grayscale_frames
from drive_rl.camera.grayscale_frames import (
    BODY_COLORS,
    COLORS,
    LIGHTENED,
    LINE_DTYPE,
    STRIPE_WIDTH,
    TYRE_LENGTH,
    VIEW_DTYPE,
    Images,
    Paint,
    Sight,
)
from drive_rl.camera.ground import (
    CONTINUOUS,
    NONE,
    STRIPE_LENGTH,
    STRIPE_SPACING,
    STRIPED,
    lanes_of,
)
from drive_rl.camera.stacks import Stacks
from drive_rl.simulator.network import Network
from drive_rl.simulator.scenes.parking import WALLS_LENGTH
from drive_rl.simulator.vehicles import LENGTH


@dataclasses.dataclass(frozen=True)
class GrayscaleOptions:
    """The keys of a GrayscaleObservation.

    Attributes:
        width, height: `observation_shape` [px].
        stack_size: pictures in an observation, the newest last.
        weights: of red, green and blue.
        scaling: [px/m].
        centering_position: where the observer stands: shares of width and height.
        green_agents: agents are drawn in the ego's colour whatever moves them (parking).
    """

    width: int
    height: int
    stack_size: int
    weights: tuple[float, float, float]
    scaling: float
    centering_position: tuple[float, float]
    green_agents: bool = False


class Grayscale:
    """The grey pictures of a batch of environments on one road network.

    Args:
        options: of all pictures.
        road_network: highway-env's RoadNetwork.
        network: the same, flattened.
        num_envs: environments.
        num_agents: agents that observe, in each environment.
    """

    BEGIN = staticmethod(grayscale_frames.begin)
    LOOK = staticmethod(grayscale_frames.observe)

    def __init__(
        self,
        options: GrayscaleOptions,
        road_network: Any,
        network: Network,
        num_envs: int,
        num_agents: int = 1,
    ) -> None:
        self.options = options
        self._network = network
        self._view = _view(options)
        self._paint = _paint(options, road_network)
        self._frames = np.zeros(num_envs, np.int64)  # of the episode
        self._scratch = threading.local()
        shape = (options.stack_size, 1, options.width, options.height)
        self.stacks = Stacks((num_envs, num_agents, *shape))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one agent's observation: (stack_size, width, height)."""
        return self.options.stack_size, self.options.width, self.options.height

    @property
    def observations(self) -> NDArray[np.uint8]:
        """Stacks of pictures, newest last: (num_envs, num_agents, stack, 1, width, height)."""
        current: NDArray[np.uint8] = self.stacks.current
        return current

    def seed(self, env: int, words: Any) -> None:
        """Nothing is random here."""

    def advance(self, keep: Any = None) -> NDArray[np.uint8]:
        """Give the array that the next pictures go to; rows of the mask `keep` are carried over."""
        stacks: NDArray[np.uint8] = self.stacks.advance(keep)
        return stacks

    def sight(self) -> Sight:
        """What the stages look with, in calls of this thread within one step."""
        images: Images | None = getattr(self._scratch, "images", None)
        if images is None:
            # As large as the largest body needs that a scene has
            longest = max(WALLS_LENGTH, LENGTH + 2 * TYRE_LENGTH)
            body, tyre = (int(each * self.options.scaling) + 1 for each in (longest, TYRE_LENGTH))
            images = Images(np.zeros((body, body), np.int16), np.zeros((tyre, tyre), np.int16))
            self._scratch.images = images
        return Sight(
            self._network, self._paint, self._view, images, self._frames, self.stacks.previous
        )

    def get_state(self, rows: Any) -> dict[str, NDArray[Any]]:
        """Stacks of some environments."""
        return {"frame": self._frames[rows].copy(), "frames": self.stacks.current[rows].copy()}

    def set_state(self, snapshot: Mapping[str, Any], rows: Any) -> None:
        """Put stacks back."""
        self._frames[rows] = snapshot["frame"]
        self.stacks.current[rows] = snapshot["frames"]

    def copy_from(self, other: Grayscale, source: Any, target: Any) -> None:
        """Copy environments of another batch like this one, or of this one itself."""
        self._frames[target] = other._frames[source]
        self.stacks.current[target] = other.stacks.current[source]


def _view(options: GrayscaleOptions) -> Any:
    view = np.zeros(1, VIEW_DTYPE).view(np.recarray)
    v = view[0]
    v.scaling, v.green_agents = options.scaling, options.green_agents
    v.across, v.down = options.centering_position
    sides = options.height + options.width
    v.stripes = int(2 * sides / (STRIPE_SPACING * options.scaling))
    v.thickness = max(int(STRIPE_WIDTH * options.scaling), 1)
    return view


def _paint(options: GrayscaleOptions, road_network: Any) -> Paint:
    lines: list[tuple[Any, ...]] = []
    stripes: list[tuple[float, ...]] = []
    lanes = lanes_of(road_network)
    for row, lane in enumerate(lanes):
        for side, style in zip((-0.5, 0.5), lane.line_types, strict=True):
            found: list[tuple[float, ...]] = []
            if style in (STRIPED, CONTINUOUS):
                found = _stripes(lane, side, STRIPE_LENGTH if style == STRIPED else STRIPE_SPACING)
            if style != NONE:
                lines.append((row, int(style), side, len(stripes), len(found)))
            stripes.extend(found)
    return Paint(
        np.array(lines, LINE_DTYPE).view(np.recarray),
        np.array(stripes, np.float64).reshape(-1, 4),
        grays(options),
    )


def _stripes(lane: Any, side: float, length: float) -> list[tuple[float, ...]]:
    """All stripes of a line, as far as they are painted: the last may be too short for it."""
    found: list[tuple[float, ...]] = []
    while True:
        start = len(found) * STRIPE_SPACING
        end = min(start + length, lane.length)
        if not end - start > 0.5 * STRIPE_LENGTH:
            return found
        lateral = side * lane.width_at(start)
        found.append((*lane.position(start, lateral), *lane.position(end, lateral)))


def grays(options: GrayscaleOptions) -> NDArray[np.uint8]:
    """The colours as highway-env weights them: whole pictures at once, which decides how the sum
    is rounded, and with it whether 100 becomes 99."""
    lightened = [tuple(min(int(c / LIGHTENED), 255) for c in color) for color in BODY_COLORS]
    found = []
    for color in (*COLORS, *BODY_COLORS, *lightened):
        picture = np.zeros((options.width, options.height, 3), np.uint8)
        picture[...] = color
        gray = np.dot(picture, options.weights).clip(0, 255).astype(np.uint8)
        found.append(np.bincount(gray.ravel()).argmax())
    return np.array(found, np.uint8)
