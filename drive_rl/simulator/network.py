"""Roads: highway-env's RoadNetwork flattened to tables, and the geometry of its lanes.

Lanes stand in the order in which highway-env iterates over its graph, because ties between lanes
go to the first. A lane is named by its row (`lane`), a road (all lanes between two nodes) by its
row in `edges`; the lanes of a road are consecutive: `edges[e].first_lane + lane_id`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import elementary
from drive_rl.simulator.geometry import wrap_to_pi
from drive_rl.simulator.jit import bare, inlined
from drive_rl.simulator.products import dot, norm
from drive_rl.simulator.state import NO_LANE_ID

STRAIGHT, SINE, CIRCULAR, POLY = 0, 1, 2, 3

VEHICLE_LENGTH = 5.0  # AbstractLane.VEHICLE_LENGTH [m]

LANE_DTYPE = np.dtype(
    [
        ("kind", "i8"),
        ("edge", "i8"),  # the road that it belongs to
        ("id", "i8"),  # its place on that road, 0 leftmost
        ("priority", "i8"),
        ("forbidden", "?"),
        ("has_speed_limit", "?"),
        ("speed_limit", "f8"),  # [m/s]
        ("width", "f8"),  # [m]; of POLY lanes: see `widths`
        ("length", "f8"),  # [m]
        ("x", "f8"),  # start of STRAIGHT and SINE, centre of CIRCULAR [m]
        ("y", "f8"),
        ("direction_x", "f8"),  # STRAIGHT, SINE
        ("direction_y", "f8"),
        ("heading", "f8"),  # STRAIGHT, SINE [rad]
        ("amplitude", "f8"),  # SINE
        ("pulsation", "f8"),
        ("phase", "f8"),  # SINE; of CIRCULAR: start_phase
        ("radius", "f8"),  # CIRCULAR
        ("turn", "f8"),  # CIRCULAR: 1 clockwise, -1 not
        ("first_sample", "i8"),  # POLY: rows of `samples`, `points` and `widths`
        ("num_samples", "i8"),
        ("first_point", "i8"),
        ("num_points", "i8"),
        ("first_width", "i8"),
        ("num_widths", "i8"),
        ("first_link", "i8"),  # rows of `links`
        ("num_links", "i8"),
    ],
    align=True,
)

EDGE_DTYPE = np.dtype(
    [
        ("origin", "i8"),  # node
        ("destination", "i8"),  # node
        ("first_lane", "i8"),
        ("num_lanes", "i8"),
    ],
    align=True,
)

# The roads that leave a node: edges[first_edge : first_edge + num_edges]
NODE_DTYPE = np.dtype([("first_edge", "i8"), ("num_edges", "i8")], align=True)

# Lanes that continue into a lane or from it, and what to add to a longitudinal coordinate on them
# [m] (Road.neighbour_vehicles with connected lanes), in highway-env's order of search
LINK_DTYPE = np.dtype([("lane", "i8"), ("offset", "f8")], align=True)

# A network of parallel lanes along the x axis, all of one road: searching is then one-dimensional
SHAPE_DTYPE = np.dtype(
    [
        ("parallel", "?"),
        ("delicate", "?"),  # last bits matter: `elementary` functions, not the C library's
        ("y", "f8"),
        ("spacing", "f8"),
        ("length", "f8"),
        ("reach", "f8"),
    ],
    align=True,
)


class Network(NamedTuple):
    """A road network as kernels see it."""

    lanes: Any  # (num_lanes,) LANE_DTYPE
    edges: Any  # (num_edges,) EDGE_DTYPE
    nodes: Any  # (num_nodes,) NODE_DTYPE
    links: Any  # (num_links,) LINK_DTYPE
    shape: Any  # (1,) SHAPE_DTYPE
    samples: Any  # (n, 5) f8: of POLY lanes, x, y, and the unit tangent, one per metre; s
    points: Any  # (n, 3) f8: of POLY lanes, arc length, x, y
    widths: Any  # (n,) f8: of POLY lanes


class Map(NamedTuple):
    """A flattened network together with the names that its rows had."""

    network: Network
    nodes: dict[str, int]
    edges: dict[tuple[str, str], int]
    source: Any  # the RoadNetwork it was made from

    def lane(self, origin: str, destination: str, lane_id: int) -> int:
        """Row of a lane given its highway-env index; negative ids count from the last lane."""
        edge = self.network.edges[self.edges[origin, destination]]
        return int(edge.first_lane + (lane_id if lane_id >= 0 else edge.num_lanes + lane_id))

    def paths(self, destination: str) -> Any:
        """Shortest ways to a node from every one: rows of `edges`, then -1; int64 (nodes, longest).

        What `ControlledVehicle.plan_route_to` looks up, found by highway-env's own search.
        """
        found = []
        for node in self.nodes:
            try:
                names = self.source.shortest_path(node, destination)
            except KeyError:
                names = []
            found.append([self.edges[pair] for pair in zip(names, names[1:], strict=False)])
        table = np.full((len(found), max(1, *map(len, found))), -1, np.int64)
        for row, edges in zip(table, found, strict=True):
            row[: len(edges)] = edges
        return table


def flatten(road_network: Any) -> Map:
    """Flatten a highway-env RoadNetwork (anything with its `graph` and its lanes' attributes).

    Raises:
        TypeError: a lane is of a class that is not covered.
    """
    graph = road_network.graph
    nodes: dict[str, int] = {name: row for row, name in enumerate(graph)}
    for roads in graph.values():
        for name in roads:
            nodes.setdefault(name, len(nodes))
    edges: dict[tuple[str, str], int] = {}
    edge_rows: list[Any] = []
    lane_rows: list[Any] = []
    tables = _Tables([], [], [])
    node_rows = np.zeros(len(nodes), NODE_DTYPE).view(np.recarray)
    for origin, roads in graph.items():
        node_rows[nodes[origin]] = (len(edges), len(roads))
        for destination, lanes in roads.items():
            edge_rows.append((nodes[origin], nodes[destination], len(lane_rows), len(lanes)))
            for lane_id, lane in enumerate(lanes):
                lane_rows.append(_lane_row(lane, len(edges), lane_id, tables))
            edges[origin, destination] = len(edges)
    lane_table = np.array(lane_rows, LANE_DTYPE).view(np.recarray)
    edge_table = np.array(edge_rows, EDGE_DTYPE).view(np.recarray)
    network = Network(
        lanes=lane_table,
        edges=edge_table,
        nodes=node_rows,
        links=_links(lane_table, edge_table),
        shape=_shape(lane_table, edge_table),
        samples=np.array(tables.samples, np.float64).reshape(-1, 5),
        points=np.array(tables.points, np.float64).reshape(-1, 3),
        widths=np.array(tables.widths, np.float64),
    )
    return Map(network, nodes, edges, road_network)


class _Tables(NamedTuple):
    """Rows of POLY lanes, gathered while flattening."""

    samples: list[tuple[float, ...]]
    points: list[tuple[float, ...]]
    widths: list[float]


def _lane_row(lane: Any, edge: int, lane_id: int, tables: _Tables) -> tuple[Any, ...]:
    row: dict[str, Any] = dict.fromkeys(LANE_DTYPE.names or (), 0)
    row.update(
        edge=edge,
        id=lane_id,
        priority=lane.priority,
        forbidden=lane.forbidden,
        has_speed_limit=lane.speed_limit is not None,
        speed_limit=0.0 if lane.speed_limit is None else lane.speed_limit,
        width=getattr(lane, "width", 0.0),
        length=lane.length,
    )
    name = type(lane).__name__
    if name in ("StraightLane", "SineLane"):
        row.update(
            kind=STRAIGHT,
            x=lane.start[0],
            y=lane.start[1],
            direction_x=lane.direction[0],
            direction_y=lane.direction[1],
            heading=lane.heading,
        )
        if name == "SineLane":
            row.update(
                kind=SINE, amplitude=lane.amplitude, pulsation=lane.pulsation, phase=lane.phase
            )
    elif name == "CircularLane":
        row.update(
            kind=CIRCULAR,
            x=lane.center[0],
            y=lane.center[1],
            radius=lane.radius,
            phase=lane.start_phase,
            turn=lane.direction,
        )
    elif name in ("PolyLane", "PolyLaneFixedWidth"):
        curve = lane.curve
        width_samples = getattr(lane, "width_samples", [lane.width])
        arc = _interpolation_points(curve)
        row.update(
            kind=POLY,
            first_sample=len(tables.samples),
            num_samples=len(curve.poses),
            first_point=len(tables.points),
            num_points=len(arc),
            first_width=len(tables.widths),
            num_widths=len(width_samples),
        )
        tables.samples.extend(
            (*pose.position, *pose.normal, s)
            for pose, s in zip(curve.poses, curve.s_samples, strict=True)
        )
        tables.points.extend(arc)
        tables.widths.extend(float(width) for width in width_samples)
    else:
        raise TypeError(f"lanes of class {name} are not covered by the compiled simulator")
    return tuple(row.values())


def _interpolation_points(curve: Any) -> list[tuple[float, float, float]]:
    """The (arc length, x, y) between which a spline interpolates: kept in its closures only."""

    def inside(function: Any, name: str) -> Any:
        place = function.__code__.co_freevars.index(name)
        return function.__closure__[place].cell_contents

    arc = inside(curve.x_curve, "x")
    xs, ys = inside(curve.x_curve, "y"), inside(curve.y_curve, "y")
    return [(float(s), float(x), float(y)) for s, x, y in zip(arc, xs, ys, strict=True)]


def _links(lanes: Any, edges: Any) -> Any:
    links: list[tuple[int, float]] = []
    for lane in lanes:
        lane.first_link = len(links)
        here = edges[lane.edge]
        for edge in edges:
            if edge.origin == here.destination and edge.num_lanes:
                lane_id = lane.id if lane.id < edge.num_lanes else 0
                links.append((edge.first_lane + lane_id, lane.length))
        for edge in edges:
            if edge.destination == here.origin and edge.num_lanes:
                lane_id = lane.id if lane.id < edge.num_lanes else 0
                before = edge.first_lane + lane_id
                links.append((before, -lanes[before].length))
        lane.num_links = len(links) - lane.first_link
    return np.array(links, LINK_DTYPE).view(np.recarray)


def _shape(lanes: Any, edges: Any) -> Any:
    shape = np.zeros(1, SHAPE_DTYPE).view(np.recarray)
    spacing = lanes.y[1] - lanes.y[0] if len(lanes) > 1 else 4.0
    shape[0].parallel = bool(
        len(edges) == 1
        and len(lanes) <= 64
        and spacing > 0
        and (lanes.kind == STRAIGHT).all()
        and (lanes.direction_x == 1.0).all()
        and (lanes.direction_y == 0.0).all()
        and (lanes.heading == 0.0).all()
        and (lanes.x == 0.0).all()
        and (lanes.y == lanes.y[0] + spacing * np.arange(len(lanes))).all()
        and (lanes.length == lanes.length[0]).all()
        and (lanes.width == lanes.width[0]).all()
        and edges[0].origin != edges[0].destination
    )
    shape[0].y, shape[0].spacing, shape[0].length = lanes.y[0], spacing, lanes.length[0]
    shape[0].reach = lanes.width[0] / 2 + 1  # on_lane with the margin of neighbour searches
    return shape


# ---------------------------------------------------------------------------------------------
# Lane geometry. Each function equals the method of the same name of highway-env's lanes.


@inlined
def local_coordinates(network, lane, x, y):  # type: ignore[no-untyped-def]
    """World position to (longitudinal, lateral) [m]."""
    row = network.lanes[lane]
    if row.kind == STRAIGHT:
        dx, dy = x - row.x, y - row.y
        return (
            dot(dx, row.direction_x, dy, row.direction_y),
            dot(dx, -row.direction_y, dy, row.direction_x),
        )
    return _curved_local_coordinates(network.samples, network.shape, row, x, y)


@bare
def _curved_local_coordinates(samples, shape, row, x, y):  # type: ignore[no-untyped-def]
    if row.kind == POLY:
        return _poly_local_coordinates(samples, row, x, y)
    dx, dy = x - row.x, y - row.y
    if row.kind == SINE:
        longitudinal = dot(dx, row.direction_x, dy, row.direction_y)
        lateral = dot(dx, -row.direction_y, dy, row.direction_x)
        shift = row.amplitude * math.sin(row.pulsation * longitudinal + row.phase)
        return longitudinal, lateral - shift
    angle = elementary.atan2(dy, dx) if shape[0].delicate else math.atan2(dy, dx)
    phi = row.phase + wrap_to_pi(angle - row.phase)
    longitudinal = row.turn * (phi - row.phase) * row.radius
    lateral = row.turn * (row.radius - norm(dx, dy))
    return longitudinal, lateral


@bare
def _poly_local_coordinates(samples, row, x, y):  # type: ignore[no-untyped-def]
    last = row.num_samples - 1
    chosen = 0
    for k in range(last, 0, -1):
        # The pose before the last one is looked at, the last one first, pose 0 without a test
        pose = samples[row.first_sample + k]
        if dot(pose[2], x - pose[0], pose[3], y - pose[1]) >= 0:
            chosen = k
            break
    pose = samples[row.first_sample + chosen]
    dx, dy = x - pose[0], y - pose[1]
    along = dot(pose[2], dx, pose[3], dy)
    across = dot(-pose[3], dx, pose[2], dy)
    return (pose[4] + along if chosen else along), across


@bare
def position(network, lane, longitudinal, lateral):  # type: ignore[no-untyped-def]
    """(longitudinal, lateral) to world position [m]."""
    row = network.lanes[lane]
    if row.kind == STRAIGHT or row.kind == SINE:
        if row.kind == SINE:
            lateral = lateral + row.amplitude * math.sin(row.pulsation * longitudinal + row.phase)
        x = row.x + longitudinal * row.direction_x + lateral * -row.direction_y
        y = row.y + longitudinal * row.direction_y + lateral * row.direction_x
        return x, y
    if row.kind == CIRCULAR:
        phi = row.turn * longitudinal / row.radius + row.phase
        distance = row.radius - lateral * row.turn
        return row.x + distance * math.cos(phi), row.y + distance * math.sin(phi)
    x, y = _poly_interpolate(network, row, longitudinal)
    yaw = heading_at(network, lane, longitudinal)
    return x - math.sin(yaw) * lateral, y + math.cos(yaw) * lateral


@bare
def _poly_interpolate(network, row, s):  # type: ignore[no-untyped-def]
    """Linear between points, extrapolated beyond both ends."""
    points = network.points[row.first_point : row.first_point + row.num_points]
    n = row.num_points
    k = 0
    while k < n - 2 and s >= points[k + 1, 0]:
        k += 1
    a, b = points[k], points[k + 1]
    if s > points[n - 1, 0]:
        step = s - b[0]
        return (
            b[1] + (b[1] - a[1]) / (b[0] - a[0]) * step,
            b[2] + (b[2] - a[2]) / (b[0] - a[0]) * step,
        )
    step = s - a[0]
    return (
        (b[1] - a[1]) / (b[0] - a[0]) * step + a[1],
        (b[2] - a[2]) / (b[0] - a[0]) * step + a[2],
    )


@inlined
def heading_at(network, lane, longitudinal):  # type: ignore[no-untyped-def]
    """Heading of the lane at a longitudinal coordinate [rad]."""
    row = network.lanes[lane]
    if row.kind == STRAIGHT:
        return row.heading
    return _curved_heading_at(network.samples, row, longitudinal)


@bare
def _curved_heading_at(samples, row, longitudinal):  # type: ignore[no-untyped-def]
    if row.kind == SINE:
        slope = row.amplitude * row.pulsation * math.cos(row.pulsation * longitudinal + row.phase)
        return row.heading + math.atan(slope)
    if row.kind == CIRCULAR:
        return row.turn * longitudinal / row.radius + row.phase + math.pi / 2 * row.turn
    # Poses stand one metre apart
    k = 0
    if longitudinal >= 0.0:
        k = min(int(longitudinal), row.num_samples - 1)
    pose = samples[row.first_sample + k]
    return math.atan2(pose[3], pose[2])


@bare
def width_at(network, lane, longitudinal):  # type: ignore[no-untyped-def]
    """Width of the lane [m]."""
    row = network.lanes[lane]
    if row.kind != POLY:
        return row.width
    k = 0
    if longitudinal >= 0.0:
        k = min(int(min(longitudinal, 1e9)), row.num_widths - 1)
    return network.widths[row.first_width + k]


@bare
def is_on_lane(network, lane, longitudinal, lateral, margin):  # type: ignore[no-untyped-def]
    """AbstractLane.on_lane, for a position given by its local coordinates."""
    row = network.lanes[lane]
    return (
        abs(lateral) <= width_at(network, lane, longitudinal) / 2 + margin
        and -VEHICLE_LENGTH <= longitudinal < row.length + VEHICLE_LENGTH
    )


@bare
def is_reachable_from(network, lane, x, y):  # type: ignore[no-untyped-def]
    """Can a vehicle at (x, y) change to this lane?"""
    row = network.lanes[lane]
    if row.forbidden:
        return False
    longitudinal, lateral = local_coordinates(network, lane, x, y)
    return (
        abs(lateral) <= 2 * width_at(network, lane, longitudinal)
        and 0 <= longitudinal < row.length + VEHICLE_LENGTH
    )


@inlined
def after_end(network, lane, x, y):  # type: ignore[no-untyped-def]
    """Is (x, y) in the last half vehicle length of the lane, or beyond?"""
    longitudinal, _ = local_coordinates(network, lane, x, y)
    return longitudinal > network.lanes[lane].length - VEHICLE_LENGTH / 2


@bare
def distance(network, lane, x, y):  # type: ignore[no-untyped-def]
    """L1 distance from a position to the lane [m]."""
    s, r = local_coordinates(network, lane, x, y)
    return abs(r) + max(s - network.lanes[lane].length, 0.0) + max(0.0 - s, 0.0)


@bare
def distance_with_heading(network, lane, x, y, heading):  # type: ignore[no-untyped-def]
    """L1 distance to the lane plus the angle to it [m + rad]."""
    s, r = local_coordinates(network, lane, x, y)
    angle = abs(wrap_to_pi(heading - heading_at(network, lane, s)))
    return abs(r) + max(s - network.lanes[lane].length, 0.0) + max(0.0 - s, 0.0) + angle


@inlined
def _lateral_bound(row, x, y):  # type: ignore[no-untyped-def]
    """A cheap lower bound of the distance to a lane [m]."""
    dx, dy = x - row.x, y - row.y
    if row.kind == CIRCULAR:
        return abs(row.radius - math.sqrt(dx * dx + dy * dy))
    if row.kind == POLY:
        return 0.0
    s = dx * row.direction_x + dy * row.direction_y
    r = abs(dx * -row.direction_y + dy * row.direction_x)
    return r - abs(row.amplitude) + max(s - row.length, 0.0) + max(-s, 0.0)


@inlined
def closest_lane(network, x, y, heading, guess):  # type: ignore[no-untyped-def]
    """The closest lane to a position and heading; ties go to the first.

    Equals RoadNetwork.get_closest_lane_index. `guess` is a lane that is likely, and changes the
    speed only.
    """
    shape = network.shape[0]
    if shape.parallel:
        # More than half a spacing away from all others: no other lane can be closer
        if abs(y - network.lanes[guess].y) < shape.spacing / 2 - 1e-6:
            return guess
    return _closest_of_all(network, x, y, heading, guess)


@bare
def _closest_of_all(network, x, y, heading, guess):  # type: ignore[no-untyped-def]
    best = guess
    best_distance = distance_with_heading(network, guess, x, y, heading)
    for lane in range(network.lanes.shape[0]):
        if lane == guess:
            continue
        # The bound is rounded differently from the distance, hence the margin
        if _lateral_bound(network.lanes[lane], x, y) > best_distance + 1e-9:
            continue
        d = distance_with_heading(network, lane, x, y, heading)
        if d < best_distance or (d == best_distance and lane < best):
            best, best_distance = lane, d
    return best


@bare
def lane_of(network, edge, lane_id):  # type: ignore[no-untyped-def]
    """Row of a lane given its road and its place there; NO_LANE_ID is the first."""
    return network.edges[edge].first_lane + max(lane_id, 0)


@bare
def num_side_lanes(network, lane):  # type: ignore[no-untyped-def]
    """How many lanes the lane's road has: len(all_side_lanes)."""
    return network.edges[network.lanes[lane].edge].num_lanes


@bare
def _closest_on_next_road(network, lane, edge, lane_id, x, y):  # type: ignore[no-untyped-def]
    """RoadNetwork.next_lane_given_next_road: (lane, its distance)."""
    here = network.lanes[lane]
    road = network.edges[edge]
    if network.edges[here.edge].num_lanes == road.num_lanes:
        chosen = road.first_lane + (here.id if lane_id == NO_LANE_ID else lane_id)
        return chosen, distance(network, chosen, x, y)
    chosen, closest = road.first_lane, distance(network, road.first_lane, x, y)
    for k in range(1, road.num_lanes):
        d = distance(network, road.first_lane + k, x, y)
        if d < closest:
            chosen, closest = road.first_lane + k, d
    return chosen, closest


@bare
def next_lane(network, lane, vehicle, route):  # type: ignore[no-untyped-def]
    """The lane to follow after `lane`; drops the first step of the route when it is done.

    Equals RoadNetwork.next_lane for `vehicle` (a record) and its `route` (its row of `routes`).
    """
    edge = network.lanes[lane].edge
    node = network.edges[edge].destination
    next_edge, next_id = -1, NO_LANE_ID
    if vehicle.route_length > 0 and route[vehicle.route_start, 0] == edge:
        vehicle.route_start += 1
        vehicle.route_length -= 1
    if vehicle.route_length > 0:
        step = route[vehicle.route_start]
        if network.edges[step[0]].origin == node:
            next_edge, next_id = step[0], step[1]
    s, _ = local_coordinates(network, lane, vehicle.x, vehicle.y)
    x, y = position(network, lane, s, 0.0)
    if next_edge >= 0:
        chosen, _ = _closest_on_next_road(network, lane, next_edge, next_id, x, y)
        return chosen
    chosen, closest = lane, math.inf
    roads = network.nodes[node]
    for candidate in range(roads.first_edge, roads.first_edge + roads.num_edges):
        found, d = _closest_on_next_road(network, lane, candidate, NO_LANE_ID, x, y)
        if d < closest:
            chosen, closest = found, d
    return chosen


@bare
def plan_route(network, paths, vehicle, route):  # type: ignore[no-untyped-def]
    """Give a vehicle the shortest route to where `paths` (`Map.paths`) leads.

    Equals ControlledVehicle.plan_route_to.
    """
    lane = network.lanes[vehicle.lane]
    route[0, 0], route[0, 1] = lane.edge, lane.id
    path = paths[network.edges[lane.edge].destination]
    length = 1
    for edge in path:
        if edge < 0:
            break
        route[length, 0], route[length, 1] = edge, NO_LANE_ID
        length += 1
    vehicle.route_start = 0
    vehicle.route_length = length
