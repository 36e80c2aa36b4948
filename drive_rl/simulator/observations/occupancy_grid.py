"""OccupancyGrid: features of the vehicles around, in a grid of cells, and where there is road.

Equals highway-env's OccupancyGridObservation, every option of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import network as net
from drive_rl.simulator.geometry import clip
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.observations.kinematics import FEATURES, VX, VY, X, Y, feature_of
from drive_rl.simulator.products import turned
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of

DTYPE = np.float32  # of a grid that is no image: see `dtype`

DEFAULT_FEATURES = ("presence", "vx", "vy", "on_road")
DEFAULT_SIZE = ((-27.5, 27.5), (-27.5, 27.5))  # [m]
DEFAULT_STEP = (5, 5)  # [m]
DEFAULT_RANGE = {"vx": (-80.0, 80.0), "vy": (-80.0, 80.0)}  # twice Vehicle.MAX_SPEED [m/s]
ROAD_REACH = 100.0  # roads are drawn this far along each lane, from where the observer is [m]

ON_ROAD = len(FEATURES)
UNKNOWN = -1  # a layer of a name that no vehicle has stays empty

OPTIONS_DTYPE = np.dtype(
    [
        ("low_x", "f8"),  # the grid's first corner [m]
        ("low_y", "f8"),
        ("step_x", "f8"),  # size of a cell [m]
        ("step_y", "f8"),
        ("spacing", "f8"),  # between two points of a lane that are tried [m]
        ("reach", "f8"),  # from the observer to the grid's farthest corner [m]
        ("aligned", "?"),  # with the observer's heading
        ("clipped", "?"),
        ("as_image", "?"),
        ("has_range_x", "?"),  # positions went through a range and back, and were rounded there
        ("has_range_y", "?"),
        ("range_x", "f8", (2,)),
        ("range_y", "f8", (2,)),
    ],
    align=True,
)


class Options(NamedTuple):
    """How the grid lies, and what its layers are."""

    grid: Any  # (1,) OPTIONS_DTYPE
    features: Any  # (num_layers,) i8: indices in FEATURES, ON_ROAD, UNKNOWN
    has_range: Any  # (num_layers,) bool
    ranges: Any  # (num_layers, 2) f8: values mapped to -1 and 1


def _geometry(config: Mapping[str, Any]) -> tuple[Any, Any]:
    size, step = config.get("grid_size"), config.get("grid_step")
    return (
        np.array(DEFAULT_SIZE if size is None else size, np.float64),
        np.array(DEFAULT_STEP if step is None else step, np.float64),
    )


def _features(config: Mapping[str, Any]) -> list[str]:
    features = config.get("features")
    return list(DEFAULT_FEATURES if features is None else features)


def options(config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the observation's own keys."""
    names = _features(config)
    ranges = config.get("features_range") or DEFAULT_RANGE
    size, step = _geometry(config)
    grid = np.zeros(1, OPTIONS_DTYPE).view(np.recarray)
    g = grid[0]
    g.low_x, g.low_y = size[:, 0]
    g.step_x, g.step_y = step
    g.spacing = np.amin(step)
    g.reach = np.hypot(*np.abs(size).max(axis=1))
    g.aligned = bool(config.get("align_to_vehicle_axes", False))
    g.clipped = bool(config.get("clip", True))
    g.as_image = bool(config.get("as_image", False))
    g.has_range_x, g.has_range_y = "x" in ranges, "y" in ranges
    g.range_x, g.range_y = ranges.get("x", (0, 0)), ranges.get("y", (0, 0))
    known = dict(zip((*FEATURES, "on_road"), range(ON_ROAD + 1), strict=True))
    return Options(
        grid=grid,
        features=np.array([known.get(name, UNKNOWN) for name in names], np.int64),
        has_range=np.array([name in ranges for name in names], np.bool_),
        ranges=np.array([ranges.get(name, (0, 0)) for name in names], np.float64).reshape(-1, 2),
    )


def shape(
    config: Mapping[str, Any], roads: Map, settings: Settings, capacity: Capacity
) -> tuple[int, ...]:
    """(layers, cells along x, cells along y)."""
    size, step = _geometry(config)
    cells = np.floor((size[:, 1] - size[:, 0]) / step).astype(int)
    return (len(_features(config)), int(cells[0]), int(cells[1]))


def dtype(config: Mapping[str, Any]) -> type[Any]:
    """float32, or uint8 of an image."""
    return np.uint8 if config.get("as_image", False) else DTYPE


def bounds(config: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest value that the space states."""
    return (0, 255) if config.get("as_image", False) else (-math.inf, math.inf)


@kernel
def observe(state, network, settings, options, mask, out, low, high):  # type: ignore[no-untyped-def]
    """Fill `out` (num_envs, num_agents, layers, cells_x, cells_y)."""
    for env in range(low, high):
        if mask[env]:
            road = road_of(state, env)
            for agent in range(out.shape[1]):
                _observe(road, network, options, road.agents[agent], out[env, agent])


@bare
def _observe(road, network, options, ego, out):  # type: ignore[no-untyped-def]
    grid = options.grid[0]
    observer = road.vehicles[ego]
    observer_vx, observer_vy = observer.speed * observer.cos, observer.speed * observer.sin
    out[:] = 0
    # Backwards: of two vehicles in a cell, the first one in the list shows
    for row in range(road.environment[0].num_vehicles - 1, -1, -1):
        vehicle = road.vehicles[row]
        x, y = vehicle.x - observer.x, vehicle.y - observer.y
        if grid.has_range_x:
            x = _back(_mapped(x, grid.range_x), grid.range_x)
        if grid.has_range_y:
            y = _back(_mapped(y, grid.range_y), grid.range_y)
        i, j = _cell(grid, observer, x, y)
        if not (0 <= i < out.shape[1] and 0 <= j < out.shape[2]):
            continue
        for layer in range(out.shape[0]):
            feature = options.features[layer]
            if feature in (ON_ROAD, UNKNOWN):
                continue
            value = feature_of(network, vehicle, road.routes[row], feature, True)
            if feature == X:
                value -= observer.x
            elif feature == Y:
                value -= observer.y
            elif feature == VX:
                value -= observer_vx
            elif feature == VY:
                value -= observer_vy
            if options.has_range[layer]:
                value = _mapped(value, options.ranges[layer])
            out[layer, i, j] = _shown(grid, value)
    for layer in range(out.shape[0]):
        if options.features[layer] == ON_ROAD:
            _draw_roads(network, grid, observer, _shown(grid, 1.0), out[layer])


@bare
def _mapped(value, limits):  # type: ignore[no-untyped-def]
    """utils.lmap to [-1, 1]."""
    return -1 + (value - limits[0]) * 2 / (limits[1] - limits[0])


@bare
def _back(value, limits):  # type: ignore[no-untyped-def]
    """utils.lmap from [-1, 1]."""
    return limits[0] + (value - -1) * (limits[1] - limits[0]) / 2


@bare
def _shown(grid, value):  # type: ignore[no-untyped-def]
    """A cell's number as the observation states it."""
    if grid.clipped or grid.as_image:
        value = clip(value, -1.0, 1.0)
    if grid.as_image:
        value = (value + 1) / 2 * 255
    return 0.0 if math.isnan(value) else value


@bare
def _cell(grid, observer, x, y):  # type: ignore[no-untyped-def]
    """Cell of a position relative to the observer [m]. Equals pos_to_index."""
    if grid.aligned:
        cosine, sine = observer.cos, observer.sin
        x, y = (
            turned(cosine, x, sine, y),
            turned(-sine, x, cosine, y),
        )
    return (
        math.floor((x - grid.low_x) / grid.step_x),
        math.floor((y - grid.low_y) / grid.step_y),
    )


@bare
def _draw_roads(network, grid, observer, value, layer):  # type: ignore[no-untyped-def]
    """Mark the cells with a point of a lane's centre in them. Equals fill_road_layer_by_lanes.

    highway-env tries points every `spacing` metres of each lane, up to ROAD_REACH before and
    behind the observer, and those beyond an end of the lane fall on that end. Here an end is
    tried once, and points that cannot lie in the grid are left out.
    """
    spacing = grid.spacing
    for lane in range(network.lanes.shape[0]):
        row = network.lanes[lane]
        origin, lateral = net.local_coordinates(network, lane, observer.x, observer.y)
        near, turn = _near(row, observer, lateral, grid.reach + 1e-3)
        if near < 0:
            continue
        # The points of numpy.arange, to the bit
        start, stop = origin - ROAD_REACH, origin + ROAD_REACH
        second = start + spacing
        delta = second - start
        count = math.ceil((stop - start) / spacing)
        first, last = 0, count - 1
        if turn == math.inf and near < ROAD_REACH:
            first = max(int((ROAD_REACH - near) / spacing) - 1, 0)
            last = min(int((ROAD_REACH + near) / spacing) + 1, last)
        if start < 0.0:
            _mark(network, grid, observer, lane, 0.0, value, layer)
        final = second if count == 2 else start + (count - 1) * delta
        if final > row.length:
            _mark(network, grid, observer, lane, row.length, value, layer)
        for k in range(first, last + 1):
            s = second if k == 1 else start + k * delta
            if s < 0.0 or s > row.length:
                continue
            away = abs(s - origin)
            if away > near and turn - away > near and 2 * turn - away > near:
                continue
            _mark(network, grid, observer, lane, s, value, layer)


@bare
def _near(row, observer, lateral, reach):  # type: ignore[no-untyped-def]
    """How far along a lane from the observer its points can be within `reach` of the observer.

    Gives (distance [m], length of a full turn [m], infinite for lanes that are not circles);
    the distance is negative if no point is near.
    """
    if row.kind == net.POLY:
        return math.inf, math.inf
    if row.kind != net.CIRCULAR:
        return (reach if abs(lateral) - 2 * abs(row.amplitude) <= reach else -1.0), math.inf
    turn = 2 * math.pi * row.radius
    dx, dy = observer.x - row.x, observer.y - row.y
    distance = math.sqrt(dx * dx + dy * dy)
    if abs(distance - row.radius) > reach:
        return -1.0, turn
    if distance < 1e-6 or 2 * turn < ROAD_REACH:
        return math.inf, turn
    cosine = (distance * distance + row.radius * row.radius - reach * reach) / (
        2 * distance * row.radius
    )
    if cosine <= -1.0:
        return math.inf, turn
    return row.radius * math.acos(min(cosine, 1.0)) + 1e-3, turn


@bare
def _mark(network, grid, observer, lane, longitudinal, value, layer):  # type: ignore[no-untyped-def]
    x, y = net.position(network, lane, longitudinal, 0.0)
    i, j = _cell(grid, observer, x - observer.x, y - observer.y)
    if 0 <= i < layer.shape[0] and 0 <= j < layer.shape[1]:
        layer[i, j] = value
