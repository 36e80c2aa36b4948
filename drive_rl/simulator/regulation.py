"""Rules of a regulated road: who gives way where two ways are about to cross.

Twice a second every pair of vehicles is looked at three seconds ahead; of a pair in conflict, the
one on the lane of lower priority, or the one behind, stops until the next look.
"""

from __future__ import annotations

import math

from drive_rl.simulator import network as net
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare
from drive_rl.simulator.products import dot, norm, turned, turned_with_others
from drive_rl.simulator.vehicles import LENGTH, WIDTH, step_vehicle

FREQUENCY = 2  # RegulatedRoad.REGULATION_FREQUENCY [Hz]
STEP = 0.25  # between looks ahead [s]
LOOKS = 11  # 0.25 s to 2.75 s

# Half the size of the rectangle that a vehicle claims [m]
HALF_LENGTH, HALF_WIDTH = 1.5 * LENGTH / 2, 0.9 * WIDTH / 2


FAR_APART = LENGTH**2 + 1e-6  # squared, however it is rounded [m2]


@bare
def enforce(road, network, settings, ahead):  # type: ignore[no-untyped-def]
    """What RegulatedRoad.step does before vehicles move."""
    env = road.environment[0]
    env.road_steps += 1
    if env.road_steps % int(1 / settings.common[0].dt / FREQUENCY) == 0:
        enforce_road_rules(road, network, settings, ahead)


@bare
def enforce_road_rules(road, network, settings, ahead):  # type: ignore[no-untyped-def]
    """RegulatedRoad.enforce_road_rules.

    The row behind the last vehicle is used as scratch: there must be one. `ahead` is room for
    where vehicles will be, (max_vehicles, LOOKS, 3).
    """
    n = road.environment[0].num_vehicles
    for i in range(n):
        vehicle = road.vehicles[i]
        if vehicle.is_yielding:  # the duration of yielding is zero: until the next look
            vehicle.target_speed = network.lanes[vehicle.lane].speed_limit
            vehicle.is_yielding = False
    for i in range(n):
        look_ahead(road, network, settings, i, ahead[i])
    for i in range(n - 1):
        for j in range(i + 1, n):
            if is_conflict_possible(ahead[i], ahead[j]):
                yields = who_yields(network, road.vehicles[i], road.vehicles[j])
                vehicle = road.vehicles[i if yields == 0 else j]
                if st.is_controlled(vehicle.kind) and vehicle.kind != st.MDP:
                    vehicle.target_speed = 0.0
                    vehicle.is_yielding = True
                    vehicle.yield_timer = 0


@bare
def look_ahead(road, network, settings, i, out):  # type: ignore[no-untyped-def]
    """Where the i-th vehicle will be at constant speed: rows (x, y, heading) of out, (LOOKS, 3).

    Equals the predict_trajectory_constant_speed method of its class: along its route, or, of a
    vehicle without one, with the steering of now.
    """
    vehicle = road.vehicles[i]
    if not st.is_controlled(vehicle.kind):
        _roll_out(road, network, i, out)
        return
    here, _ = net.local_coordinates(network, vehicle.lane, vehicle.x, vehicle.y)
    for k in range(LOOKS):
        longitudinal = here + vehicle.speed * (STEP + k * STEP)
        lane, longitudinal = _along_route(network, vehicle, road.routes[i], longitudinal)
        out[k, 0], out[k, 1] = net.position(network, lane, longitudinal, 0.0)
        out[k, 2] = net.heading_at(network, lane, longitudinal)


@bare
def _along_route(network, vehicle, route, longitudinal):  # type: ignore[no-untyped-def]
    """RoadNetwork.position_heading_along_route: (lane, longitudinal on it)."""
    if vehicle.route_length <= 0:
        return vehicle.lane, longitudinal
    own_id = network.lanes[vehicle.lane].id
    first = vehicle.route_start
    last = first + vehicle.route_length - 1
    for step in range(first, last + 1):
        lane_id = route[step, 1]
        if lane_id == st.NO_LANE_ID:
            lane_id = own_id
        lane = net.lane_of(network, route[step, 0], lane_id)
        length = network.lanes[lane].length
        if step == last or not longitudinal > length:
            break
        longitudinal -= length
    return lane, longitudinal


@bare
def _roll_out(road, network, i, out):  # type: ignore[no-untyped-def]
    """Drive a copy of the i-th vehicle, in the row behind the last one."""
    ghost = road.vehicles[road.environment[0].num_vehicles]
    road.vehicles[road.environment[0].num_vehicles] = road.vehicles[i]
    ghost.acceleration = 0.0
    for k in range(LOOKS):
        step_vehicle(road, network, ghost, STEP)
        out[k, 0], out[k, 1], out[k, 2] = ghost.x, ghost.y, ghost.heading


@bare
def is_conflict_possible(first, second):  # type: ignore[no-untyped-def]
    """Do two ways, of (LOOKS, 3), cross? Equals RegulatedRoad.is_conflict_possible."""
    for k in range(LOOKS):
        dx, dy = second[k, 0] - first[k, 0], second[k, 1] - first[k, 1]
        if dx * dx + dy * dy > FAR_APART or norm(dx, dy) > LENGTH:
            continue
        if _has_point_inside(first[k], second[k]) or _has_point_inside(second[k], first[k]):
            return True
    return False


@bare
def _has_point_inside(a, b):  # type: ignore[no-untyped-def]
    """Is a corner, a middle of a side or the centre of rectangle a inside b?

    Equals utils.has_corner_inside, which turns into b's frame by b's heading forwards, not back.
    """
    cos_a, sin_a = math.cos(a[2]), math.sin(a[2])
    cos_b, sin_b = math.cos(b[2]), math.sin(b[2])
    for u in range(-1, 2):
        along = u * HALF_LENGTH
        for v in range(-1, 2):
            across = v * HALF_WIDTH
            dx = (turned_with_others(cos_a, along, -sin_a, across) + a[0]) - b[0]
            dy = (turned_with_others(sin_a, along, cos_a, across) + a[1]) - b[1]
            if (
                abs(turned(cos_b, dx, -sin_b, dy)) <= HALF_LENGTH
                and abs(turned(sin_b, dx, cos_b, dy)) <= HALF_WIDTH
            ):
                return True
    return False


@bare
def who_yields(network, first, second):  # type: ignore[no-untyped-def]
    """RegulatedRoad.respect_priorities: 0 if the first vehicle gives way, 1 if the second."""
    priority = network.lanes[first.lane].priority
    other_priority = network.lanes[second.lane].priority
    if priority != other_priority:
        return 1 if priority > other_priority else 0
    dx, dy = second.x - first.x, second.y - first.y
    ahead_of_first = dot(first.cos, dx, first.sin, dy)
    ahead_of_second = dot(second.cos, -dx, second.sin, -dy)
    return 0 if ahead_of_first > ahead_of_second else 1
