"""Who drives in front of and behind a vehicle on a lane.

Positions do not change while vehicles act, so what a frame's searches share is worked out once per
frame. On parallel lanes (highway) that is the order of all bodies along the road, and a search
walks along it; on other networks a search looks at every body.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare, inlined, jit

NOBODY = -1


ENTRY = np.dtype(
    (
        np.record,
        [
            ("x", "f8"),  # [m]
            ("y", "f8"),  # for which `lanes` was worked out, NaN if it has to be again [m]
            ("lanes", "u8"),  # bit k is set if the body is on lane k (with a margin of 1 m)
            ("body", "i8"),
            ("rank", "i8"),  # of the body that this row's number names: where it stands
        ],
    )
)


class Index(NamedTuple):
    """The bodies of one environment in the order of their x; only for parallel lanes.

    A body is a vehicle (its row) or an object (max_vehicles + its row).
    """

    entries: Any  # (n,) ENTRY, by increasing x, then by body
    count: Any  # (1,) i8


@jit
def allocate_index(max_vehicles, max_objects):  # type: ignore[no-untyped-def]
    """An empty index, used for one environment after the other."""
    return Index(np.zeros(max_vehicles + max_objects, ENTRY), np.zeros(1, np.int64))


@bare
def start_index(index, road):  # type: ignore[no-untyped-def]
    """List the bodies of an environment, in any order: `sort_index` keeps them in order."""
    env = road.environment[0]
    n = 0
    for i in range(env.num_vehicles):
        index.entries[n].body = i
        index.entries[n].y = math.nan
        n += 1
    for j in range(env.num_objects):
        if road.objects[j].kind != st.LANDMARK:
            index.entries[n].body = road.vehicles.shape[0] + j
            index.entries[n].y = math.nan
            n += 1
    index.count[0] = n


@inlined
def body_of(road, body):  # type: ignore[no-untyped-def]
    """The record of a body."""
    return body_among(road.vehicles, road.objects, body)


@inlined
def body_among(vehicles, objects, body):  # type: ignore[no-untyped-def]
    """`body_of`, where only these arrays are at hand."""
    if body < vehicles.shape[0]:
        return vehicles[body]
    return objects[body - vehicles.shape[0]]


@bare
def sort_index(index, road, network):  # type: ignore[no-untyped-def]
    """Bring the index up to date. Insertion: from one frame to the next little changes places."""
    shape = network.shape[0]
    num_lanes = network.lanes.shape[0]
    per_metre = 1.0 / shape.spacing
    max_vehicles = road.vehicles.shape[0]
    for r in range(index.count[0]):
        body = index.entries[r].body
        if body < max_vehicles:
            x, y = road.vehicles[body].x, road.vehicles[body].y
        else:
            x, y = road.objects[body - max_vehicles].x, road.objects[body - max_vehicles].y
        # Most vehicles keep their y to the bit
        lanes = index.entries[r].lanes
        if not -net.VEHICLE_LENGTH <= x < shape.length + net.VEHICLE_LENGTH:
            lanes, y = np.uint64(0), math.nan
        elif y != index.entries[r].y:
            # The lanes within reach: at most two, unless lanes are very narrow
            lanes = np.uint64(0)
            across = y - shape.y
            first = max(math.floor((across - shape.reach) * per_metre - 1e-9), 0)
            last = math.ceil((across + shape.reach) * per_metre + 1e-9)
            last = min(last, num_lanes - 1)
            for lane in range(first, last + 1):
                if abs(y - network.lanes[lane].y) <= shape.reach:
                    lanes |= np.uint64(1) << np.uint64(lane)
        k = r
        while k > 0:
            before = index.entries[k - 1]
            if before.x < x or (before.x == x and before.body < body):
                break
            here = index.entries[k]
            here.x, here.y, here.lanes, here.body = before.x, before.y, before.lanes, before.body
            index.entries[before.body].rank = k
            k -= 1
        here = index.entries[k]
        here.x, here.y, here.lanes, here.body = x, y, lanes, body
        index.entries[body].rank = k


@inlined
def neighbours(road, network, settings, index, vehicle, lane):  # type: ignore[no-untyped-def]
    """(front, rear) bodies next to a vehicle (its row) on a lane, or NOBODY.

    Equals Road.neighbour_vehicles.
    """
    if network.shape[0].parallel:
        return _front(index, vehicle, lane), _rear(index, vehicle, lane)
    return _search(road, network, settings, vehicle, lane)


@inlined
def front_neighbour(road, network, settings, index, vehicle, lane):  # type: ignore[no-untyped-def]
    """The first of `neighbours`, where the second is not needed."""
    if network.shape[0].parallel:
        return _front(index, vehicle, lane)
    front, _ = _search(road, network, settings, vehicle, lane)
    return front


@inlined
def _front(index, vehicle, lane):  # type: ignore[no-untyped-def]
    """Nearest body at or ahead of the vehicle; of several at one place, the last in the list."""
    bit = np.uint64(1) << np.uint64(lane)
    here = index.entries[vehicle].rank
    n = index.count[0]
    x = index.entries[here].x
    beside = NOBODY
    r = here - 1
    while r >= 0 and index.entries[r].x == x:
        if index.entries[r].lanes & bit:
            beside = index.entries[r].body
            break
        r -= 1
    r = here + 1
    while r < n and not index.entries[r].lanes & bit:
        r += 1
    if r == n or (beside != NOBODY and index.entries[r].x > x):
        return beside
    found = index.entries[r].body
    nearest = index.entries[r].x
    r += 1
    while r < n and index.entries[r].x == nearest:
        if index.entries[r].lanes & bit:
            found = index.entries[r].body
        r += 1
    return found


@bare
def _rear(index, vehicle, lane):  # type: ignore[no-untyped-def]
    """Nearest body behind the vehicle; of several at the same place, the first in the list."""
    bit = np.uint64(1) << np.uint64(lane)
    here = index.entries[vehicle].rank
    x = index.entries[here].x
    r = here - 1
    while r >= 0 and (index.entries[r].x == x or not index.entries[r].lanes & bit):
        r -= 1
    if r < 0:
        return NOBODY
    found = index.entries[r].body
    nearest = index.entries[r].x
    r -= 1
    while r >= 0 and index.entries[r].x == nearest:
        if index.entries[r].lanes & bit:
            found = index.entries[r].body
        r -= 1
    return found


@bare
def _search(road, network, settings, vehicle, lane):  # type: ignore[no-untyped-def]
    """Look at every body, on the lane and, if so configured, on the lanes connected to it."""
    env = road.environment[0]
    row = network.lanes[lane]
    me = road.vehicles[vehicle]
    s, _ = net.local_coordinates(network, lane, me.x, me.y)
    links = row.num_links if settings.common[0].connected_lanes else 0
    front, rear = NOBODY, NOBODY
    s_front, s_rear = math.inf, -math.inf
    max_vehicles = road.vehicles.shape[0]
    for k in range(env.num_vehicles + env.num_objects):
        if k == vehicle:
            continue
        if k < env.num_vehicles:
            body, other = k, road.vehicles[k]
        else:
            body, other = max_vehicles + k - env.num_vehicles, road.objects[k - env.num_vehicles]
        if other.kind == st.LANDMARK:
            continue
        for link in range(links + 1):
            searched, offset = lane, 0.0
            if link:
                searched = network.links[row.first_link + link - 1].lane
                offset = network.links[row.first_link + link - 1].offset
            if _is_far(network, searched, other.x, other.y):
                continue
            s_other, lateral = net.local_coordinates(network, searched, other.x, other.y)
            if not net.is_on_lane(network, searched, s_other, lateral, 1.0):
                continue
            s_other += offset
            if s <= s_other <= s_front:
                front, s_front = body, s_other
            if s_rear < s_other < s:
                rear, s_rear = body, s_other
            break
    return front, rear


@inlined
def _is_far(network, lane, x, y):  # type: ignore[no-untyped-def]
    """A cheap proof that a position is not on a lane (saves angles on curved lanes)."""
    row = network.lanes[lane]
    if row.kind != net.CIRCULAR:
        return False
    dx, dy = x - row.x, y - row.y
    inner = row.radius - row.width / 2 - 1.001
    outer = row.radius + row.width / 2 + 1.001
    squared = dx * dx + dy * dy
    return squared > outer * outer or (inner > 0 and squared < inner * inner)
