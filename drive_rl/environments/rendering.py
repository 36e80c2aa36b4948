"""Draws a scene, without a window: what videos, `render()` and the viewer show.

    image = draw(scene, (600, 150))                     # uint8 (150, 600, 3)

No display is opened or needed, and nothing depends on the video driver of SDL. For more than
one picture keep a `Renderer`: it keeps the ground and the vehicles it has drawn.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pygame

from drive_rl.environments import palette
from drive_rl.environments.road_layer import RoadLayer
from drive_rl.environments.scene import FloatArray, Kind, LaneShape, SceneState, planned_path
from drive_rl.environments.sprites import Look, SpriteSheet

BRAKING = -1.0
"""Brake lights are on below this commanded acceleration [m/s^2]."""
BLINKS_PER_SECOND = 1.5
_BGRX = (0xFF0000, 0x00FF00, 0x0000FF)  # masks of red, green and blue, as pygame makes surfaces


@dataclasses.dataclass(frozen=True)
class View:
    """What part of the world the picture shows; highway-env's keys of the same names.

    Attributes:
        scaling: [px/m].
        centering_position: where in the picture the ego is, as fractions of width and height.
        steady: on a road that runs straight across the picture, keep the road in the middle and
            let the ego change lanes, where the road fits into the picture.
    """

    scaling: float = 5.5
    centering_position: tuple[float, float] = (0.3, 0.5)
    steady: bool = False

    def __post_init__(self) -> None:
        if not 0.05 <= self.scaling <= 200:
            raise ValueError(f"scaling {self.scaling} px/m is not between 0.05 and 200")

    def origin(self, scene: SceneState, size: tuple[int, int]) -> tuple[int, int]:
        """The world's pixel at the top left of a picture of `size` that follows the ego."""
        if len(scene):
            (x, y), heading = scene.position[scene.ego], scene.heading[scene.ego]
        else:
            x, y, heading = 0.0, 0.0, 0.0
        # Look ahead: an ego that drives to the left has its room to the left.
        across = 0.5 + (self.centering_position[0] - 0.5) * math.cos(heading)
        down = self.centering_position[1]
        road = _level_road(scene.lanes) if self.steady else None
        if road is not None and (road[1] - road[0]) * self.scaling <= size[1]:
            y, down = (road[0] + road[1]) / 2, 0.5
        return (
            round(x * self.scaling - across * size[0]),
            round(y * self.scaling - down * size[1]),
        )


def fitting_view(config: Mapping[str, Any], size: tuple[int, int]) -> View:
    """The view that shows at least what highway-env's picture of this configuration would.

    Args:
        config: with highway-env's `scaling`, `screen_width`, `screen_height`,
            `centering_position`; defaults stand in for what is missing.
        size: of the picture [px].
    """
    enlarged = min(
        size[0] / float(config.get("screen_width", 600)),
        size[1] / float(config.get("screen_height", 150)),
    )
    across, down = config.get("centering_position", (0.3, 0.5))
    scaling = float(np.clip(float(config.get("scaling", 5.5)) * enlarged, 0.05, 200.0))
    return View(scaling, (float(across), float(down)), steady=True)


@functools.lru_cache(maxsize=32)
def _level_road(lanes: tuple[LaneShape, ...]) -> tuple[float, float] | None:
    """Top and bottom of a road whose lanes all run along x [m]; None for any other road."""
    heights = [lane.centerline[:, 1] for lane in lanes]
    if not heights or any(np.ptp(height) > 0.5 for height in heights):
        return None
    edges = [
        height.mean() + side * lane.width / 2
        for lane, height in zip(lanes, heights, strict=True)
        for side in (-1, 1)
    ]
    return float(min(edges)), float(max(edges))


@dataclasses.dataclass(frozen=True)
class Overlay:
    """What may be drawn over the scene.

    Attributes:
        plan: whether the lane that the ego means to follow is marked.
        trails: paths of the past, oldest point first, each (num_points, 2) [m].
    """

    plan: bool = False
    trails: Sequence[FloatArray] = ()


class Renderer:
    """Draws scenes, keeping the ground and the sprites between pictures."""

    def __init__(self) -> None:
        self._road = RoadLayer()
        self._sprites = SpriteSheet()

    def draw(
        self,
        target: pygame.Surface,
        scene: SceneState,
        view: View,
        overlay: Overlay | None = None,
    ) -> None:
        """Cover `target`, a surface without alpha, with the scene."""
        origin = view.origin(scene, target.get_size())
        self._road.draw(target, scene.lanes, origin, view.scaling)
        offset = np.array(origin, dtype=np.float64)
        if overlay is not None:
            for trail in overlay.trails:
                _draw_trail(target, trail * view.scaling - offset)
            path = planned_path(scene)
            if overlay.plan and len(path) > 1:
                _draw_plan(target, path * view.scaling - offset, 1.0 * view.scaling)
        pixels = scene.position * view.scaling - offset
        visible = self._visible(scene, pixels, view.scaling, target.get_size())
        # Goals lie on the ground, obstacles stand on it, and the ego is never covered.
        rank = np.array([3, 2, 1, 0])[scene.kind]  # by Kind
        for index in visible[np.argsort(rank[visible], kind="stable")]:
            look = _look(scene, int(index))
            x, y = pixels[index]
            self._sprites.draw(target, look, x, y, float(scene.heading[index]), view.scaling)

    @staticmethod
    def _visible(
        scene: SceneState, pixels: FloatArray, scaling: float, size: tuple[int, int]
    ) -> npt.NDArray[np.intp]:
        reach = (np.maximum(scene.length, scene.width)[:, None] + 2.0) * scaling
        inside = (pixels > -reach) & (pixels < np.array(size) + reach)
        return np.flatnonzero(inside.all(axis=1))


def draw(
    scene: SceneState,
    size: tuple[int, int] = (600, 150),
    *,
    view: View | None = None,
    overlay: Overlay | None = None,
    renderer: Renderer | None = None,
) -> npt.NDArray[np.uint8]:
    """One picture of a scene.

    Args:
        scene: what to draw.
        size: width and height [px].
        view: scale and place of the ego; highway-env's defaults where None.
        overlay: planned lane and trails.
        renderer: one that was used before, to be faster.

    Returns:
        uint8 (height, width, 3).
    """
    surface = pygame.Surface(size, 0, 32)
    (renderer or Renderer()).draw(surface, scene, view or View(), overlay)
    return to_array(surface)


def to_array(surface: pygame.Surface) -> npt.NDArray[np.uint8]:
    """A surface's picture as uint8 (height, width, 3)."""
    # Several times as fast as surfarray, whose arrays have the columns first.
    pixels = np.frombuffer(bytearray(pygame.image.tobytes(surface, "RGB")), np.uint8)
    return pixels.reshape(surface.get_height(), surface.get_width(), 3)


def to_frame(surface: pygame.Surface) -> npt.NDArray[np.uint8]:
    """A surface's picture as `VideoFile` takes it with least work: (height, width, 4), BGRX."""
    if surface.get_bytesize() != 4 or surface.get_masks()[:3] != _BGRX:
        return to_array(surface)
    memory: Any = surface.get_view("0")
    rows = np.frombuffer(memory, np.uint8).reshape(-1, surface.get_pitch())
    # A copy, ten times as fast as one in another order; the surface is locked while it is viewed.
    pixels: npt.NDArray[np.uint8] = rows[:, : 4 * surface.get_width()].copy()
    return pixels.reshape(surface.get_height(), surface.get_width(), 4)


def _look(scene: SceneState, index: int) -> Look:
    kind = int(scene.kind[index])
    length, width = float(scene.length[index]), float(scene.width[index])
    if kind == Kind.GOAL:  # highway-env's is a mark of 2 m; what is to fit there is the ego
        return Look(kind, float(scene.length[scene.ego]), float(scene.width[scene.ego]))
    if kind == Kind.OBSTACLE:
        return Look(kind, length, width)
    crashed = bool(scene.crashed[index])
    blinking = (scene.time * BLINKS_PER_SECOND) % 1.0 < 0.6
    steering = float(np.clip(scene.steering[index], -0.8, 0.8))
    return Look(
        kind=kind,
        length=length,
        width=width,
        crashed=crashed,
        braking=bool(scene.acceleration[index] < BRAKING and scene.speed[index] > 0.1),
        indicator=int(scene.lane_change[index]) if blinking and not crashed else 0,
        steering=round(math.degrees(steering) / 5),
    )


def _draw_plan(target: pygame.Surface, points: FloatArray, width: float) -> None:
    """A translucent band along pixel `points`, fading out ahead."""
    tangents = np.gradient(points, axis=0)
    tangents /= np.maximum(np.hypot(tangents[:, 0], tangents[:, 1])[:, None], 1e-9)
    side = np.stack([-tangents[:, 1], tangents[:, 0]], axis=1) * (width / 2)
    left, right = points - side, points + side
    low = np.floor(np.minimum(left, right).min(axis=0)).astype(int)
    high = np.ceil(np.maximum(left, right).max(axis=0)).astype(int) + 1
    box = pygame.Rect(*low, *(high - low)).clip(target.get_rect())
    if not box.width or not box.height:
        return
    band = pygame.Surface(box.size, pygame.SRCALPHA, 32)
    left, right = left - box.topleft, right - box.topleft
    count = len(points) - 1
    for i in range(count):
        alpha = round(110 * (1 - i / count))
        quad = [left[i], left[i + 1], right[i + 1], right[i]]
        pygame.draw.polygon(band, (*palette.PLAN, alpha), [tuple(p) for p in quad])
    target.blit(band, box.topleft)


def _draw_trail(target: pygame.Surface, points: FloatArray) -> None:
    """A line along pixel `points` that grows stronger towards the present."""
    if len(points) < 2:
        return
    for i, part in enumerate(np.array_split(np.arange(len(points) - 1), min(8, len(points) - 1))):
        color = palette.mixed(palette.ASPHALT, palette.MARKING, 0.15 + 0.08 * i)
        pygame.draw.aalines(target, color, False, points[part[0] : part[-1] + 2].tolist())
