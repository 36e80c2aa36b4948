"""The keys of a CameraObservation, checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from drive_rl.errors import UsageError, unknown

VIEWS = ("front", "top")
CHANNELS = {"rgb": 3, "gray": 1}
LARGEST = 2048  # [px]


@dataclasses.dataclass(frozen=True)
class CameraOptions:
    """What a camera is like when nothing varies.

    Attributes:
        view: "front": from the vehicle, in perspective; "top": from above, to scale.
        width, height: of the picture [px].
        channels: "rgb" or "gray".
        stack_size: frames in an observation, the newest last.
        field_of_view: of the front view, from left to right [degrees].
        position: of the front view's camera: ahead of the vehicle's middle, right, and up [m].
        pitch: of the front view, up is positive [degrees].
        scaling: of the top view [px/m]; None shows about 60 m from top to bottom.
        centering_position: where the vehicle stands in the top view: share of width and of height.
        rotate: the top view turns with the vehicle, which then drives up the picture; without, x
            points to the right, as in highway-env's pictures.
        textures: whether surfaces have any; without, each has its mean colour.
    """

    view: str = "front"
    width: int = 84
    height: int = 84
    channels: str = "rgb"
    stack_size: int = 4
    field_of_view: float = 80.0
    position: tuple[float, float, float] = (0.4, 0.0, 1.7)
    pitch: float = -7.0
    scaling: float | None = None
    centering_position: tuple[float, float] = (0.5, 0.75)
    rotate: bool = True
    textures: bool = True

    @property
    def num_channels(self) -> int:
        """3 or 1."""
        return CHANNELS[self.channels]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an observation: (stack_size * channels, height, width)."""
        return (self.stack_size * self.num_channels, self.height, self.width)

    @property
    def pixels_per_metre(self) -> float:
        """Of the top view."""
        return self.height / 60.0 if self.scaling is None else self.scaling


def camera_options(config: Mapping[str, Any]) -> CameraOptions:
    """Options from an observation's configuration, `{"type": "CameraObservation", ...}`.

    Raises:
        UsageError: an unknown key (the nearest is named), or a value that no camera can have.
    """
    fields = {field.name for field in dataclasses.fields(CameraOptions)}
    given = {key: value for key, value in config.items() if key != "type"}
    for key in given:
        if key not in fields:
            raise unknown("key of CameraObservation", str(key), fields)
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if key == "view":
            _choice(key, value, VIEWS)
            checked[key] = value
        elif key == "channels":
            _choice(key, value, CHANNELS)
            checked[key] = value
        elif key in ("width", "height"):
            checked[key] = _whole(key, value, 8, LARGEST)
        elif key == "stack_size":
            checked[key] = _whole(key, value, 1, 64)
        elif key == "field_of_view":
            checked[key] = number(key, value, 10.0, 160.0, "degrees")
        elif key == "pitch":
            checked[key] = number(key, value, -80.0, 45.0, "degrees")
        elif key == "scaling":
            checked[key] = None if value is None else number(key, value, 0.1, 100.0, "px/m")
        elif key in ("rotate", "textures"):
            if not isinstance(value, bool):
                raise UsageError(f"CameraObservation: {key} {value!r} is not true or false")
            checked[key] = value
        elif key == "position":
            ahead, right, up = _numbers(key, value, 3)
            number("position (up)", up, 0.3, 60.0, "m")
            checked[key] = (ahead, right, up)
        elif key == "centering_position":
            checked[key] = tuple(_numbers(key, value, 2))
    return CameraOptions(**checked)


def number(name: str, value: Any, low: float, high: float, unit: str = "") -> float:
    """A finite number within limits.

    Raises:
        UsageError: anything else.
    """
    if isinstance(value, str):
        try:
            value = float(value)  # YAML 1.1 reads 1e-3 as text
        except ValueError:
            raise UsageError(f"{name} {value!r} is not a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{name} {value!r} is not a number")
    if not low <= value <= high:
        suffix = f" {unit}" if unit else ""
        raise UsageError(f"{name} {value:g} is not between {low:g} and {high:g}{suffix}")
    return float(value)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    checked = number(name, value, low, high)
    if checked != int(checked):
        raise UsageError(f"{name} {value!r} is not a whole number")
    return int(checked)


def _numbers(name: str, value: Any, count: int) -> list[float]:
    if not isinstance(value, (list, tuple)) or len(value) != count:
        raise UsageError(f"{name} {value!r} is not a list of {count} numbers")
    return [number(name, each, -1000.0, 1000.0) for each in value]


def _choice(key: str, value: Any, known: Any) -> None:
    if value not in known:
        raise unknown(f"{key} of CameraObservation", str(value), known)
