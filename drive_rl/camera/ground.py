"""What lies on the ground: road surfaces and markings of a network, ready to be projected.

Made once per network. Curved roads and their markings are cut into quads; straight ones stay
whole, for a motorway of ten kilometres has seven thousand stripes, of which a camera sees a few.
A stripe far away is thinner than a pixel: there, a broken line is drawn whole, at the share of
its length that is painted, which is what its stripes would average to.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drive_rl.simulator.jit import bare

# As highway-env draws them (LaneGraphics)
STRIPE_SPACING = 4.33  # [m]
STRIPE_LENGTH = 3.0
STRIPE_SHARE = STRIPE_LENGTH / STRIPE_SPACING
MARKING_WIDTH = 0.3

NONE, STRIPED, CONTINUOUS, CONTINUOUS_LINE = 0, 1, 2, 3  # LineType

ROAD, MARKING = 0, 1

SHOULDER = 0.35  # pavement beyond the outer lanes [m]
OVERLAP = 0.05  # between consecutive pieces of road, so that their ends meet on curves [m]
PIECE = 2.5  # longest piece of a curve [m]
BAY_LENGTH = 10.0  # lanes this short, lined on both sides, are parking bays [m]
PAVED_AROUND_BAYS = 9.0

PIECE_DTYPE = np.dtype(
    [
        ("x", "f8", (4,)),  # corners [m]
        ("y", "f8", (4,)),
        ("middle_x", "f8"),
        ("middle_y", "f8"),
        ("radius", "f8"),  # of a circle around the corners
        ("near_weight", "f8"),  # share of it that is painted, seen from near
        ("far_weight", "f8"),  # and from far
        ("layer", "i4"),  # ROAD or MARKING
    ],
    align=True,
)

# A broken line along a straight lane: stripes [k spacing, k spacing + length] from (x, y) on
STRIPES_DTYPE = np.dtype(
    [("x", "f8"), ("y", "f8"), ("cos", "f8"), ("sin", "f8"), ("length", "f8")], align=True
)


class Ground(NamedTuple):
    """A network as cameras see it."""

    pieces: Any  # (n,) PIECE_DTYPE
    stripes: Any  # (n,) STRIPES_DTYPE


def lanes_of(road_network: Any) -> list[Any]:
    """All lanes of a highway-env RoadNetwork, in the order of its graph."""
    return [
        lane
        for roads in road_network.graph.values()
        for side_by_side in roads.values()
        for lane in side_by_side
    ]


def make_ground(road_network: Any) -> Ground:
    """The ground of a highway-env RoadNetwork (anything with its `graph` and lanes' methods)."""
    pieces: list[tuple[Any, ...]] = []
    stripes: list[tuple[float, ...]] = []
    lanes = lanes_of(road_network)
    pieces.extend(_pavement_of_bays(lanes))
    for side_by_side in _carriageways(road_network):
        lane = side_by_side[0]
        if len(side_by_side) > 1:
            pieces.append(_straight_road(side_by_side))
            continue
        spots = _along(lane, 0.0, lane.length)
        widths = [lane.width_at(s) / 2 + SHOULDER for s in spots]
        pieces.extend(_strip(lane, spots, 0, widths, (1.0, 1.0), ROAD, OVERLAP))
    for lane in lanes:
        for side, line in ((-1, lane.line_types[0]), (1, lane.line_types[1])):
            if line == STRIPED and _is_straight(lane):
                stripes.append(_straight_stripes(lane, side))
            elif line == STRIPED:
                pieces.extend(_curved_stripes(lane, side))
            elif line != NONE:
                spots = _along(lane, 0.0, lane.length)
                half = [MARKING_WIDTH / 2] * len(spots)
                pieces.extend(_strip(lane, spots, side, half, (1.0, 1.0), MARKING, 0.0))
    return Ground(
        pieces=np.array(pieces, PIECE_DTYPE).view(np.recarray),
        stripes=np.array(stripes, STRIPES_DTYPE).view(np.recarray),
    )


def _carriageways(road_network: Any) -> list[list[Any]]:
    """Lanes by themselves, but straight ones that lie evenly side by side together."""
    found = []
    for roads in road_network.graph.values():
        for side_by_side in roads.values():
            if all(_is_straight(lane) for lane in side_by_side) and _is_rectangle(side_by_side):
                found.append(list(side_by_side))
            else:
                found.extend([lane] for lane in side_by_side)
    return found


def _is_rectangle(side_by_side: list[Any]) -> bool:
    """Do straight lanes make one rectangle, each touching the next one?"""
    first = side_by_side[0]
    middle = 0.0
    for before, lane in pairwise(side_by_side):
        middle += (before.width_at(0.0) + lane.width_at(0.0)) / 2
        for s in (0.0, first.length):
            if not np.allclose(lane.position(s, 0.0), first.position(s, middle), atol=1e-6):
                return False
        if abs(lane.length - first.length) > 1e-6:
            return False
    return True


def _straight_road(side_by_side: list[Any]) -> tuple[Any, ...]:
    """One quad for lanes that make a rectangle."""
    first, last = side_by_side[0], side_by_side[-1]
    left = -first.width_at(0.0) / 2 - SHOULDER
    right = last.width_at(0.0) / 2 + SHOULDER
    begin, end = -OVERLAP, first.length + OVERLAP
    corners = [
        first.position(begin, left), first.position(end, left),
        last.position(end, right), last.position(begin, right),
    ]  # fmt: skip
    return _piece(np.array(corners, np.float64), (1.0, 1.0), ROAD)


def _is_straight(lane: Any) -> bool:
    return type(lane).__name__ == "StraightLane"


def _along(lane: Any, start: float, end: float) -> NDArray[np.float64]:
    """Longitudinal coordinates at which to cut a stretch of lane [m]."""
    count = 1 if _is_straight(lane) else max(math.ceil((end - start) / PIECE), 1)
    return np.linspace(start, end, count + 1)


def _strip(
    lane: Any,
    spots: Any,
    side: int,
    half_widths: list[float],
    weights: tuple[float, float],
    layer: int,
    overlap: float,
) -> list[tuple[Any, ...]]:
    """Quads along a lane's centre (`side` 0) or one of its edges (-1 left, 1 right)."""
    left, right = [], []
    for s, half in zip(spots, half_widths, strict=True):
        lateral = side * lane.width_at(s) / 2
        left.append(lane.position(s, lateral - half))
        right.append(lane.position(s, lateral + half))
    found = []
    for k in range(len(spots) - 1):
        corners = np.array([left[k], left[k + 1], right[k + 1], right[k]], np.float64)
        if overlap:
            ahead = corners[1] + corners[2] - corners[0] - corners[3]
            ahead *= overlap / max(float(np.hypot(*ahead)), 1e-9)
            corners += np.array([-ahead, ahead, ahead, -ahead])
        found.append(_piece(corners, weights, layer))
    return found


def _piece(corners: Any, weights: tuple[float, float], layer: int) -> tuple[Any, ...]:
    middle = corners.mean(axis=0)
    radius = float(np.hypot(*(corners - middle).T).max())
    return (corners[:, 0], corners[:, 1], *middle, radius, *weights, layer)


def _straight_stripes(lane: Any, side: int) -> tuple[float, ...]:
    x, y = lane.position(0.0, side * lane.width_at(0.0) / 2)
    return (x, y, math.cos(lane.heading), math.sin(lane.heading), lane.length)


def _curved_stripes(lane: Any, side: int) -> list[tuple[Any, ...]]:
    """Stripes and the gaps between them: what is a gap from near is part of the line from far."""
    found = []
    for k in range(math.ceil(lane.length / STRIPE_SPACING)):
        start = k * STRIPE_SPACING
        middle = min(start + STRIPE_LENGTH, lane.length)
        end = min(start + STRIPE_SPACING, lane.length)
        painted = middle - start > STRIPE_LENGTH / 2  # highway-env leaves short rests out
        for first, last, near in ((start, middle, float(painted)), (middle, end, 0.0)):
            if last - first > 1e-6:
                spots = np.linspace(first, last, 3 if last - first > 2.0 else 2)
                half = [MARKING_WIDTH / 2] * len(spots)
                weights = (near, STRIPE_SHARE if painted else 0.0)
                found.extend(_strip(lane, spots, side, half, weights, MARKING, 0.0))
    return found


def _pavement_of_bays(lanes: list[Any]) -> list[tuple[Any, ...]]:
    """One quad that paves the lot around parking bays, where there are any."""
    bays = [
        lane for lane in lanes if lane.length <= BAY_LENGTH and min(lane.line_types) >= CONTINUOUS
    ]
    if len(bays) < 2:
        return []
    ends = np.array([lane.position(s, 0.0) for lane in bays for s in (0.0, lane.length)])
    (x0, y0), (x1, y1) = ends.min(axis=0) - PAVED_AROUND_BAYS, ends.max(axis=0) + PAVED_AROUND_BAYS
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return [_piece(corners, (1.0, 1.0), ROAD)]


@bare
def stripe_range(stripes, x, y, reach):  # type: ignore[no-untyped-def]
    """Stripes of a straight line within `reach` of (x, y) [m]: (first, after the last)."""
    along = (x - stripes.x) * stripes.cos + (y - stripes.y) * stripes.sin
    # A rest shorter than half a stripe is not painted
    count = int(math.floor((stripes.length - STRIPE_LENGTH / 2) / STRIPE_SPACING)) + 1
    first = max(int(math.floor((along - reach) / STRIPE_SPACING)), 0)
    last = min(int(math.floor((along + reach) / STRIPE_SPACING)) + 1, count)
    return min(first, count), max(last, 0)
