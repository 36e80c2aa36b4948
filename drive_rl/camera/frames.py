"""The kernel that renders frames: from the simulator's state to pixels, one by one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from drive_rl.camera import factors as f
from drive_rl.camera.bodies import (
    BODY_DTYPE,
    MAX_SHOWN,
    draw_bodies,
    draw_shadows,
    gather,
    snapped,
)
from drive_rl.camera.ground import STRIPE_SPACING
from drive_rl.camera.lens import draw_rain, expose
from drive_rl.camera.look import LOOK_DTYPE, make_look
from drive_rl.camera.marks import draw_ground
from drive_rl.camera.pixels import Picture, make_picture, strides
from drive_rl.camera.projection import NEAR, Pose, orthographic, perspective
from drive_rl.camera.scenery import LINES, WORDS, draw_scenery
from drive_rl.simulator.jit import bare, jit, kernel
from drive_rl.simulator.state import road_of

REACH = 250.0  # how far the front view sees roads and vehicles [m]

OPTICS_DTYPE = np.dtype(
    [
        ("plan", "?"),  # seen from above
        ("rotate", "?"),
        ("field_of_view", "f8"),  # [degrees]
        ("ahead", "f8"),  # of the vehicle's middle [m]
        ("right", "f8"),
        ("up", "f8"),
        ("pitch", "f8"),  # [degrees]
        ("scaling", "f8"),  # [px/m]
        ("across", "f8"),  # where the vehicle stands in a top view
        ("down", "f8"),
    ],
    align=True,
)


class Surfaces(NamedTuple):
    """What does not depend on the scene: textures and tables."""

    road: Any  # pyramids.Textures
    verge: Any
    clouds: Any  # sky.make_clouds()
    trees: Any  # sky.make_trees()
    noise: Any  # lens.make_noise()


class Masks(NamedTuple):
    """Coverage, each (height + 2, width in strides) f4, empty between frames; see `raster`."""

    road: Any
    marking: Any
    shadow: Any
    body: Any


class Columns(NamedTuple):
    """What a front view shows in each column, (width in strides,)."""

    headlights: Any  # f4: how much of their light gets there
    trees: Any  # f4: height above the horizon [px]
    clouds: Any  # u4: column of the clouds


class View(NamedTuple):
    """A camera at one moment, and room to work in."""

    foot: Any  # (2,) f8: the place on the ground below it [m]
    lens: Any  # (3, 4) f8, see `projection`
    ground: Any  # (3, 3) f8
    width: int  # [px]
    height: float  # [m]
    heading: float  # [rad]
    plan: bool
    near: float  # [m]
    reach: float  # how far it sees [m]
    detail: float  # how far single stripes are drawn [m]
    metres_per_pixel: float  # at 1 m ahead, or of a top view
    corners: Any  # (8, 3) f8: the polygon in hand, relative to the foot
    points: Any  # (16, 2) f8: and on the screen
    sums: Any  # (width in strides,) f4: its coverage in the row in hand
    columns: Columns
    lines: Any  # (LINES, width in strides) f4: the row in hand, see `scenery`
    words: Any  # (WORDS, width in strides) u4
    paved: Any  # (width in strides,) u1: its share of road
    paved_words: Any  # the same, eight columns to an i8
    beyond: Any  # as `paved_words`: 255 in columns beyond the picture, 0 within it


class Scratch(NamedTuple):
    """What a thread needs to render frames of one size."""

    masks: Masks
    picture: Picture
    blurred: Any  # as a plane of the picture
    bodies: Any  # (MAX_SHOWN,) BODY_DTYPE
    look: Any  # (1,) LOOK_DTYPE
    shape: Any  # (2,) i8: height and width of the picture
    foot: Any
    lens: Any
    ground: Any
    corners: Any
    points: Any
    sums: Any
    columns: Columns
    lines: Any
    words: Any
    paved: Any
    paved_words: Any
    beyond: Any


class Sight(NamedTuple):
    """What a thread looks with in one step."""

    ground: Any  # ground.Ground
    surfaces: Surfaces
    optics: Any  # (1,) OPTICS_DTYPE
    cameras: Any  # (num_envs,) factors.CAMERA_DTYPE
    variation: Any  # factors.Variation
    scratch: Scratch
    previous: Any  # (num_envs, num_agents, stack, channels, height, width) u1: the stacks before


def make_scratch(width: int, height: int) -> Scratch:
    """Room to render frames in; one per thread."""
    columns = strides(width)
    picture = make_picture(width, height)
    paved, beyond = np.zeros((2, columns), np.uint8)
    beyond[width:] = 255
    return Scratch(
        masks=Masks(*np.zeros((4, height + 2, columns), np.float32)),
        picture=picture,
        blurred=np.zeros_like(picture.red),
        bodies=np.zeros(MAX_SHOWN, BODY_DTYPE).view(np.recarray),
        look=np.zeros(1, LOOK_DTYPE).view(np.recarray),
        shape=np.array([height, width]),
        foot=np.zeros(2),
        lens=np.zeros((3, 4)),
        ground=np.zeros((3, 3)),
        corners=np.zeros((8, 3)),
        points=np.zeros((16, 2)),
        sums=np.zeros(columns, np.float32),
        columns=Columns(
            headlights=np.zeros(columns, np.float32),
            trees=np.zeros(columns, np.float32),
            clouds=np.zeros(columns, np.uint32),
        ),
        lines=np.zeros((LINES, columns), np.float32),
        words=np.zeros((WORDS, columns), np.uint32),
        paved=paved,
        paved_words=paved.view(np.int64),
        beyond=beyond.view(np.int64),
    )


@kernel
def begin(sight, mask, low, high):  # type: ignore[no-untyped-def]
    """Draw what varies, in the environments of the mask within [low, high): an episode begins."""
    f.draw_episode(sight.cameras, sight.variation, mask, low, high)


@kernel
def observe(state, sight, mask, current, low, high):  # type: ignore[no-untyped-def]
    """Render a frame of every agent in the environments of the mask within [low, high).

    Args:
        sight: a `Sight`.
        current: (num_envs, num_agents, stack, channels, height, width) u1: the stacks that come
            after `sight.previous`. They may be the same array at the start of an episode, whose
            first frame fills the stack.
    """
    cameras, previous = sight.cameras, sight.previous
    for env in range(low, high):
        if not mask[env]:
            continue
        camera = cameras[env]
        road = road_of(state, env)
        dropped = camera.frame > 0 and (
            f.uniform(camera.key, 0x20000 + camera.frame) < camera.values[f.DROPPED_FRAMES]
        )
        for agent in range(current.shape[1]):
            stack = current[env, agent]
            last = stack.shape[0] - 1
            if camera.frame > 0:
                copy_frames(previous[env, agent, 1:], stack[:last])
            if dropped:
                copy_frames(previous[env, agent, last:], stack[last:])
                continue
            render(
                road, sight.ground, sight.surfaces, sight.optics[0], camera, road.agents[agent],
                sight.scratch, stack[last],
            )  # fmt: skip
            if camera.frame == 0:
                for k in range(last):
                    copy_frames(stack[last:], stack[k : k + 1])
        camera.frame += 1


@jit
def copy_frames(source, target):  # type: ignore[no-untyped-def]
    """Copy frames, eight bytes at a time: five times as fast as by their four indices."""
    size = source.size
    whole = size // 8 * 8
    bytes_in, bytes_out = source.reshape(size), target.reshape(size)
    words_in, words_out = bytes_in[:whole].view(np.uint64), bytes_out[:whole].view(np.uint64)
    for k in range(words_in.size):
        words_out[k] = words_in[k]
    for k in range(whole, size):
        bytes_out[k] = bytes_in[k]


@bare
def render(road, ground, surfaces, optics, camera, row, scratch, out):  # type: ignore[no-untyped-def]
    """One frame, from the vehicle in `row`, to `out` (channels, height, width) u1."""
    look = scratch.look[0]
    masks = scratch.masks
    picture = scratch.picture
    make_look(look, camera, surfaces)
    vehicle = road.vehicles[row]
    view = aim(vehicle, optics, camera, scratch)
    count = gather(road, row, optics.plan, view, look, scratch.bodies)
    draw_ground(ground, view, masks.road, masks.marking)
    draw_shadows(scratch.bodies, count, view, look, masks.shadow)
    draw_scenery(view, look, surfaces, masks, picture)
    draw_bodies(scratch.bodies, count, view, look, masks.body, picture)
    if look.rain > 0.0:
        draw_rain(look, view.width, picture)
    expose(look, picture, surfaces.noise, scratch.blurred, out)


@jit
def aim(vehicle, optics, camera, scratch):  # type: ignore[no-untyped-def]
    """The camera of a vehicle as it is mounted in this episode."""
    height, width = scratch.shape[0], scratch.shape[1]
    values = camera.values
    foot = scratch.foot
    heading = snapped(vehicle.heading)
    foot[0], foot[1] = snapped(vehicle.x), snapped(vehicle.y)
    if optics.plan:
        up = 0.0 if optics.rotate else -math.pi / 2
        turn = heading if optics.rotate else up
        across, down = optics.across, optics.down
        scaling = optics.scaling
        orthographic(scratch.lens, scratch.ground, turn, width, height, scaling, across, down)
        reach = math.sqrt(width * width + height * height) / scaling
        return View(
            foot, scratch.lens, scratch.ground, width, 1e6, turn, True, 0.5, reach, reach,
            1.0 / scaling, scratch.corners, scratch.points, scratch.sums, scratch.columns,
            scratch.lines, scratch.words, scratch.paved, scratch.paved_words, scratch.beyond,
        )  # fmt: skip
    cos, sin = math.cos(heading), math.sin(heading)
    foot[0] += cos * optics.ahead - sin * optics.right
    foot[1] += sin * optics.ahead + cos * optics.right
    field = min(max(optics.field_of_view + values[f.FIELD_OF_VIEW], 5.0), 170.0)
    focal = width / 2 / math.tan(math.radians(field) / 2)
    up = max(optics.up + values[f.CAMERA_HEIGHT], 0.3)
    pitch = math.radians(optics.pitch + values[f.CAMERA_PITCH])
    pose = Pose(foot[0], foot[1], up, heading, pitch, math.radians(values[f.CAMERA_ROLL]))
    perspective(scratch.lens, scratch.ground, pose, width, height, focal)
    # A stripe and its gap cover 1.3 pixels of height at this distance
    detail = math.sqrt(STRIPE_SPACING * up * focal / 1.3)
    return View(
        foot, scratch.lens, scratch.ground, width, up, heading, False, NEAR, REACH, detail,
        1.0 / focal, scratch.corners, scratch.points, scratch.sums, scratch.columns,
        scratch.lines, scratch.words, scratch.paved, scratch.paved_words, scratch.beyond,
    )  # fmt: skip
