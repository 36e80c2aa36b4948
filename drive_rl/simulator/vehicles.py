"""Vehicles: how they are made, and how a frame moves them."""

from __future__ import annotations

import math

from drive_rl.simulator import elementary, geometry, random
from drive_rl.simulator import network as net
from drive_rl.simulator import state as st
from drive_rl.simulator.geometry import clip, set_heading
from drive_rl.simulator.jit import bare, inlined
from drive_rl.simulator.products import turned

LENGTH, WIDTH = 5.0, 2.0  # Vehicle.LENGTH, Vehicle.WIDTH [m]
OBJECT_SIZE = 2.0  # RoadObject.LENGTH and .WIDTH [m]
DIAGONAL = math.sqrt(LENGTH**2 + WIDTH**2)
OBJECT_DIAGONAL = math.sqrt(OBJECT_SIZE**2 + OBJECT_SIZE**2)
MAX_SPEED = 40.0  # [m/s]
MAX_YAW_RATE = 2 * math.pi  # BicycleVehicle.MAX_ANGULAR_SPEED [rad/s]


@bare
def begin(road):  # type: ignore[no-untyped-def]
    """Start an episode: an empty road at time zero. The random stream goes on."""
    env = road.environment[0]
    env.time = 0.0
    env.steps = 0
    env.road_steps = 0
    env.decisions = 0
    env.num_vehicles = 0
    env.num_objects = 0
    for k in range(env.scratch.shape[0]):
        env.scratch[k] = 0.0


@bare
def _place(body, network, x, y, heading, speed):  # type: ignore[no-untyped-def]
    """RoadObject.__init__: everything but sizes and kind."""
    body.x, body.y = x, y
    set_heading(body, heading)
    body.speed = speed
    body.lane = net.closest_lane(network, x, y, heading, 0)
    body.steering = body.acceleration = 0.0
    body.impact_x = body.impact_y = 0.0
    body.has_impact = body.crashed = body.hit = False
    body.check_collisions = True


@bare
def append_vehicle(road, network, settings, kind, x, y, heading, speed):  # type: ignore[no-untyped-def]
    """Add a vehicle to the end of the list and give its row.

    Equals `vehicle_class(road, (x, y), heading, speed)` followed by `road.vehicles.append`: its
    target lane is the closest lane, its target speed its speed (of MDP vehicles: the closest in
    `settings.target_speeds`), it has no route, and may change lane.
    """
    env = road.environment[0]
    i = env.num_vehicles
    env.num_vehicles = i + 1
    common = settings.common[0]
    vehicle = road.vehicles[i]
    vehicle.kind = kind
    vehicle.length, vehicle.width, vehicle.diameter = LENGTH, WIDTH, DIAGONAL
    _place(vehicle, network, x, y, heading, speed)
    vehicle.min_speed, vehicle.max_speed = -MAX_SPEED, MAX_SPEED
    vehicle.lateral_speed = vehicle.yaw_rate = 0.0
    vehicle.is_agent = vehicle.is_yielding = False
    vehicle.yield_timer = 0
    vehicle.goal = -1
    vehicle.target_lane = vehicle.lane
    vehicle.target_speed = speed
    vehicle.route_start, vehicle.route_length = 0, st.NO_ROUTE
    vehicle.speed_index = 0
    vehicle.enable_lane_change = True
    vehicle.observed_lanes = 0
    vehicle.delta = common.delta
    vehicle.timer = ((x + y) * math.pi) % common.lane_change_delay
    for k in range(3):
        vehicle.acceleration_parameters[k] = common.acceleration_parameters[k]
    for k in range(2):
        vehicle.steering_parameters[k] = common.steering_parameters[k]
    if kind == st.MDP:
        vehicle.speed_index = speed_to_index(settings, speed)
        vehicle.target_speed = settings.target_speeds[vehicle.speed_index]
    return i


@bare
def append_agent(road, network, settings, agent, x, y, heading, speed):  # type: ignore[no-untyped-def]
    """Add the agent-th controlled vehicle to the end of the list and give its row."""
    i = append_vehicle(road, network, settings, settings.common[0].agent, x, y, heading, speed)
    road.vehicles[i].is_agent = True
    road.agents[agent] = i
    return i


@bare
def append_object(road, network, kind, x, y, heading, length, width):  # type: ignore[no-untyped-def]
    """Add an obstacle or a landmark of a size [m] and give its row in `road.objects`."""
    env = road.environment[0]
    j = env.num_objects
    env.num_objects = j + 1
    body = road.objects[j]
    body.kind = kind
    body.length, body.width = length, width
    body.diameter = math.sqrt(length**2 + width**2)
    _place(body, network, x, y, heading, 0.0)
    body.goal = -1
    body.route_length = st.NO_ROUTE
    body.target_lane = -1
    return j


@bare
def randomize_behavior(road, settings, vehicle):  # type: ignore[no-untyped-def]
    """Draw the driver's character, as the randomize_behavior method of its class."""
    env = road.environment[0]
    if vehicle.kind >= st.LINEAR:
        # The ranges are those of LinearVehicle, whatever the subclass
        for k, middle in enumerate((0.3, 0.3, 2.0)):
            low, high = 0.5 * middle, 1.5 * middle
            vehicle.acceleration_parameters[k] = low + random.uniform01(env) * (high - low)
        heading_gain = 1 / 0.2
        lateral_gain = (1 / 0.2) * (1 / 0.6)
        for k, (middle, half) in enumerate(((heading_gain, 0.07), (lateral_gain, 1.5))):
            low, high = middle - half, middle + half
            vehicle.steering_parameters[k] = low + random.uniform01(env) * (high - low)
    vehicle.delta = random.uniform(env, 3.5, 4.5)


@inlined
def speed_to_index(settings, speed):  # type: ignore[no-untyped-def]
    """MDPVehicle.speed_to_index: the row of the target speed that is closest, evenly spaced."""
    speeds = settings.target_speeds
    last = speeds.shape[0] - 1
    x = (speed - speeds[0]) / (speeds[last] - speeds[0])
    return int(clip(float(round(x * last)), 0.0, float(last)))


@inlined
def step_vehicle(road, network, vehicle, dt):  # type: ignore[no-untyped-def]
    """Move a vehicle by one frame of `dt` seconds, under its stored action.

    Equals the `step` method of its class (Vehicle, IDMVehicle, BicycleVehicle).
    """
    if vehicle.kind >= st.IDM:
        vehicle.timer += dt
    _clip_actions(vehicle)
    if vehicle.kind == st.BICYCLE:
        _step_bicycle(network, vehicle, dt)
    else:
        _step_kinematic(network, vehicle, dt)
    vehicle.lane = net.closest_lane(network, vehicle.x, vehicle.y, vehicle.heading, vehicle.lane)


@inlined
def _clip_actions(vehicle):  # type: ignore[no-untyped-def]
    if vehicle.crashed:
        vehicle.steering = 0.0
        vehicle.acceleration = -1.0 * vehicle.speed
    if vehicle.speed > vehicle.max_speed:
        vehicle.acceleration = min(vehicle.acceleration, vehicle.max_speed - vehicle.speed)
    elif vehicle.speed < vehicle.min_speed:
        vehicle.acceleration = max(vehicle.acceleration, vehicle.min_speed - vehicle.speed)
    if vehicle.kind == st.BICYCLE:
        vehicle.steering = clip(vehicle.steering, -math.pi / 2, math.pi / 2)
        vehicle.yaw_rate = clip(vehicle.yaw_rate, -MAX_YAW_RATE, MAX_YAW_RATE)


@inlined
def _step_kinematic(network, vehicle, dt):  # type: ignore[no-untyped-def]
    speed = vehicle.speed
    if vehicle.steering == 0.0:  # slip angle 0: the stored direction is that of the movement
        vehicle.x += speed * vehicle.cos * dt
        vehicle.y += speed * vehicle.sin * dt
    else:
        exact = network.shape[0].delicate
        beta = geometry.atan(0.5 * geometry.tan(vehicle.steering, exact), exact)
        vehicle.x += speed * geometry.cos(vehicle.heading + beta) * dt
        vehicle.y += speed * geometry.sin(vehicle.heading + beta) * dt
        turn = speed * geometry.sin(beta) / (vehicle.length / 2) * dt
        set_heading(vehicle, vehicle.heading + turn)
    if vehicle.has_impact:
        vehicle.x += vehicle.impact_x
        vehicle.y += vehicle.impact_y
        vehicle.crashed = True
        vehicle.has_impact = False
    vehicle.speed += vehicle.acceleration * dt


@bare
def bicycle_derivative(vehicle, exact, heading, speed, lateral_speed, yaw_rate):  # type: ignore[no-untyped-def]
    """BicycleVehicle.derivative_func: of (x, y, heading, speed, lateral speed, yaw rate).

    `exact`: to the bit, see `Network.shape`.
    """
    half = LENGTH / 2  # from the centre to each axle
    inertia = 1 / 12 * (LENGTH**2 + WIDTH**2)
    friction = 15.0
    if abs(speed) < 1:
        f_front = -lateral_speed - inertia / half * yaw_rate
        f_rear = -lateral_speed + inertia / half * yaw_rate
    else:
        front, rear = lateral_speed + half * yaw_rate, lateral_speed - half * yaw_rate
        if exact:
            slip_front = elementary.atan2(front, speed)
            slip_rear = elementary.atan2(rear, speed)
        else:
            slip_front, slip_rear = math.atan2(front, speed), math.atan2(rear, speed)
        f_front = 2 * friction * (vehicle.steering - slip_front)
        f_rear = 2 * friction * (0.0 - slip_rear)
    c, s = math.cos(heading), math.sin(heading)
    return (
        turned(c, speed, -s, lateral_speed),
        turned(s, speed, c, lateral_speed),
        yaw_rate,
        vehicle.acceleration,
        (f_front + f_rear) - yaw_rate * speed,
        1 / inertia * (half * f_front - half * f_rear),
    )


@bare
def _step_bicycle(network, vehicle, dt):  # type: ignore[no-untyped-def]
    """One step of the fourth-order Runge-Kutta method (impacts are not applied, as upstream)."""
    h, v, w, r = vehicle.heading, vehicle.speed, vehicle.lateral_speed, vehicle.yaw_rate
    exact = network.shape[0].delicate
    a = bicycle_derivative(vehicle, exact, h, v, w, r)
    k = dt / 2
    b = bicycle_derivative(vehicle, exact, h + a[2] * k, v + a[3] * k, w + a[4] * k, r + a[5] * k)
    c = bicycle_derivative(vehicle, exact, h + b[2] * k, v + b[3] * k, w + b[4] * k, r + b[5] * k)
    d = bicycle_derivative(
        vehicle, exact, h + c[2] * dt, v + c[3] * dt, w + c[4] * dt, r + c[5] * dt
    )
    k = dt / 6
    vehicle.x += k * (a[0] + 2 * b[0] + 2 * c[0] + d[0])
    vehicle.y += k * (a[1] + 2 * b[1] + 2 * c[1] + d[1])
    set_heading(vehicle, h + k * (a[2] + 2 * b[2] + 2 * c[2] + d[2]))
    vehicle.speed = v + k * (a[3] + 2 * b[3] + 2 * c[3] + d[3])
    vehicle.lateral_speed = w + k * (a[4] + 2 * b[4] + 2 * c[4] + d[4])
    vehicle.yaw_rate = r + k * (a[5] + 2 * b[5] + 2 * c[5] + d[5])
