"""The sky, and the line of trees that stands around the horizon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drive_rl.camera.pixels import mix
from drive_rl.simulator.jit import bare

CLOUD_ROWS, CLOUD_COLUMNS = 64, 512  # 0 to 45 degrees up, all around
TREE_KNOTS = 512  # all around
HIGHEST_TREE = 0.075  # [m per m of distance]
SKY_STEPS = 256  # colours of the clear sky per metre up per metre away
SKY_COLORS = 512


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
        view.columns[column] = max(0.0, 1.0 - 1.8 * x * x) ** 2
        turn = (view.heading + math.atan(x)) / (2 * math.pi)
        turn -= math.floor(turn)
        place = turn * TREE_KNOTS
        knot = min(int(place), TREE_KNOTS - 1)
        top = trees[knot] + (trees[knot + 1] - trees[knot]) * (place - knot)
        view.trees[column] = top / view.metres_per_pixel + 0.5
        view.clouds[column] = min(int(turn * CLOUD_COLUMNS), CLOUD_COLUMNS - 1)


@bare
def prepare_sky(look, sky):  # type: ignore[no-untyped-def]
    """Colours of the clear sky by height: sky[k] is k / SKY_STEPS metres up per metre away."""
    for k in range(sky.shape[0]):
        rise = (k + 0.5) / SKY_STEPS
        sky[k] = mix(look.horizon, look.zenith, int(256.0 * rise / (rise + 0.3)))


@bare
def sky_row(view, look, surfaces, row, first, last, picture):  # type: ignore[no-untyped-def]
    """Colour the columns of a row outside [first, last), which is ground."""
    width = picture.shape[1]
    if first > 0:
        _sky_span(view, look, surfaces, row, 0, min(first, width), picture)
    if last < width:
        _sky_span(view, look, surfaces, row, max(last, first), width, picture)


@bare
def _sky_span(view, look, surfaces, row, begin, end, picture):  # type: ignore[no-untyped-def]
    matrix, line = view.ground, picture[row]
    clouds, places, trees, sky = surfaces.clouds, view.clouds, view.trees, view.sky
    cloud_color, overcast = look.cloud_color, look.clouds
    # Metres up per metre away, at a column and from there to the next
    step = -matrix[2, 1] * view.height
    start = -(matrix[2, 0] + matrix[2, 2] * (row + 0.5)) * view.height + step * 0.5
    finest = 1 << 20
    rise, rise_step = int((start + step * begin) * finest), int(step * finest)
    per_step = finest // SKY_STEPS
    highest, lines = sky.shape[0] - 1, clouds.shape[0] - 1
    for column in range(begin, end):
        up = min(max(rise, 0) // per_step, highest)
        cloud = clouds[min(up * CLOUD_ROWS // SKY_STEPS, lines), places[column]]
        line[column] = mix(sky[up], cloud_color, cloud * overcast >> 8)
        rise += rise_step
    if min(start + step * begin, start + step * (end - 1)) > HIGHEST_TREE:
        return
    per_metre = 1.0 / view.metres_per_pixel
    for column in range(begin, end):
        over = trees[column] - (start + step * column) * per_metre
        if over > 0.0:
            line[column] = mix(line[column], look.tree_color, int(256.0 * min(over, 1.0)))
