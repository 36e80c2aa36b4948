"""Text, bars and curves on a surface: the few things the panel is made of."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pygame

from drive_rl.data import data_folder
from drive_rl.environments import palette

BACKGROUND: palette.Color = (19, 22, 27)
CARD: palette.Color = (29, 33, 40)
TEXT: palette.Color = (236, 238, 240)
MUTED: palette.Color = (155, 163, 174)
CHOSEN: palette.Color = (44, 51, 62)
TRACK: palette.Color = (63, 71, 84)
HEAT: palette.Color = (255, 190, 40)
ACCENT: palette.Color = (86, 180, 233)
WARNING: palette.Color = (240, 138, 60)


@functools.cache
def _font(size: int, medium: bool) -> pygame.font.Font:
    pygame.font.init()
    path = data_folder("assets") / "fonts" / f"Roboto-{'Medium' if medium else 'Regular'}.ttf"
    return pygame.font.Font(path, size)


@functools.lru_cache(maxsize=1024)
def _rendered(text: str, size: int, medium: bool, color: palette.Color) -> pygame.Surface:
    # A name may hold anything; SDL's fonts refuse a null character.
    return _font(size, medium).render(
        text.replace("\x00", "\N{REPLACEMENT CHARACTER}"), True, color
    )


def shortened(text: str, size: float, width: float, medium: bool = False) -> str:
    """`text`, with its middle left out where it is wider than `width` [px]."""
    font = _font(round(size), medium)
    if font.size(text)[0] <= width:
        return text
    keep = len(text)
    while keep > 2:
        keep -= 1
        short = text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]
        if font.size(short)[0] <= width:
            return short
    return ""


def text(
    target: pygame.Surface,
    content: str,
    position: tuple[float, float],
    size: float,
    color: palette.Color = TEXT,
    *,
    medium: bool = False,
    align: str = "left",
    width: float | None = None,
) -> pygame.Rect:
    """Write a line.

    Args:
        position: of the top left corner; of the top right one, or the top centre, by `align`.
        size: height of the letters' line [px].
        align: "left", "right" or "center".
        width: shorten what is longer [px].
    """
    if width is not None:
        content = shortened(content, size, width, medium)
    picture = _rendered(content, max(round(size), 6), medium, color)
    place = picture.get_rect()
    x, y = round(position[0]), round(position[1])
    setattr(place, {"left": "topleft", "right": "topright", "center": "midtop"}[align], (x, y))
    target.blit(picture, place)
    return place


def bar(
    target: pygame.Surface,
    rect: pygame.Rect,
    amount: float,
    color: palette.Color,
    *,
    centred: bool = False,
) -> None:
    """A bar filled to `amount` (0 to 1, or -1 to 1 from the middle where `centred`)."""
    radius = rect.height // 2
    pygame.draw.rect(target, TRACK, rect, border_radius=radius)
    amount = min(max(amount, -1.0 if centred else 0.0), 1.0)
    filled = rect.copy()
    if centred:
        filled.width = round(rect.width / 2 * abs(amount))
        filled.left = rect.centerx if amount >= 0 else rect.centerx - filled.width
    else:
        filled.width = round(rect.width * amount)
    if filled.width:
        pygame.draw.rect(target, color, filled, border_radius=min(radius, filled.width // 2))
    if centred:
        middle = pygame.Rect(rect.centerx, rect.top, 1, rect.height)
        pygame.draw.rect(target, MUTED, middle)


def curve(
    target: pygame.Surface, rect: pygame.Rect, values: Sequence[float], color: palette.Color
) -> None:
    """A line through `values`, the last one at the right edge."""
    pygame.draw.line(target, TRACK, rect.bottomleft, rect.bottomright)
    if len(values) < 2:
        return
    low, high = min(values), max(values)
    span = max(high - low, 1e-6)
    step = rect.width / (len(values) - 1)
    points = [
        (rect.left + i * step, rect.bottom - (value - low) / span * rect.height)
        for i, value in enumerate(values)
    ]
    pygame.draw.aalines(target, color, False, points)
    thick = rect.height // 100
    if thick > 1:  # large windows: a hairline would hardly be seen
        pygame.draw.lines(target, color, False, points, thick)
    pygame.draw.aacircle(target, color, points[-1], max(rect.height / 18, 3))


def picture(
    target: pygame.Surface,
    rect: pygame.Rect,
    pixels: npt.NDArray[np.uint8],
    heat: npt.NDArray[np.float64] | None = None,
) -> pygame.Rect:
    """A picture (height, width, 3), as large as fits into `rect`, with its place as the result.

    Args:
        heat: 0 to 1, (height, width): what is strong keeps its brightness and turns to the
            warning colour, what is weak grows grey and dim.
    """
    if heat is not None:
        weight = heat[..., None]
        grey = pixels.mean(axis=2, keepdims=True)
        warm = 0.45 * pixels + 0.55 * np.array(HEAT)
        pixels = (weight * warm + (1 - weight) * (0.62 * grey + 8)).astype(np.uint8)
    height, width = pixels.shape[:2]
    factor = min(rect.width / width, rect.height / height)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    surface = pygame.surfarray.make_surface(pixels.transpose(1, 0, 2))
    place = pygame.Rect(rect.topleft, size)
    # Small frames are shown pixel by pixel: that is what the policy has.
    scale = pygame.transform.scale if factor > 1.5 else pygame.transform.smoothscale
    target.blit(scale(surface, size), place)
    return place


def plate(
    target: pygame.Surface, rect: pygame.Rect, color: tuple[int, ...], radius: int = 0
) -> None:
    """A filled rectangle, translucent where `color` has an alpha."""
    if len(color) == 3:
        pygame.draw.rect(target, color, rect, border_radius=radius)
        return
    surface = pygame.Surface(rect.size, pygame.SRCALPHA, 32)
    pygame.draw.rect(surface, color, surface.get_rect(), border_radius=radius)
    target.blit(surface, rect)
