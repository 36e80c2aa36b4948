"""The sky, and the line of trees that stands around the horizon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drive_rl.camera.pixels import mix
from drive_rl.simulator.jit import bare, inlined, streaming

CLOUD_ROWS, CLOUD_COLUMNS = 64, 512  # 0 to 45 degrees up, all around
TREE_KNOTS = 512  # all around
HIGHEST_TREE = 0.075  # [m per m of distance]
SKY_STEPS = 256  # colours of the clear sky per metre up per metre away
SKY_COLORS = 512
FINEST_BITS = 12  # heights are counted in 2**-FINEST_BITS of a step
FINEST = float(SKY_STEPS << FINEST_BITS)
CLOUD_BITS = 2  # a row of clouds is 2**CLOUD_BITS steps high


def _smooth_noise(rows: int, columns: int, scale: float, seed: int) -> Any:
    """Noise with a spectrum that falls with frequency, tileable, mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    ky, kx = np.fft.fftfreq(rows)[:, None] * rows, np.fft.fftfreq(columns)[None, :] * columns
    frequency = np.sqrt((ky * columns / max(rows, 1) / 2) ** 2 + kx**2)
    spectrum = 1.0 / (1.0 + (frequency / scale) ** 2)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((rows, columns))) * spectrum).real
    return (noise - noise.mean()) / noise.std()


def make_clouds() -> Any:
    """How much of each direction clouds cover, 0 to 256, int64 (CLOUD_ROWS, CLOUD_COLUMNS)."""
    noise = _smooth_noise(CLOUD_ROWS, CLOUD_COLUMNS, 10.0, 1)
    return np.clip(128 + 110 * noise, 0, 256).astype(np.int64)


def make_trees() -> Any:
    """Heights of the line of trees, float64 (TREE_KNOTS + 1,) [m per m of distance]."""
    noise = (
        _smooth_noise(1, TREE_KNOTS, 20.0, 2)[0] * 0.4
        + _smooth_noise(1, TREE_KNOTS, 120.0, 3)[0] * 0.25
    )
    heights = np.clip(0.35 + 0.4 * noise, 0.06, 1.0) * HIGHEST_TREE
    return np.append(heights, heights[0])


@bare
def prepare_columns(view, surfaces):  # type: ignore[no-untyped-def]
    """For each column: how far the headlights reach, the trees' height, the clouds' column."""
    width = view.columns.shape[0]
    trees = surfaces.trees
    for column in range(width):
        x = (column + 0.5 - width / 2) * view.metres_per_pixel
        view.columns[column] = int(256.0 * max(0.0, 1.0 - 1.8 * x * x) ** 2)
        turn = (view.heading + math.atan(x)) / (2 * math.pi)
        turn -= math.floor(turn)
        place = turn * TREE_KNOTS
        knot = min(int(place), TREE_KNOTS - 1)
        top = trees[knot] + (trees[knot + 1] - trees[knot]) * (place - knot)
        view.trees[column] = top / view.metres_per_pixel + 0.5
        view.clouds[column] = min(int(turn * CLOUD_COLUMNS), CLOUD_COLUMNS - 1)


@bare
def prepare_sky(view, look):  # type: ignore[no-untyped-def]
    """Colours of the clear sky by height: sky[k] is k / SKY_STEPS metres up per metre away."""
    matrix, sky = view.ground, view.sky
    # The highest is in a corner of the picture
    down = matrix[2, 0] + matrix[2, 2] * 0.5 + min(matrix[2, 1] * view.columns.shape[0], 0.0)
    steps = min(max(int(-down * view.height * SKY_STEPS) + 2, 1), sky.shape[0])
    for k in range(steps):
        rise = (k + 0.5) / SKY_STEPS
        sky[k] = mix(look.horizon, look.zenith, int(256.0 * rise / (rise + 0.3)))


@inlined
def sky_row(view, look, surfaces, row, first, last, picture):  # type: ignore[no-untyped-def]
    """Colour the columns of a row outside [first, last), which is ground."""
    width = picture.shape[1]
    if first > 0:
        _sky_span(view, look, surfaces, row, 0, min(first, width), picture)
    if last < width:
        _sky_span(view, look, surfaces, row, max(last, first), width, picture)


@inlined
def _sky_span(view, look, surfaces, row, begin, end, picture):  # type: ignore[no-untyped-def]
    matrix, line = view.ground, picture[row]
    # Metres up per metre away, at a column and from there to the next
    step = -matrix[2, 1] * view.height
    start = -(matrix[2, 0] + matrix[2, 2] * (row + 0.5)) * view.height + step * 0.5
    heights = (int(start * FINEST), int(step * FINEST))
    cloudy = (look.cloud_color, look.clouds)
    _heaven(line, view.sky, surfaces.clouds, view.clouds, heights, cloudy, begin, end)
    if min(start + step * begin, start + step * (end - 1)) > HIGHEST_TREE:
        return
    _plant(
        line, view.trees, (start, step), 1.0 / view.metres_per_pixel, look.tree_color, begin, end
    )


@streaming
def _heaven(line, sky, clouds, places, heights, cloudy, begin, end):  # type: ignore[no-untyped-def]
    """The clear sky, and clouds before it. There are enough rows of both for each other's."""
    start, step = heights
    color, overcast = cloudy
    highest = min(sky.shape[0], clouds.shape[0] << CLOUD_BITS) - 1
    for column in range(begin, end):
        up = min(max(start + step * column, 0) >> FINEST_BITS, highest)
        cloud = clouds[up >> CLOUD_BITS, places[column]]
        line[column] = mix(sky[up], color, cloud * overcast >> 8)


@streaming
def _plant(line, trees, heights, per_metre, color, begin, end):  # type: ignore[no-untyped-def]
    start, step = heights
    for column in range(begin, end):
        over = trees[column] - (start + step * column) * per_metre
        cover = np.int64(np.int32(256.0 * min(max(over, 0.0), 1.0)))
        line[column] = mix(line[column], color, cover)
