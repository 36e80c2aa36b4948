"""What IDM and MOBIL would do at an agent's wheel.

The agent is looked at as if it were an IDMVehicle of the traffic: which lane it would follow, how
it would steer and accelerate. Nothing moves; what comes of it is up to the agent's own actions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import state as st
from drive_rl.simulator.behavior import act_idm, work_out_urges
from drive_rl.simulator.dynamics import allocate_scratch, begin_frames
from drive_rl.simulator.jit import jit, kernel
from drive_rl.simulator.regulation import LOOKS, is_conflict_possible, look_ahead, who_yields
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import road_of

# Columns of what an agent would do
LANE, SIDE, ACCELERATION, STEERING, SPEED, TARGET_SPEED = range(6)
"""Row of the lane to follow; whether that is to the right (1) or left (-1) of the lane that it
follows now, on the same road; [m/s2]; [rad]; and what it drives and aims at now [m/s]."""
COLUMNS = 6


MANNERS_DTYPE = np.dtype(
    [
        ("speed", "f8"),  # wanted [m/s]
        ("period", "i8"),  # decisions between thoughts of changing lane
        ("keep_right", "?"),  # wants the last lane of every road
        ("gives_way", "?"),  # where ways cross, as traffic on regulated roads does
    ],
    align=True,
)


def driver_manners(*, speed: float, period: int, keep_right: bool, gives_way: bool) -> Any:
    """How an agent is to be driven, (1,) MANNERS_DTYPE."""
    manners = np.zeros(1, MANNERS_DTYPE).view(np.recarray)
    manners[0] = (speed, period, keep_right, gives_way)
    return manners


def driver_settings(settings: Settings) -> Settings:
    """The settings of a simulator as they are for an IDMVehicle, whatever the traffic is."""
    common = settings.common.copy()
    if common[0].traffic != st.IDM:
        common[0].traffic, common[0].time_wanted = st.IDM, 1.5
        common[0].lane_change_min_acc_gain = 0.2
    return Settings(common, settings.target_speeds, settings.axis)


def allocate_wishes(num_envs: int, agents: int) -> Any:
    """Room for what agents would do, (num_envs, agents, COLUMNS) f8."""
    return np.zeros((num_envs, agents, COLUMNS))


@kernel
def intend(state, network, settings, manners, out, low, high):  # type: ignore[no-untyped-def]
    """What IDM and MOBIL would do at every agent's wheel, for the environments in [low, high).

    `state` is scratch: a copy of the simulator's. `settings` are those of `driver_settings`,
    `manners` of `driver_manners`; `out` is (num_envs, num_agents, COLUMNS).

    An agent without a target lane of its own (given steering and acceleration) follows the one
    that stands in its `target_lane`, which nobody else reads.
    """
    scratch = allocate_scratch(state)
    for env in range(low, high):
        road = road_of(state, env)
        begin_frames(road, network, scratch)
        for agent in range(road.agents.shape[0]):
            i = road.agents[agent]
            vehicle = road.vehicles[i]
            row = out[env, agent]
            kind, lane, target_speed = vehicle.kind, vehicle.target_lane, vehicle.target_speed
            if not st.is_controlled(kind):
                lane = kept_lane(network, vehicle)
                vehicle.target_lane = lane
            vehicle.kind = st.IDM
            vehicle.target_speed = manners[0].speed
            vehicle.delta = settings.common[0].delta
            vehicle.enable_lane_change = True
            vehicle.timer = (
                math.inf if road.environment[0].decisions % manners[0].period == 0 else 0.0
            )
            if manners[0].keep_right:
                edge = network.lanes[vehicle.lane].edge
                road.routes[i, 0, 0] = edge
                road.routes[i, 0, 1] = network.edges[edge].num_lanes - 1
                vehicle.route_start, vehicle.route_length = 0, 1
            if manners[0].gives_way and gives_way(road, network, settings, i):
                vehicle.target_speed = 0.0
            vehicle.steering = vehicle.acceleration = 0.0
            work_out_urges(road, network, settings, scratch.urges)
            act_idm(road, network, settings, scratch.index, scratch.urges, i)
            here, there = network.lanes[lane], network.lanes[vehicle.target_lane]
            row[LANE] = vehicle.target_lane
            row[SIDE] = 0.0
            if here.edge == there.edge:
                row[SIDE] = 1.0 if there.id > here.id else -1.0 if there.id < here.id else 0.0
            row[ACCELERATION], row[STEERING] = vehicle.acceleration, vehicle.steering
            row[SPEED], row[TARGET_SPEED] = vehicle.speed, target_speed
            vehicle.kind, vehicle.target_lane, vehicle.target_speed = kind, lane, target_speed


@jit
def kept_lane(network, vehicle):  # type: ignore[no-untyped-def]
    """The lane that an agent follows: the one noted, unless that is out of reach."""
    lane = vehicle.target_lane
    s, lateral = net.local_coordinates(network, lane, vehicle.x, vehicle.y)
    reach = 2.0 * net.width_at(network, lane, s)
    if abs(lateral) > reach or not s >= -net.VEHICLE_LENGTH:
        return vehicle.lane
    return lane


@jit
def gives_way(road, network, settings, i):  # type: ignore[no-untyped-def]
    """Would the rules of a regulated road stop the i-th vehicle, if it drove as fast as it wants?

    At the speed that it has, one that waits sees no conflict, sets off, and stops in the middle.
    """
    ours, theirs = np.empty((LOOKS, 3)), np.empty((LOOKS, 3))
    vehicle = road.vehicles[i]
    speed = vehicle.speed
    vehicle.speed = max(speed, vehicle.target_speed)
    look_ahead(road, network, settings, i, ours)
    vehicle.speed = speed
    for j in range(road.environment[0].num_vehicles):
        if j == i:
            continue
        look_ahead(road, network, settings, j, theirs)
        if j < i:
            if not is_conflict_possible(theirs, ours):
                continue
            if who_yields(network, road.vehicles[j], road.vehicles[i]) == 1:
                return True
            continue
        if not is_conflict_possible(ours, theirs):
            continue
        if who_yields(network, road.vehicles[i], road.vehicles[j]) == 0:
            return True
    return False
