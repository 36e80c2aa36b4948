"""merge-generic-v0 and -v1: the merge with any number of lanes and vehicles, of any length.

Equals highway-env's MergeGenericEnv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.scenes import merge
from drive_rl.simulator.scenes.common import uncovered_count
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.vehicles import append_vehicle, begin

REWARDS = merge.REWARDS
evaluate = merge.evaluate

SAFE_DISTANCE = 15.0  # between vehicles that start on the same lane [m]
TRIES = 10  # to find a place for a vehicle, before it is left out
SPEED = 30.0  # [m/s]
SPEED_DEVIATION = 2.0


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """Why a configuration of this scene is not simulated exactly, or None."""
    return merge.uncovered(env_id, config) or uncovered_count(
        config, "lanes_count", "vehicles_count"
    )


def capacity(config: Mapping[str, Any], roads: net.Map) -> st.Capacity:
    """The ego, the traffic, one vehicle on the ramp, and the obstacle at its end."""
    return st.Capacity(vehicles=int(config["vehicles_count"]) + 2, objects=1)


def options(
    env_id: str, config: Mapping[str, Any], roads: net.Map, settings: Settings
) -> merge.Options:
    """Read the keys of MergeGenericEnv's configuration."""
    chosen = merge.options(env_id, config, roads, settings)
    scene = chosen.scene[0]
    before_end = (
        config["before_merge_length"]
        + config["converge_merge_length"]
        + config["parallel_merge_length"]
    )
    scene.end = before_end + config["after_merge_length"] - 90
    scene.ramp_x = merge.EGO_X + 30
    scene.vehicles_count = config["vehicles_count"]
    scene.max_x = before_end
    return chosen


@bare
def _is_free(road, y, x):  # type: ignore[no-untyped-def]
    """Is nobody near x among those who start on the lane at y?"""
    for i in range(road.environment[0].num_vehicles):
        if road.vehicles[i].y == y and abs(x - road.vehicles[i].x) <= SAFE_DISTANCE:
            return False
    return True


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """MergeGenericEnv._make_vehicles."""
    scene = options.scene[0]
    traffic = settings.common[0].traffic
    for env in range(low, high):
        if not mask[env]:
            continue
        road = st.road_of(state, env)
        begin(road)
        merge.append_ego(road, network, settings, scene)
        draw = road.environment[0]
        for _ in range(scene.vehicles_count):
            for _ in range(TRIES):
                lane = scene.highway + random.integers(draw, scene.num_lanes)
                longitudinal = random.uniform(draw, 0.0, scene.max_x)
                x, y = net.position(network, lane, longitudinal, 0.0)
                if _is_free(road, y, x):
                    speed = SPEED + random.uniform(draw, -SPEED_DEVIATION, SPEED_DEVIATION)
                    append_vehicle(road, network, settings, traffic, x, y, 0.0, speed)
                    break
        merge.append_ramp(road, network, settings, scene)
