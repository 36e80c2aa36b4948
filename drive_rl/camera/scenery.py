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

from drive_rl.camera.pixels import mix, sample, scale
from drive_rl.camera.sky import prepare_columns, sky_row
from drive_rl.simulator.jit import bare

FURTHEST = 3000.0  # what lies further away looks as if it were here [m]
FRACTION = 16  # bits of a texture coordinate beyond the 8 that sampling takes
SEGMENT = 16  # pixels between exact texture coordinates, where the camera is rolled
MIP_BIAS = -0.75  # sharper than the mean of a pixel's two sides would be [levels]


class Level(NamedTuple):
    """One level of a texture, and how positions become its coordinates."""

    offset: int  # of its first texel
    mask: int  # its side - 1
    bits: int  # log2 of its side
    per_metre: float  # texels
    shift: float  # what makes coordinates positive [texels / 256]


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
    road = _surface(surfaces.road, look.road, size)
    verge = _surface(surfaces.verge, look.verge, size)
    fog = 0 if view.plan else int(256.0 * (1.0 - math.exp(-look.fog * distance)))
    day = look.light * (1.0 - (0.9 if not view.plan else 0.7) * look.night)
    beam = 0.0 if view.plan else 0.85 * look.night * math.exp(-distance / 30.0)
    shadow_strength = look.shadow
    marking_color, fog_color = look.marking, look.fog_color
    mean = look.road_mean
    wear = look.wear
    foot_x, foot_y = view.foot[0], view.foot[1]
    columns = view.columns
    w_start, w_step = matrix[2, 0] + matrix[2, 2] * y, matrix[2, 1]
    # Texture coordinates: value at column 0 and step, in texels with 8 + FRACTION bits
    nx, ny = matrix[0, 0] + matrix[0, 2] * y, matrix[1, 0] + matrix[1, 2] * y
    dx, dy = matrix[0, 1], matrix[1, 1]
    unit = float(1 << (8 + FRACTION))
    start = first + 0.5
    road_u, road_du = _coordinate(nx, dx, start, inverse, view.foot[0], road, unit)
    road_v, road_dv = _coordinate(ny, dy, start, inverse, view.foot[1], road, unit)
    verge_u, verge_du = _coordinate(nx, dx, start, inverse, view.foot[0], verge, unit)
    verge_v, verge_dv = _coordinate(ny, dy, start, inverse, view.foot[1], verge, unit)
    road_texels, verge_texels = surfaces.road.texels[look.road], surfaces.verge.texels[look.verge]
    road_line, marking_line, shadow_line = masks.road[row], masks.marking[row], masks.shadow[row]
    road_cover, marking_cover, shadow_cover = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    base = int(256.0 * min(day, 1.0))
    for column in range(first, last):
        road_cover += road_line[column]
        marking_cover += marking_line[column]
        shadow_cover += shadow_line[column]
        if rolled and (column - first) % SEGMENT == 0:
            # Exact at both ends of a segment, straight between
            x = column + 0.5
            inverse = 1.0 / (w_start + w_step * x)
            gx, gy = foot_x + (nx + dx * x) * inverse, foot_y + (ny + dy * x) * inverse
            x = min(x + SEGMENT, last - 0.5)
            inverse = 1.0 / (w_start + w_step * x)
            share = 1.0 / max(x - column - 0.5, 1.0)
            step_x = (foot_x + (nx + dx * x) * inverse - gx) * share
            step_y = (foot_y + (ny + dy * x) * inverse - gy) * share
            road_u, road_du = _fixed(gx, step_x, road, unit)
            road_v, road_dv = _fixed(gy, step_y, road, unit)
            verge_u, verge_du = _fixed(gx, step_x, verge, unit)
            verge_v, verge_dv = _fixed(gy, step_y, verge, unit)
        paved = 256
        if road_cover < np.float32(0.998):
            paved = int(road_cover * np.float32(256.0) + np.float32(0.5))
        color = 0
        if paved > 0:
            if road.mask == 0:
                color = road_texels[road.offset]
            else:
                u, v = road_u >> FRACTION, road_v >> FRACTION
                color = sample(road_texels, road.offset, road.mask, road.bits, u, v)
            if marking_cover > np.float32(0.002):
                marked = min(int(marking_cover * np.float32(256.0) + np.float32(0.5)), 256)
                if wear > 0:
                    grain = 128 + 5 * (((color >> 16) & 255) - mean)
                    marked = marked * (256 - min(max(wear * grain >> 8, 0), 256)) >> 8
                color = mix(color, marking_color, marked)
        if paved < 256:
            if verge.mask == 0:
                other = verge_texels[verge.offset]
            else:
                u, v = verge_u >> FRACTION, verge_v >> FRACTION
                other = sample(verge_texels, verge.offset, verge.mask, verge.bits, u, v)
            color = mix(other, color, paved) if paved > 0 else other
        factor = base
        if beam > 0.0:
            factor = min(256, int(256.0 * (day + beam * columns[column])))
        if shadow_cover > np.float32(0.002):
            dark = min(shadow_cover, np.float32(1.0)) * shadow_strength
            factor = factor - int(factor * dark)
        if factor < 256:
            color = scale(color, factor)
        if fog > 0:
            color = mix(color, fog_color, fog)
        picture[row, column] = color
        road_u += road_du
        road_v += road_dv
        verge_u += verge_du
        verge_v += verge_dv
    road_line[first:] = 0.0
    marking_line[first:] = 0.0
    shadow_line[first:] = 0.0


@bare
def _surface(textures, tile, size):  # type: ignore[no-untyped-def]
    """The level of a texture to sample for pixels of `size` metres: a `Level`."""
    side = textures.side[0]
    per_metre = side / textures.metres[0]
    levels = 0
    while (side >> levels) > 1:
        levels += 1
    level = int(max(0.0, min(math.log2(size * per_metre) + MIP_BIAS + 0.5, levels + 0.0)))
    offset = 0
    for k in range(level):
        offset += (side >> k) * (side >> k)
    per_metre = per_metre / (1 << level)
    # Positions may be negative: shift them by whole tiles. Texel centres lie at a half.
    shift = float(textures.metres[0] * per_metre * 256.0 * 65536.0 - 128.0)
    return Level(offset, (side >> level) - 1, levels - level, per_metre, shift)


@bare
def _coordinate(n, d, start, inverse, foot, level, unit):  # type: ignore[no-untyped-def]
    """Fixed-point texture coordinate at the first column, and its step."""
    return _fixed(foot + (n + d * start) * inverse, d * inverse, level, unit)


@bare
def _fixed(place, step, level, unit):  # type: ignore[no-untyped-def]
    """A place on an axis of the ground, and a step along it [m], as texture coordinates."""
    fraction = float(1 << FRACTION)
    shift = level.shift * fraction
    return np.int64(place * level.per_metre * unit + shift), np.int64(step * level.per_metre * unit)
