"""Colours the ground and the sky: textures, markings, shadows, haze, headlights, trees, clouds.

A row at a time, and of a row one thing after the other: loops without branches over lines of
numbers, which processors do four to eight columns at once. The distance of a row is that of its
middle: where the camera is not rolled it is that of all its pixels. Mip level, haze and light
follow from it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from drive_rl.camera.pixels import MASK, mix
from drive_rl.camera.pyramids import unpacked
from drive_rl.camera.sky import prepare_columns, prepare_sky, sky_row
from drive_rl.simulator.jit import bare, inlined, streaming

FURTHEST = 3000.0  # what lies further away looks as if it were here [m]
TILE_BITS = 40  # places on a tile are counted in 2**-40 of its side
# A pixel takes the finest level up to so many of its texels along a side, the next one up to twice
# as many: 0.75 levels sharper than the mean of a pixel's two sides would be
FINEST_UP_TO = 2.0**1.25

# Rows of `View.lines`, one entry per column and some more, for a whole number of strides: places on
# a tile, the colours of the ground and of the verge, light, and lists of columns
U, V, GROUND, BESIDE, LIGHT, MIXED, PAINTED = range(7)
LINES = 7
STRIDE = 16  # columns that are worked on at once
BLOCK = 2  # columns of a mask that are looked at at once


class Level(NamedTuple):
    """One level of a texture."""

    offset: int  # of its first texel
    mask: int  # its side - 1
    bits: int  # log2 of its side
    is_magnified: bool  # its texels are larger than a pixel


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
    if not view.plan:
        prepare_columns(view, surfaces)
        prepare_sky(view, look)
    for row in range(height):
        y = row + 0.5
        # w (the inverse of the distance ahead) along the row
        w0 = matrix[2, 0] + matrix[2, 2] * y
        first, last = _ground_span(w0, matrix[2, 1], width)
        if last - first < width:
            sky_row(view, look, surfaces, row, first, last, picture)
            _clear(masks, row, first, last)
        if last > first:
            _ground_row(view, look, surfaces, masks, row, first, last, picture)


@inlined
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
def _clear(masks, row, first, last):  # type: ignore[no-untyped-def]
    """Empty the masks of the sky's part of a row; what was left of the ground's part adds up."""
    for mask in (masks.road, masks.marking, masks.shadow):
        line = mask[row]
        if last <= first:
            _empty(line, 0)
            continue
        before = np.float32(0.0)
        for column in range(first):
            before += line[column]
            line[column] = 0.0
        line[first] += before
        _empty(line, last)


@streaming
def _empty(line, first):  # type: ignore[no-untyped-def]
    for column in range(first, line.shape[0]):
        line[column] = np.float32(0.0)


@inlined
def _ground_row(view, look, surfaces, masks, row, first, last, picture):  # type: ignore[no-untyped-def]
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
    light = (int(256.0 * min(day, 1.0)), 256 - fog)
    by_night = beam > 1 / 256
    lines = view.lines
    begins, ends, inner, outer, mixed, painted = _cover(
        masks, row, lines, first, last,
        np.float32(256.0 * look.shadow), (256, 256) if by_night else light,
    )  # fmt: skip
    # Places on the ground: numerators at column 0, their steps, and the foot's place
    x = (matrix[0, 0] + matrix[0, 2] * y, matrix[0, 1], view.foot[0])
    z = (matrix[1, 0] + matrix[1, 2] * y, matrix[1, 1], view.foot[1])
    unit = float(1 << TILE_BITS) / surfaces.road.metres[0]
    us, vs, ground, beside = lines[U], lines[V], lines[GROUND], lines[BESIDE]
    _place(us, vs, x, z, (matrix[2, 0] + matrix[2, 2] * y, matrix[2, 1]), unit)
    _sample(surfaces.road, look.road, road, us, vs, begins, ends, ground)
    _sample(surfaces.verge, look.verge, verge, us, vs, first, inner, beside)
    _sample(surfaces.verge, look.verge, verge, us, vs, outer, last, beside)
    _copy(beside, ground, first, begins)
    _copy(beside, ground, ends, last)
    # The first of the mixed columns were copied, and so were the last
    _mix_surfaces(ground, beside, lines[MIXED], mixed - (last - ends))
    _paint(ground, lines[PAINTED], painted, look.marking, look.wear, look.road_mean)
    haze = look.fog_color * fog
    if by_night:
        lamps = (int(256.0 * day), int(256.0 * beam), 256 - fog, haze)
        _shine_by_night(ground, lines[LIGHT], view.columns, lamps, first, last, picture[row])
    else:
        _shine(ground, lines[LIGHT], haze, first, last, picture[row])


@inlined
def _cover(masks, row, lines, first, last, darkness, light):  # type: ignore[no-untyped-def]
    """Sum the masks of a row up, empty them, and list what its columns need.

    Args:
        lines: LIGHT, MIXED and PAINTED are filled; a listed column is `column << 16 | share`.
        light: how much there is, and how much is seen through the haze, of 256.

    Returns:
        Columns [begin, end) that show pavement; those, in their midst, that show nothing else; how
        many columns from `begin` on are mixed (not wholly paved); and how many are painted.
    """
    road, marking, shadow = masks.road[row], masks.marking[row], masks.shadow[row]
    road_bits, marking_bits = masks.road_bits[row], masks.marking_bits[row]
    shadow_bits = masks.shadow_bits[row]
    lit, clear = light
    road_cover, marking_cover, shadow_cover = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    paved, marked, weight = 0, 0, lit * clear >> 8
    begins, ends, inner, outer, full = last, first, last, first, 0
    mixed, painted, since = 0, 0, first
    for block in range(first // BLOCK, -(-last // BLOCK)):  # most are empty
        if _is_empty(road_bits, marking_bits, shadow_bits, block * BLOCK // 2):
            continue
        for column in range(max(block * BLOCK, first), min(block * BLOCK + BLOCK, last)):
            more_road, more_marking, more_shadow = road[column], marking[column], shadow[column]
            if not (more_road != 0.0) | (more_marking != 0.0) | (more_shadow != 0.0):
                continue
            road[column], marking[column] = np.float32(0.0), np.float32(0.0)
            shadow[column] = np.float32(0.0)
            run = (since, column, paved, marked, weight)
            mixed, painted = _end_run(lines, run, begins < last, mixed, painted)
            before = paved
            since = column
            road_cover += more_road
            marking_cover += more_marking
            shadow_cover += more_shadow
            paved, marked, shade = _weights(road_cover, marking_cover, shadow_cover, darkness)
            weight = (lit * shade >> 8) * clear >> 8
            if paved == 256:
                if before < 256:
                    inner, full = min(inner, column), full - column
            elif before == 256:
                outer, full = column, full + column
            if paved > 0:
                begins = min(begins, column)
            elif before > 0:
                ends = column
    run = (since, last, paved, marked, weight)
    mixed, painted = _end_run(lines, run, begins < last, mixed, painted)
    if paved > 0:
        ends = last
    if paved == 256:
        outer, full = last, full + last
    if outer - inner != full:  # the verge shows in between
        inner, outer = last, last
    _empty(road, last)
    _empty(marking, last)
    _empty(shadow, last)
    return begins, ends, inner, outer, mixed, painted


@inlined
def _is_empty(road_bits, marking_bits, shadow_bits, begin):  # type: ignore[no-untyped-def]
    """Does nothing begin or end in a block of columns?"""
    found = 0
    for k in range(begin, begin + BLOCK // 2):
        found |= road_bits[k] | marking_bits[k] | shadow_bits[k]
    return found == 0


@inlined
def _end_run(lines, run, begun, mixed, painted):  # type: ignore[no-untyped-def]
    """Note the columns of a run, which are all alike; how many are mixed and painted by then."""
    begin, end, paved, marked, weight = run
    for column in range(begin, end):
        lines[LIGHT, column] = weight
    if begun and paved < 256:
        for column in range(begin, end):
            lines[MIXED, mixed] = column << 16 | paved
            mixed += 1
    if marked > 0:
        for column in range(begin, end):
            lines[PAINTED, painted] = column << 16 | marked
            painted += 1
    return mixed, painted


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


@streaming
def _place(us, vs, x, y, w, unit):  # type: ignore[no-untyped-def]
    """Where on a tile each column's point of the ground lies, in 2**-TILE_BITS of its side."""
    x_start, x_step, foot_x = x
    y_start, y_step, foot_y = y
    w_start, w_step = w
    for column in range(us.shape[0]):
        middle = column + 0.5
        inverse = 1.0 / max(w_start + w_step * middle, 1.0 / FURTHEST)
        us[column] = np.int64((foot_x + (x_start + x_step * middle) * inverse) * unit)
        vs[column] = np.int64((foot_y + (y_start + y_step * middle) * inverse) * unit)


@inlined
def _sample(textures, tile, level, us, vs, begin, end, line):  # type: ignore[no-untyped-def]
    """Colour the columns [begin, end) of a line with a texture, and some beside them.

    Args:
        level: of the texture, a `Level`.
        us, vs: the points, in 2**-TILE_BITS of a tile; tiles repeat.
    """
    if end <= begin:
        return
    begin, end = begin & -STRIDE, end + STRIDE - 1 & -STRIDE
    if level.is_magnified:
        _sample_between(textures.texels[tile], level, us, vs, begin, end, line)
    else:
        _sample_smooth(textures.smooth[tile], level, us, vs, begin, end, line)


@streaming
def _sample_smooth(texels, level, us, vs, begin, end, line):  # type: ignore[no-untyped-def]
    """Nearest of the texels at twice the side."""
    bits, mask, offset = level.bits + 1, 2 * level.mask + 1, 4 * level.offset
    surplus = TILE_BITS - bits
    for column in range(begin, end):
        left, above = us[column] >> surplus & mask, vs[column] >> surplus & mask
        line[column] = unpacked(texels[offset + (above << bits) + left])


@streaming
def _sample_between(texels, level, us, vs, begin, end, line):  # type: ignore[no-untyped-def]
    """Between the four texels that are nearest to a point."""
    surplus = TILE_BITS - 8 - level.bits
    for column in range(begin, end):
        # In 1/256 of a texel; texels have their colour in their middle
        u, v = (us[column] >> surplus) - 128, (vs[column] >> surplus) - 128
        fu, fv = u & 255, v & 255
        left, above = u >> 8 & level.mask, v >> 8 & level.mask
        right, below = left + 1 & level.mask, (above + 1 & level.mask) << level.bits
        above = (above << level.bits) + level.offset
        below += level.offset
        both = fu * fv >> 8
        line[column] = (
            unpacked(texels[above + left]) * (256 - fu - fv + both)
            + unpacked(texels[above + right]) * (fu - both)
            + unpacked(texels[below + left]) * (fv - both)
            + unpacked(texels[below + right]) * both
        ) >> 8 & MASK


@streaming
def _copy(source, target, first, last):  # type: ignore[no-untyped-def]
    for column in range(first, last):
        target[column] = source[column]


@streaming
def _mix_surfaces(ground, beside, columns, count):  # type: ignore[no-untyped-def]
    """Lay the verge beside the road, in the columns where both show."""
    for k in range(count):
        column = columns[k] >> 16
        ground[column] = mix(beside[column], ground[column], columns[k] & 0xFFFF)


@streaming
def _paint(ground, columns, count, color, wear, mean):  # type: ignore[no-untyped-def]
    """Paint over the ground; where that is brighter than its mean, less of worn paint is left."""
    for k in range(count):
        column, marked = columns[k] >> 16, columns[k] & 0xFFFF
        grain = 128 + 5 * ((ground[column] >> 16 & 255) - mean)
        left = 256 - min(max(wear * grain >> 8, 0), 256)
        ground[column] = mix(ground[column], color, marked * left >> 8)


@streaming
def _shine(ground, light, haze, first, last, line):  # type: ignore[no-untyped-def]
    """Light the ground, and draw haze before it."""
    for column in range(first, last):
        line[column] = (ground[column] * light[column] + haze) >> 8 & MASK


@streaming
def _shine_by_night(ground, shade, columns, lamps, first, last, line):  # type: ignore[no-untyped-def]
    """Light the ground by what day is left and by headlights; draw haze before it."""
    day, beam, clear, haze = lamps
    for column in range(first, last):
        bright = min(day + (beam * columns[column] >> 8), 256)
        light = (bright * shade[column] >> 8) * clear >> 8
        line[column] = (ground[column] * light + haze) >> 8 & MASK


@inlined
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
    return Level(offset, (1 << bits) - 1, bits, texels < 1.0)
