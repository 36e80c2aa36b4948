"""Colours the ground and the sky: textures, markings, shadows, haze, headlights, trees, clouds.

A row at a time, and of a row one thing after the other: loops without branches over lines of
numbers in single precision, which processors do eight columns at once or more. The distance of a
row is that of its middle: where the camera is not rolled it is that of all its pixels. Mip level,
haze and light follow from it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from drive_rl.camera.pixels import BORDER, STRIDE, channels
from drive_rl.camera.sky import prepare_columns, sky_row
from drive_rl.camera.words import both, either, minus, plus, right, shifted, times
from drive_rl.simulator.jit import inlined, merged, streaming

FURTHEST = 3000.0  # what lies further away looks as if it were here [m]
FINE = 256  # places on a texture are counted in 1/FINE of a texel
FINE_BITS = 8
# A pixel takes the finest level up to so many of its texels along a side, the next one up to twice
# as many: 0.75 levels sharper than the mean of a pixel's two sides would be
FINEST_UP_TO = 2.0**1.25
WHOLE = 255  # coverage by the road is a byte: what shows nothing weighs exactly nothing

# Rows of `View.lines`: running sums of the masks, shares of paint, and light in the shadows
ROAD_SUM, MARKING_SUM, SHADOW_SUM, MARKED, SHADE = range(5)
LINES = 5
# Rows of `View.words`: colours of road and verge, and places on a texture; see `_place`
ROAD, VERGE, PLACE, U, V = range(5)
WORDS = 5


class Level(NamedTuple):
    """One level of a texture."""

    offset: int  # of its first texel
    side: int  # a power of two
    bits: int  # its logarithm
    is_magnified: bool  # its texels are larger than a pixel


@streaming
def draw_scenery(view, look, surfaces, masks, picture):  # type: ignore[no-untyped-def]
    """Colour every pixel of the picture but for what stands on the road.

    Args:
        surfaces: textures of road and verge, and clouds.
        masks: coverage by road, marking and shadow; left empty.
        picture: a `Picture`.
    """
    matrix = view.ground
    if not view.plan:
        prepare_columns(view, surfaces.trees)
    view.lines[: SHADOW_SUM + 1] = np.float32(0.0)
    height, width = masks.road.shape[0] - 2, view.width
    for row in range(height):
        y = row + 0.5
        # w (the inverse of the distance ahead) along the row
        w0 = matrix[2, 0] + matrix[2, 2] * y
        first, last = _ground_span(w0, matrix[2, 1], width)
        if last > first:
            _ground_row(view, look, surfaces, masks, row, first, last, picture)
        else:
            _add_up(masks, row, view.lines)
        if last - first < width:
            sky_row(view, look, surfaces, row, first, last, picture)
    for mask in (masks.road, masks.marking, masks.shadow):
        mask[height:] = np.float32(0.0)


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


@merged
def _ground_row(view, look, surfaces, masks, row, first, last, picture):  # type: ignore[no-untyped-def]
    """Colour a row as if all of it were ground: the sky is drawn over what is too much."""
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
    fog = 0.0 if view.plan else 1.0 - math.exp(-look.fog * distance)
    day = look.light * (1.0 - (0.9 if not view.plan else 0.7) * look.night)
    beam = 0.0 if view.plan else 0.85 * look.night * math.exp(-distance / 30.0)
    lines, words, paved = view.lines, view.words, view.paved
    _cover(masks, row, lines, paved, np.float32(look.shadow))
    # Places on the ground in tiles: numerators at column 0, their steps, and the foot's place
    metres = surfaces.road.metres[0]
    foot_u, foot_v = view.foot[0] / metres, view.foot[1] / metres
    spot = (
        np.float32((matrix[0, 0] + matrix[0, 2] * y) / metres),
        np.float32(matrix[0, 1] / metres),
        np.float32(foot_u - math.floor(foot_u)),
        np.float32((matrix[1, 0] + matrix[1, 2] * y) / metres),
        np.float32(matrix[1, 1] / metres),
        np.float32(foot_v - math.floor(foot_v)),
        np.float32(matrix[2, 0] + matrix[2, 2] * y),
        np.float32(matrix[2, 1]),
    )
    road, verge = _level(surfaces.road, size), _level(surfaces.verge, size)
    _place(words[PLACE], words[U], words[V], spot, road)
    _sample_road(surfaces.road, look.road, road, view.paved_words, words)
    if verge != road:
        _place(words[PLACE], words[U], words[V], spot, verge)
    _sample_verge(surfaces.verge, look.verge, verge, view.paved_words, view.beyond, words)
    _blend(
        (picture.red[row, BORDER:], picture.green[row, BORDER:], picture.blue[row, BORDER:]),
        words[ROAD], words[VERGE], paved, lines[MARKED], lines[SHADE], view.columns.headlights,
        (channels(look.marking), np.float32(look.wear / 256.0), np.float32(look.road_mean)),
        (np.float32(day), np.float32(beam)),
        (channels(look.fog_color), np.float32(fog)),
    )  # fmt: skip


@merged
def _add_up(masks, row, lines):  # type: ignore[no-untyped-def]
    """Add a row of the masks to their running sums, and empty it."""
    road, marking, shadow = masks.road[row], masks.marking[row], masks.shadow[row]
    roads, markings, shadows = lines[ROAD_SUM], lines[MARKING_SUM], lines[SHADOW_SUM]
    for column in range(road.shape[0]):
        roads[column] += road[column]
        road[column] = np.float32(0.0)
        markings[column] += marking[column]
        marking[column] = np.float32(0.0)
        shadows[column] += shadow[column]
        shadow[column] = np.float32(0.0)


@merged
def _cover(masks, row, lines, paved, darkness):  # type: ignore[no-untyped-def]
    """Add up a row of the masks: fill `paved`, and of `lines` MARKED and SHADE."""
    _add_up(masks, row, lines)
    roads, markings, shadows = lines[ROAD_SUM], lines[MARKING_SUM], lines[SHADOW_SUM]
    marked, shade = lines[MARKED], lines[SHADE]
    zero, one = np.float32(0.0), np.float32(1.0)
    for column in range(paved.shape[0]):
        road = min(max(roads[column], zero), one) * np.float32(WHOLE) + np.float32(0.5)
        paved[column] = np.uint8(np.int32(road))
        mark = min(max(markings[column], zero), one) * np.float32(256.0) + np.float32(0.5)
        marked[column] = np.float32(np.int32(mark)) * np.float32(1.0 / 256.0)
        shade[column] = one - min(max(shadows[column], zero), one) * darkness


@merged
def _place(places, us, vs, spot, level):  # type: ignore[no-untyped-def]
    """Where on a texture each column's point of the ground lies.

    Args:
        places: of the nearest texels, in the order of `Textures.smooth`; or, where these are
            larger than pixels,
        us, vs: in 1 / FINE of a texel, from the middle of one.
    """
    u_start, u_step, foot_u, v_start, v_step, foot_v, w_start, w_step = spot
    least = np.float32(1.0 / FURTHEST)
    side = level.side if level.is_magnified else 2 * level.side
    fine = np.float32(side * FINE)
    bits, mask, offset = np.uint32(level.bits + 1), np.uint32(side - 1), np.uint32(4 * level.offset)
    if level.is_magnified:
        for column in range(us.shape[0]):
            middle = np.float32(column) + np.float32(0.5)
            inverse = np.float32(1.0) / max(w_start + w_step * middle, least)
            u = foot_u + (u_start + u_step * middle) * inverse
            v = foot_v + (v_start + v_step * middle) * inverse
            us[column] = minus(np.uint32(np.int32(u * fine)), FINE // 2)
            vs[column] = minus(np.uint32(np.int32(v * fine)), FINE // 2)
        return
    for column in range(places.shape[0]):
        middle = np.float32(column) + np.float32(0.5)
        inverse = np.float32(1.0) / max(w_start + w_step * middle, least)
        u = foot_u + (u_start + u_step * middle) * inverse
        v = foot_v + (v_start + v_step * middle) * inverse
        left = both(right(np.uint32(np.int32(u * fine)), FINE_BITS), mask)
        above = both(right(np.uint32(np.int32(v * fine)), FINE_BITS), mask)
        places[column] = plus(plus(shifted(left, bits), above), offset)


@merged
def _sample_road(textures, tile, level, paved, words):  # type: ignore[no-untyped-def]
    """Colour the strides of a line that show some road."""
    start, after, end = 0, 0, words.shape[1]
    while after < end:
        start = after
        while start < end and _show_none(paved, start):
            start += STRIDE
        after = start
        while after < end and not _show_none(paved, after):
            after += STRIDE
        if after > start:
            _sample(
                textures, tile, level, words[PLACE, start:after], words[U, start:after],
                words[V, start:after], words[ROAD, start:after],
            )  # fmt: skip


@merged
def _sample_verge(textures, tile, level, paved, beyond, words):  # type: ignore[no-untyped-def]
    """Colour the strides of a line that show something else than road."""
    start, after, end = 0, 0, words.shape[1]
    while after < end:
        start = after
        while start < end and _show_all(paved, beyond, start):
            start += STRIDE
        after = start
        while after < end and not _show_all(paved, beyond, after):
            after += STRIDE
        if after > start:
            _sample(
                textures, tile, level, words[PLACE, start:after], words[U, start:after],
                words[V, start:after], words[VERGE, start:after],
            )  # fmt: skip


@inlined
def _show_none(paved, start):  # type: ignore[no-untyped-def]
    """Is no column of a stride paved?"""
    word = start // 8
    return paved[word] | paved[word + 1] == 0


@inlined
def _show_all(paved, beyond, start):  # type: ignore[no-untyped-def]
    """Are all columns of a stride wholly paved, or beyond the picture?"""
    word = start // 8
    return (paved[word] | beyond[word]) & (paved[word + 1] | beyond[word + 1]) == -1


@merged
def _sample(textures, tile, level, places, us, vs, line):  # type: ignore[no-untyped-def]
    """Colour a line with a texture."""
    if level.is_magnified:
        _sample_between(textures.texels[tile], level, us, vs, line)
    else:
        _sample_nearest(textures.smooth[tile], places, line)


@merged
def _sample_nearest(texels, places, line):  # type: ignore[no-untyped-def]
    for column in range(line.shape[0]):
        line[column] = texels[_known(places[column])]


@inlined
def _known(index):  # type: ignore[no-untyped-def]
    """An index that is seen to be small: then processors look up eight at once, not four."""
    return both(index, 0xFFFFFF)


@merged
def _sample_between(texels, level, us, vs, line):  # type: ignore[no-untyped-def]
    """Between the four texels that are nearest to a point."""
    bits, mask, offset = np.uint32(level.bits), np.uint32(level.side - 1), np.uint32(level.offset)
    for column in range(line.shape[0]):
        u, v = us[column], vs[column]
        left, above = both(right(u, FINE_BITS), mask), both(right(v, FINE_BITS), mask)
        beside, below = both(plus(left, 1), mask), both(plus(above, 1), mask)
        left, beside = plus(shifted(left, bits), offset), plus(shifted(beside, bits), offset)
        u, v = both(u, FINE - 1), both(v, FINE - 1)
        corner = right(times(u, v), FINE_BITS)
        line[column] = _weighted(
            (
                texels[_known(plus(left, above))],
                texels[_known(plus(beside, above))],
                texels[_known(plus(left, below))],
                texels[_known(plus(beside, below))],
            ),
            (
                plus(minus(minus(FINE, u), v), corner),
                minus(u, corner),
                minus(v, corner),
                corner,
            ),
        )


@inlined
def _weighted(texels, weights):  # type: ignore[no-untyped-def]
    """The mean of four texels by weights that add up to FINE."""
    red_blue, green = np.uint32(0), np.uint32(0)
    for k in range(4):
        red_blue = plus(red_blue, times(both(texels[k], 0xFF00FF), weights[k]))
        green = plus(green, times(both(right(texels[k], 8), 0xFF), weights[k]))
    return either(both(right(red_blue, 8), 0xFF00FF), both(green, 0xFF00))


@merged
def _blend(line, ground, beside, paved, marked, shade, headlights, paint, lamps, haze):  # type: ignore[no-untyped-def]
    """Colours of the ground: road beside verge, paint, light, and haze before them."""
    red, green, blue = line
    (paint_r, paint_g, paint_b), wear, mean = paint
    day, beam = lamps
    (haze_r, haze_g, haze_b), fog = haze
    zero, one = np.float32(0.0), np.float32(1.0)
    clear = one - fog
    haze_r, haze_g, haze_b = haze_r * fog, haze_g * fog, haze_b * fog
    for column in range(ground.shape[0]):
        r, g, b = _unpacked(beside[column])
        over_r, over_g, over_b = _unpacked(ground[column])
        share = np.float32(np.int32(paved[column])) * np.float32(1.0 / WHOLE)
        r, g, b = r + (over_r - r) * share, g + (over_g - g) * share, b + (over_b - b) * share
        # Where the ground is brighter than its mean, less of worn paint is left
        grain = np.float32(0.5) + (g - mean) * np.float32(5.0 / 256.0)
        over = marked[column] * share * (one - min(max(wear * grain, zero), one))
        r, g, b = r + (paint_r - r) * over, g + (paint_g - g) * over, b + (paint_b - b) * over
        light = min(day + beam * headlights[column], one) * shade[column] * clear
        red[column] = r * light + haze_r
        green[column] = g * light + haze_g
        blue[column] = b * light + haze_b


@inlined
def _unpacked(texel):  # type: ignore[no-untyped-def]
    """Red, green and blue of a texel."""
    red, green, blue = both(texel, 255), both(right(texel, 8), 255), both(right(texel, 16), 255)
    return np.float32(np.int32(red)), np.float32(np.int32(green)), np.float32(np.int32(blue))


@inlined
def _level(textures, size):  # type: ignore[no-untyped-def]
    """The level of a texture to sample for pixels of `size` metres: a `Level`."""
    side = textures.side[0]
    texels, most = size * side / textures.metres[0], FINEST_UP_TO
    magnified = texels < 1.0
    offset, bits = 0, 0
    while side >> bits > 1:
        bits += 1
    while bits > 0 and texels >= most:
        offset += 1 << 2 * bits
        bits -= 1
        most *= 2.0
    return Level(offset, 1 << bits, bits, magnified)
