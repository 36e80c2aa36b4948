"""ExitObservation: Kinematics whose agent measures its way along the lane to the exit.

Equals highway-env's ExitObservation: vehicles only, no obstacles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drive_rl.simulator.network import Map
from drive_rl.simulator.observations import kinematics
from drive_rl.simulator.observations.kinematics import DTYPE, Options, observe, shape
from drive_rl.simulator.settings import Settings

__all__ = ["DTYPE", "Options", "observe", "options", "shape"]


def options(config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the keys of an observation configuration of type ExitObservation.

    Raises:
        KeyError: the road has no exit, that is, no lanes from "1" to "2".
    """
    read = kinematics.options({**config, "include_obstacles": False}, roads, settings)
    read.observation[0].sorted = True  # the nearest ones, before they may be shuffled
    read.observation[0].exit_lane = roads.lane("1", "2", -1)
    return read
