"""How drivers act: meta-actions, the controllers below them, and IDM and MOBIL traffic.

References: Treiber, Hennecke and Helbing (2000), the intelligent driver model (IDM); Kesting,
Treiber and Helbing (2007), lane changes by minimizing overall braking (MOBIL).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import geometry, powers
from drive_rl.simulator import network as net
from drive_rl.simulator import settings as cfg
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import clip, not_zero, wrap_to_pi
from drive_rl.simulator.jit import bare, inlined, jit, merged
from drive_rl.simulator.neighbours import NOBODY, body_among, body_of, front_neighbour, neighbours
from drive_rl.simulator.products import dot, dot_of_three
from drive_rl.simulator.vehicles import speed_to_index

KP_ACCELERATION = 1 / 0.6  # [1/s]
KP_HEADING = 1 / 0.2  # [1/s]
KP_LATERAL = 1 / 0.6  # [1/s]
TAU_PURSUIT = 0.5 * 0.2  # [s]
MAX_STEERING_ANGLE = math.pi / 3  # [rad]
DELTA_SPEED = 5.0  # step of a plain ControlledVehicle's target speed [m/s]

# Meta-actions, `DiscreteMetaAction.ACTIONS_ALL`
LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = 0, 1, 2, 3, 4


@bare
def meta_action(settings, index):  # type: ignore[no-untyped-def]
    """The meta-action that an index of the action space means."""
    common = settings.common[0]
    if common.longitudinal and not common.lateral:
        return SLOWER if index == 0 else IDLE if index == 1 else FASTER
    return index  # lateral only: the first three of all


@bare
def act_agent(road, network, settings, vehicle, route, action):  # type: ignore[no-untyped-def]
    """Give an agent its action, one row of (action_size,) numbers, once per decision.

    Equals `action_type.act`. Controllers run afterwards, in `act_vehicle`, as for all vehicles.
    """
    common = settings.common[0]
    if common.action == cfg.META_ACTION:
        act_meta(network, settings, vehicle, route, meta_action(settings, int(action[0])))
    elif common.action == cfg.CONTINUOUS_ACTION:
        act_continuous(settings, vehicle, action)
    else:
        act_discrete(settings, vehicle, int(action[0]))


@bare
def act_continuous(settings, vehicle, action):  # type: ignore[no-untyped-def]
    """ContinuousAction.act: throttle and/or steering in [-1, 1] to [m/s2] and [rad].

    The action is float32, and what is worked out from it with plain numbers is float32 too.
    """
    common = settings.common[0]
    vehicle.min_speed, vehicle.max_speed = common.speed_low, common.speed_high
    vehicle.acceleration = vehicle.steering = 0.0
    if common.longitudinal:
        vehicle.acceleration = _scale(
            common, action[0], common.acceleration_low, common.acceleration_high
        )
    if common.lateral:
        wheel = action[1] if common.longitudinal else action[0]
        vehicle.steering = _scale(common, wheel, common.steering_low, common.steering_high)


@bare
def _scale(common, value, low, high):  # type: ignore[no-untyped-def]
    """ContinuousAction.get_action of one number, in float32: [-1, 1] to [low, high]."""
    if common.clip_action:
        value = clip(value, -1.0, 1.0)
    share = (np.float32(value) - np.float32(-1.0)) * np.float32(high - low) / np.float32(2.0)
    return float(np.float32(low) + share)


@bare
def act_discrete(settings, vehicle, index):  # type: ignore[no-untyped-def]
    """DiscreteAction.act: a point of the grid over throttle and/or steering."""
    common = settings.common[0]
    n = settings.axis.shape[0]
    vehicle.acceleration = vehicle.steering = 0.0
    wheel = index
    if common.longitudinal:
        throttle = index
        if common.lateral:
            throttle, wheel = index // n, index % n
        vehicle.acceleration = _scale(
            common, settings.axis[throttle], common.acceleration_low, common.acceleration_high
        )
    if common.lateral:
        vehicle.steering = _scale(
            common, settings.axis[wheel], common.steering_low, common.steering_high
        )


@bare
def act_meta(network, settings, vehicle, route, action):  # type: ignore[no-untyped-def]
    """MDPVehicle.act of a meta-action: set the target speed or the target lane."""
    if action in (FASTER, SLOWER):
        step = 1 if action == FASTER else -1
        last = settings.target_speeds.shape[0] - 1
        speed_index = speed_to_index(settings, vehicle.speed) + step
        speed_index = min(max(speed_index, 0), last)
        vehicle.speed_index = speed_index
        vehicle.target_speed = settings.target_speeds[speed_index]
        follow_road(network, vehicle, route)
        return
    follow_road(network, vehicle, route)
    if action in (LANE_LEFT, LANE_RIGHT):
        lane = network.lanes[vehicle.target_lane]
        edge = network.edges[lane.edge]
        step = 1 if action == LANE_RIGHT else -1
        target = edge.first_lane + min(max(lane.id + step, 0), edge.num_lanes - 1)
        if net.is_reachable_from(network, target, vehicle.x, vehicle.y):
            vehicle.target_lane = target


@merged
def act_vehicle(road, network, settings, index, urges, i):  # type: ignore[no-untyped-def]
    """Decide the action of the i-th vehicle for one frame: the `act()` of its class."""
    vehicle = road.vehicles[i]
    if vehicle.kind < st.CONTROLLED:
        return
    if vehicle.kind >= st.IDM:
        if vehicle.crashed:
            return
        act_idm(road, network, settings, index, urges, i)
        return
    follow_road(network, vehicle, road.routes[i])
    vehicle.steering = steering_control(network, vehicle, vehicle.target_lane)
    vehicle.acceleration = KP_ACCELERATION * (vehicle.target_speed - vehicle.speed)


@merged
def follow_road(network, vehicle, route):  # type: ignore[no-untyped-def]
    """At the end of a lane, go on to the next one."""
    if net.after_end(network, vehicle.target_lane, vehicle.x, vehicle.y):
        vehicle.target_lane = net.next_lane(network, vehicle.target_lane, vehicle, route)


@inlined
def steering_control(network, vehicle, lane):  # type: ignore[no-untyped-def]
    """Steer towards the centre of a lane: lateral position to heading to wheel angle [rad]."""
    s, lateral = net.local_coordinates(network, lane, vehicle.x, vehicle.y)
    lane_heading = net.heading_at(network, lane, s + vehicle.speed * TAU_PURSUIT)
    if lateral == 0.0 and vehicle.heading == lane_heading:
        return 0.0  # as what follows would
    speed = not_zero(vehicle.speed)
    exact = network.shape[0].delicate
    heading_command = geometry.asin(clip(-KP_LATERAL * lateral / speed, -1.0, 1.0), exact)
    heading_reference = lane_heading + clip(heading_command, -math.pi / 4, math.pi / 4)
    heading_rate = KP_HEADING * wrap_to_pi(heading_reference - vehicle.heading)
    slip = geometry.asin(clip(vehicle.length / 2 / speed * heading_rate, -1.0, 1.0), exact)
    angle = geometry.atan(2 * geometry.tan(slip, exact), exact)
    return clip(angle, -MAX_STEERING_ANGLE, MAX_STEERING_ANGLE)


@bare
def linear_steering_control(network, vehicle, lane):  # type: ignore[no-untyped-def]
    """LinearVehicle.steering_control [rad]."""
    s, lateral = net.local_coordinates(network, lane, vehicle.x, vehicle.y)
    speed = not_zero(vehicle.speed)
    lane_heading = net.heading_at(network, lane, s + vehicle.speed * TAU_PURSUIT)
    angle = wrap_to_pi(lane_heading - vehicle.heading) * vehicle.length / speed
    # Python's `speed**2` is the C library's pow, not always `speed * speed`. An exponent that is
    # no constant keeps the compiler from replacing it. Slow vehicles swerve chaotically, so that a
    # last bit here would show within a few decisions.
    squared = math.pow(speed, 2.0 + 0.0 * speed)
    shift = -lateral * vehicle.length / squared
    gains = vehicle.steering_parameters
    command = dot(gains[0], angle, gains[1], shift)
    return clip(command, -MAX_STEERING_ANGLE, MAX_STEERING_ANGLE)


@merged
def act_idm(road, network, settings, index, urges, i):  # type: ignore[no-untyped-def]
    """IDMVehicle.act: maybe change lane, steer, and accelerate behind whoever is in front."""
    vehicle = road.vehicles[i]
    follow_road(network, vehicle, road.routes[i])
    front = front_neighbour(road, network, settings, index, i, vehicle.lane)
    acceleration = follow(road, network, settings, urges, i, i, front)
    if vehicle.enable_lane_change:
        change_lane_policy(road, network, settings, index, urges, i, acceleration)
    if vehicle.kind == st.IDM:
        vehicle.steering = steering_control(network, vehicle, vehicle.target_lane)
    else:
        vehicle.steering = linear_steering_control(network, vehicle, vehicle.target_lane)
    if vehicle.lane != vehicle.target_lane:
        front = front_neighbour(road, network, settings, index, i, vehicle.target_lane)
        acceleration = min(acceleration, follow(road, network, settings, urges, i, i, front))
    limit = settings.common[0].acc_max
    vehicle.acceleration = clip(acceleration, -limit, limit)


@inlined
def lane_distance(network, body, other):  # type: ignore[no-untyped-def]
    """RoadObject.lane_distance_to: along the first body's lane [m]."""
    if network.shape[0].parallel:
        return other.x - body.x
    ahead, _ = net.local_coordinates(network, body.lane, other.x, other.y)
    here, _ = net.local_coordinates(network, body.lane, body.x, body.y)
    return ahead - here


@inlined
def desired_gap(settings, urges, body, front):  # type: ignore[no-untyped-def]
    """IDMVehicle.desired_gap: the distance that a driver wants to the one in front [m]."""
    common = settings.common[0]
    dv_x = body.speed * body.cos - front.speed * front.cos
    dv_y = body.speed * body.sin - front.speed * front.sin
    dv = dot(dv_x, body.cos, dv_y, body.sin)
    return (
        common.distance_wanted
        + body.speed * common.time_wanted
        + body.speed * dv / urges.twice_root[0]
    )


class Urges(NamedTuple):
    """The speed term of the IDM for every vehicle of one environment, worked out once per frame."""

    logs: Any  # (max_vehicles,) f8: of speed / target speed
    deltas: Any  # (max_vehicles,) f8: the driver's exponent
    powers: Any  # (max_vehicles,) f8: (speed / target speed) ** delta
    twice_root: Any  # (1,) f8: 2 sqrt(ab), from both comfortable accelerations [m/s2]


@jit
def allocate_urges(max_vehicles):  # type: ignore[no-untyped-def]
    """Room for the vehicles of one environment."""
    return Urges(
        np.zeros(max_vehicles), np.zeros(max_vehicles), np.zeros(max_vehicles), np.zeros(1)
    )


@bare
def work_out_urges(road, network, settings, urges):  # type: ignore[no-untyped-def]
    """Speeds, lanes and target speeds do not change while vehicles act."""
    common = settings.common[0]
    urges.twice_root[0] = 2 * math.sqrt(-common.comfort_acc_max * common.comfort_acc_min)
    n = road.environment[0].num_vehicles
    for i in range(n):
        vehicle = road.vehicles[i]
        target_speed = vehicle.target_speed if st.is_controlled(vehicle.kind) else 0.0
        lane = network.lanes[vehicle.lane]
        if lane.has_speed_limit:
            target_speed = clip(target_speed, 0.0, lane.speed_limit)
        urges.logs[i] = max(vehicle.speed, 0.0) / abs(not_zero(target_speed))
        urges.deltas[i] = vehicle.delta
    for i in range(n):  # loops of their own, which the compiler can vectorize
        urges.logs[i] = powers.log(urges.logs[i])
    for i in range(n):
        urges.powers[i] = powers.exp(urges.deltas[i] * urges.logs[i])


@inlined
def follow(road, network, settings, urges, driver, ego, front):  # type: ignore[no-untyped-def]
    """How a driver thinks that `ego` (a body) accelerates behind `front` (a body) [m/s2].

    `driver` is a row of vehicles. Equals the `acceleration` method of the driver's class; the
    bodies may be NOBODY.
    """
    if ego == NOBODY:
        return 0.0
    if road.vehicles[driver].kind != st.IDM:
        return _follow_linear(road.vehicles, road.objects, network, settings, driver, ego, front)
    if ego >= road.vehicles.shape[0]:
        return 0.0  # an obstacle
    common = settings.common[0]
    power = urges.powers[ego]
    if ego != driver:
        power = powers.exp(urges.deltas[driver] * urges.logs[ego])
    acceleration = common.comfort_acc_max * (1 - power)
    if front != NOBODY:
        body, other = road.vehicles[ego], body_of(road, front)
        d = lane_distance(network, body, other)
        closeness = desired_gap(settings, urges, body, other) / not_zero(d)
        acceleration -= common.comfort_acc_max * (closeness * closeness)
    return acceleration


@bare
def _follow_linear(vehicles, objects, network, settings, driver, ego, front):  # type: ignore[no-untyped-def]
    body = body_among(vehicles, objects, ego)
    common = settings.common[0]
    to_target = 0.0
    if st.is_controlled(body.kind):
        to_target = body.target_speed - body.speed
    safe = common.distance_wanted + max(body.speed, 0.0) * common.time_wanted
    to_front, too_close = 0.0, 0.0
    if front != NOBODY:
        other = body_among(vehicles, objects, front)
        d = lane_distance(network, body, other)
        to_front = min(other.speed - body.speed, 0.0)
        too_close = min(d - safe, 0.0)
    gains = vehicles[driver].acceleration_parameters
    return dot_of_three(gains[0], to_target, gains[1], to_front, gains[2], too_close)


@bare
def follow_seldom(road, network, settings, urges, driver, ego, front):  # type: ignore[no-untyped-def]
    """`follow` where a call does not matter: every copy of it has to be compiled."""
    return follow(road, network, settings, urges, driver, ego, front)


@merged
def change_lane_policy(road, network, settings, index, urges, i, acceleration):  # type: ignore[no-untyped-def]
    """IDMVehicle.change_lane_policy: give up, or begin, a change of lane.

    `acceleration` is what the vehicle would do on its own lane [m/s2].
    """
    vehicle = road.vehicles[i]
    if vehicle.lane != vehicle.target_lane:
        same_road = network.lanes[vehicle.lane].edge == network.lanes[vehicle.target_lane].edge
        if same_road and _is_target_taken(
            road.environment, road.vehicles, network, settings, urges, i
        ):
            vehicle.target_lane = vehicle.lane
    elif settings.common[0].lane_change_delay < vehicle.timer:
        vehicle.timer = 0.0
        if abs(vehicle.speed) < 1 or not _can_gain(
            road.vehicles, road.routes, settings, urges, i, acceleration
        ):
            return
        _choose_lane(road, network, settings, index, urges, i, acceleration)


@bare
def _choose_lane(road, network, settings, index, urges, i, acceleration):  # type: ignore[no-untyped-def]
    vehicle = road.vehicles[i]
    lane = vehicle.lane
    row = network.lanes[lane]
    for side in (-1, 1):
        if not 0 <= row.id + side < network.edges[row.edge].num_lanes:
            continue
        if not net.is_reachable_from(network, lane + side, vehicle.x, vehicle.y):
            continue
        if mobil(road, network, settings, index, urges, i, lane + side, acceleration):
            vehicle.target_lane = lane + side


@merged
def _can_gain(vehicles, routes, settings, urges, i, acceleration):  # type: ignore[no-untyped-def]
    """Could any lane be worth changing to? False only if `mobil` says so of each.

    Nobody accelerates more than on a free lane, and most vehicles nearly do: this spares them the
    search for neighbours.
    """
    vehicle = vehicles[i]
    common = settings.common[0]
    if vehicle.kind != st.IDM or common.politeness != 0.0:
        return True
    if vehicle.route_length > 0 and routes[i, vehicle.route_start, 1] != st.NO_LANE_ID:
        return True
    free = common.comfort_acc_max * (1 - urges.powers[i])
    return not free - acceleration < common.lane_change_min_acc_gain


@bare
def _is_target_taken(environment, vehicles, network, settings, urges, i):  # type: ignore[no-untyped-def]
    """Is somebody else, too close ahead, changing into the lane that this vehicle changes to?"""
    vehicle = vehicles[i]
    for j in range(environment[0].num_vehicles):
        other = vehicles[j]
        if (
            other.target_lane == vehicle.target_lane
            and other.lane != vehicle.target_lane
            and j != i
            and st.is_controlled(other.kind)
        ):
            d = lane_distance(network, vehicle, other)
            if 0 < d < desired_gap(settings, urges, vehicle, other):
                return True
    return False


@inlined
def _sign(x):  # type: ignore[no-untyped-def]
    return 1 if x > 0 else -1 if x < 0 else 0


@merged
def mobil(road, network, settings, index, urges, i, lane, acceleration):  # type: ignore[no-untyped-def]
    """IDMVehicle.mobil: should the i-th vehicle change to this lane?

    `acceleration` is what it would do on its own lane [m/s2].
    """
    vehicle = road.vehicles[i]
    common = settings.common[0]
    new_front, new_rear = neighbours(road, network, settings, index, i, lane)
    new_rear_predicted = follow(road, network, settings, urges, i, new_rear, i)
    if new_rear_predicted < -common.lane_change_max_braking_imposed:
        return False
    predicted = follow(road, network, settings, urges, i, i, new_front)
    if vehicle.route_length > 0 and road.routes[i, vehicle.route_start, 1] != st.NO_LANE_ID:
        target = network.lanes[vehicle.target_lane].id
        wanted = road.routes[i, vehicle.route_start, 1]
        if _sign(network.lanes[lane].id - target) != _sign(wanted - target):
            return False
        return not predicted < -common.lane_change_max_braking_imposed
    gain = predicted - acceleration
    if common.politeness != 0.0:  # else what others gain is multiplied by zero
        gain += common.politeness * _gain_of_others(
            road, network, settings, index, urges, i, new_front, new_rear, new_rear_predicted
        )
    return not gain < common.lane_change_min_acc_gain


@bare
def _gain_of_others(  # type: ignore[no-untyped-def]
    road, network, settings, index, urges, i, new_front, new_rear, new_rear_predicted
):
    """What those behind the i-th vehicle, on both lanes, gain if it changes lane [m/s2]."""
    old_front, old_rear = neighbours(road, network, settings, index, i, road.vehicles[i].lane)
    new_rear_now = follow_seldom(road, network, settings, urges, i, new_rear, new_front)
    old_rear_now = follow_seldom(road, network, settings, urges, i, old_rear, i)
    old_rear_predicted = follow_seldom(road, network, settings, urges, i, old_rear, old_front)
    return new_rear_predicted - new_rear_now + old_rear_predicted - old_rear_now
