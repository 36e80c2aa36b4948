"""The sky, and the line of trees that stands around the horizon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drive_rl.camera.pixels import BORDER, channels
from drive_rl.camera.words import both, plus, times
from drive_rl.simulator.jit import inlined, merged, streaming

CLOUD_ROWS = 64  # 0 to 45 degrees up
KNOTS = 512  # columns of clouds and heights of trees, all around
HIGHEST_TREE = 0.075  # [m per m of distance]
HAZY = 0.3  # half of the horizon's colour is left at this height [m per m of distance]


def _smooth_noise(rows: int, columns: int, scale: float, seed: int) -> Any:
    """Noise with a spectrum that falls with frequency, tileable, mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    ky, kx = np.fft.fftfreq(rows)[:, None] * rows, np.fft.fftfreq(columns)[None, :] * columns
    frequency = np.sqrt((ky * columns / max(rows, 1) / 2) ** 2 + kx**2)
    spectrum = 1.0 / (1.0 + (frequency / scale) ** 2)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((rows, columns))) * spectrum).real
    return (noise - noise.mean()) / noise.std()


def make_clouds() -> Any:
    """How much of each direction clouds cover, 0 to 1, float32 (CLOUD_ROWS * KNOTS,)."""
    noise = _smooth_noise(CLOUD_ROWS, KNOTS, 10.0, 1)
    return (np.clip(128 + 110 * noise, 0, 256) / 256).astype(np.float32).ravel()


def make_trees() -> Any:
    """Heights of the line of trees, float32 (KNOTS + 1,) [m per m of distance]."""
    noise = _smooth_noise(1, KNOTS, 20.0, 2)[0] * 0.4 + _smooth_noise(1, KNOTS, 120.0, 3)[0] * 0.25
    heights = np.clip(0.35 + 0.4 * noise, 0.06, 1.0) * HIGHEST_TREE
    return np.append(heights, heights[0]).astype(np.float32)


@streaming
def prepare_columns(view, knots):  # type: ignore[no-untyped-def]
    """For each column: how far the headlights reach, the trees' height, the clouds' column."""
    columns = view.columns
    headlights, trees, clouds = columns.headlights, columns.trees, columns.clouds
    middle = np.float32(0.5 - view.width / 2)
    metres, pixels = np.float32(view.metres_per_pixel), np.float32(1.0 / view.metres_per_pixel)
    heading = view.heading / (2 * math.pi)
    # As much more as keeps it positive
    start = np.float32(heading - math.floor(heading) + 1.0)
    for column in range(headlights.shape[0]):
        x = (np.float32(column) + middle) * metres
        spread = max(np.float32(1.0) - np.float32(1.8) * x * x, np.float32(0.0))
        headlights[column] = spread * spread
        turn = start + _arctangent(x) * np.float32(0.5 / math.pi)
        turn -= np.float32(np.int32(turn))
        place = turn * np.float32(KNOTS)
        knot = both(np.uint32(np.int32(place)), KNOTS - 1)
        below, above = knots[knot], knots[plus(knot, 1)]
        top = below + (above - below) * (place - np.float32(np.int32(place)))
        trees[column] = top * pixels + np.float32(0.5)
        clouds[column] = knot


@inlined
def _arctangent(x):  # type: ignore[no-untyped-def]
    """To 1e-5, and eight at once (Abramowitz and Stegun, 4.4.49)."""
    size = abs(x)
    is_steep = size > np.float32(1.0)
    t = np.float32(1.0) / size if is_steep else size
    s = t * t
    series = np.float32(0.0208351) * s - np.float32(0.0851330)
    series = series * s + np.float32(0.1801410)
    series = series * s - np.float32(0.3302995)
    angle = (series * s + np.float32(0.9998660)) * t
    angle = np.float32(math.pi / 2) - angle if is_steep else angle
    return -angle if x < np.float32(0.0) else angle


@merged
def sky_row(view, look, surfaces, row, first, last, picture):  # type: ignore[no-untyped-def]
    """Colour the columns of a row outside [first, last), which is ground."""
    if first > 0:
        _sky_span(view, look, surfaces.clouds, row, 0, min(first, view.width), picture)
    if last < view.width:
        _sky_span(view, look, surfaces.clouds, row, max(last, first), view.width, picture)


@merged
def _sky_span(view, look, clouds, row, begin, end, picture):  # type: ignore[no-untyped-def]
    matrix = view.ground
    # Metres up per metre away, at a column and from there to the next
    step = -matrix[2, 1] * view.height
    start = -(matrix[2, 0] + matrix[2, 2] * (row + 0.5)) * view.height + step * (begin + 0.5)
    heights = (np.float32(start), np.float32(step))
    first, after = BORDER + begin, BORDER + end
    line = (
        picture.red[row, first:after], picture.green[row, first:after],
        picture.blue[row, first:after],
    )  # fmt: skip
    horizon, zenith = channels(look.horizon), channels(look.zenith)
    cloudy = (channels(look.cloud_color), np.float32(look.clouds / 256.0))
    _heaven(line, horizon, zenith, clouds, view.columns.clouds[begin:end], heights, cloudy)
    if min(start, start + step * (end - 1 - begin)) <= HIGHEST_TREE:
        pixels = np.float32(1.0 / view.metres_per_pixel)
        _plant(line, view.columns.trees[begin:end], heights, pixels, channels(look.tree_color))


@merged
def _heaven(line, horizon, zenith, clouds, places, heights, cloudy):  # type: ignore[no-untyped-def]
    """The clear sky, and clouds before it."""
    red, green, blue = line
    r0, g0, b0 = horizon
    r1, g1, b1 = zenith[0] - r0, zenith[1] - g0, zenith[2] - b0
    (r2, g2, b2), overcast = cloudy
    start, step = heights
    for column in range(places.shape[0]):
        rise = start + step * np.float32(column)
        rise = min(max(rise, np.float32(0.0)), np.float32(1.0 - 1.0 / 256))
        share = rise / (rise + np.float32(HAZY))
        place = times(np.uint32(np.int32(rise * np.float32(CLOUD_ROWS))), KNOTS)
        cloud = clouds[both(plus(place, places[column]), 0xFFFFFF)] * overcast
        r, g, b = r0 + r1 * share, g0 + g1 * share, b0 + b1 * share
        red[column] = r + (r2 - r) * cloud
        green[column] = g + (g2 - g) * cloud
        blue[column] = b + (b2 - b) * cloud


@merged
def _plant(line, trees, heights, pixels, color):  # type: ignore[no-untyped-def]
    red, green, blue = line
    r, g, b = color
    start, step = heights
    for column in range(trees.shape[0]):
        over = trees[column] - (start + step * np.float32(column)) * pixels
        cover = min(max(over, np.float32(0.0)), np.float32(1.0))
        red[column] += (r - red[column]) * cover
        green[column] += (g - green[column]) * cover
        blue[column] += (b - blue[column]) * cover
