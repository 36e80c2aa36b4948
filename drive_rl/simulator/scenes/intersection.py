"""intersection-*: a regulated crossing of four roads (IntersectionEnv and its variants).

Traffic comes in from all sides while the episode runs: after each decision, and after observing,
vehicles that leave are taken off the road and a new one may appear.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import clip, lmap
from drive_rl.simulator.jit import bare, jit, kernel
from drive_rl.simulator.network import Map, plan_route
from drive_rl.simulator.scenes.common import append_on_lane, is_on_road, weighted_sum, weights
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of
from drive_rl.simulator.vehicles import (
    LENGTH,
    append_agent,
    begin,
    randomize_behavior,
    speed_to_index,
)

REWARDS = (
    ("collision_reward", float),
    ("high_speed_reward", float),
    ("arrived_reward", float),
    ("on_road_reward", float),
)
AGENT_INFO = (("agents_rewards", float), ("agents_terminated", bool))

ARRIVED = 2  # place of "arrived_reward" and "on_road_reward" in REWARDS
ON_ROAD = 3
EXIT_DISTANCE = 25.0  # driven on an exit to have arrived [m]
BEFORE = 3  # traffic before an episode [s]
MOST_TRAFFIC = 200  # more do not fit: one appears only 15 m away from all others

OPTIONS_DTYPE = np.dtype(
    [
        ("destination", "i8"),  # row of `paths` for the agents, -1: drawn for each
        ("spawn_probability", "f8"),
        ("speed_low", "f8"),  # reward_speed_range [m/s]
        ("speed_high", "f8"),
        ("normalize_reward", "?"),
        ("offroad_terminal", "?"),
    ],
    align=True,
)


class Options(NamedTuple):
    """The scene's own keys, and its roads by name."""

    scene: Any  # (1,) OPTIONS_DTYPE
    weights: Any  # (len(REWARDS),) f8
    starts: Any  # (n,) f8: where the first vehicles may appear, along their lanes [m]
    entries: Any  # (4,) i8: lanes o0 -> ir0, ..., o3 -> ir3
    exits: Any  # (num_edges,) bool: roads il* -> o*
    paths: Any  # (5, num_nodes, longest) i2: `Map.paths` to o0, ..., o3, and the configured one


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """What of the scene's keys is not simulated exactly."""
    if config["simulation_frequency"] < 2 or not isinstance(config["simulation_frequency"], int):
        return "a simulation_frequency that is no whole number above 1 is not covered"
    if not isinstance(config["initial_vehicle_count"], int):
        return "an initial_vehicle_count that is no whole number is not covered"
    return None


def capacity(config: Mapping[str, Any], roads: Map) -> Capacity:
    """Room for one environment, with a spare row for looking ahead (`regulation`)."""
    agents = config["controlled_vehicles"]
    decisions = math.ceil(config["duration"] * config["policy_frequency"]) + 1
    traffic = min(max(config["initial_vehicle_count"], 1) + decisions, MOST_TRAFFIC)
    longest = max(roads.paths(to).shape[1] for to in _destinations(config))
    return Capacity(vehicles=traffic + agents + 1, route_length=1 + longest, agents=agents)


def options(env_id: str, config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the scene's keys. The scene also changes how its traffic drives."""
    common = settings.common[0]
    common.regulated = True
    common.warm_up = BEFORE * round(1 / common.dt)
    # Whoever waits in one another's way swerves at next to no speed, and makes much of a last bit
    roads.network.shape[0].delicate = True
    common.distance_wanted, common.comfort_acc_max, common.comfort_acc_min = 7.0, 6.0, -3.0
    table = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    scene = table[0]
    scene.destination = 4 if config["destination"] else -1
    scene.spawn_probability = config["spawn_probability"]
    scene.speed_low, scene.speed_high = config["reward_speed_range"]
    scene.normalize_reward = config["normalize_reward"]
    scene.offroad_terminal = config["offroad_terminal"]
    count = config["initial_vehicle_count"]
    paths = [roads.paths(destination) for destination in _destinations(config)]
    longest = max(path.shape[1] for path in paths)
    return Options(
        scene=table,
        weights=weights(config, REWARDS),
        starts=np.linspace(0, 80, count)[: max(count - 1, 0)].copy(),
        entries=np.array([roads.lane(f"o{k}", f"ir{k}", 0) for k in range(4)]),
        exits=np.array(["il" in origin and "o" in end for origin, end in roads.edges]),
        paths=np.stack(
            [
                np.pad(path, ((0, 0), (0, longest - path.shape[1])), constant_values=-1)
                for path in paths
            ]
        ),
    )


def _destinations(config: Mapping[str, Any]) -> list[str]:
    return ["o0", "o1", "o2", "o3", config["destination"] or "o0"]


@kernel
def populate(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """IntersectionEnv._make_vehicles: traffic on all four roads, before the agents are there."""
    for env in range(low, high):
        if mask[env]:
            road = road_of(state, env)
            begin(road)
            for start in options.starts:
                spawn_vehicle(road, network, settings, options, start, 1.0, 1.0, 0.6, False)


@kernel
def reset(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """IntersectionEnv._make_vehicles after 3 s of traffic: a challenger and the agents."""
    for env in range(low, high):
        if mask[env]:
            road = road_of(state, env)
            road.environment[0].steps = 0
            spawn_vehicle(road, network, settings, options, 60.0, 0.1, 0.0, 1.0, True)
            for agent in range(road.agents.shape[0]):
                _place_agent(road, network, settings, options, agent)


@jit
def _place_agent(road, network, settings, options, agent):  # type: ignore[no-untyped-def]
    """Put an agent on its road, and take away whoever is close."""
    env = road.environment[0]
    lane = options.entries[agent % 4]
    destination = options.scene[0].destination
    if destination < 0:
        destination = 1 + random.integers(env, 3)
    longitudinal = 60.0 + 5.0 * random.normal(env, 1.0, 1.0)
    x, y = net.position(network, lane, longitudinal, 0.0)
    heading = net.heading_at(network, lane, 60.0)
    speed_limit = network.lanes[lane].speed_limit
    i = append_agent(road, network, settings, agent, x, y, heading, speed_limit)
    ego = road.vehicles[i]
    if st.is_controlled(ego.kind):
        plan_route(network, options.paths[destination], ego, road.routes[i])
        ego.speed_index = speed_to_index(settings, speed_limit)
        ego.target_speed = settings.target_speeds[ego.speed_index]
    kept = 0
    for k in range(env.num_vehicles):
        other = road.vehicles[k]
        if other.is_agent or not _distance(other, x, y) < 20:
            kept = _keep(road, k, kept)
    env.num_vehicles = kept


@bare
def _distance(vehicle, x, y):  # type: ignore[no-untyped-def]
    dx, dy = vehicle.x - x, vehicle.y - y
    return math.sqrt(dx * dx + dy * dy)


@bare
def _keep(road, k, kept):  # type: ignore[no-untyped-def]
    """Move the vehicle of row k down to row `kept` and give the next row to fill."""
    if k != kept:
        st.move_vehicle(road, k, kept)
        for agent in range(road.agents.shape[0]):
            if road.agents[agent] == k:
                road.agents[agent] = kept
    return kept + 1


@jit
def spawn_vehicle(  # type: ignore[no-untyped-def]
    road,
    network,
    settings,
    options,
    longitudinal,
    position_deviation,
    speed_deviation,
    probability,
    straight,
):
    """IntersectionEnv._spawn_vehicle: maybe a vehicle on one of the roads that lead in."""
    env = road.environment[0]
    if random.uniform01(env) > probability:
        return
    origin, destination = random.choice_pair(env, 4)
    if straight:
        destination = (origin + 2) % 4
    longitudinal = longitudinal + 5.0 + random.standard_normal(env) * position_deviation
    speed = 8.0 + random.standard_normal(env) * speed_deviation
    lane = options.entries[origin]
    x, y = net.position(network, lane, longitudinal, 0.0)
    for k in range(env.num_vehicles):
        if _distance(road.vehicles[k], x, y) < 15:
            return
    if env.num_vehicles >= road.vehicles.shape[0] - 1:
        return  # cannot happen: see MOST_TRAFFIC
    kind = settings.common[0].traffic
    i = append_on_lane(road, network, settings, kind, lane, longitudinal, speed)
    plan_route(network, options.paths[destination], road.vehicles[i], road.routes[i])
    randomize_behavior(road, settings, road.vehicles[i])


@kernel
def after_observing(state, network, settings, options, mask, low, high):  # type: ignore[no-untyped-def]
    """The end of IntersectionEnv.step: clear vehicles that leave, then maybe spawn one."""
    probability = options.scene[0].spawn_probability
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        environment = road.environment[0]
        kept = 0
        for k in range(environment.num_vehicles):
            vehicle = road.vehicles[k]
            way_out = network.lanes[vehicle.lane].length - 4 * LENGTH
            if vehicle.is_agent or not _is_past(network, options, vehicle, way_out):
                kept = _keep(road, k, kept)
        environment.num_vehicles = kept
        spawn_vehicle(road, network, settings, options, 0.0, 1.0, 1.0, probability, False)


@bare
def _is_past(network, options, vehicle, distance):  # type: ignore[no-untyped-def]
    """Is the vehicle on an exit, this far along it?"""
    if not options.exits[network.lanes[vehicle.lane].edge]:
        return False
    s, _ = net.local_coordinates(network, vehicle.lane, vehicle.x, vehicle.y)
    return s >= distance


@jit
def _agent_terms(network, options, vehicle, terms):  # type: ignore[no-untyped-def]
    """IntersectionEnv._agent_rewards into terms, (len(REWARDS),)."""
    scene = options.scene[0]
    speed = lmap(vehicle.speed, scene.speed_low, scene.speed_high, 0.0, 1.0)
    terms[0] = 1.0 if vehicle.crashed else 0.0
    terms[1] = clip(speed, 0.0, 1.0)
    terms[2] = 1.0 if _is_past(network, options, vehicle, EXIT_DISTANCE) else 0.0
    terms[3] = 1.0 if is_on_road(network, vehicle) else 0.0


@jit
def _agent_reward(options, terms):  # type: ignore[no-untyped-def]
    """IntersectionEnv._agent_reward."""
    arrived = options.weights[ARRIVED]
    total = arrived if terms[ARRIVED] else weighted_sum(options.weights, terms)
    total *= terms[ON_ROAD]
    if options.scene[0].normalize_reward:
        total = lmap(total, options.weights[0], arrived, 0.0, 1.0)
    return total


@kernel
def evaluate(  # type: ignore[no-untyped-def]
    state, network, settings, options, actions, reward, terms, terminated, truncated, low, high
):
    """IntersectionEnv._reward, _rewards, _is_terminated and _is_truncated."""
    own = np.empty(options.weights.shape[0])
    for env in range(low, high):
        road = road_of(state, env)
        agents = road.agents.shape[0]
        total, crashed, arrived = 0.0, False, True
        for term in range(own.shape[0]):
            terms[env, term] = 0.0
        for agent in range(agents):
            vehicle = road.vehicles[road.agents[agent]]
            _agent_terms(network, options, vehicle, own)
            total += _agent_reward(options, own)
            for term in range(own.shape[0]):  # whole rows take seconds to compile
                terms[env, term] += own[term]
            crashed = crashed or vehicle.crashed
            arrived = arrived and own[ARRIVED] != 0
        reward[env] = total / agents
        for term in range(own.shape[0]):
            terms[env, term] /= agents
        terminated[env] = crashed or arrived
        if options.scene[0].offroad_terminal:
            ego = road.vehicles[road.agents[0]]
            terminated[env] |= not is_on_road(network, ego)
        truncated[env] = road.environment[0].time >= settings.common[0].duration


@kernel
def evaluate_agents(state, network, settings, options, out, low, high):  # type: ignore[no-untyped-def]
    """What `_info` adds for each agent, AGENT_INFO: its own reward, and whether it is done."""
    own = np.empty(options.weights.shape[0])
    for env in range(low, high):
        road = road_of(state, env)
        for agent in range(road.agents.shape[0]):
            vehicle = road.vehicles[road.agents[agent]]
            _agent_terms(network, options, vehicle, own)
            out[env, agent, 0] = _agent_reward(options, own)
            out[env, agent, 1] = 1.0 if vehicle.crashed or own[ARRIVED] != 0 else 0.0
