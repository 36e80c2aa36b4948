"""Draws vehicles and obstacles into a picture, far ones first, and their shadows into a mask."""

from __future__ import annotations

import math

import numpy as np

from drive_rl.camera import shapes
from drive_rl.camera.pixels import BORDER, channels, mix, packed
from drive_rl.camera.raster import add_polygon, is_beside, project, signed_area
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import bare, inlined, streaming

BRAKING = -1.0  # brake lights are on below this acceleration [m/s2]
MAX_SHOWN = 64  # the nearest bodies of a picture
SHADOW_REACH = 70.0  # [m]
ROOFS_FROM, LIGHTS_FROM = 2.0, 1.0  # narrower bodies show no roof, or no lights [px]

BODY_DTYPE = np.dtype(
    [
        ("x", "f8"),  # relative to the camera's foot [m]
        ("y", "f8"),
        ("cos", "f8"),
        ("sin", "f8"),
        ("half_length", "f8"),
        ("half_width", "f8"),
        ("stretch", "f8"),  # of heights
        ("distance", "f8"),  # for order and fog [m]
        ("shape", "i8"),
        ("hash", "i8"),
        ("ego", "?"),
        ("braking", "?"),
        ("crashed", "?"),
        ("goal", "?"),
    ],
    align=True,
)

# Paint of ordinary traffic: white, silver, grey, black, dark blue, blue, red, maroon, green, beige
PAINTS = np.array(
    [
        (226, 226, 222),
        (176, 180, 184),
        (118, 122, 126),
        (42, 43, 46),
        (38, 54, 98),
        (52, 98, 160),
        (176, 38, 34),
        (104, 28, 34),
        (48, 84, 62),
        (190, 172, 140),
    ],
    np.float64,
)
EGO_PAINT = (38.0, 139.0, 222.0)


@bare
def mixed_bits(key):  # type: ignore[no-untyped-def]
    """A well mixed 62-bit number from an integer (the finalizer of SplitMix64)."""
    z = np.uint64(key) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64(z >> np.uint64(2))


@bare
def gather(road, self_row, show_self, view, look, bodies):  # type: ignore[no-untyped-def]
    """List what may be seen, nearest last; the number of bodies."""
    count = 0
    for row in range(road.environment[0].num_vehicles):
        if row != self_row or show_self:
            count = _gather_one(road.vehicles[row], row, row == self_row, view, look, bodies, count)
    for row in range(road.environment[0].num_objects):
        count = _gather_one(road.objects[row], row, False, view, look, bodies, count)
    return count


@bare
def _gather_one(record, row, ego, view, look, bodies, count):  # type: ignore[no-untyped-def]
    x, y = snapped(record.x) - view.foot[0], snapped(record.y) - view.foot[1]
    distance = math.sqrt(x * x + y * y)
    if distance > view.reach:
        return count
    ahead = view.lens[2, 0] * x + view.lens[2, 1] * y + view.lens[2, 3]
    if ahead + record.length < view.near:
        return count
    # Sorted as they come, far ones first; of too many, the far ones are dropped
    if count == MAX_SHOWN:
        if distance >= bodies[0].distance:
            return count
        for k in range(count - 1):
            bodies[k] = bodies[k + 1]
        count -= 1
    k = count
    while k > 0 and bodies[k - 1].distance < distance:
        bodies[k] = bodies[k - 1]
        k -= 1
    body = bodies[k]
    body.x, body.y, body.distance = x, y, distance
    heading = snapped(record.heading)
    body.cos, body.sin = math.cos(heading), math.sin(heading)
    body.half_length = record.length / 2 * look.vehicle_size
    body.half_width = record.width / 2 * look.vehicle_size
    body.crashed = record.crashed
    body.ego = ego
    body.goal = record.kind == st.LANDMARK
    # The row of a vehicle may change when others leave; what its driver drew at birth does not
    identity = np.int64(math.floor(record.delta * 1048576.0 + 0.5))
    if st.is_vehicle(record.kind):
        if record.kind < st.IDM or record.delta == 4.0:
            identity = 1 + row
        body.hash = mixed_bits(mixed_bits(identity) ^ look.paint_key)
        body.shape = shapes.VAN if body.hash % 8 == 0 and not ego else shapes.CAR
        body.stretch = (0.94 + 0.12 * ((body.hash >> 8) % 64) / 63) * look.vehicle_size
        body.braking = record.acceleration < BRAKING and record.speed > 0.1
    else:
        body.hash, body.shape, body.stretch, body.braking = 0, shapes.BLOCK, 1.0, False
    return count + 1


@bare
def snapped(value):  # type: ignore[no-untyped-def]
    """A coordinate to 1/65536 (15 micrometres).

    The two engines agree to some 1e-12; so much rounds away here, and their frames are the same.
    """
    return math.floor(value * 65536.0 + 0.5) / 65536.0


@bare
def draw_shadows(bodies, count, view, look, shadow):  # type: ignore[no-untyped-def]
    """Add what the bodies keep the sun from, and the dark below them, to the mask."""
    for k in range(count):
        body = bodies[k]
        if body.goal or body.distance > SHADOW_REACH:
            continue
        height = shapes.HEIGHTS[body.shape] * body.stretch * 0.8
        dx, dy = -look.sun_x * height, -look.sun_y * height
        if is_beside(view, body.x, body.y, _radius(body) + abs(dx) + abs(dy)):
            continue
        _shadow_quad(body, view, 0.98, 0.0, 0.0, 0.55, shadow)
        if dx != 0.0 or dy != 0.0:
            _cast(body, view, dx, dy, look.sun_shadow, shadow)


@inlined
def _radius(body):  # type: ignore[no-untyped-def]
    """Of a sphere around all of a body [m]."""
    return body.half_length + body.half_width + shapes.HEIGHTS[body.shape] * body.stretch


@inlined
def _shadow_quad(body, view, size, dx, dy, weight, shadow):  # type: ignore[no-untyped-def]
    for c in range(4):
        _foot_corner(body, view, c, size, c, dx, dy)
    count = project(view.lens, view.near, view.corners, 4, view.points)
    add_polygon(shadow, view.width, view.points, count, weight)


@inlined
def _foot_corner(body, view, k, size, c, dx, dy):  # type: ignore[no-untyped-def]
    """Corner k of the polygon in hand becomes corner c of the body's rectangle, moved."""
    a = body.half_length * size * (1.0 if c == 0 or c == 1 else -1.0)
    b = body.half_width * size * (1.0 if c == 1 or c == 2 else -1.0)
    view.corners[k, 0] = body.x + body.cos * a - body.sin * b + dx
    view.corners[k, 1] = body.y + body.sin * a + body.cos * b + dy
    view.corners[k, 2] = 0.0


@inlined
def _cast(body, view, dx, dy, weight, shadow):  # type: ignore[no-untyped-def]
    """The rectangle swept along (dx, dy): a hexagon, which leaves out two of eight corners."""
    # In the body's own axes: which corner lies furthest along the sweep, and which the least
    along = body.cos * dx + body.sin * dy
    across = -body.sin * dx + body.cos * dy
    # Corners in order: 0 (+,-), 1 (+,+), 2 (-,+), 3 (-,-)
    first = (1 if across >= 0 else 0) if along >= 0 else (2 if across >= 0 else 3)
    before, after, opposite = (first + 3) % 4, (first + 1) % 4, (first + 2) % 4
    _foot_corner(body, view, 0, 0.92, opposite, 0.0, 0.0)
    _foot_corner(body, view, 1, 0.92, before, 0.0, 0.0)
    _foot_corner(body, view, 2, 0.92, before, dx, dy)
    _foot_corner(body, view, 3, 0.92, first, dx, dy)
    _foot_corner(body, view, 4, 0.92, after, dx, dy)
    _foot_corner(body, view, 5, 0.92, after, 0.0, 0.0)
    count = project(view.lens, view.near, view.corners, 6, view.points)
    add_polygon(shadow, view.width, view.points, count, weight)


@bare
def draw_bodies(bodies, count, view, look, cover, picture):  # type: ignore[no-untyped-def]
    """Paint the bodies over the picture (packed pixels), far ones first.

    `cover` is an empty mask, and is left empty.
    """
    for k in range(count):
        body = bodies[k]
        if body.goal:
            _draw_goal(body, view, look, cover, picture)
            continue
        if is_beside(view, body.x, body.y, _radius(body)):
            continue
        fog = _fog(look, body.distance)
        wide = 2.0 * body.half_width / view.metres_per_pixel  # [px]
        if not view.plan:
            wide /= max(body.distance, view.near)
        level = 0
        while level < 2 and wide > shapes.LEVEL_WIDTH[level + 1]:
            level += 1
        if view.plan:
            level = 1
        dark = _brightness(look, view, body)
        for q in range(shapes.STARTS[body.shape], shapes.STARTS[body.shape + 1]):
            quad = shapes.QUADS[q]
            if quad.level > level:
                continue
            if wide < ROOFS_FROM and not view.plan:
                if quad.normal == shapes.UP:
                    continue
                if quad.material == shapes.TAIL_LIGHT and wide < LIGHTS_FROM:
                    continue
            for c in range(4):
                a = quad.corners[c, 0] * body.half_length
                b = quad.corners[c, 1] * body.half_width
                view.corners[c, 0] = body.x + body.cos * a - body.sin * b
                view.corners[c, 1] = body.y + body.sin * a + body.cos * b
                view.corners[c, 2] = quad.corners[c, 2] * body.stretch
            # Facing away: found before anything is projected
            if not view.plan and not _faces(view):
                continue
            corners = project(view.lens, view.near, view.corners, 4, view.points)
            if corners < 3 or signed_area(view.points, corners) <= 0.02:
                continue
            color = _color(body, quad.material, quad.normal, look, dark)
            fill(cover, view, corners, mix(color, look.fog_color, fog), 1.0, picture)


@inlined
def _faces(view):  # type: ignore[no-untyped-def]
    """Does the quad in hand face the camera? Its corners run clockwise seen from outside."""
    c = view.corners
    ux, uy, uz = c[1, 0] - c[0, 0], c[1, 1] - c[0, 1], c[1, 2] - c[0, 2]
    vx, vy, vz = c[3, 0] - c[0, 0], c[3, 1] - c[0, 1], c[3, 2] - c[0, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    return nx * c[0, 0] + ny * c[0, 1] + nz * (c[0, 2] - view.height) < 0.0


@bare
def _fog(look, distance):  # type: ignore[no-untyped-def]
    return int(256.0 * (1.0 - math.exp(-look.fog * distance)))


@bare
def _brightness(look, view, body):  # type: ignore[no-untyped-def]
    """Light on a body: of the day, and at night of the camera's headlights."""
    if look.night == 0.0:
        return look.light
    beam = 0.0
    if not view.plan:
        ahead = view.lens[2, 0] * body.x + view.lens[2, 1] * body.y
        if ahead > 0.0:
            side = (body.distance * body.distance - ahead * ahead) / (ahead * ahead)
            beam = math.exp(-body.distance / 30.0) * max(0.0, 1.0 - 2.5 * side)
    day = look.light * (1.0 - 0.9 * look.night)
    return min(1.0, day + 0.8 * look.night * beam)


@bare
def _color(body, material, normal, look, bright):  # type: ignore[no-untyped-def]
    """Packed colour of a quad in the light of the scene."""
    if normal == shapes.UP:
        facing = look.sun_z
    else:
        nx = body.cos if normal == shapes.AHEAD else -body.cos if normal == shapes.BEHIND else 0.0
        ny = body.sin if normal == shapes.AHEAD else -body.sin if normal == shapes.BEHIND else 0.0
        if normal == shapes.RIGHT:
            nx, ny = -body.sin, body.cos
        elif normal == shapes.LEFT:
            nx, ny = body.sin, -body.cos
        facing = nx * look.sun_dx + ny * look.sun_dy
    shade = (0.62 + 0.38 * max(0.0, facing) * look.sun_shadow * 1.4) * bright
    if material == shapes.BODY:
        return _paint(body, look, min(shade, 1.0))
    if material == shapes.TAIL_LIGHT:
        glow = 1.0 if body.braking else max(0.55 * bright, 0.75 * look.night)
        if body.crashed:
            return packed(int(250 * glow), int(150 * glow), 20)
        return packed(int(40 + 215 * glow) if body.braking else int(190 * glow), int(20 * glow), 14)
    if material == shapes.HEADLIGHT:
        glow = max(bright, look.night)
        return packed(int(238 * glow), int(238 * glow), int(224 * glow))
    red, green, blue = 30.0, 30.0, 32.0
    if material == shapes.GLASS:
        red, green, blue = 44.0, 56.0, 68.0
    elif material == shapes.PLATE:
        red, green, blue = 210.0, 206.0, 180.0
    elif material == shapes.BARRIER:
        red, green, blue = 236.0, 112.0, 24.0
    elif material == shapes.BARRIER_BAND:
        red, green, blue = 240.0, 238.0, 230.0
    elif material == shapes.UNDERBODY:
        red, green, blue = 20.0, 20.0, 22.0
    shade = min(shade, 1.0)
    return packed(int(red * shade), int(green * shade), int(blue * shade))


@bare
def _paint(body, look, shade):  # type: ignore[no-untyped-def]
    if body.ego:
        red, green, blue = EGO_PAINT
    else:
        paint = (body.hash >> 16) % PAINTS.shape[0]
        red, green, blue = PAINTS[paint, 0], PAINTS[paint, 1], PAINTS[paint, 2]
        wild = look.vehicle_colors
        red += wild * (((body.hash >> 24) & 255) - red)
        green += wild * (((body.hash >> 32) & 255) - green)
        blue += wild * (((body.hash >> 40) & 255) - blue)
    if body.crashed:
        red, green, blue = 0.4 * red + 60.0, 0.4 * green + 20.0, 0.4 * blue
    return packed(int(red * shade), int(green * shade), int(blue * shade))


@inlined
def _draw_goal(body, view, look, cover, picture):  # type: ignore[no-untyped-def]
    """A goal is painted on the ground."""
    for c in range(4):
        _foot_corner(body, view, c, 1.0, c, 0.0, 0.0)
    count = project(view.lens, view.near, view.corners, 4, view.points)
    color = packed(0, int(190 * look.light), int(140 * look.light))
    fill(cover, view, count, color, 170 / 256, picture)


@bare
def fill(cover, view, count, color, opacity, picture):  # type: ignore[no-untyped-def]
    """Paint the polygon on the screen over the picture; `cover` is empty before and after."""
    if count < 3:
        return
    points, height, width = view.points, cover.shape[0] - 2, view.width
    low_x, high_x, low_y, high_y = points[0, 0], points[0, 0], points[0, 1], points[0, 1]
    for k in range(1, count):
        low_x, high_x = min(low_x, points[k, 0]), max(high_x, points[k, 0])
        low_y, high_y = min(low_y, points[k, 1]), max(high_y, points[k, 1])
    if high_x <= 0.0 or high_y <= 0.0 or low_x >= width or low_y >= height:
        return
    add_polygon(cover, width, points, count, 1.0)
    first, last = int(max(low_x, 0.0)), int(min(high_x, width - 1.0)) + 1
    upper, lower = int(max(low_y, 0.0)), int(min(high_y, height - 1.0)) + 1
    _lay(cover, view.sums, (first, last), (upper, lower), color, np.float32(opacity), picture)


@streaming
def _lay(cover, sums, columns, rows, color, opacity, picture):  # type: ignore[no-untyped-def]
    """Lay a colour over the rectangle that a mask covers, and empty the mask."""
    (first, last), (upper, lower) = columns, rows
    r, g, b = channels(color)
    start, after = BORDER + first, BORDER + last
    totals = sums[first:last]
    for column in range(totals.shape[0]):
        totals[column] = np.float32(0.0)
    for row in range(upper, lower):
        line = cover[row, first:last]
        red, green = picture.red[row, start:after], picture.green[row, start:after]
        blue = picture.blue[row, start:after]
        for column in range(line.shape[0]):
            total = totals[column] + line[column]
            totals[column] = total
            line[column] = np.float32(0.0)
            weight = min(max(total, np.float32(0.0)), np.float32(1.0)) * opacity
            red[column] += (r - red[column]) * weight
            green[column] += (g - green[column]) * weight
            blue[column] += (b - blue[column]) * weight
    for row in range(lower, lower + 2):
        line = cover[row, first:last]
        for column in range(line.shape[0]):
            line[column] = np.float32(0.0)
