"""What lens and sensor do to a picture: rain before them, blur, exposure, contrast and noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drive_rl.camera.bodies import mixed_bits
from drive_rl.camera.pixels import mix, packed
from drive_rl.simulator.jit import bare, inlined, streaming

NOISE_STARTS = 1 << 12  # places in the noise at which a line of it may begin
NOISE_LENGTH = NOISE_STARTS + 2048  # and as many more as a picture is wide
BORDER = 2  # columns beside a plane, for the taps beyond it

RAIN_STREAKS = 0.011  # streaks per pixel in heavy rain


def make_noise() -> Any:
    """Normal noise of deviation 1, float32 (NOISE_LENGTH,)."""
    return np.random.default_rng(4).standard_normal(NOISE_LENGTH).astype(np.float32)


@bare
def draw_rain(look, picture):  # type: ignore[no-untyped-def]
    """Streaks, elsewhere in every frame."""
    height, width = picture.shape
    light = mix(look.horizon, packed(230, 232, 236), 128)
    length = max(3, height // 9)
    for k in range(int(look.rain * RAIN_STREAKS * height * width)):
        bits = mixed_bits(look.frame_key + k)
        x = (bits & 0xFFFFF) / 1048576.0 * width
        y = int((bits >> 20 & 0xFFFFF) / 1048576.0 * (height + length)) - length
        reach = length // 2 + int(bits >> 40 & 7) * length // 10
        weight = 40 + int(bits >> 44 & 63)
        for row in range(max(y, 0), min(y + reach, height)):
            column = int(x + 0.12 * (row - y))
            if column < width:
                picture[row, column] = mix(picture[row, column], light, weight)


@bare
def expose(look, picture, noise, planes, out):  # type: ignore[no-untyped-def]
    """Write a picture as it leaves the camera.

    In single precision throughout: integers of 32 bits would be widened, and take four times as
    long.

    Args:
        picture: (height, width), packed.
        planes: (4, height, width + 2 * BORDER) f4, scratch.
        out: (channels, height, width) u1: red, green, blue, or grey.
    """
    taps = _taps(look.blur)
    sensor = (np.float32(look.gain), np.float32(look.offset + 0.5), np.float32(look.noise))
    if out.shape[0] == 1:
        _unpack_gray(picture, planes[0])
    else:
        _unpack(picture, planes[0], planes[1], planes[2])
    blurred = planes[3]
    for channel in range(out.shape[0]):
        _blur_across(planes[channel], taps, blurred)
        key = (look.frame_key, channel + 1)
        _develop(blurred, taps, sensor, noise, key, out[channel])


@inlined
def _taps(deviation):  # type: ignore[no-untyped-def]
    """A Gaussian of five taps: its middle, the two beside it, and the outer two."""
    if deviation <= 0.05:
        return np.float32(1.0), np.float32(0.0), np.float32(0.0)
    side = math.exp(-0.5 / (deviation * deviation))
    far = math.exp(-2.0 / (deviation * deviation))
    total = 1.0 + 2.0 * side + 2.0 * far
    return np.float32(1.0 / total), np.float32(side / total), np.float32(far / total)


@streaming
def _unpack(picture, red, green, blue):  # type: ignore[no-untyped-def]
    """The colours of a picture, each with a border of its own first and last columns."""
    height, width = picture.shape
    for row in range(height):
        for column in range(width):
            pixel = picture[row, column]
            red[row, column + BORDER] = np.float32(np.int32(pixel & 255))
            green[row, column + BORDER] = np.float32(np.int32(pixel >> 16 & 255))
            blue[row, column + BORDER] = np.float32(np.int32(pixel >> 32 & 255))
        for plane in (red, green, blue):
            _repeat_ends(plane[row])


@streaming
def _unpack_gray(picture, plane):  # type: ignore[no-untyped-def]
    height, width = picture.shape
    for row in range(height):
        for column in range(width):
            p = picture[row, column]
            value = 77 * (p & 255) + 150 * (p >> 16 & 255) + 29 * (p >> 32 & 255)
            plane[row, column + BORDER] = np.float32(np.int32(value >> 8))
        _repeat_ends(plane[row])


@inlined
def _repeat_ends(line):  # type: ignore[no-untyped-def]
    end = line.shape[0] - BORDER
    for column in range(BORDER):
        line[column] = line[BORDER]
        line[end + column] = line[end - 1]


@streaming
def _blur_across(plane, taps, out):  # type: ignore[no-untyped-def]
    middle, side, far = taps
    for row in range(plane.shape[0]):
        for column in range(plane.shape[1] - 2 * BORDER):
            out[row, column] = (
                middle * plane[row, column + 2]
                + side * (plane[row, column + 1] + plane[row, column + 3])
                + far * (plane[row, column] + plane[row, column + 4])
            )


@streaming
def _develop(plane, taps, sensor, noise, key, out):  # type: ignore[no-untyped-def]
    """Blur down the columns, whose ends repeat; exposure, contrast, noise, and eight bits."""
    height, width = out.shape
    middle, side, far = taps
    gain, offset, amount = sensor
    for row in range(height):
        upper, up = max(row - 2, 0), max(row - 1, 0)
        down, lower = min(row + 1, height - 1), min(row + 2, height - 1)
        grain = mixed_bits(key[0] ^ (row * 4 + key[1])) & NOISE_STARTS - 1
        for column in range(width):
            value = (
                middle * plane[row, column]
                + side * (plane[up, column] + plane[down, column])
                + far * (plane[upper, column] + plane[lower, column])
            )
            value = value * gain + offset + noise[grain + column] * amount
            value = min(max(value, np.float32(0.0)), np.float32(255.0))
            out[row, column] = np.uint8(np.int32(value))
