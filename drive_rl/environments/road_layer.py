"""The ground of the picture: roads as quads, drawn once into tiles and then only copied.

A frame of a moving camera shows almost the same ground as the one before. Tiles of ground are
drawn at three times their size and averaged down, so edges and stripes are smooth, and kept
until the road or the scale changes; a frame then costs a copy of some 20 tiles.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import OrderedDict

import numpy as np
import pygame
import pygame.surfarray  # else imported on first use, of which two threads see half each

from drive_rl.environments import palette
from drive_rl.environments.scene import FloatArray, LaneShape, Line

TILE = 256
"""Side of a tile [px]."""
SUPERSAMPLING = 3
"""2 above `FINE` [px/m], where steps are too small to be seen."""
FINE = 25.0
KEPT_TILES = 160

STRIPE_SPACING = 4.33
"""From the start of a stripe to the next, as highway-env's `LaneGraphics` [m]."""
STRIPE_LENGTH = 3.0
MARKING_WIDTH = 0.22
SHOULDER_WIDTH = 0.9
LONGEST_PIECE = 40.0
OVERLAP = 0.12
"""How far lanes reach into each other, so that no grass shows in the seams [m]."""
BAY_LENGTH = 10.0
"""Lanes this short are parking bays: the ground around them is paved [m]."""
PAVED_BEHIND, PAVED_BESIDE = 3.5, 9.0


class RoadMesh:
    """The ground's quads in world coordinates [m], in the order of drawing.

    Attributes:
        quads: corners, (num_quads, 4, 2).
        colors: palette colour of each quad.
        bounds: min x, min y, max x, max y of each quad, (num_quads, 4).
    """

    def __init__(self, lanes: tuple[LaneShape, ...]) -> None:
        layers: list[tuple[palette.Color, list[FloatArray]]] = [
            (
                palette.SHOULDER,
                [self._strip(la, 0.0, la.width / 2 + SHOULDER_WIDTH) for la in lanes],
            ),
            (palette.ASPHALT, [_paved_around_bays(lanes)]),
            (palette.ASPHALT, [self._strip(la, 0.0, la.width / 2 + OVERLAP) for la in lanes]),
            (palette.MARKING, [quads for lane in lanes for quads in self._markings(lane)]),
        ]
        quads = [np.concatenate(parts) if parts else np.empty((0, 4, 2)) for _, parts in layers]
        self.quads = np.concatenate(quads)
        self.colors = [layers[i][0] for i, part in enumerate(quads) for _ in range(len(part))]
        self.bounds = np.concatenate([self.quads.min(axis=1), self.quads.max(axis=1)], axis=1)

    @staticmethod
    def _strip(lane: LaneShape, offset: float, half_width: float) -> FloatArray:
        """A band along the lane, `offset` to its right, (num_pieces, 4, 2)."""
        _, points, normals = _frame(lane.centerline, LONGEST_PIECE)
        points[[0, -1]] += OVERLAP * normals[[0, -1]][:, ::-1] * [[-1, 1], [1, -1]]
        left = points + normals * (offset - half_width)
        right = points + normals * (offset + half_width)
        return np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)

    def _markings(self, lane: LaneShape) -> list[FloatArray]:
        found = []
        for kind, side in ((lane.left_line, -1), (lane.right_line, 1)):
            offset = side * lane.width / 2
            if kind == Line.STRIPED:
                found.append(_stripes(lane.centerline, offset))
            elif kind != Line.NONE:
                found.append(self._strip(lane, offset, MARKING_WIDTH / 2))
        return found

    def within(self, low: FloatArray, high: FloatArray) -> list[int]:
        """Indices of the quads that may touch the box, in the order of drawing."""
        touching = (self.bounds[:, :2] <= high).all(axis=1) & (self.bounds[:, 2:] >= low).all(
            axis=1
        )
        return [int(i) for i in np.flatnonzero(touching)]


class RoadLayer:
    """Draws the ground under a camera, from tiles that are kept between frames."""

    def __init__(self) -> None:
        self._lanes: tuple[LaneShape, ...] | None = None
        self._scaling = 0.0
        self._mesh = RoadMesh(())
        self._tiles: OrderedDict[tuple[int, int], pygame.Surface] = OrderedDict()
        self._grain = _grain()

    def draw(
        self,
        target: pygame.Surface,
        lanes: tuple[LaneShape, ...],
        origin: tuple[int, int],
        scaling: float,
    ) -> None:
        """Fill `target` with ground.

        Args:
            target: surface that is covered whole.
            lanes: the road; a new tuple object discards what was kept.
            origin: pixel coordinates, in the world's plane at `scaling`, of target's top left.
            scaling: [px/m].
        """
        if lanes is not self._lanes:
            self._lanes, self._mesh = lanes, RoadMesh(lanes)
            self._tiles.clear()
        if scaling != self._scaling:
            self._scaling = scaling
            self._tiles.clear()
        width, height = target.get_size()
        columns = range(origin[0] // TILE, (origin[0] + width - 1) // TILE + 1)
        rows = range(origin[1] // TILE, (origin[1] + height - 1) // TILE + 1)
        for column in columns:
            for row in rows:
                place = (column * TILE - origin[0], row * TILE - origin[1])
                target.blit(self._tile(column, row), place)
        self._draw_one_ahead(columns, rows)

    def _draw_one_ahead(self, columns: range, rows: range) -> None:
        """One tile just outside of the picture, so that none has to be drawn in a hurry."""
        for column in (columns.stop, columns.start - 1):
            for row in rows:
                if (column, row) not in self._tiles:
                    self._tile(column, row)
                    return

    def _tile(self, column: int, row: int) -> pygame.Surface:
        key = (column, row)
        tile = self._tiles.get(key)
        if tile is None:
            tile = self._tiles[key] = self._draw_tile(column, row)
            while len(self._tiles) > KEPT_TILES:
                self._tiles.popitem(last=False)
        else:
            self._tiles.move_to_end(key)
        return tile

    def _draw_tile(self, column: int, row: int) -> pygame.Surface:
        finer = SUPERSAMPLING if self._scaling <= FINE else 2
        low = np.array([column, row]) * (TILE / self._scaling)
        found = self._mesh.within(low, low + TILE / self._scaling)
        if found:
            large = pygame.Surface((TILE * finer, TILE * finer), 0, 32)
            large.fill(palette.GRASS)
            corners = (self._mesh.quads[found] - low) * (self._scaling * finer)
            for index, quad in zip(found, corners.tolist(), strict=True):
                pygame.draw.polygon(large, self._mesh.colors[index], quad)
            tile = pygame.transform.smoothscale(large, (TILE, TILE))
        else:
            tile = pygame.Surface((TILE, TILE), 0, 32)
            tile.fill(palette.GRASS)
        corner = ((column % 2) * TILE, (row % 2) * TILE)
        tile.blit(self._grain, (0, 0), (*corner, TILE, TILE), pygame.BLEND_RGB_MULT)
        return tile


def _frame(centerline: FloatArray, spacing: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Arc lengths (n,), points (n, 2) and normals to the right (n, 2), at most `spacing` apart."""
    steps = np.hypot(*np.diff(centerline, axis=0).T)
    knots = np.concatenate([[0.0], np.cumsum(steps)])
    pieces = [
        np.linspace(a, b, max(math.ceil((b - a) / spacing), 1), endpoint=False)
        for a, b in itertools.pairwise(knots)
    ]
    along = np.concatenate([*pieces, knots[-1:]])
    points = np.stack([np.interp(along, knots, centerline[:, axis]) for axis in (0, 1)], axis=1)
    tangents = np.gradient(points, axis=0)
    tangents /= np.maximum(np.hypot(tangents[:, 0], tangents[:, 1])[:, None], 1e-9)
    normals = np.stack([-tangents[:, 1], tangents[:, 0]], axis=1)
    return along, points, normals


def _stripes(centerline: FloatArray, offset: float) -> FloatArray:
    """Quads of a broken line, `offset` to the right of the centre, (num_stripes, 4, 2)."""
    along, points, normals = _frame(centerline, LONGEST_PIECE)
    edge = points + normals * offset
    starts = np.arange(0.0, along[-1] - STRIPE_LENGTH / 2, STRIPE_SPACING)
    ends = np.minimum(starts + STRIPE_LENGTH, along[-1])

    def at(s: FloatArray) -> FloatArray:
        return np.stack([np.interp(s, along, edge[:, axis]) for axis in (0, 1)], axis=1)

    first, last = at(starts), at(ends)
    direction = last - first
    direction /= np.maximum(np.hypot(direction[:, 0], direction[:, 1])[:, None], 1e-9)
    side = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * (MARKING_WIDTH / 2)
    return np.stack([first - side, last - side, last + side, first + side], axis=1)


def _paved_around_bays(lanes: tuple[LaneShape, ...]) -> FloatArray:
    """One quad that paves the lot around parking bays, where there are any, (0 or 1, 4, 2)."""
    bays = [
        lane.centerline
        for lane in lanes
        if lane.left_line >= Line.CONTINUOUS
        and lane.right_line >= Line.CONTINUOUS
        and np.hypot(*(lane.centerline[-1] - lane.centerline[0])) <= BAY_LENGTH
    ]
    if len(bays) < 2:
        return np.empty((0, 4, 2))
    points = np.concatenate(bays)
    along_y = np.abs(bays[0][-1] - bays[0][0]).argmax() == 1
    margin = (PAVED_BESIDE, PAVED_BEHIND) if along_y else (PAVED_BEHIND, PAVED_BESIDE)
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    return np.array([[low, (high[0], low[1]), high, (low[0], high[1])]], dtype=np.float64)


@functools.cache
def _grain() -> pygame.Surface:
    """A surface that repeats every two tiles, to multiply the ground with: it shows motion."""
    rng = np.random.default_rng(0)
    side = 2 * TILE
    noise = rng.standard_normal((side, side))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :]) * side
    blotches = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-((frequency / 14.0) ** 2))).real
    shade = 0.965 + 0.018 * blotches / blotches.std() + 0.010 * noise
    gray = np.clip(shade * 255.0, 0, 255).astype(np.uint8)
    surface = pygame.Surface((side, side), 0, 32)
    pygame.surfarray.blit_array(surface, np.repeat(gray[:, :, None], 3, axis=2))
    return surface
