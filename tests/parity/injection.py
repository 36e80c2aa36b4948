"""States of highway-env put into the compiled simulator: the oracle hands over its scene."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from highway_env.vehicle.behavior import (
    AggressiveVehicle,
    DefensiveVehicle,
    IDMVehicle,
    LinearVehicle,
)
from highway_env.vehicle.controller import ControlledVehicle, MDPVehicle
from highway_env.vehicle.dynamics import BicycleVehicle
from highway_env.vehicle.kinematics import Vehicle
from highway_env.vehicle.objects import Landmark, Obstacle

from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.network import Map, flatten
from drive_rl.simulator.settings import Settings, settings
from drive_rl.simulator.state import Capacity, State, allocate

KINDS: dict[type, int] = {
    Vehicle: st.VEHICLE,
    BicycleVehicle: st.BICYCLE,
    ControlledVehicle: st.CONTROLLED,
    MDPVehicle: st.MDP,
    IDMVehicle: st.IDM,
    LinearVehicle: st.LINEAR,
    AggressiveVehicle: st.AGGRESSIVE,
    DefensiveVehicle: st.DEFENSIVE,
    Obstacle: st.OBSTACLE,
    Landmark: st.LANDMARK,
}


class Scene(NamedTuple):
    """One scene of highway-env as the simulator holds it."""

    state: State
    roads: Map
    settings: Settings
    capacity: Capacity


def inject(env: Any) -> Scene:
    """The present state of a highway-env environment, as a batch of one."""
    road = env.road
    roads = flatten(road.network)
    routes = [getattr(vehicle, "route", None) or [] for vehicle in road.vehicles]
    capacity = Capacity(
        vehicles=len(road.vehicles),
        objects=len(road.objects),
        route_length=max(map(len, routes), default=0),
        agents=len(env.controlled_vehicles),
    )
    state = allocate(1, capacity)
    environment = state.environments[0]
    environment.num_vehicles, environment.num_objects = len(road.vehicles), len(road.objects)
    if hasattr(env, "lane") and env.lane is not None:  # lane-keeping: the lane to keep
        environment.scratch[0] = list(roads.source.lanes_list()).index(env.lane)
    for row, body in enumerate(road.vehicles):
        _fill(state.vehicles[0, row], body, roads)
        goal = getattr(body, "goal", None)
        state.vehicles[0, row].goal = -1 if goal is None else _place(road.objects, goal)
        for step, index in enumerate(routes[row]):
            lane_id = st.NO_LANE_ID if index[2] is None else index[2]
            state.routes[0, row, step] = roads.edges[index[0], index[1]], lane_id
        if getattr(body, "route", None) is not None:
            state.vehicles[0, row].route_length = len(routes[row])
    for row, body in enumerate(road.objects):
        _fill(state.objects[0, row], body, roads)
    for agent, vehicle in enumerate(env.controlled_vehicles):
        state.agents[0, agent] = _place(road.vehicles, vehicle)
    random.set_generator(state.environments, 0, env.np_random.bit_generator.state)
    return Scene(state, roads, settings(env.config), capacity)


def _place(bodies: Any, body: Any) -> int:
    return next(k for k, each in enumerate(bodies) if each is body)


def _fill(record: Any, body: Any, roads: Map) -> None:
    record.kind = KINDS[type(body)]
    record.x, record.y = body.position
    record.heading, record.speed = body.heading, body.speed
    record.cos, record.sin = np.cos(body.heading), np.sin(body.heading)
    record.length, record.width = body.LENGTH, body.WIDTH
    record.lane = roads.lane(*body.lane_index)
    record.route_length = st.NO_ROUTE
    if isinstance(body, Vehicle):
        record.steering = body.action["steering"]
        record.acceleration = body.action["acceleration"]
    if isinstance(body, BicycleVehicle):
        record.lateral_speed, record.yaw_rate = body.lateral_speed, body.yaw_rate
    if isinstance(body, ControlledVehicle):
        record.target_lane = roads.lane(*body.target_lane_index)
        record.target_speed = body.target_speed
    if isinstance(body, MDPVehicle):
        record.speed_index = body.speed_index


def generator_state(env: Any, scene: Scene) -> tuple[Any, Any]:
    """The random streams of highway-env and of its injected twin, to compare them."""
    return env.np_random.bit_generator.state, random.get_generator(scene.state.environments, 0)
