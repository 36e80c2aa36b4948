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
from drive_rl.camera.lens import BORDER, draw_rain, expose
from drive_rl.camera.look import LOOK_DTYPE, make_look
from drive_rl.camera.marks import draw_ground
from drive_rl.camera.projection import NEAR, Pose, orthographic, perspective
from drive_rl.camera.scenery import BLOCK, LINES, STRIDE, draw_scenery
from drive_rl.camera.sky import SKY_COLORS
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
    """Coverage, each (height, at least width + 2, in blocks) f4, empty between frames.

    The ground's also as integers of two columns each, in which what is empty is found sooner.
    """

    road: Any
    marking: Any
    shadow: Any
    body: Any
    road_bits: Any  # (height, half as many) i8
    marking_bits: Any
    shadow_bits: Any


class View(NamedTuple):
    """A camera at one moment, and room to work in."""

    foot: Any  # (2,) f8: the place on the ground below it [m]
    lens: Any  # (3, 4) f8, see `projection`
    ground: Any  # (3, 3) f8
    height: float  # [m]
    heading: float  # [rad]
    plan: bool
    near: float  # [m]
    reach: float  # how far it sees [m]
    detail: float  # how far single stripes are drawn [m]
    metres_per_pixel: float  # at 1 m ahead, or of a top view
    corners: Any  # (8, 3) f8: the polygon in hand, relative to the foot
    points: Any  # (16, 2) f8: and on the screen
    columns: Any  # (width,) i8: headlights, of 256
    trees: Any  # (width,) f8
    clouds: Any  # (width,) i8
    sky: Any  # (SKY_COLORS,) i8, packed
    lines: Any  # (LINES, width in strides) i8: the row in hand, see `scenery`


class Scratch(NamedTuple):
    """What a thread needs to render frames of one size."""

    masks: Masks
    picture: Any  # (height, width) i8, packed
    planes: Any  # (4, height, width + 2 * BORDER) f4
    bodies: Any  # (MAX_SHOWN,) BODY_DTYPE
    look: Any  # (1,) LOOK_DTYPE
    foot: Any
    lens: Any
    ground: Any
    corners: Any
    points: Any
    columns: Any
    trees: Any
    clouds: Any
    sky: Any
    lines: Any


def make_scratch(width: int, height: int) -> Scratch:
    """Room to render frames in; one per thread."""

    masks = np.zeros((4, height, -(-(width + 2) // BLOCK) * BLOCK), np.float32)
    return Scratch(
        masks=Masks(*masks, *masks[:3].view(np.int64)),
        picture=np.zeros((height, width), np.int64),
        planes=np.zeros((4, height, width + 2 * BORDER), np.float32),
        bodies=np.zeros(MAX_SHOWN, BODY_DTYPE).view(np.recarray),
        look=np.zeros(1, LOOK_DTYPE).view(np.recarray),
        foot=np.zeros(2),
        lens=np.zeros((3, 4)),
        ground=np.zeros((3, 3)),
        corners=np.zeros((8, 3)),
        points=np.zeros((16, 2)),
        columns=np.zeros(width, np.int64),
        trees=np.zeros(width),
        clouds=np.zeros(width, np.int64),
        sky=np.zeros(SKY_COLORS, np.int64),
        lines=np.zeros((LINES, -(-width // STRIDE) * STRIDE), np.int64),
    )


@kernel
def observe(state, ground, surfaces, optics, cameras, scratch, previous, current, mask, low, high):  # type: ignore[no-untyped-def]
    """Render a frame of every agent in the environments of the mask within [low, high).

    Args:
        previous, current: (num_envs, num_agents, stack, channels, height, width) u1: the stacks
            before and after; they may be the same arrays at the start of an episode, whose first
            frame fills the stack.
    """
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
                road, ground, surfaces, optics[0], camera, road.agents[agent], scratch, stack[last]
            )
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
        draw_rain(look, picture)
    expose(look, picture, surfaces.noise, scratch.planes, out)


@jit
def aim(vehicle, optics, camera, scratch):  # type: ignore[no-untyped-def]
    """The camera of a vehicle as it is mounted in this episode."""
    height, width = scratch.picture.shape
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
            foot, scratch.lens, scratch.ground, 1e6, turn, True, 0.5, reach, reach,
            1.0 / scaling, scratch.corners, scratch.points, scratch.columns, scratch.trees,
            scratch.clouds, scratch.sky, scratch.lines,
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
        foot, scratch.lens, scratch.ground, up, heading, False, NEAR, REACH, detail,
        1.0 / focal, scratch.corners, scratch.points, scratch.columns, scratch.trees,
        scratch.clouds, scratch.sky, scratch.lines,
    )  # fmt: skip
