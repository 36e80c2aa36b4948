"""The kernel that draws highway-env's grey pictures, one by one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from drive_rl.camera.flat import (
    CLEAR,
    blit_turned,
    draw_line,
    fill_rectangle,
    outline_rectangle,
)
from drive_rl.camera.frames import copy_frames
from drive_rl.camera.ground import (
    CONTINUOUS_LINE,
    STRIPE_LENGTH,
    STRIPE_SPACING,
)
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare, kernel
from drive_rl.simulator.network import local_coordinates, position, width_at
from drive_rl.simulator.state import road_of

STRIPE_WIDTH = 0.3  # [m]
STRAIGHT_BELOW = 2 * math.pi / 180  # headings this small are drawn as none [rad]
MARGIN = 50  # vehicles further outside the picture are not drawn [px]

TYRE_LENGTH, TYRE_WIDTH = 1.0, 0.3  # [m]
HEADLIGHT_LENGTH, HEADLIGHT_WIDTH = 0.72, 0.6

# Colours, by number: red, green, blue
GROUND, MARKING, OUTLINE, YELLOW, RED, GREEN, BLUE = range(7)
LIGHT = 4  # added to a body's colour, that of its headlights
COLORS = ((100, 100, 100), (255, 255, 255), (60, 60, 60))
BODY_COLORS = ((200, 200, 0), (255, 100, 100), (50, 200, 0), (100, 200, 255))
LIGHTENED = 0.68

VIEW_DTYPE = np.dtype(
    [
        ("scaling", "f8"),  # [px/m]
        ("across", "f8"),  # where the observer stands: share of the width
        ("down", "f8"),
        ("stripes", "i8"),  # drawn of a line
        ("thickness", "i8"),  # of a line [px]
        ("green_agents", "?"),  # whatever they are (parking)
    ],
    align=True,
)

LINE_DTYPE = np.dtype(
    [
        ("lane", "i8"),
        ("style", "i8"),  # LineType
        ("side", "f8"),  # share of the lane's width to its right
        ("first", "i8"),  # its stripes: rows of `stripes`
        ("count", "i8"),
    ],
    align=True,
)


class Paint(NamedTuple):
    """What a network's lines and the colours come to."""

    lines: Any  # (n,) LINE_DTYPE
    stripes: Any  # (n, 4) f8: both ends' x and y [m]; stripe k of a line begins at k spacings
    grays: Any  # (num_colors,) u1


class Images(NamedTuple):
    """Room for a body's picture and a tyre's, each (side, side) i2."""

    body: Any
    tyre: Any


class Sight(NamedTuple):
    """What a thread looks with in one step."""

    network: Any  # Network
    paint: Paint
    views: Any  # (1,) VIEW_DTYPE
    images: Images
    frames: Any  # (num_envs,) i8: pictures of the episode so far
    previous: Any  # (num_envs, num_agents, stack, 1, width, height) u1: the stacks before


@kernel
def begin(sight, mask, low, high):  # type: ignore[no-untyped-def]
    """An episode begins in the environments of the mask within [low, high)."""
    for env in range(low, high):
        if mask[env]:
            sight.frames[env] = 0


@kernel
def observe(state, sight, mask, current, low, high):  # type: ignore[no-untyped-def]
    """Draw a picture for every agent in the environments of the mask within [low, high).

    Args:
        sight: a `Sight`.
        current: (num_envs, num_agents, stack, 1, width, height) u1: the stacks that come after
            `sight.previous`. A stack begins with zeros.
    """
    view, frames, previous = sight.views[0], sight.frames, sight.previous
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        for agent in range(current.shape[1]):
            stack = current[env, agent]
            last = stack.shape[0] - 1
            if frames[env] > 0:
                copy_frames(previous[env, agent, 1:], stack[:last])
            else:
                stack[:last] = 0
            draw(
                road, sight.network, sight.paint, view, sight.images, road.agents[agent],
                stack[last, 0],
            )  # fmt: skip
        frames[env] += 1


@bare
def draw(road, network, paint, view, images, row, picture):  # type: ignore[no-untyped-def]
    """One picture (width, height) u1, centred on the vehicle in `row`."""
    width, height = picture.shape
    observer = road.vehicles[row]
    x = observer.x - view.across * width / view.scaling
    y = observer.y - view.down * height / view.scaling
    picture[:] = paint.grays[GROUND]
    _draw_lines(network, paint, view, x, y, picture)
    for k in range(road.environment[0].num_objects):
        _draw_object(road.objects[k], paint.grays, view, x, y, images.body, picture)
    for k in range(road.environment[0].num_vehicles):
        _draw_vehicle(road.vehicles[k], paint.grays, view, x, y, images, picture)


@bare
def _draw_lines(network, paint, view, x, y, picture):  # type: ignore[no-untyped-def]
    """`RoadGraphics.display`: of each line, the stripes around the place of the corner (x, y)."""
    scaling, value = view.scaling, paint.grays[MARKING]
    lane, begin = -1, 0.0
    for k in range(paint.lines.shape[0]):
        line = paint.lines[k]
        if line.lane != lane:
            lane = line.lane
            corner, _ = local_coordinates(network, lane, x, y)
            # From here on `view.stripes` spacings; Python's // rounds down
            begin = math.floor(np.trunc(corner) / STRIPE_SPACING) - view.stripes // 2
        if line.style == CONTINUOUS_LINE:
            _draw_whole(network, line, view, begin, x, y, value, picture)
            continue
        first, last = max(int(begin), 0), min(int(begin) + view.stripes, line.count)
        for number in range(line.first + first, line.first + last):
            stripe = paint.stripes[number]
            draw_line(
                picture,
                int((stripe[0] - x) * scaling),
                int((stripe[1] - y) * scaling),
                int((stripe[2] - x) * scaling),
                int((stripe[3] - y) * scaling),
                view.thickness,
                value,
            )


@bare
def _draw_whole(network, line, view, begin, x, y, value, picture):  # type: ignore[no-untyped-def]
    """One line along all that a line of stripes would take, straight whatever its lane does."""
    length = network.lanes[line.lane].length
    place = begin * STRIPE_SPACING
    start = min(max(place, 0.0), length)
    end = min(max(place + view.stripes * STRIPE_SPACING + STRIPE_LENGTH, 0.0), length)
    if abs(start - end) <= 0.5 * STRIPE_LENGTH:
        return
    lateral = line.side * width_at(network, line.lane, place)
    x0, y0 = position(network, line.lane, start, lateral)
    x1, y1 = position(network, line.lane, end, lateral)
    draw_line(
        picture,
        int((x0 - x) * view.scaling),
        int((y0 - y) * view.scaling),
        int((x1 - x) * view.scaling),
        int((y1 - y) * view.scaling),
        view.thickness,
        value,
    )


@bare
def _turn(heading):  # type: ignore[no-untyped-def]
    """How far a body's picture is turned, counterclockwise [degrees]."""
    return -heading * (180.0 / math.pi) if abs(heading) > STRAIGHT_BELOW else 0.0


@bare
def _draw_object(record, grays, view, x, y, image, picture):  # type: ignore[no-untyped-def]
    """`RoadObjectGraphics.display`."""
    scaling = view.scaling
    side = int(record.length * scaling)
    if side < 1:
        return
    color = YELLOW
    if record.kind == st.LANDMARK:
        color = GREEN if record.hit else BLUE
    elif record.crashed:
        color = RED
    image = image[:side, :side]
    image[:] = CLEAR
    top = int((record.length / 2 - record.width / 2) * scaling)
    across = int(record.width * scaling)
    fill_rectangle(image, 0, top, side, across, grays[color])
    outline_rectangle(image, 0, top, side, across, grays[OUTLINE])
    place_x, place_y = int((record.x - x) * scaling), int((record.y - y) * scaling)
    blit_turned(picture, image, side, place_x, place_y, _turn(record.heading))


@bare
def _draw_vehicle(record, grays, view, x, y, images, picture):  # type: ignore[no-untyped-def]
    """`VehicleGraphics.display`."""
    scaling = view.scaling
    place_x, place_y = int((record.x - x) * scaling), int((record.y - y) * scaling)
    if not (-MARGIN < place_x < picture.shape[0] + MARGIN):
        return
    if not (-MARGIN < place_y < picture.shape[1] + MARGIN):
        return
    length, width = record.length, record.width
    whole = length + 2 * TYRE_LENGTH
    side = int(whole * scaling)
    # Turned about its middle, it reaches no further than this
    if abs(place_x - picture.shape[0] / 2) > picture.shape[0] / 2 + side:
        return
    if abs(place_y - picture.shape[1] / 2) > picture.shape[1] / 2 + side:
        return
    color = _body_color(record, view.green_agents)
    image = images.body[:side, :side]
    image[:] = CLEAR
    left, top = int(TYRE_LENGTH * scaling), int((whole / 2 - width / 2) * scaling)
    along, across = int(length * scaling), int(width * scaling)
    fill_rectangle(image, left, top, along, across, grays[color])
    front = int((TYRE_LENGTH + length - HEADLIGHT_LENGTH) * scaling)
    light_along, light_across = int(HEADLIGHT_LENGTH * scaling), int(HEADLIGHT_WIDTH * scaling)
    for side_of_light in range(2):
        at = whole / 2 + (0.6 * width) / 5 if side_of_light else whole / 2 - (1.4 * width) / 3
        fill_rectangle(
            image, front, int(at * scaling), light_along, light_across, grays[color + LIGHT]
        )
    outline_rectangle(image, left, top, along, across, grays[OUTLINE])
    if record.kind == st.VEHICLE or record.kind == st.BICYCLE:
        _draw_tyres(record, whole, scaling, images.tyre, grays[OUTLINE], image)
    blit_turned(picture, image, side, place_x, place_y, _turn(record.heading))


@bare
def _body_color(record, green_agents):  # type: ignore[no-untyped-def]
    """`VehicleGraphics.get_color`."""
    if green_agents and record.is_agent:
        return GREEN
    if record.crashed:
        return RED
    if record.kind == st.IDM:
        return BLUE
    return GREEN if record.kind == st.MDP else YELLOW


@bare
def _draw_tyres(record, whole, scaling, tyre, value, image):  # type: ignore[no-untyped-def]
    """Four tyres on a body's picture, the front ones turned as they are steered."""
    side = int(TYRE_LENGTH * scaling)
    if side < 1:
        return
    tyre = tyre[:side, :side]
    tyre[:] = CLEAR
    top = int((TYRE_LENGTH / 2 - TYRE_WIDTH / 2) * scaling)
    fill_rectangle(tyre, 0, top, side, int(TYRE_WIDTH * scaling), value)
    for k in range(4):
        along = TYRE_LENGTH if k < 2 else whole - TYRE_LENGTH
        half = record.width / 2 if k % 2 else -record.width / 2
        turn = 0.0 if k < 2 else -record.steering * (180.0 / math.pi)
        blit_turned(
            image, tyre, side, int(along * scaling), int((whole / 2 + half) * scaling), turn
        )
