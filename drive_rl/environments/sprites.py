"""Vehicles, obstacles and goals as small pictures, turned and placed to a quarter of a pixel.

A sprite is drawn at four times its size with its nose to the right, turned, shifted by whole
large pixels and averaged down; what results is kept, for most vehicles look the same from one
frame to the next. Alpha is premultiplied throughout: averaging then leaves no dark seams, and
light can be added (colour with zero alpha).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pygame

from drive_rl.environments import palette
from drive_rl.environments.scene import Kind

SUPERSAMPLING = 4
"""Half of it above `FINE` [px/m], where steps are too small to be seen."""
FINE = 16.0
KEPT_SPRITES = 4096
ANGLES = 720
"""Distinct headings of a full turn: half a degree each."""
MARGIN = 0.9
"""Room around the rectangle for shadow and light [m]."""


class Look(NamedTuple):
    """All that a sprite depends on, besides scale, heading and place."""

    kind: int
    length: float
    width: float
    crashed: bool = False
    braking: bool = False
    indicator: int = 0
    steering: int = 0
    """Front wheels in steps of 5 degrees."""


class SpriteSheet:
    """Makes and keeps sprites for one scale at a time."""

    def __init__(self) -> None:
        self._scaling = 0.0
        self._finer = SUPERSAMPLING
        self._flat: dict[Look, pygame.Surface] = {}
        self._turned: OrderedDict[tuple[Look, int, int, int], pygame.Surface] = OrderedDict()

    def draw(
        self, target: pygame.Surface, look: Look, x: float, y: float, heading: float, scaling: float
    ) -> None:
        """Put a sprite's centre at pixel (x, y) of `target`, its nose along `heading` [rad]."""
        if scaling != self._scaling:
            self._scaling = scaling
            self._finer = SUPERSAMPLING if scaling <= FINE else SUPERSAMPLING // 2
            self._flat.clear()
            self._turned.clear()
        finer = self._finer
        angle = round(heading / (2 * math.pi) * ANGLES) % ANGLES
        column, row = math.floor(x * finer), math.floor(y * finer)
        phase = (column % finer, row % finer)
        key = (look, angle, *phase)
        sprite = self._turned.get(key)
        if sprite is None:
            sprite = self._turned[key] = self._turn(look, angle, phase)
            while len(self._turned) > KEPT_SPRITES:
                self._turned.popitem(last=False)
        else:
            self._turned.move_to_end(key)
        width, height = sprite.get_size()
        place = (column // finer - width // 2, row // finer - height // 2)
        target.blit(sprite, place, special_flags=pygame.BLEND_PREMULTIPLIED)

    def _turn(self, look: Look, angle: int, phase: tuple[int, int]) -> pygame.Surface:
        finer = self._finer
        flat = self._flat.get(look)
        if flat is None:
            flat = self._flat[look] = draw_flat(look, self._scaling * finer)
        turned = pygame.transform.rotozoom(flat, -angle * 360.0 / ANGLES, 1.0) if angle else flat
        # An even number of whole small pixels on each side of the centre, and one for the phase.
        half = [math.ceil(n / (2 * finer)) + 1 for n in turned.get_size()]
        large = pygame.Surface([2 * h * finer for h in half], pygame.SRCALPHA, 32)
        centre = [h * finer + p for h, p in zip(half, phase, strict=True)]
        corner = [c - n // 2 for c, n in zip(centre, turned.get_size(), strict=True)]
        large.blit(turned, corner, special_flags=pygame.BLEND_PREMULTIPLIED)
        return pygame.transform.smoothscale(large, [2 * h for h in half])


def draw_flat(look: Look, scaling: float) -> pygame.Surface:
    """The sprite with its nose to the right, at `scaling` [px/m], alpha premultiplied."""
    size = [round((extent + 2 * MARGIN) * scaling) for extent in (look.length, look.width)]
    surface = pygame.Surface(size, pygame.SRCALPHA, 32)
    pen = _Pen(surface, look, scaling)
    if look.kind == Kind.GOAL:
        _draw_goal(pen)
    elif look.kind == Kind.OBSTACLE:
        _draw_obstacle(pen)
    else:
        _draw_vehicle(pen)
    return surface


class _Pen:
    """Draws in metres from the centre of the sprite: x forward, y to the right."""

    def __init__(self, surface: pygame.Surface, look: Look, scaling: float) -> None:
        self.surface, self.look, self.scaling = surface, look, scaling
        self.centre = (surface.get_width() / 2, surface.get_height() / 2)

    def point(self, x: float, y: float) -> tuple[float, float]:
        return (self.centre[0] + x * self.scaling, self.centre[1] + y * self.scaling)

    def box(
        self,
        x: float,
        y: float,
        length: float,
        width: float,
        color: tuple[int, ...],
        radius: float = 0.0,
        line: float = 0.0,
    ) -> None:
        """A rectangle around (x, y); `line` > 0 draws only its outline, that thick [m]."""
        left, top = self.point(x - length / 2, y - width / 2)
        rect = pygame.Rect(0, 0, 0, 0)
        rect.topleft = (round(left), round(top))
        rect.size = (max(round(length * self.scaling), 1), max(round(width * self.scaling), 1))
        thickness = max(round(line * self.scaling), 1) if line else 0
        corner = round(radius * self.scaling)
        pygame.draw.rect(self.surface, color, rect, thickness, border_radius=corner)

    def polygon(self, points: list[tuple[float, float]], color: tuple[int, ...]) -> None:
        pygame.draw.polygon(self.surface, color, [self.point(*p) for p in points])

    def light(self, x: float, y: float, radius: float, color: palette.Color) -> None:
        """Add a glow: a disc of colour that fades to the rim, with no alpha of its own."""
        side = max(round(2 * radius * self.scaling), 2)
        axis = (np.arange(side) + 0.5) / side * 2 - 1
        fade = np.clip(1 - np.hypot(axis[:, None], axis[None, :]), 0, 1) ** 2
        glow = pygame.Surface((side, side), pygame.SRCALPHA, 32)
        shade = fade[:, :, None] * np.array(color)[None, None, :] * 0.75
        pygame.surfarray.pixels3d(glow)[:] = shade.astype(np.uint8)
        pygame.surfarray.pixels_alpha(glow)[:] = 0
        left, top = self.point(x - radius, y - radius)
        self.surface.blit(glow, (round(left), round(top)), special_flags=pygame.BLEND_PREMULTIPLIED)


def _draw_vehicle(pen: _Pen) -> None:
    look = pen.look
    length, width = look.length, look.width
    paint = palette.TRAFFIC
    if look.kind == Kind.EGO:
        paint = palette.EGO
    elif look.crashed:
        paint = palette.CRASHED
    edge = palette.CRASHED if look.crashed else palette.mixed(paint, (0, 0, 0), 0.45)
    for spread, alpha in ((0.5, 26), (0.34, 40), (0.18, 60)):  # a soft shadow
        pen.box(0, 0, length + spread, width + spread, (0, 0, 0, alpha), 0.35 * width)
    _draw_wheels(pen)
    pen.box(0, 0, length, width, edge, 0.24 * width)
    rim = 0.36 if look.crashed else 0.16
    pen.box(0, 0, length - rim, width - rim, paint, 0.21 * width)
    # Bonnet and boot a touch darker than the roof: the eye takes the roof for higher.
    pen.box(-0.04 * length, 0, 0.60 * length, width - 0.30, palette.mixed(paint, edge, 0.35), 0.3)
    half = width / 2 - 0.20
    front, back = 0.20 * length, -0.31 * length
    glass = palette.GLASS
    pen.polygon(
        [(front, -half), (front - 0.13 * length, -half + 0.18)]
        + [(front - 0.13 * length, half - 0.18), (front, half)],
        glass,
    )
    pen.polygon(
        [(back, -half + 0.05), (back + 0.09 * length, -half + 0.2)]
        + [(back + 0.09 * length, half - 0.2), (back, half - 0.05)],
        glass,
    )
    for side in (-1, 1):
        pen.box(-0.05 * length, side * (half - 0.01), 0.26 * length, 0.12, glass, 0.05)
    roof = palette.mixed(paint, (255, 255, 255), 0.16)
    pen.box(-0.075 * length, 0, 0.27 * length, 2 * half - 0.34, roof, 0.2)
    _draw_lights(pen)
    if look.crashed:
        _draw_cross(pen)


def _draw_wheels(pen: _Pen) -> None:
    length, width, turn = pen.look.length, pen.look.width, math.radians(5 * pen.look.steering)
    for along, angle in ((0.31 * length, turn), (-0.31 * length, 0.0)):
        for side in (-1, 1):
            across = side * (width / 2 - 0.06)
            c, s = math.cos(angle), math.sin(angle)
            corners = [(0.34, 0.12), (0.34, -0.12), (-0.34, -0.12), (-0.34, 0.12)]
            pen.polygon(
                [(along + c * x - s * y, across + s * x + c * y) for x, y in corners],
                (18, 18, 20, 255),
            )


def _draw_lights(pen: _Pen) -> None:
    look = pen.look
    nose, tail = look.length / 2 - 0.16, -look.length / 2 + 0.12
    lamp = 0.22 * look.width
    for side in (-1, 1):
        across = side * (look.width / 2 - 0.16 - lamp / 2)
        pen.box(nose, across, 0.2, lamp, palette.HEADLIGHT, 0.08)
        if look.braking:
            pen.box(tail, across, 0.26, lamp + 0.08, palette.BRAKE_LIGHT, 0.06)
            pen.light(tail - 0.1, across, 0.8, palette.BRAKE_LIGHT)
        else:
            pen.box(tail, across, 0.18, lamp, palette.TAIL_LIGHT, 0.06)
    if look.indicator:
        across = look.indicator * (look.width / 2 - 0.12)
        for along in (nose - 0.1, tail + 0.1):
            pen.box(along, across, 0.5, 0.26, palette.INDICATOR, 0.08)
            pen.light(along, across, 0.85, palette.INDICATOR)


def _draw_cross(pen: _Pen) -> None:
    reach, thick = 0.42 * pen.look.width, 0.13
    for sign in (-1, 1):
        d = (reach, sign * reach)
        n = (-d[1] / reach * thick, d[0] / reach * thick)
        corners = [(d[0] + n[0], d[1] + n[1]), (d[0] - n[0], d[1] - n[1])]
        corners += [(-d[0] - n[0], -d[1] - n[1]), (-d[0] + n[0], -d[1] + n[1])]
        pen.polygon(corners, (255, 255, 255))


def _draw_goal(pen: _Pen) -> None:
    length, width = pen.look.length, pen.look.width
    red, green, blue = (c * 60 // 255 for c in palette.GOAL)
    pen.box(0, 0, length, width, (red, green, blue, 60), 0.2)
    pen.box(0, 0, length, width, palette.GOAL, 0.2, line=0.16)
    tip = 0.30 * length  # an arrow: parking counts which way round
    wing = 0.30 * width
    pen.polygon([(tip, 0), (tip - 0.5, -wing), (tip - 0.5, wing)], palette.GOAL)
    pen.box(tip - 0.8, 0, 0.7, 0.18, palette.GOAL)


def _draw_obstacle(pen: _Pen) -> None:
    length, width = pen.look.length, pen.look.width
    pen.box(0, 0, length + 0.25, width + 0.25, (0, 0, 0, 70), 0.1)
    pen.box(0, 0, length, width, palette.BARRIER)
    step = 1.0
    slant = min(width, 1.0) / 2
    start = -length / 2
    while start < length / 2:
        stops = [max(min(x, length / 2), -length / 2) for x in (start, start + step / 2)]
        lean = [max(min(x + slant, length / 2), -length / 2) for x in stops]
        pen.polygon(
            [(stops[0], width / 2), (stops[1], width / 2), (lean[1], -width / 2)]
            + [(lean[0], -width / 2)],
            palette.BARRIER_STRIPE,
        )
        start += step
