"""The cards beside the picture: who drives, how fast, how well, and what it is about to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pygame

from drive_rl.viewer import drawing
from drive_rl.viewer.figures import Figures

CLOSE_HEADWAY = 1.0
"""A time headway below this is shown as a warning [s]."""
CLOSE_TTC = 3.0
COLUMN = 304
"""Width of a column of cards [units]."""
HIGHEST_SIGHT = 230
"""Height of a camera's picture in a column, at most [units]."""


@dataclasses.dataclass(frozen=True)
class Card:
    """A piece of the panel.

    Attributes:
        draw: draws the figures into a rectangle; the last argument is the size of a unit [px].
        width: it wants when side by side [units].
        height: it wants when stacked, given the figures [units].
        wanted: whether it has anything to show.
        rank: where there is little room, cards with high ones go.
    """

    draw: Callable[[pygame.Surface, pygame.Rect, Figures, float], None]
    width: float
    height: Callable[[Figures], float]
    wanted: Callable[[Figures], bool]
    rank: int


def draw_panel(target: pygame.Surface, rect: pygame.Rect, figures: Figures, unit: float) -> None:
    """Fill `rect` with cards: side by side where it is wide, stacked where it is tall."""
    pygame.draw.rect(target, drawing.BACKGROUND, rect)
    cards = [card for card in CARDS if card.wanted(figures)]
    gap = round(8 * unit)
    if rect.width > rect.height:
        _side_by_side(target, rect.inflate(-2 * gap, -2 * gap), cards, figures, unit, gap)
    else:
        _stacked(target, rect.inflate(-2 * gap, -2 * gap), cards, figures, unit, gap)


def fits(rect: pygame.Rect, figures: Figures, unit: float) -> bool:
    """Whether all cards have room in a panel."""
    gap = round(8 * unit)
    cards = [card for card in CARDS if card.wanted(figures)]
    if rect.width > rect.height:
        return True
    columns = max(round(rect.width / (COLUMN * unit)), 1)
    return _columns(cards, figures, unit, gap, rect.height - 2 * gap, columns) is not None


def _side_by_side(
    target: pygame.Surface,
    rect: pygame.Rect,
    cards: list[Card],
    figures: Figures,
    unit: float,
    gap: int,
) -> None:
    while len(cards) > 1 and sum(c.width * unit + gap for c in cards) - gap > rect.width * 1.08:
        cards = _without_the_least(cards)
    shares = sum(card.width for card in cards)
    left = float(rect.left)
    for card in cards:
        width = (rect.width - gap * (len(cards) - 1)) * card.width / shares
        _card(
            target,
            pygame.Rect(round(left), rect.top, round(width), rect.height),
            card,
            figures,
            unit,
        )
        left += width + gap


def _stacked(
    target: pygame.Surface,
    rect: pygame.Rect,
    cards: list[Card],
    figures: Figures,
    unit: float,
    gap: int,
) -> None:
    columns = max(round(rect.width / (COLUMN * unit)), 1)
    width = (rect.width - gap * (columns - 1)) // columns
    while (places := _columns(cards, figures, unit, gap, rect.height, columns)) is None:
        cards = _without_the_least(cards)
    for card, (column, top) in zip(cards, places, strict=True):
        left = rect.left + column * (width + gap)
        place = pygame.Rect(left, rect.top + top, width, round(card.height(figures) * unit))
        _card(target, place, card, figures, unit)


def _columns(
    cards: list[Card], figures: Figures, unit: float, gap: int, room: int, columns: int
) -> list[tuple[int, int]] | None:
    """Column and top of each card, one below the other; None where there is no room for all."""
    places, column, top = [], 0, 0
    for card in cards:
        height = round(card.height(figures) * unit)
        if top and top + height > room + gap:
            column, top = column + 1, 0
        if column == columns:
            return None
        places.append((column, top))
        top += height + gap
    return places


def _without_the_least(cards: list[Card]) -> list[Card]:
    least = max(cards, key=lambda card: card.rank)
    return [card for card in cards if card is not least]


def _card(
    target: pygame.Surface, rect: pygame.Rect, card: Card, figures: Figures, unit: float
) -> None:
    drawing.plate(target, rect, drawing.CARD, round(8 * unit))
    margin = round(14 * unit)
    previous = target.get_clip()
    target.set_clip(rect)
    card.draw(target, rect.inflate(-2 * margin, -2 * round(11 * unit)), figures, unit)
    target.set_clip(previous)


def _title(target: pygame.Surface, rect: pygame.Rect, content: str, unit: float) -> None:
    drawing.text(
        target,
        content.upper(),
        rect.topleft,
        11.5 * unit,
        drawing.MUTED,
        medium=True,
        width=rect.width,
    )


def _draw_motion(target: pygame.Surface, rect: pygame.Rect, figures: Figures, unit: float) -> None:
    _title(target, rect, "Speed", unit)
    number = drawing.text(
        target, f"{figures.speed:.1f}", (rect.left, rect.top + 15 * unit), 44 * unit, medium=True
    )
    unit_left = number.right + 7 * unit
    drawing.text(target, "m/s", (unit_left, number.top + 11 * unit), 14 * unit, drawing.MUTED)
    drawing.text(
        target,
        f"{3.6 * figures.speed:.0f} km/h",
        (unit_left, number.top + 27 * unit),
        14 * unit,
        drawing.MUTED,
    )
    gap = figures.gap
    headway = gap.time_headway if gap else None
    ttc = gap.time_to_collision if gap else None
    rows = [
        ("Gap ahead", "free" if gap is None else f"{gap.distance:.0f} m", False),
        (
            "Time headway",
            "–" if headway is None else f"{headway:.1f} s",
            headway is not None and headway < CLOSE_HEADWAY,
        ),
        (
            "Time to collision",
            "–" if ttc is None else f"{ttc:.1f} s" if ttc < 100 else "> 99 s",
            ttc is not None and ttc < CLOSE_TTC,
        ),
    ]
    top = number.bottom + 6 * unit
    for label, value, warn in rows:
        color = drawing.WARNING if warn else drawing.TEXT
        value = f"! {value}" if warn else value
        drawing.text(target, label, (rect.left, top), 15 * unit, drawing.MUTED)
        drawing.text(target, value, (rect.right, top), 15 * unit, color, medium=True, align="right")
        top += 23 * unit


def _draw_return(target: pygame.Surface, rect: pygame.Rect, figures: Figures, unit: float) -> None:
    _title(target, rect, "Return", unit)
    number = drawing.text(
        target,
        f"{figures.episode_return:.2f}",
        (rect.left, rect.top + 15 * unit),
        30 * unit,
        medium=True,
    )
    drawing.text(
        target,
        f"{figures.reward:+.2f}",
        (rect.right, rect.top + 27 * unit),
        15 * unit,
        drawing.MUTED,
        align="right",
    )
    top = number.bottom + 6 * unit
    for term in figures.terms:
        label_width = 0.52 * rect.width
        drawing.text(
            target, term.label, (rect.left, top), 14 * unit, drawing.MUTED, width=label_width
        )
        drawing.text(target, f"{term.value:.2f}", (rect.right, top), 14 * unit, align="right")
        left = rect.left + label_width + 8 * unit
        place = pygame.Rect(0, 0, rect.right - 42 * unit - left, round(6 * unit))
        place.topleft = (round(left), round(top + 6 * unit))
        if place.width > 12 * unit:
            color = drawing.WARNING if term.harmful else drawing.ACCENT
            drawing.bar(target, place, abs(term.value), color)
        top += 21 * unit


def _draw_choices(target: pygame.Surface, rect: pygame.Rect, figures: Figures, unit: float) -> None:
    _title(target, rect, figures.choice_title, unit)
    rows = len(figures.choices)
    top = rect.top + 24 * unit
    pitch = min(26 * unit, (rect.bottom - top) / max(rows, 1))
    for choice in figures.choices:
        strong = choice.by_policy or choice.done
        color = drawing.TEXT if strong else drawing.MUTED
        if choice.done:
            line = pygame.Rect(0, 0, rect.width + round(12 * unit), round(pitch - 2 * unit))
            line.topleft = (rect.left - round(6 * unit), round(top - 2 * unit))
            drawing.plate(target, line, drawing.CHOSEN, round(5 * unit))
        label = choice.label + ("" if choice.done or not choice.by_policy else "  (policy)")
        size = min(15 * unit, 0.72 * pitch)
        drawing.text(
            target, label, (rect.left, top), size, color, medium=strong, width=0.45 * rect.width
        )
        drawing.text(target, choice.text, (rect.right, top), size, color, align="right")
        if choice.amount is not None:
            left = rect.left + 0.47 * rect.width
            place = pygame.Rect(0, 0, rect.right - 48 * unit - left, round(8 * unit))
            place.topleft = (round(left), round(top + size / 2 - 2 * unit))
            tint = drawing.ACCENT if strong else drawing.MUTED
            drawing.bar(target, place, choice.amount, tint, centred=choice.centred)
        elif choice.by_policy:
            dot = (rect.right - 8 * unit, top + size / 2 + 1 * unit)
            pygame.draw.aacircle(target, drawing.ACCENT, dot, 5 * unit)
        top += pitch


def _draw_value(target: pygame.Surface, rect: pygame.Rect, figures: Figures, unit: float) -> None:
    _title(target, rect, "Value estimate", unit)
    number = drawing.text(
        target,
        f"{figures.values[-1]:.2f}",
        (rect.left, rect.top + 15 * unit),
        26 * unit,
        medium=True,
    )
    place = pygame.Rect(rect.left, 0, rect.width - round(6 * unit), 0)
    place.top = round(number.bottom + 8 * unit)
    place.height = round(min(rect.bottom - place.top - 4 * unit, 110 * unit))
    if place.height > 12:
        drawing.curve(target, place, figures.values, drawing.ACCENT)


def _draw_sight(target: pygame.Surface, rect: pygame.Rect, figures: Figures, unit: float) -> None:
    assert figures.sight is not None
    sight = figures.sight
    _title(target, rect, sight.title, unit)
    note = 17 * unit
    room = pygame.Rect(rect.left, round(rect.top + 19 * unit), rect.width, 0)
    room.height = max(round(rect.bottom - note) - room.top, 1)
    placed = drawing.picture(target, room, sight.picture, sight.saliency)
    place = (rect.left, placed.bottom + 3 * unit)
    drawing.text(target, sight.note, place, 12 * unit, drawing.MUTED, width=rect.width)


def _sight_height(figures: Figures) -> float:
    """Of the card, for a picture as wide as the panel but no higher than `HIGHEST_SIGHT`."""
    if figures.sight is None:
        return 0
    height, width = figures.sight.picture.shape[:2]
    return 62 + min(float((COLUMN - 28) * height / width), HIGHEST_SIGHT)


CARDS = (
    Card(_draw_motion, 190, lambda f: 162, lambda f: True, 0),
    Card(_draw_sight, 230, _sight_height, lambda f: f.sight is not None, 1),
    Card(_draw_return, 200, lambda f: 76 + 21 * len(f.terms), lambda f: True, 3),
    Card(_draw_choices, 230, lambda f: 48 + 26 * len(f.choices), lambda f: bool(f.choices), 2),
    Card(_draw_value, 200, lambda f: 140, lambda f: bool(f.values), 4),
)
"""In the order of showing."""
