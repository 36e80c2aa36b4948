"""`randomization: {...}` of an environment, checked: which factors vary, and within what.

    randomization:
      fog: [0, 0.02]                                      # a range, drawn evenly at each reset
      night: 0.7                                          # a number is a range of one value
      road_texture: {bank: procedural, split: train}      # a bank, all of it or a part
      politeness: [0, 0.5]                                # of the traffic

Whatever is not named stays as it is, so each factor can be tried alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drive_rl.camera.factors import FACTORS, Factor, uniform_number
from drive_rl.camera.options import number
from drive_rl.errors import UsageError, unknown
from drive_rl.textures.banks import Bank, load_bank

TRAFFIC_FACTORS: tuple[Factor, ...] = (
    Factor("density", 1.0, 0.1, 3.0, "vehicles per length of road, as a factor (highway)"),
    Factor("politeness", 0.0, 0.0, 1.0, "weight of others in the traffic's lane changes (MOBIL)"),
    Factor("time_headway", 1.5, 0.3, 5.0, "gap in time that the traffic keeps (IDM) [s]"),
)
TRAFFIC_NAMES = tuple(factor.name for factor in TRAFFIC_FACTORS)
_TRAFFIC_DRAW = 2000  # numbers of the stream

TEXTURES = ("road_texture", "verge_texture")
DEFAULT_TEXTURES = {
    "road_texture": ("procedural", "asphalt_old"),
    "verge_texture": ("verges", "grass"),
}

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class TextureChoice:
    """Where an episode's texture is drawn from."""

    bank: str
    split: str | None = None
    classes: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Randomization:
    """What varies from episode to episode.

    Attributes:
        ranges: of image factors, by name; factors that are not named have their default.
        traffic: ranges of the traffic's factors.
        textures: by "road_texture" and "verge_texture", where these vary.
    """

    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    traffic: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    textures: Mapping[str, TextureChoice] = dataclasses.field(default_factory=dict)

    def limits(self) -> tuple[Any, Any]:
        """Lowest and highest values of all image factors, each (num_factors,) f8."""
        pairs = [self.ranges.get(f.name, (f.default, f.default)) for f in FACTORS]
        low, high = np.array(pairs, np.float64).T
        return np.ascontiguousarray(low), np.ascontiguousarray(high)

    def tiles(self, surface: str) -> tuple[Bank, Any]:
        """The bank of "road_texture" or "verge_texture", and the tiles to draw from.

        Raises:
            UsageError: there is no such bank, split or class, or nothing is left of it.
        """
        choice = self.textures.get(surface)
        if choice is None:
            name, kind = DEFAULT_TEXTURES[surface]
            bank = load_bank(name)
            return bank, bank.select(classes=[kind])[:1]
        bank = load_bank(choice.bank)
        return bank, bank.select(choice.split, choice.classes)

    def draw_traffic(self, key: int) -> dict[str, float]:
        """The traffic's factors of the episode with this key (`factors.CAMERA_DTYPE`)."""
        drawn = {}
        for k, name in enumerate(TRAFFIC_NAMES):
            if name in self.traffic:
                low, high = self.traffic[name]
                drawn[name] = low + (high - low) * uniform_number(key, _TRAFFIC_DRAW + k)
        return drawn


def randomization(config: Mapping[str, Any] | None) -> Randomization:
    """Read and check a `randomization` mapping.

    Raises:
        UsageError: an unknown factor (the nearest is named), a range upside down or beyond its
            limits, a bank that does not exist or is empty.
    """
    if config is None:
        return Randomization()
    if not isinstance(config, Mapping):
        raise UsageError(f"randomization {config!r} is not a mapping of factors to ranges")
    image = {factor.name: factor for factor in FACTORS}
    traffic = {factor.name: factor for factor in TRAFFIC_FACTORS}
    ranges: dict[str, Range] = {}
    traffic_ranges: dict[str, Range] = {}
    textures: dict[str, TextureChoice] = {}
    for name, value in config.items():
        if name in image:
            ranges[name] = _range(image[name], value)
        elif name in traffic:
            traffic_ranges[name] = _range(traffic[name], value)
        elif name in TEXTURES:
            textures[name] = _choice(name, value)
        else:
            raise unknown("factor of randomization", str(name), [*image, *traffic, *TEXTURES])
    found = Randomization(ranges, traffic_ranges, textures)
    for surface in textures:
        found.tiles(surface)  # raises where nothing is there
    return found


def _range(factor: Factor, value: Any) -> Range:
    where = f"randomization: {factor.name}"
    ends = value if isinstance(value, (list, tuple)) else [value, value]
    if len(ends) != 2:
        raise UsageError(f"{where} {value!r} is not a range [low, high] or a number")
    low, high = (number(where, end, factor.low, factor.high) for end in ends)
    if low > high:
        raise UsageError(f"{where} [{low:g}, {high:g}] is upside down: give [{high:g}, {low:g}]")
    return low, high


def _choice(name: str, value: Any) -> TextureChoice:
    where = f"randomization: {name}"
    if isinstance(value, str):
        value = {"bank": value}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} {value!r} is not a bank or a mapping with one")
    for key in value:
        if key not in ("bank", "split", "classes"):
            raise unknown(f"key of {where}", str(key), ["bank", "split", "classes"])
    classes = value.get("classes")
    if isinstance(classes, str):
        classes = [classes]
    if classes is not None and not isinstance(classes, Sequence):
        raise UsageError(f"{where}: classes {classes!r} is not a list")
    bank = str(value.get("bank", DEFAULT_TEXTURES[name][0]))
    return TextureChoice(bank, value.get("split"), None if classes is None else tuple(classes))
