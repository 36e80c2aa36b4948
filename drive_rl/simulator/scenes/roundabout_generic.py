"""roundabout-generic-v0 and -v1: a roundabout of any radius, number of lanes, and traffic.

Equals highway-env's RoundaboutGenericEnv.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.scenes import roundabout
from drive_rl.simulator.scenes.common import append_on_lane, uncovered_count
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.vehicles import begin, randomize_behavior

REWARDS = roundabout.REWARDS
evaluate = roundabout.evaluate

DESTINATIONS = ("exr", "sxr", "nxr", "wxr")
SPAWN_ROADS = (
    ("we", "sx"),
    ("sx", "se"),
    ("ee", "nx"),
    ("nx", "ne"),
    ("eer", "ees"),
    ("ner", "nes"),
    ("wer", "wes"),
)
SAFE_DISTANCE = 7.0  # between vehicles when they start [m]
MARGIN = 5.0  # from both ends of a lane [m]
TRIES = 10  # to find a place for a vehicle, before it is left out
SPEED = 14.0  # [m/s]
SPEED_DEVIATION = 2.0


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """Why a configuration of this scene is not simulated exactly, or None."""
    if reason := uncovered_count(config, "roundabout_lanes", "vehicles_count"):
        return reason
    if config["roundabout_lanes"] < 1 or config["roundabout_radius"] <= 0:
        return "a roundabout without lanes or without a radius is not covered"
    chosen = config.get("incoming_vehicle_destination")
    if chosen is not None and chosen >= len(DESTINATIONS):
        chosen = len(DESTINATIONS) - 1
    return roundabout.uncovered_reward(config) or roundabout.uncovered_destination(
        {"incoming_vehicle_destination": chosen}, DESTINATIONS
    )


def capacity(config: Mapping[str, Any], roads: net.Map) -> st.Capacity:
    """The ego and the traffic."""
    return st.Capacity(
        vehicles=1 + int(config["vehicles_count"]),
        route_length=roundabout.route_length(roads, DESTINATIONS),
    )


def options(
    env_id: str, config: Mapping[str, Any], roads: net.Map, settings: Settings
) -> roundabout.Options:
    """Read the keys of RoundaboutGenericEnv's configuration."""
    chosen = config.get("incoming_vehicle_destination")
    if chosen is not None:
        chosen = min(chosen, len(DESTINATIONS) - 1)
    common = roundabout.common_options(config, roads, DESTINATIONS, chosen)
    scene = common.scene[0]
    scene.vehicles_count = config["vehicles_count"]
    # The ego stands at the end of its lane
    scene.ego_longitudinal = roads.network.lanes[scene.ego_lane].length - 2.5
    edges = [roads.network.edges[roads.edges[names]] for names in SPAWN_ROADS]
    spawns = np.array([(edge.first_lane, edge.num_lanes) for edge in edges], np.int64)
    return common._replace(spawns=spawns)


@bare
def _is_free(road, x, y):  # type: ignore[no-untyped-def]
    """Is nobody near a position?"""
    for i in range(road.environment[0].num_vehicles):
        dx, dy = x - road.vehicles[i].x, y - road.vehicles[i].y
        if math.sqrt(dx * dx + dy * dy) < SAFE_DISTANCE:
            return False
    return True


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """RoundaboutGenericEnv._make_vehicles."""
    scene = options.scene[0]
    kind = settings.common[0].traffic
    for env in range(low, high):
        if not mask[env]:
            continue
        road = st.road_of(state, env)
        begin(road)
        roundabout.append_ego(road, network, settings, options)
        draw = road.environment[0]
        for _ in range(scene.vehicles_count):
            for _ in range(TRIES):
                spawn = options.spawns[random.integers(draw, options.spawns.shape[0])]
                lane = spawn[0] + random.integers(draw, spawn[1])
                last = max(MARGIN, network.lanes[lane].length - MARGIN)
                longitudinal = random.uniform(draw, MARGIN, last)
                x, y = net.position(network, lane, longitudinal, 0.0)
                if not _is_free(road, x, y):
                    continue
                speed = SPEED + random.standard_normal(draw) * SPEED_DEVIATION
                i = append_on_lane(road, network, settings, kind, lane, longitudinal, speed)
                destination = scene.destination
                if destination < 0:
                    destination = random.integers(draw, options.paths.shape[0])
                vehicle = road.vehicles[i]
                net.plan_route(network, options.paths[destination], vehicle, road.routes[i])
                randomize_behavior(road, settings, vehicle)
                break
