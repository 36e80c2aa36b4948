"""The state of a batch of scenes: plain arrays of records, one row per environment.

Integers are all int64: one type of lane, row or count means one version of each kernel.

`State` holds everything that a scene's future depends on, so a copy of its arrays is a snapshot.
Fields are read as arrays over the whole batch (`state.vehicles.speed` has shape
`(num_envs, num_vehicles)`), and inside kernels as records (`road.vehicles[i].speed`), so that one
vehicle lies in three or four cache lines and a kernel takes four arrays instead of forty.

The order of vehicles matters: vehicles act in list order and see what earlier ones have just
decided. Rows `[0, environment.num_vehicles)` are the list `road.vehicles` of highway-env, in its
order and without gaps; rows behind are meaningless. Obstacles and landmarks are `road.objects`,
a second list of the same records.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator.jit import bare, inlined, jit

# What a record of `vehicles` or `objects` is. Order is used: see `is_controlled` and `is_idm`.
VEHICLE = 0  # highway_env Vehicle: steering and acceleration are given (or zero)
BICYCLE = 1  # BicycleVehicle: the same, with tyre slip
CONTROLLED = 2  # ControlledVehicle: follows a lane and a speed
MDP = 3  # MDPVehicle: follows a lane and one of a list of speeds (meta-actions)
IDM = 4  # IDMVehicle
LINEAR = 5  # LinearVehicle
AGGRESSIVE = 6  # AggressiveVehicle
DEFENSIVE = 7  # DefensiveVehicle
OBSTACLE = 8  # Obstacle (solid)
LANDMARK = 9  # Landmark (a goal: not solid)

NO_ROUTE = -1  # `vehicle.route_length` of a vehicle whose route is None (an empty route has 0)
NO_LANE_ID = -1  # the lane id of a step of a route that names a road but no lane

VEHICLE_DTYPE = np.dtype(
    [
        ("x", "f8"),  # position [m]
        ("y", "f8"),
        ("heading", "f8"),  # [rad], not wrapped
        ("cos", "f8"),  # of the heading; kept by `geometry.set_heading`
        ("sin", "f8"),
        ("speed", "f8"),  # [m/s]
        ("steering", "f8"),  # the stored action: [rad]
        ("acceleration", "f8"),  # [m/s2]
        ("target_speed", "f8"),  # [m/s]
        ("timer", "f8"),  # since the last lane-change decision [s]
        ("delta", "f8"),  # exponent of the IDM's speed term
        ("impact_x", "f8"),  # displacement that a collision applies on the next frame [m]
        ("impact_y", "f8"),
        ("length", "f8"),  # [m]
        ("width", "f8"),
        ("diameter", "f8"),  # of the circle around it: its diagonal [m]
        ("lateral_speed", "f8"),  # BICYCLE only [m/s]
        ("yaw_rate", "f8"),  # BICYCLE only [rad/s]
        ("min_speed", "f8"),  # [m/s]
        ("max_speed", "f8"),
        ("acceleration_parameters", "f8", (3,)),  # LINEAR and its variants
        ("steering_parameters", "f8", (2,)),
        ("yield_timer", "i8"),  # decisions of the road's rules since yielding began
        ("lane", "i8"),  # flat index in `network.lanes`: closest lane
        ("target_lane", "i8"),  # flat index: lane to follow
        ("speed_index", "i8"),  # MDP: index in `settings.target_speeds`
        ("route_start", "i8"),  # the route is `routes[i, route_start : route_start + route_length]`
        ("route_length", "i8"),  # NO_ROUTE for None
        ("goal", "i8"),  # index in `objects` of this vehicle's landmark, or -1
        ("observed_lanes", "i8"),  # lanes of its road when the episode's first observation is taken
        ("kind", "i8"),
        ("crashed", "?"),
        ("hit", "?"),  # overlaps a landmark
        ("has_impact", "?"),
        ("check_collisions", "?"),
        ("enable_lane_change", "?"),
        ("is_yielding", "?"),
        ("is_agent", "?"),  # one of `env.controlled_vehicles`
    ],
    align=True,
)

ENVIRONMENT_DTYPE = np.dtype(
    [
        ("rng_high", "u8"),  # PCG64: 128-bit state and increment, and the buffered half draw
        ("rng_low", "u8"),
        ("rng_increment_high", "u8"),
        ("rng_increment_low", "u8"),
        ("rng_word", "u4"),
        ("rng_has_word", "?"),
        ("time", "f8"),  # env.time [s]
        ("steps", "i8"),  # env.steps: frames of this episode
        ("road_steps", "i8"),  # RegulatedRoad.steps
        ("decisions", "i8"),  # decisions of this episode (time limits)
        ("num_vehicles", "i8"),
        ("num_objects", "i8"),
        ("scratch", "f8", (4,)),  # a scene's own; documented in the scene's module
    ],
    align=True,
)


class State(NamedTuple):
    """A batch of scenes."""

    environments: Any  # (num_envs,) ENVIRONMENT_DTYPE
    vehicles: Any  # (num_envs, max_vehicles) VEHICLE_DTYPE
    objects: Any  # (num_envs, max_objects) VEHICLE_DTYPE
    routes: Any  # (num_envs, max_vehicles, route_length, 2) i8: road (edge) and lane id per step
    agents: Any  # (num_envs, num_agents) i8: rows of `vehicles` that are controlled, in order


class Road(NamedTuple):
    """One environment of a `State`: what most kernels work on. Views, not copies."""

    environment: Any  # (1,) ENVIRONMENT_DTYPE; read as `road.environment[0].time`
    vehicles: Any  # (max_vehicles,)
    objects: Any  # (max_objects,)
    routes: Any  # (max_vehicles, route_length, 2)
    agents: Any  # (num_agents,)


class Capacity(NamedTuple):
    """How much room one environment of a scene needs."""

    vehicles: int
    objects: int = 0
    route_length: int = 0
    agents: int = 1


def allocate(num_envs: int, capacity: Capacity) -> State:
    """A zeroed batch; every environment still has to be reset."""
    vehicles = (num_envs, capacity.vehicles)
    return State(
        environments=np.zeros(num_envs, ENVIRONMENT_DTYPE).view(np.recarray),
        vehicles=np.zeros(vehicles, VEHICLE_DTYPE).view(np.recarray),
        objects=np.zeros((num_envs, capacity.objects), VEHICLE_DTYPE).view(np.recarray),
        routes=np.zeros((*vehicles, capacity.route_length, 2), np.int64),
        agents=np.zeros((num_envs, capacity.agents), np.int64),
    )


@jit
def road_of(state, env):  # type: ignore[no-untyped-def]
    """Views on one environment."""
    return Road(
        state.environments[env : env + 1],
        state.vehicles[env],
        state.objects[env],
        state.routes[env],
        state.agents[env],
    )


@inlined
def is_controlled(kind: int) -> bool:
    """Is it a ControlledVehicle (it has a target lane, a target speed and a route)?"""
    return CONTROLLED <= kind <= DEFENSIVE


@inlined
def is_idm(kind: int) -> bool:
    """Is it an IDMVehicle, that is, traffic that decides for itself?"""
    return IDM <= kind <= DEFENSIVE


@inlined
def is_vehicle(kind: int) -> bool:
    """Is it a Vehicle, not an obstacle or a landmark?"""
    return kind <= DEFENSIVE


@bare
def move_vehicle(road: Road, source: int, target: int) -> None:
    """Copy a vehicle and its route to another row (to keep the list without gaps)."""
    road.vehicles[target] = road.vehicles[source]
    for step in range(road.routes.shape[1]):  # not a slice: that would be copied twice
        road.routes[target, step, 0] = road.routes[source, step, 0]
        road.routes[target, step, 1] = road.routes[source, step, 1]
