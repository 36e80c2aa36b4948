"""What lens and sensor do to a picture: rain before them, blur, exposure, contrast and noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drive_rl.camera.bodies import mixed_bits
from drive_rl.camera.pixels import mix, packed
from drive_rl.simulator.jit import bare

NOISE_LENGTH = 1 << 16

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

    In single precision throughout, which the compiler turns into vectors: integers of 32 bits
    would be widened, and blurring took four times as long.

    Args:
        picture: (height, width), packed.
        planes: (2, height, width) f4, scratch.
        out: (channels, height, width) u1: red, green, blue, or grey.
    """
    height, width = picture.shape
    channels = out.shape[0]
    plane, scratch = planes[0], planes[1]
    for channel in range(channels):
        if channels == 1:
            for row in range(height):
                pixels, line = picture[row], plane[row]
                for column in range(width):
                    p = pixels[column]
                    gray = 77 * (p & 255) + 150 * (p >> 16 & 255) + 29 * (p >> 32 & 255)
                    line[column] = np.float32(np.int32(gray >> 8))
        else:
            bits = 16 * channel
            for row in range(height):
                pixels, line = picture[row], plane[row]
                for column in range(width):
                    line[column] = np.float32(np.int32(pixels[column] >> bits & 255))
        if look.blur > 0.05:
            _blur(plane, scratch, look.blur)
        _develop(look, plane, noise, channel, out[channel])


@bare
def _blur(plane, scratch, deviation):  # type: ignore[no-untyped-def]
    """A Gaussian of five taps, or of three where the outer two would not show; edges repeat."""
    height, width = plane.shape
    a = math.exp(-0.5 / (deviation * deviation))
    b = math.exp(-2.0 / (deviation * deviation))
    if b < 0.002:
        b = 0.0
    total = 1.0 + 2.0 * a + 2.0 * b
    middle, side, far = np.float32(1.0 / total), np.float32(a / total), np.float32(b / total)
    for row in range(height):
        line, result = plane[row], scratch[row]
        if b == 0.0:
            for column in range(width - 2):
                result[column + 1] = middle * line[column + 1] + side * (
                    line[column] + line[column + 2]
                )
        else:
            for column in range(width - 4):
                result[column + 2] = (
                    middle * line[column + 2]
                    + side * (line[column + 1] + line[column + 3])
                    + far * (line[column] + line[column + 4])
                )
            result[1], result[width - 2] = line[1], line[width - 2]
        result[0], result[width - 1] = line[0], line[width - 1]
    for row in range(height):
        up, upper = scratch[max(row - 1, 0)], scratch[max(row - 2, 0)]
        down, lower = scratch[min(row + 1, height - 1)], scratch[min(row + 2, height - 1)]
        line, result = scratch[row], plane[row]
        if b == 0.0:
            for column in range(width):
                result[column] = middle * line[column] + side * (up[column] + down[column])
            continue
        for column in range(width):
            result[column] = (
                middle * line[column]
                + side * (up[column] + down[column])
                + far * (upper[column] + lower[column])
            )


@bare
def _develop(look, plane, noise, channel, out):  # type: ignore[no-untyped-def]
    """Exposure, contrast, noise, and eight bits."""
    height, width = plane.shape
    gain, offset = np.float32(look.gain), np.float32(look.offset + 0.5)
    amount = np.float32(look.noise)
    for row in range(height):
        line, result = plane[row], out[row]
        bits = mixed_bits(look.frame_key ^ (row * 4 + channel + 1))
        grains = noise[bits % (NOISE_LENGTH - width) :]
        for column in range(width):
            value = line[column] * gain + offset + grains[column] * amount
            value = min(max(value, np.float32(0.0)), np.float32(255.0))
            result[column] = np.uint8(np.int32(value))
