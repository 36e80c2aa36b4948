"""The whole picture: scenes, panels, and what lies over them. A surface in, nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pygame

from drive_rl.environments.rendering import Overlay, Renderer, fitting_view
from drive_rl.viewer import drawing
from drive_rl.viewer.controller import Controller, Ride
from drive_rl.viewer.figures import Figures, figures
from drive_rl.viewer.keys import HELP
from drive_rl.viewer.panel import draw_panel, fits

WIDE = 2.2
"""Scenes at least this much wider than high have their panel below, others beside."""


_ENDINGS = {
    "crashed": "Crashed",
    "off the road": "Left the road",
    "goal reached": "Goal reached",
    "time limit": "Time is up",
    "replayed": "End of the recording",
}
_FAILURES = ("crashed", "off the road")


@dataclasses.dataclass(frozen=True)
class Cell:
    """Where one ride is drawn."""

    header: pygame.Rect
    scene: pygame.Rect
    panel: pygame.Rect


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a window is divided.

    Attributes:
        unit: the size of text and gaps [px]; 1 at the window's default size.
        cells: one for each ride.
    """

    unit: float
    cells: tuple[Cell, ...]

    @classmethod
    def of(
        cls,
        size: tuple[int, int],
        wide: bool,
        rides: int,
        camera: bool = False,
        panel_columns: int = 1,
    ) -> Layout:
        """Divide a window of `size`.

        Args:
            camera: whether a camera's picture is among the cards; below a scene these are higher
                then.
            panel_columns: of cards beside a scene.
        """
        natural = default_size(wide, rides)
        unit = min(max(min(size[0] / natural[0], size[1] / natural[1]), 0.5), 4.0)
        columns, rows = _grid(wide, rides)
        cells = []
        for i in range(rides):
            row, column = divmod(i, columns)
            left, right = column * size[0] // columns, (column + 1) * size[0] // columns
            top, bottom = row * size[1] // rows, (row + 1) * size[1] // rows
            rect = pygame.Rect(left, top, right - left, bottom - top)
            upright = rect.width < 1.2 * rect.height
            below = (264 if camera else 204) if wide or upright else 0
            cells.append(_cell(rect, below, unit, panel_columns if rides == 1 else 1))
        return cls(unit, tuple(cells))


def default_size(wide: bool, rides: int) -> tuple[int, int]:
    """A window's size before anyone has changed it [px]."""
    if rides == 1:
        return (1280, 572) if wide else (1240, 756)
    columns, rows = _grid(wide, rides)
    if wide:
        return (1280 if columns == 1 else 820 * columns, 430 * rows)
    return (640 * columns, 820) if rows == 1 else (930 * columns, 560 * rows)


def _grid(wide: bool, rides: int) -> tuple[int, int]:
    """Columns and rows: wide scenes above one another, others side by side."""
    if wide:
        columns = 1 if rides <= 2 else 2
    else:
        columns = rides if rides <= 3 else 2
    return columns, -(-rides // columns)


def _cell(rect: pygame.Rect, below: int, unit: float, columns: int) -> Cell:
    """One ride's place, its panel `below` units high under the scene, or beside it where 0."""
    header = pygame.Rect(rect.left, rect.top, rect.width, round(34 * unit))
    body = pygame.Rect(rect.left, header.bottom, rect.width, rect.height - header.height)
    if below:
        height = min(round(below * unit), round(0.6 * body.height))
        scene = pygame.Rect(body.left, body.top, body.width, body.height - height)
        panel = pygame.Rect(body.left, scene.bottom, body.width, height)
    else:
        width = min(round(320 * columns * unit), body.width // 2)
        scene = pygame.Rect(body.left, body.top, body.width - width, body.height)
        panel = pygame.Rect(scene.right, body.top, width, body.height)
    return Cell(header, scene, panel)


class Screen:
    """Draws a controller's state.

    Args:
        config: highway-env's configuration of the environment: how much of it to show.
        env_name: for the title line.
        names: of the actions.
        hint: the right end of the title line.
    """

    def __init__(
        self, config: Mapping[str, Any], env_name: str, names: list[str], hint: str = "H  help"
    ) -> None:
        self.config, self.env_name, self.names, self.hint = config, env_name, names, hint
        self._renderers: list[Renderer] = []

    @property
    def wide(self) -> bool:
        """Whether this environment is shown with its panel below."""
        width = float(self.config.get("screen_width", 600))
        return width / float(self.config.get("screen_height", 150)) >= WIDE

    def draw(self, target: pygame.Surface, controller: Controller) -> None:
        """Cover `target`, of any size."""
        camera = controller.view != "off"
        all_shown = [figures(controller, r, self.names, self.config) for r in controller.rides]
        size, rides = target.get_size(), len(controller.rides)
        layout = Layout.of(size, self.wide, rides, camera)
        if camera and not fits(layout.cells[0].panel, all_shown[0], layout.unit):
            layout = Layout.of(size, self.wide, rides, camera, panel_columns=2)
        while len(self._renderers) < len(controller.rides):
            self._renderers.append(Renderer())
        for ride, shown, cell, renderer in zip(
            controller.rides, all_shown, layout.cells, self._renderers, strict=False
        ):
            self._draw_scene(target, cell, controller, ride, renderer)
            self._draw_header(target, cell.header, controller, shown, layout.unit)
            draw_panel(target, cell.panel, shown, layout.unit)
            if shown.ended is not None:
                _draw_ending(target, cell.scene, shown, layout.unit)
        area = layout.cells[0].scene
        if controller.notice:
            _draw_notice(target, area, controller.notice, layout.unit)
        elif controller.waiting:
            _draw_notice(target, area, "simulating …", layout.unit)
        if controller.help_shown:
            _draw_help(target, layout.unit)

    def _draw_scene(
        self,
        target: pygame.Surface,
        cell: Cell,
        controller: Controller,
        ride: Ride,
        renderer: Renderer,
    ) -> None:
        if cell.scene.width < 1 or cell.scene.height < 1:
            return
        view = fitting_view(self.config, cell.scene.size)
        if controller.zoom != 1.0:
            scaling = min(max(view.scaling * controller.zoom, 0.5), 100.0)
            view = dataclasses.replace(view, scaling=scaling)
        trails = controller.trails(ride) if controller.trails_shown else []
        overlay = Overlay(plan=controller.plan_shown, trails=trails)
        picture = target.subsurface(cell.scene)
        renderer.draw(picture, controller.scene(ride), view, overlay)

    def _draw_header(
        self,
        target: pygame.Surface,
        rect: pygame.Rect,
        controller: Controller,
        shown: Figures,
        unit: float,
    ) -> None:
        pygame.draw.rect(target, drawing.BACKGROUND, rect)
        margin, top = rect.left + 14 * unit, rect.top + 7 * unit
        name = drawing.text(
            target, shown.policy, (margin, top), 16 * unit, medium=True, width=0.4 * rect.width
        )
        about = f"{self.env_name}   seed {controller.seed}   decision {shown.decision}"
        about += f"   {shown.time:.1f} s"
        drawing.text(
            target,
            about,
            (name.right + 16 * unit, top + 1 * unit),
            15 * unit,
            drawing.MUTED,
            width=rect.right - name.right - 230 * unit,
        )
        right = rect.right - 14 * unit
        if self.hint:
            right = (
                drawing.text(
                    target,
                    self.hint,
                    (right, top + 1 * unit),
                    15 * unit,
                    drawing.MUTED,
                    align="right",
                ).left
                - 18 * unit
            )
        state, color = _state(controller)
        placed = drawing.text(
            target, state, (right, top), 15 * unit, color, medium=True, align="right"
        )
        if controller.recording:
            centre = (placed.left - 14 * unit, rect.centery)
            pygame.draw.aacircle(target, (235, 70, 60), centre, 5 * unit)


def _state(controller: Controller) -> tuple[str, tuple[int, int, int]]:
    if controller.paused:
        return "PAUSED", drawing.WARNING
    driver = "you drive  " if controller.wheel_taken else ""
    return f"{driver}{controller.speed:g}x", drawing.ACCENT


def _draw_ending(target: pygame.Surface, area: pygame.Rect, shown: Figures, unit: float) -> None:
    line = f"{_ENDINGS.get(shown.ended or '', 'Episode over')} after {shown.time:.0f} s"
    color = drawing.WARNING if shown.ended in _FAILURES else drawing.TEXT
    plate = pygame.Rect(0, 0, round(300 * unit), round(44 * unit))
    plate.midtop = (area.centerx, area.top + round(14 * unit))
    drawing.plate(target, plate, (*drawing.BACKGROUND, 220), round(8 * unit))
    top = plate.top + 10 * unit
    drawing.text(target, line, (plate.centerx, top), 20 * unit, color, medium=True, align="center")


def _draw_notice(target: pygame.Surface, area: pygame.Rect, notice: str, unit: float) -> None:
    room = target.get_rect()
    width = min(round((8 * len(notice) + 40) * unit), room.width)
    plate = pygame.Rect(0, 0, width, round(32 * unit))
    plate.midbottom = (area.centerx, area.bottom - round(12 * unit))
    plate.clamp_ip(room)
    drawing.plate(target, plate, (*drawing.BACKGROUND, 220), round(8 * unit))
    place = (plate.centerx, plate.top + 7 * unit)
    inner = plate.width - 16 * unit
    drawing.text(target, notice, place, 15 * unit, align="center", width=inner)


def _draw_help(target: pygame.Surface, unit: float) -> None:
    plate = pygame.Rect(0, 0, round(460 * unit), round((62 + 25 * len(HELP)) * unit))
    unit *= min(1.0, 0.96 * target.get_height() / plate.height)
    plate = pygame.Rect(0, 0, round(460 * unit), round((62 + 25 * len(HELP)) * unit))
    plate.center = target.get_rect().center
    drawing.plate(target, plate, (*drawing.BACKGROUND, 240), round(12 * unit))
    left, top = plate.left + 26 * unit, plate.top + 18 * unit
    drawing.text(target, "Keys", (left, top), 19 * unit, medium=True)
    top += 32 * unit
    for key, meaning in HELP:
        drawing.text(target, key, (left, top), 15 * unit, drawing.ACCENT, medium=True)
        drawing.text(target, meaning, (left + 110 * unit, top), 15 * unit)
        top += 25 * unit


def draw_preparing(target: pygame.Surface, seconds: float) -> None:
    """Cover `target` with a word of patience, `seconds` after the wait began."""
    target.fill(drawing.BACKGROUND)
    unit = max(target.get_width() / 1280, 0.5)
    place = (target.get_width() / 2, target.get_height() / 2 - 30 * unit)
    dots = " ." * (int(2 * seconds) % 4)
    width = drawing.text(target, "Preparing", place, 22 * unit, medium=True, align="center")
    drawing.text(target, dots, (width.right, place[1]), 22 * unit, medium=True)
    if seconds > 5:
        line = "The first time on a machine, the simulator is compiled: about a minute."
        below = (place[0], place[1] + 40 * unit)
        drawing.text(target, line, below, 15 * unit, drawing.MUTED, align="center")
