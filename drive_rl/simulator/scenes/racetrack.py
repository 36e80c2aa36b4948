"""racetrack-*: keep the lane on a circuit among a few vehicles (RacetrackEnv, -Large, -Oval)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import settings as cfg
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import lmap
from drive_rl.simulator.jit import bare, jit, kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.scenes.common import append_on_lane, is_on_road, weights
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of
from drive_rl.simulator.vehicles import OBJECT_SIZE, append_agent, append_object, begin

REWARDS = (
    ("lane_centering_reward", float),
    ("action_reward", float),
    ("collision_reward", bool),
    ("on_road_reward", bool),
)

OPTIONS_DTYPE = np.dtype(
    [
        ("first_lane", "i8"),  # lane 0 of the road a -> b, where the first agent starts
        ("first_choice", "i8"),  # how many lanes it may start on
        ("front_lane", "i8"),  # lane 0 of b -> c, where the front vehicle is
        ("num_origins", "i8"),  # nodes that a random lane may start from
        ("other_vehicles", "i8"),
        ("lane_centering_cost", "f8"),
        ("terminate_off_road", "?"),
    ],
    align=True,
)


class Options(NamedTuple):
    """The scene's own keys."""

    scene: Any  # (1,) OPTIONS_DTYPE
    weights: Any  # (len(REWARDS),) f8
    obstacles: Any  # (n, 2) f8: positions [m]


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """What of the scene's keys is not simulated exactly."""
    action = config["action"]
    if action.get("action_config", action)["type"] == "DiscreteMetaAction":
        return "DiscreteMetaAction is not covered (highway-env cannot build it either)"
    if not isinstance(config["other_vehicles"], int):
        return "a number of other_vehicles that is not whole is not covered"
    if "racetrack-large" in env_id and config["speed_limit"] is None:
        return "a speed_limit of None is not covered"
    if "no_lanes" in config:
        if config["length"] <= 0 or config["no_lanes"] == 0:
            return "a length or no_lanes of 0 is not covered: it is drawn without a seed"
        if not isinstance(config["no_lanes"], int) or config["no_lanes"] < 1:
            return "a no_lanes that is no positive whole number is not covered"
    return None


def capacity(config: Mapping[str, Any], roads: Map) -> Capacity:
    """Room for one environment."""
    agents = config["controlled_vehicles"]
    return Capacity(
        vehicles=agents + config["other_vehicles"], objects=len(_obstacles(config)), agents=agents
    )


def options(env_id: str, config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the scene's keys. Its traffic is IDM, whatever `other_vehicles_type` says."""
    common = settings.common[0]
    common.traffic, common.time_wanted, common.lane_change_min_acc_gain = st.IDM, 1.5, 0.2
    table = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    scene = table[0]
    scene.first_lane = roads.lane("a", "b", 0)
    scene.first_choice = config.get("no_lanes", 2)
    scene.front_lane = roads.lane("b", "c", 0)
    scene.num_origins = len(roads.source.graph)
    scene.other_vehicles = config["other_vehicles"]
    scene.lane_centering_cost = config["lane_centering_cost"]
    scene.terminate_off_road = config["terminate_off_road"]
    return Options(table, weights(config, REWARDS), _obstacles(config))


def _obstacles(config: Mapping[str, Any]) -> Any:
    """Where RacetrackEnvOval._make_road puts its roadblocks: (n, 2) [m]."""
    places: list[tuple[float, float]] = []
    if config.get("block_lane"):
        for back in (40.0, 43.0, 46.0, 49.0):
            places += [(config["length"] - back, 3.75), (config["length"] - back, 6.25)]
    if config.get("force_decision"):
        places += [(config["length"] - 90.0, y) for y in (-1.25, 1.25, 8.85, 11.25)]
    return np.array(places, np.float64).reshape(-1, 2)


@bare
def random_lane(road, network, num_origins):  # type: ignore[no-untyped-def]
    """RoadNetwork.random_lane_index: a node, a road from it, a lane of that road."""
    env = road.environment[0]
    node = network.nodes[random.choice(env, num_origins)]
    edge = network.edges[node.first_edge + random.choice(env, node.num_edges)]
    return edge.first_lane + random.integers(env, edge.num_lanes)


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """The obstacles of _make_road, and _make_vehicles."""
    scene = options.scene[0]
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        stream = road.environment[0]
        begin(road)
        for place in options.obstacles:
            append_object(
                road, network, st.OBSTACLE, place[0], place[1], 0.0, OBJECT_SIZE, OBJECT_SIZE
            )
        lane = scene.first_lane
        for agent in range(road.agents.shape[0]):
            if agent == 0:
                lane = scene.first_lane + random.integers(stream, scene.first_choice)
            else:
                lane = random_lane(road, network, scene.num_origins)
            longitudinal = random.uniform(stream, 20.0, 50.0)
            x, y = net.position(network, lane, longitudinal, 0.0)
            heading = net.heading_at(network, lane, longitudinal)
            speed = network.lanes[lane].speed_limit
            append_agent(road, network, settings, agent, x, y, heading, speed)
        if scene.other_vehicles > 0:
            lane = scene.front_lane + network.lanes[lane].id
            longitudinal = random.uniform(stream, 0.0, network.lanes[scene.front_lane].length)
            speed = 6.0 + random.uniform(stream, 0.0, 3.0)
            append_on_lane(road, network, settings, st.IDM, lane, longitudinal, speed)
            for _ in range(random.integers(stream, scene.other_vehicles)):
                _maybe_append(road, network, settings, scene)


@jit
def _maybe_append(road, network, settings, scene):  # type: ignore[no-untyped-def]
    """Draw another vehicle, and put it on the road if nobody is within 20 m."""
    stream = road.environment[0]
    lane = random_lane(road, network, scene.num_origins)
    longitudinal = random.uniform(stream, 0.0, network.lanes[lane].length)
    speed = 6.0 + random.uniform(stream, 0.0, 3.0)
    x, y = net.position(network, lane, longitudinal, 0.0)
    for i in range(stream.num_vehicles):
        dx, dy = x - road.vehicles[i].x, y - road.vehicles[i].y
        if math.sqrt(dx * dx + dy * dy) < 20:
            return
    append_on_lane(road, network, settings, st.IDM, lane, longitudinal, speed)


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """RacetrackEnv._reward, _rewards, _is_terminated and _is_truncated."""
    scene = options.scene[0]
    common = settings.common[0]
    for env in range(low, high):
        road = road_of(state, env)
        ego = road.vehicles[road.agents[0]]
        _, lateral = net.local_coordinates(network, ego.lane, ego.x, ego.y)
        on_road = is_on_road(network, ego)
        norm = action_norm(common, actions[env])
        terms[env, 0] = 1 / (1 + scene.lane_centering_cost * lateral**2)
        terms[env, 1] = norm
        terms[env, 2] = 1.0 if ego.crashed else 0.0
        terms[env, 3] = 1.0 if on_road else 0.0
        total = options.weights[0] * terms[env, 0]
        crash = options.weights[2] * terms[env, 2]
        if common.action != cfg.CONTINUOUS_ACTION:
            total = total + options.weights[1] * norm + crash
        else:
            # The norm of a float32 action is float32. On straight lanes what is added to it is a
            # plain number, which numpy fits to that; on curved ones it is float64, and wins.
            cost = np.float32(options.weights[1]) * np.float32(norm)
            if network.lanes[ego.lane].kind == net.STRAIGHT:
                total = float(np.float32(total) + cost + np.float32(crash))
            else:
                total = total + float(cost) + crash
        total = total + options.weights[3] * terms[env, 3]
        total = lmap(total, options.weights[2], 1.0, 0.0, 1.0)
        reward[env] = total * terms[env, 3]
        terminated[env] = ego.crashed or (scene.terminate_off_road and not on_road)
        truncated[env] = road.environment[0].time >= common.duration


@jit
def action_norm(common, action):  # type: ignore[no-untyped-def]
    """np.linalg.norm of the agents' actions (num_agents, action_size): float32 if continuous."""
    total = 0.0
    if common.action == cfg.CONTINUOUS_ACTION:
        for row in action:
            for value in row:
                total += float(np.float32(value) * np.float32(value))
        return float(np.sqrt(np.float32(total)))
    for row in action:
        total += row[0] * row[0]
    return math.sqrt(total)
