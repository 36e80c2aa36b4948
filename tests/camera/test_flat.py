"""Flat drawing gives pygame's pixels."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pygame
import pytest
from highway_env.vehicle.graphics import VehicleGraphics

from drive_rl.camera import flat

SIZE = (40, 30)


@numba.njit
def _line(picture: Any, x: int, y: int, end_x: int, end_y: int, thickness: int) -> None:
    flat.draw_line(picture, x, y, end_x, end_y, thickness, 255)


@numba.njit
def _rectangles(picture: Any, x: int, y: int, width: int, height: int) -> None:
    flat.fill_rectangle(picture, x, y, width, height, 100)
    flat.outline_rectangle(picture, x, y, width, height, 255)


@numba.njit
def _turned(picture: Any, image: Any, x: float, y: float, degrees: float) -> None:
    flat.blit_turned(picture, image, image.shape[0], x, y, degrees)


def _of(surface: Any) -> Any:
    return pygame.surfarray.array3d(surface)[:, :, 0]


@pytest.mark.parametrize("thickness", [1, 2, 3, 4])
def test_a_line_has_the_pixels_of_pygames(thickness: int) -> None:
    rng = np.random.default_rng(thickness)
    different = 0
    for k in range(500):
        low, high = ((0, 30), (-30, 70))[k % 2]  # within the picture, and beyond it
        x, y, end_x, end_y = rng.integers(low, high, 4).tolist()
        if k % 7 == 0:
            end_y = y
        if k % 11 == 0:
            end_x = x
        surface = pygame.Surface(SIZE, 0, 32)
        pygame.draw.line(surface, (255, 255, 255), (x, y), (end_x, end_y), thickness)
        picture = np.zeros(SIZE, np.uint8)
        _line(picture, x, y, end_x, end_y, thickness)
        share = (picture != _of(surface)).mean()
        if thickness == 1 or k % 2 == 0:
            assert share == 0
        different += share > 0.01
    assert different < 25  # thick lines that leave the picture


def test_a_rectangle_has_the_pixels_of_pygames() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        x, y = rng.integers(0, 18, 2).tolist()
        width, height = rng.integers(0, 12, 2).tolist()
        surface = pygame.Surface(SIZE, 0, 32)
        pygame.draw.rect(surface, (100, 100, 100), (x, y, width, height), 0)
        pygame.draw.rect(surface, (255, 255, 255), (x, y, width, height), 1)
        picture = np.zeros(SIZE, np.uint8)
        _rectangles(picture, x, y, width, height)
        np.testing.assert_array_equal(picture, _of(surface), str((x, y, width, height)))


def test_a_turned_image_has_the_pixels_of_highway_envs() -> None:
    rng = np.random.default_rng(0)
    for k in range(400):
        side = int(rng.integers(1, 16))
        values = rng.integers(1, 255, (side, side))
        is_clear = rng.random((side, side)) < 0.3
        is_clear[0, 0] = True  # pygame fills the corners with this pixel's transparent colour
        source = pygame.Surface((side, side), pygame.SRCALPHA, 32)
        for i, j in np.argwhere(~is_clear).tolist():
            source.set_at((i, j), (int(values[i, j]), 0, 0, 255))
        degrees = float(rng.uniform(-400, 400))
        if k % 4 == 0:
            degrees = 90.0 * float(rng.integers(-4, 5)) + (1e-5 if k % 8 == 0 else 0.0)
        position = [int(v) for v in rng.integers(-10, 45, 2)]
        surface = pygame.Surface(SIZE, 0, 32)
        VehicleGraphics.blit_rotate(surface, source, position, degrees)
        picture = np.zeros(SIZE, np.uint8)
        image = np.where(is_clear, flat.CLEAR, values).astype(np.int16)
        _turned(picture, image, float(position[0]), float(position[1]), degrees)
        np.testing.assert_array_equal(picture, _of(surface), str((side, degrees, position)))
