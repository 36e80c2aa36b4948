"""What may vary from one episode to the next, and how it is drawn.

Each environment has a stream of its own, derived from its seed and apart from the one that
populates the road: switching a factor on moves no car. A factor's number depends on the stream,
the episode and the factor alone, so that factors do not shift each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from drive_rl.camera.bodies import mixed_bits
from drive_rl.simulator.jit import bare


class Factor(NamedTuple):
    """A number that an episode draws evenly from a range.

    Attributes:
        default: its value where it does not vary.
        low, high: the limits within which a range may lie.
    """

    name: str
    default: float
    low: float
    high: float
    text: str


FACTORS: tuple[Factor, ...] = (
    Factor("marking_tint", 0.0, 0.0, 1.0, "markings from white (0) to yellow (1)"),
    Factor("marking_wear", 0.0, 0.0, 1.0, "share of the markings' paint that is worn off"),
    Factor("sky", 0.0, 0.0, 1.0, "from clear (0) to overcast (1)"),
    Factor("sun_azimuth", -50.0, -360.0, 360.0, "direction of the sun, from +x to +y [degrees]"),
    Factor("sun_elevation", 48.0, 5.0, 90.0, "height of the sun [degrees]"),
    Factor("light", 1.0, 0.1, 1.0, "daylight on the road and what stands on it"),
    Factor("contrast", 1.0, 0.2, 2.0, "contrast of the picture"),
    Factor("exposure", 0.0, -2.0, 2.0, "brightness of the picture [stops]"),
    Factor("fog", 0.0, 0.0, 0.2, "density of the fog [1/m]"),
    Factor("rain", 0.0, 0.0, 1.0, "streaks of rain, and a wet, darker road"),
    Factor("night", 0.0, 0.0, 1.0, "from day (0) to night with headlights (1)"),
    Factor("vehicle_colors", 0.0, 0.0, 1.0, "from ordinary paint (0) to any colour (1)"),
    Factor("vehicle_size", 1.0, 0.5, 1.5, "drawn size of vehicles, as a factor"),
    Factor("camera_height", 0.0, -1.0, 5.0, "added to the camera's height [m]"),
    Factor(
        "camera_pitch", 0.0, -20.0, 20.0, "added to the camera's pitch, up is positive [degrees]"
    ),
    Factor("camera_roll", 0.0, -20.0, 20.0, "roll of the camera, clockwise is positive [degrees]"),
    Factor("field_of_view", 0.0, -40.0, 40.0, "added to the field of view [degrees]"),
    Factor("blur", 0.0, 0.0, 2.0, "deviation of the lens's blur [px]"),
    Factor("noise", 0.0, 0.0, 64.0, "deviation of the sensor's noise, of 255"),
    Factor("dropped_frames", 0.0, 0.0, 0.9, "share of the frames that repeat the one before"),
)
NAMES = tuple(factor.name for factor in FACTORS)
(
    MARKING_TINT,
    MARKING_WEAR,
    SKY,
    SUN_AZIMUTH,
    SUN_ELEVATION,
    LIGHT,
    CONTRAST,
    EXPOSURE,
    FOG,
    RAIN,
    NIGHT,
    VEHICLE_COLORS,
    VEHICLE_SIZE,
    CAMERA_HEIGHT,
    CAMERA_PITCH,
    CAMERA_ROLL,
    FIELD_OF_VIEW,
    BLUR,
    NOISE,
    DROPPED_FRAMES,
) = range(len(FACTORS))

# Numbers of a stream that are not factors
ROAD_DRAW, VERGE_DRAW, PAINT_DRAW, TRAFFIC_DRAW = 1000, 1001, 1002, 1003

_WORD = 0xFFFFFFFFFFFFFFFF

CAMERA_DTYPE = np.dtype(
    [
        ("stream", "i8"),  # of this environment, from its seed
        ("key", "i8"),  # of this episode
        ("episode", "i8"),  # episodes since the seed was given
        ("frame", "i8"),  # frames of this episode
        ("road", "i8"),  # tile of the road's textures
        ("verge", "i8"),
        ("values", "f8", (len(FACTORS),)),  # as in FACTORS
    ],
    align=True,
)


class Variation(NamedTuple):
    """What varies, as kernels read it."""

    low: Any  # (num_factors,) f8; equal to `high` where nothing varies
    high: Any
    roads: Any  # (n,) i8: tiles of the road's textures to choose from
    verges: Any  # (n,) i8


@bare
def uniform(key, number):  # type: ignore[no-untyped-def]
    """Draw `number` of the stream `key`: in [0, 1)."""
    return mixed_bits(key ^ mixed_bits(number)) / 4611686018427387904.0


@bare
def draw_episode(cameras, variation, mask, low, high):  # type: ignore[no-untyped-def]
    """Draw everything that varies, at the start of an episode in each environment of the mask."""
    for env in range(low, high):
        if not mask[env]:
            continue
        camera = cameras[env]
        camera.key = mixed_bits(camera.stream ^ mixed_bits(camera.episode))
        camera.episode += 1
        camera.frame = 0
        for k in range(variation.low.shape[0]):
            share = uniform(camera.key, k)
            start, end = variation.low[k], variation.high[k]
            camera.values[k] = start if start == end else start + (end - start) * share
        num_roads, num_verges = variation.roads.shape[0], variation.verges.shape[0]
        camera.road = variation.roads[int(uniform(camera.key, ROAD_DRAW) * num_roads)]
        camera.verge = variation.verges[int(uniform(camera.key, VERGE_DRAW) * num_verges)]


def stream_of(words: Any) -> int:
    """The stream that belongs to a random generator's state, given as unsigned 64-bit words."""
    key = 0
    for word in words:
        key = mixed_number(key ^ int(word))
    return key


def mixed_number(key: int) -> int:
    """`mixed_bits` for callers in Python: helpers of kernels have no way in from there."""
    z = (key + 0x9E3779B97F4A7C15) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return (z ^ (z >> 31)) >> 2


def uniform_number(key: int, number: int) -> float:
    """`uniform` for callers in Python."""
    return mixed_number(key ^ mixed_number(number)) / 4611686018427387904.0
