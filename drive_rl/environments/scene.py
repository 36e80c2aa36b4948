"""What there is to see at one moment, whichever engine simulated it.

A `SceneState` is plain arrays: the drawing code (`rendering`, the viewer, the report) needs no
simulator, and the compiled and the reference engine show the same picture for the same state.
Axes are highway-env's: x to the right, y *down* the page, headings in radians from x towards y;
"left" of a lane is its negative lateral side.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from highway_env.envs.common.abstract import AbstractEnv

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NEAREST_PLAN = 1.0
"""Points of a plan that are less far ahead of the ego than this are done [m]."""
SAMPLE_SPACING = 2.0
"""Distance between the points that stand for a curved lane [m]."""


class Kind(IntEnum):
    """What an entry of `SceneState` is."""

    EGO = 0
    TRAFFIC = 1
    OBSTACLE = 2
    GOAL = 3


class Line(IntEnum):
    """How one side of a lane is marked: highway-env's `LineType`."""

    NONE = 0
    STRIPED = 1
    CONTINUOUS = 2
    CONTINUOUS_LINE = 3


@dataclasses.dataclass(frozen=True, eq=False)
class LaneShape:
    """One lane as a polyline.

    Attributes:
        centerline: points along the lane in driving direction [m], (num_points, 2).
        width: distance between its two sides [m].
        left_line, right_line: marking of each side, see `Line`.
    """

    centerline: FloatArray
    width: float
    left_line: int = Line.NONE
    right_line: int = Line.NONE

    def __post_init__(self) -> None:
        if self.centerline.ndim != 2 or self.centerline.shape[1:] != (2,):
            raise ValueError(f"centerline must be (num_points, 2), not {self.centerline.shape}")
        if len(self.centerline) < 2:
            raise ValueError(f"a lane needs two points or more, got {len(self.centerline)}")


@dataclasses.dataclass(frozen=True, eq=False)
class SceneState:
    """Everything drawn at one moment. Arrays have one entry per vehicle, obstacle or goal.

    Attributes:
        time: simulated time since the start of the episode [s].
        lanes: the road; the same tuple object as long as the road is the same.
        position: centres [m], (n, 2).
        heading: [rad], (n,).
        speed: along the heading [m/s], (n,).
        length, width: of the rectangle [m], (n,).
        crashed: (n,) bool.
        kind: see `Kind`, (n,) int.
        acceleration: commanded [m/s^2], (n,).
        steering: angle of the front wheels, positive towards +y [rad], (n,).
        lane_change: -1 to the left, 0 none, +1 to the right, (n,) int.
        ego: index of the ego vehicle.
        identity: a number that stays with a vehicle while others come and go, (n,) int. Where
            an engine keeps its vehicles in fixed slots, the slot; so the default is the index.
        plan: the centre of the lane that the ego means to follow, ahead of it [m], (m, 2);
            empty where unknown.
    """

    time: float
    lanes: tuple[LaneShape, ...]
    position: FloatArray
    heading: FloatArray
    speed: FloatArray
    length: FloatArray
    width: FloatArray
    crashed: BoolArray
    kind: IntArray
    acceleration: FloatArray
    steering: FloatArray
    lane_change: IntArray
    ego: int = 0
    identity: IntArray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))
    plan: FloatArray = dataclasses.field(default_factory=lambda: np.empty((0, 2)))

    def __post_init__(self) -> None:
        count = len(self.position)
        if self.position.shape != (count, 2):
            raise ValueError(f"position must be (n, 2), not {self.position.shape}")
        if not len(self.identity):
            object.__setattr__(self, "identity", np.arange(count))
        for name in _PER_ENTRY:
            shape = getattr(self, name).shape
            if shape != (count,):
                raise ValueError(f"{name} must be ({count},) like position, not {shape}")
        if not 0 <= self.ego < max(count, 1):
            raise ValueError(f"ego is {self.ego}, with {count} entries")

    def __len__(self) -> int:
        return len(self.position)


_PER_ENTRY = (
    "heading",
    "speed",
    "length",
    "width",
    "crashed",
    "kind",
    "acceleration",
    "steering",
    "lane_change",
    "identity",
)


def planned_path(scene: SceneState) -> FloatArray:
    """From the ego's centre onto `scene.plan` and along it, (num_points, 2) [m].

    Between two decisions a plan may begin behind the ego or ahead of it; this begins at it. There
    are no points where there is no plan.
    """
    if not len(scene) or not len(scene.plan):
        return np.empty((0, 2))
    start, heading = scene.position[scene.ego], scene.heading[scene.ego]
    ahead = (scene.plan - start) @ np.array([np.cos(heading), np.sin(heading)])
    begin = int(np.argmax(ahead > NEAREST_PLAN)) if (ahead > NEAREST_PLAN).any() else len(ahead)
    if begin == len(ahead):
        return np.empty((0, 2))
    return np.concatenate([start[None], scene.plan[begin:]])


# Sampling a road costs more than drawing it, and it changes only at a reset.
_lanes_of_network: weakref.WeakKeyDictionary[Any, tuple[LaneShape, ...]] = (
    weakref.WeakKeyDictionary()
)


def sample_lane(lane: Any) -> LaneShape:
    """A highway-env lane of any kind as a polyline: two points where straight, else every 2 m."""
    from highway_env.road.lane import StraightLane

    length = float(lane.length)
    pieces = 1 if type(lane) is StraightLane else max(math.ceil(abs(length) / SAMPLE_SPACING), 2)
    along = np.linspace(0.0, length, pieces + 1)
    centerline = np.array([lane.position(s, 0.0) for s in along], dtype=np.float64)
    width = float(np.mean([lane.width_at(s) for s in along]))
    left, right = lane.line_types
    return LaneShape(centerline, width, int(left), int(right))


def lanes_from_highway_env(network: Any) -> tuple[LaneShape, ...]:
    """All lanes of a highway-env `RoadNetwork`; the same tuple again for the same network."""
    lanes = _lanes_of_network.get(network)
    if lanes is None:
        lanes = tuple(
            sample_lane(lane)
            for ends in network.graph.values()
            for side_by_side in ends.values()
            for lane in side_by_side
        )
        _lanes_of_network[network] = lanes
    return lanes


def scene_from_highway_env(env: AbstractEnv) -> SceneState:
    """What highway-env would draw now. `env` is unwrapped and has been reset."""
    from highway_env.vehicle.objects import Landmark

    road = env.road
    egos = list(env.controlled_vehicles)
    # Goals lie on the ground, vehicles stand on it: this is also the order of drawing.
    objects = list(road.objects)
    entries = objects + list(road.vehicles)
    kinds = [Kind.GOAL if isinstance(o, Landmark) else Kind.OBSTACLE for o in objects]
    kinds += [Kind.EGO if _is_in(v, egos) else Kind.TRAFFIC for v in road.vehicles]
    ego = next((i for i, o in enumerate(entries) if egos and o is egos[0]), 0)
    actions = [getattr(o, "action", None) or {} for o in entries]
    # Vehicles that follow their own dynamics (BicycleVehicle) take arrays as well as dicts.
    actions = [a if isinstance(a, dict) else {} for a in actions]

    def column(values: list[float]) -> FloatArray:
        return np.array(values, dtype=np.float64)

    return SceneState(
        time=env.steps / env.config["simulation_frequency"],
        lanes=lanes_from_highway_env(road.network),
        position=np.array([o.position for o in entries], dtype=np.float64).reshape(-1, 2),
        heading=column([float(o.heading) for o in entries]),
        speed=column([float(o.speed) for o in entries]),
        length=column([float(o.LENGTH) for o in entries]),
        width=column([float(o.WIDTH) for o in entries]),
        crashed=np.array([bool(o.crashed) for o in entries], dtype=np.bool_),
        kind=np.array(kinds, dtype=np.int64),
        acceleration=column([float(a.get("acceleration", 0.0)) for a in actions]),
        steering=column([float(a.get("steering", 0.0)) for a in actions]),
        lane_change=np.array([_lane_change(o) for o in entries], dtype=np.int64),
        ego=ego,
        identity=np.array([id(o) for o in entries], dtype=np.int64),
        plan=_plan(road.network, entries[ego]) if entries else np.empty((0, 2)),
    )


def _is_in(vehicle: Any, vehicles: list[Any]) -> bool:
    return any(vehicle is other for other in vehicles)


def _lane_change(entry: Any) -> int:
    """Which way the vehicle is moving over: the sign of target lane minus present lane."""
    here = getattr(entry, "lane_index", None)
    target = getattr(entry, "target_lane_index", None)
    if not here or not target or here[:2] != target[:2]:
        return 0
    if here[2] is None or target[2] is None:
        return 0
    return int(np.sign(target[2] - here[2]))


def _plan(network: Any, ego: Any, ahead: float = 80.0) -> FloatArray:
    """The centre of the ego's target lane and of the lanes that follow, for `ahead` metres."""
    target = getattr(ego, "target_lane_index", None)
    if not target or target[2] is None:
        return np.empty((0, 2))
    lane = network.get_lane(target)
    s = max(float(lane.local_coordinates(ego.position)[0]), 0.0)
    route = list(getattr(ego, "route", None) or [])
    while route and route[0][:2] != target[:2]:
        route.pop(0)
    points: list[FloatArray] = []
    for _ in range(int(ahead / SAMPLE_SPACING) + 1):
        while s > lane.length:
            s -= lane.length
            following = _following_lane(network, target, route)
            if following is None:
                return np.array(points, dtype=np.float64).reshape(-1, 2)
            target, lane = following, network.get_lane(following)
        points.append(lane.position(s, 0.0))
        s += SAMPLE_SPACING
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def _following_lane(network: Any, index: Any, route: list[Any]) -> Any:
    """The lane after `index` on the route, which is shortened, or where the road does not fork."""
    if len(route) > 1:
        route.pop(0)
        start, end, lane_id = route[0]
    else:
        ends = list(network.graph.get(index[1], {}))
        if len(ends) != 1:
            return None
        start, end, lane_id = index[1], ends[0], None
    lanes = network.graph[start][end]
    if lane_id is None and len(lanes) == len(network.graph[index[0]][index[1]]):
        lane_id = index[2]
    elif lane_id is None:  # as RoadNetwork.next_lane: the closest one
        here = network.get_lane(index)
        place = here.position(here.length, 0.0)
        lane_id = min(range(len(lanes)), key=lambda i: lanes[i].distance(place))
    return (start, end, min(lane_id, len(lanes) - 1))
