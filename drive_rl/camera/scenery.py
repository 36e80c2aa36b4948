"""Colours the ground and the sky: textures, markings, shadows, haze, headlights, trees, clouds.

This is the loop over all pixels. Along a row of an unrolled camera the distance is the same, so
there the mip level, haze and light are found once a row and texture coordinates advance by
additions; those of a rolled camera are exact at every sixteenth pixel, 10 ns a pixel cheaper
than dividing at each.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from drive_rl.camera.pixels import MASK, mix
from drive_rl.camera.sky import prepare_columns, prepare_sky, sky_row
from drive_rl.simulator.jit import bare, inlined

FURTHEST = 3000.0  # what lies further away looks as if it were here [m]
TILE_BITS = 40  # places on a tile are counted in 2**-40 of its side
SEGMENT = 32  # pixels between exact texture coordinates, where the camera is rolled
# A pixel takes the finest level up to so many of its texels along a side, the next one up to twice
# as many: 0.75 levels sharper than the mean of a pixel's two sides would be
FINEST_UP_TO = 2.0**1.25


class Level(NamedTuple):
    """One level of a texture."""

    offset: int  # of its first texel
    mask: int  # its side - 1
    bits: int  # log2 of its side
    surplus: int  # bits of a place on a tile beyond those of its coordinates


@bare
def draw_scenery(view, look, surfaces, masks, picture):  # type: ignore[no-untyped-def]
    """Colour every pixel of the picture but for what stands on the road.

    Args:
        surfaces: textures of road and verge, and clouds.
        masks: coverage by road, marking and shadow; left empty.
        picture: (height, width) i8, packed.
    """
    height, width = picture.shape
    matrix = view.ground
    rolled = abs(matrix[2, 1]) > 1e-9
    if not view.plan:
        prepare_columns(view, surfaces)
        prepare_sky(look, view.sky)
    for row in range(height):
        y = row + 0.5
        # w (the inverse of the distance ahead) along the row
        w0 = matrix[2, 0] + matrix[2, 2] * y
        first, last = _ground_span(w0, matrix[2, 1], width)
        if last - first < width:
            sky_row(view, look, surfaces, row, first, last, picture)
            _clear(masks, row, first, last, width)
        if last > first:
            _ground_row(view, look, surfaces, masks, row, first, last, rolled, picture)


@bare
def _ground_span(w0, step, width):  # type: ignore[no-untyped-def]
    """Columns [first, last) of a row that show ground."""
    least = 1.0 / FURTHEST
    left, right = w0 + step * 0.5, w0 + step * (width - 0.5)
    if left > least and right > least:
        return 0, width
    if left <= least and right <= least:
        return 0, 0
    # column + 0.5 beyond which w exceeds the least
    edge = (least - w0) / step - 0.5
    if step > 0.0:
        return min(max(int(math.floor(edge)) + 1, 0), width), width
    return 0, min(max(int(math.ceil(edge)), 0), width)


@bare
def _clear(masks, row, first, last, width):  # type: ignore[no-untyped-def]
    """Empty the masks of the sky's part of a row; what was left of the ground's part adds up."""
    for mask in (masks.road, masks.marking, masks.shadow):
        line = mask[row]
        if last <= first:
            line[:] = 0.0
            continue
        before = np.float32(0.0)
        for column in range(first):
            before += line[column]
            line[column] = 0.0
        line[first] += before
        for column in range(last, width + 2):
            line[column] = 0.0


@bare
def _ground_row(view, look, surfaces, masks, row, first, last, rolled, picture):  # type: ignore[no-untyped-def]
    matrix = view.ground
    y = row + 0.5
    middle = 0.5 * (first + last)
    w = matrix[2, 0] + matrix[2, 1] * middle + matrix[2, 2] * y
    inverse = 1.0 / w
    # Metres that a pixel covers across and along the view
    across = view.metres_per_pixel * inverse
    along = across if view.plan else across * inverse / view.height
    distance = 0.0 if view.plan else inverse
    size = math.sqrt(across * along)
    road, verge = _surface(surfaces.road, size), _surface(surfaces.verge, size)
    fog = 0 if view.plan else int(256.0 * (1.0 - math.exp(-look.fog * distance)))
    day = look.light * (1.0 - (0.9 if not view.plan else 0.7) * look.night)
    beam = 0.0 if view.plan else 0.85 * look.night * math.exp(-distance / 30.0)
    darkness = np.float32(256.0 * look.shadow)
    marking_color, fog_color = look.marking, look.fog_color
    mean = look.road_mean
    wear = look.wear
    foot_x, foot_y = view.foot[0], view.foot[1]
    columns = view.columns
    w_start, w_step = matrix[2, 0] + matrix[2, 2] * y, matrix[2, 1]
    # Places on the ground: numerators at column 0 and their steps
    nx, ny = matrix[0, 0] + matrix[0, 2] * y, matrix[1, 0] + matrix[1, 2] * y
    dx, dy = matrix[0, 1], matrix[1, 1]
    unit = float(1 << TILE_BITS) / surfaces.road.metres[0]
    road_texels, verge_texels = surfaces.road.texels[look.road], surfaces.verge.texels[look.verge]
    road_line, marking_line, shadow_line = masks.road[row], masks.marking[row], masks.shadow[row]
    line = picture[row]
    road_cover, marking_cover, shadow_cover = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    lit = int(256.0 * min(day, 1.0))
    clear = 256 - fog
    haze = fog_color * fog
    # Of the pixels from here on, until a mask says otherwise; of 256
    paved, marked, shade = 0, 0, 256
    weight = lit * clear >> 8
    x = first + 0.5
    inverse = 1.0 / (w_start + w_step * x)
    at_x, at_y = foot_x + (nx + dx * x) * inverse, foot_y + (ny + dy * x) * inverse
    step_x, step_y = dx * inverse, dy * inverse
    begin = first
    while begin < last:
        u, v = np.int64(at_x * unit), np.int64(at_y * unit)
        end = last
        if rolled:
            # Exact at both ends of a segment, straight between
            end = min(begin + SEGMENT, last)
            share = 1.0 / max(min(end + 0.5, last - 0.5) - x, 1.0)
            x = min(end + 0.5, last - 0.5)  # further on there may be sky
            inverse = 1.0 / (w_start + w_step * x)
            next_x, next_y = foot_x + (nx + dx * x) * inverse, foot_y + (ny + dy * x) * inverse
            step_x, step_y = (next_x - at_x) * share, (next_y - at_y) * share
            at_x, at_y = next_x, next_y
        du, dv = np.int64(step_x * unit), np.int64(step_y * unit)
        for column in range(begin, end):
            more_road, more_marking = road_line[column], marking_line[column]
            more_shadow = shadow_line[column]
            if (more_road != 0.0) | (more_marking != 0.0) | (more_shadow != 0.0):
                road_cover += more_road
                marking_cover += more_marking
                shadow_cover += more_shadow
                paved, marked, shade = _weights(road_cover, marking_cover, shadow_cover, darkness)
                weight = (lit * shade >> 8) * clear >> 8
            if beam > 0.0:
                bright = min(256, int(256.0 * (day + beam * columns[column])))
                weight = (bright * shade >> 8) * clear >> 8
            if paved == 256:
                color = sample(road_texels, road, u, v)
            elif paved == 0:
                color = sample(verge_texels, verge, u, v)
            else:
                color = mix(
                    sample(verge_texels, verge, u, v),
                    sample(road_texels, road, u, v),
                    paved,
                )
            if marked > 0:
                paint = marked
                if wear > 0:
                    grain = 128 + 5 * (((color >> 16) & 255) - mean)
                    paint = marked * (256 - min(max(wear * grain >> 8, 0), 256)) >> 8
                color = mix(color, marking_color, paint)
            line[column] = (color * weight + haze) >> 8 & MASK
            u += du
            v += dv
        begin = end
    road_line[first:] = 0.0
    marking_line[first:] = 0.0
    shadow_line[first:] = 0.0


@inlined
def _weights(road_cover, marking_cover, shadow_cover, darkness):  # type: ignore[no-untyped-def]
    """What a pixel's coverage comes to, of 256: pavement, paint, and light in the shadows."""
    paved, marked, shade = 256, 0, 256
    if road_cover < np.float32(0.998):
        paved = max(int(road_cover * np.float32(256.0) + np.float32(0.5)), 0)
    if marking_cover > np.float32(0.002):
        marked = min(int(marking_cover * np.float32(256.0) + np.float32(0.5)), 256) * paved >> 8
    if shadow_cover > np.float32(0.002):
        shade = 256 - int(min(shadow_cover, np.float32(1.0)) * darkness)
    return paved, marked, shade


@inlined
def sample(texels, level, u, v):  # type: ignore[no-untyped-def]
    """A texture between the four texels that are nearest to a point.

    Args:
        texels: of all levels of one tile.
        level: the level to take.
        u, v: the point, in 2**-TILE_BITS of a tile; tiles repeat.
    """
    # In 1/256 of a texel; texels have their colour in their middle
    u, v = (u >> level.surplus) - 128, (v >> level.surplus) - 128
    fu, fv = u & 255, v & 255
    left, above = u >> 8 & level.mask, v >> 8 & level.mask
    right, below = left + 1 & level.mask, (above + 1 & level.mask) << level.bits
    above = (above << level.bits) + level.offset
    below += level.offset
    both = fu * fv >> 8
    return (
        texels[above + left] * (256 - fu - fv + both)
        + texels[above + right] * (fu - both)
        + texels[below + left] * (fv - both)
        + texels[below + right] * both
    ) >> 8 & MASK


@bare
def _surface(textures, size):  # type: ignore[no-untyped-def]
    """The level of a texture to sample for pixels of `size` metres: a `Level`."""
    side = textures.side[0]
    # Texels to a pixel up to which a level is taken: 2 ** (1 - 0.5 - MIP_BIAS) for the first
    texels, most = size * side / textures.metres[0], FINEST_UP_TO
    offset, bits = 0, 0
    while (1 << bits) < side:
        bits += 1
    while bits > 0 and texels >= most:
        offset += 1 << (2 * bits)
        bits -= 1
        most *= 2.0
    return Level(offset, (1 << bits) - 1, bits, TILE_BITS - 8 - bits)
