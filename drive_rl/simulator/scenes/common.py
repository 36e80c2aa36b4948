"""What several scenes do alike: place a vehicle on a lane, weigh rewards, look off the road."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator.jit import bare
from drive_rl.simulator.vehicles import append_vehicle

# Meta-actions that change lane, whatever the action space calls them ("lane_change_reward")
LANE_CHANGES = (0.0, 2.0)


def weights(config: Mapping[str, Any], rewards: Iterable[tuple[str, type]]) -> Any:
    """(len(rewards),) f8: what a scene's `_reward` multiplies each term with, 0 where not given."""
    return np.array([config.get(name, 0) for name, _ in rewards], np.float64)


def uncovered_range(config: Mapping[str, Any], low: Any, high: Any) -> str | None:
    """Why rewards cannot be mapped to [0, 1], or None: highway-env then divides by zero."""
    speeds = config.get("reward_speed_range", (0, 1))
    if speeds[0] == speeds[1]:
        return f"reward_speed_range {list(speeds)} is empty"
    if low == high:
        return "the least and the greatest reward are the same"
    return None


def uncovered_count(config: Mapping[str, Any], *keys: str) -> str | None:
    """Why a key is no count, or None: highway-env fails where it counts with it."""
    for key in keys:
        if not isinstance(config[key], (int, np.integer)):
            return f"{key} {config[key]!r} is not a whole number"
    return None


def uncovered_lane_change(config: Mapping[str, Any]) -> str | None:
    """Why "lane_change_reward" has no value, or None: it asks whether the action is 0 or 2."""
    action = config["action"]
    if action["type"] == "MultiAgentAction":
        return "MultiAgentAction is not covered in this scene"
    both = action.get("longitudinal", True) and action.get("lateral", True)
    if action["type"] == "ContinuousAction" and both:
        return "highway-env has no lane_change_reward for ContinuousAction on two axes"
    return None


@bare
def weighted_sum(factors, terms):  # type: ignore[no-untyped-def]
    """The terms of one environment times their weights, added in highway-env's order."""
    total = 0.0
    for k in range(factors.shape[0]):
        total += factors[k] * terms[k]
    return total


@bare
def is_on_road(network, vehicle):  # type: ignore[no-untyped-def]
    """RoadObject.on_road."""
    s, lateral = net.local_coordinates(network, vehicle.lane, vehicle.x, vehicle.y)
    return net.is_on_lane(network, vehicle.lane, s, lateral, 0.0)


@bare
def append_on_lane(road, network, settings, kind, lane, longitudinal, speed):  # type: ignore[no-untyped-def]
    """Add a vehicle in the middle of a lane and give its row. Equals RoadObject.make_on_lane."""
    x, y = net.position(network, lane, longitudinal, 0.0)
    heading = net.heading_at(network, lane, longitudinal)
    return append_vehicle(road, network, settings, kind, x, y, heading, speed)
