"""What lens and sensor do to a picture: rain before them, blur, exposure, contrast and noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drive_rl.camera.bodies import mixed_bits
from drive_rl.camera.pixels import BORDER, channels, mix, packed
from drive_rl.simulator.jit import bare, inlined, streaming

NOISE_STARTS = 1 << 12  # places in the noise at which a line of it may begin
NOISE_LENGTH = NOISE_STARTS + 2048  # and as many more as a picture is wide
SHARP = 0.05  # a deviation of the blur up to which nothing is blurred [px]
# Taps that carry less than this share of a pixel, a tenth of a level of 255, are left out
LEAST_TAP = 0.0003

RAIN_STREAKS = 0.011  # streaks per pixel in heavy rain


def make_noise() -> Any:
    """Normal noise of deviation 1, float32 (NOISE_LENGTH,)."""
    return np.random.default_rng(4).standard_normal(NOISE_LENGTH).astype(np.float32)


@bare
def draw_rain(look, width, picture):  # type: ignore[no-untyped-def]
    """Streaks, elsewhere in every frame."""
    height = picture.red.shape[0]
    r, g, b = channels(mix(look.horizon, packed(230, 232, 236), 128))
    length = max(3, height // 9)
    for k in range(int(look.rain * RAIN_STREAKS * height * width)):
        bits = mixed_bits(look.frame_key + k)
        x = (bits & 0xFFFFF) / 1048576.0 * width
        y = int((bits >> 20 & 0xFFFFF) / 1048576.0 * (height + length)) - length
        reach = length // 2 + int(bits >> 40 & 7) * length // 10
        weight = np.float32((40 + int(bits >> 44 & 63)) / 256)
        for row in range(max(y, 0), min(y + reach, height)):
            column = int(x + 0.12 * (row - y))
            if column < width:
                place = column + BORDER
                picture.red[row, place] += (r - picture.red[row, place]) * weight
                picture.green[row, place] += (g - picture.green[row, place]) * weight
                picture.blue[row, place] += (b - picture.blue[row, place]) * weight


@bare
def expose(look, picture, noise, blurred, out):  # type: ignore[no-untyped-def]
    """Write a picture as it leaves the camera.

    Args:
        picture: a `Picture`; left as the lens blurs it across.
        blurred: of the shape of its planes, scratch.
        out: (channels, height, width) u1: red, green, blue, or grey.
    """
    taps = _taps(look.blur)
    sensor = (np.float32(look.gain), np.float32(look.offset + 0.5), np.float32(look.noise))
    if out.shape[0] == 1:
        _to_gray(picture.red, picture.green, picture.blue)
    for channel in range(out.shape[0]):
        plane = picture.red if channel == 0 else picture.green if channel == 1 else picture.blue
        key = (look.frame_key, channel + 1)
        if taps[1] == 0.0:
            _develop(plane, sensor, noise, key, out[channel])
            continue
        _repeat_ends(plane, out.shape[2])
        size = plane.size
        if taps[2] == 0.0:
            _blur_across(plane.reshape(size), taps, blurred.reshape(size))
            _develop_near(blurred, taps, sensor, noise, key, out[channel])
        else:
            _blur_far_across(plane.reshape(size), taps, blurred.reshape(size))
            _develop_far(blurred, taps, sensor, noise, key, out[channel])


@inlined
def _taps(deviation):  # type: ignore[no-untyped-def]
    """A Gaussian of five taps: its middle, the two beside it, and the outer two; some may be 0."""
    if deviation <= SHARP:
        return np.float32(1.0), np.float32(0.0), np.float32(0.0)
    side = math.exp(-0.5 / (deviation * deviation))
    far = math.exp(-2.0 / (deviation * deviation))
    if far < LEAST_TAP:
        far = 0.0
    total = 1.0 + 2.0 * side + 2.0 * far
    return np.float32(1.0 / total), np.float32(side / total), np.float32(far / total)


@streaming
def _to_gray(red, green, blue):  # type: ignore[no-untyped-def]
    """Turn the red plane into a grey one."""
    for row in range(red.shape[0]):
        for column in range(red.shape[1]):
            red[row, column] = (
                np.float32(77 / 256) * red[row, column]
                + np.float32(150 / 256) * green[row, column]
                + np.float32(29 / 256) * blue[row, column]
            )


@bare
def _repeat_ends(plane, width):  # type: ignore[no-untyped-def]
    """Give each row its first and last columns beside them."""
    end = BORDER + width
    for row in range(plane.shape[0]):
        plane[row, BORDER - 2] = plane[row, BORDER - 1] = plane[row, BORDER]
        plane[row, end] = plane[row, end + 1] = plane[row, end - 1]


@streaming
def _blur_across(plane, taps, out):  # type: ignore[no-untyped-def]
    """All rows at once: what comes out beside them is nobody's."""
    middle, side, _ = taps
    left, here, right, out = plane[:-2], plane[1:], plane[2:], out[1:]
    for k in range(left.shape[0]):
        out[k] = middle * here[k] + side * (left[k] + right[k])


@streaming
def _blur_far_across(plane, taps, out):  # type: ignore[no-untyped-def]
    middle, side, far = taps
    leftmost, left, here, right, rightmost = plane[:-4], plane[1:], plane[2:], plane[3:], plane[4:]
    out = out[2:]
    for k in range(leftmost.shape[0]):
        out[k] = middle * here[k] + side * (left[k] + right[k]) + far * (leftmost[k] + rightmost[k])


@streaming
def _develop(plane, sensor, noise, key, out):  # type: ignore[no-untyped-def]
    """Exposure, contrast, noise, and eight bits."""
    height, width = out.shape
    gain, offset, amount = sensor
    for row in range(height):
        line, pixels, grains = plane[row, BORDER:], out[row], noise[_grain(key, row) :]
        for column in range(width):
            pixels[column] = _eight_bits(line[column] * gain + offset + grains[column] * amount)


@streaming
def _develop_near(plane, taps, sensor, noise, key, out):  # type: ignore[no-untyped-def]
    """Blur down the columns, whose ends repeat, and develop."""
    height, width = out.shape
    middle, side, _ = taps
    gain, offset, amount = sensor
    middle, side = middle * gain, side * gain
    for row in range(height):
        line, pixels, grains = plane[row, BORDER:], out[row], noise[_grain(key, row) :]
        above, below = plane[max(row - 1, 0), BORDER:], plane[min(row + 1, height - 1), BORDER:]
        for column in range(width):
            value = middle * line[column] + side * (above[column] + below[column])
            pixels[column] = _eight_bits(value + offset + grains[column] * amount)


@streaming
def _develop_far(plane, taps, sensor, noise, key, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    middle, side, far = taps
    gain, offset, amount = sensor
    middle, side, far = middle * gain, side * gain, far * gain
    for row in range(height):
        line, pixels, grains = plane[row, BORDER:], out[row], noise[_grain(key, row) :]
        above, below = plane[max(row - 1, 0), BORDER:], plane[min(row + 1, height - 1), BORDER:]
        upper, lower = plane[max(row - 2, 0), BORDER:], plane[min(row + 2, height - 1), BORDER:]
        for column in range(width):
            value = (
                middle * line[column]
                + side * (above[column] + below[column])
                + far * (upper[column] + lower[column])
            )
            pixels[column] = _eight_bits(value + offset + grains[column] * amount)


@inlined
def _grain(key, row):  # type: ignore[no-untyped-def]
    """Where in the noise a row's begins."""
    return mixed_bits(key[0] ^ (row * 4 + key[1])) & NOISE_STARTS - 1


@inlined
def _eight_bits(value):  # type: ignore[no-untyped-def]
    return np.uint8(np.int32(min(max(value, np.float32(0.0)), np.float32(255.0))))
