"""Brake and lane-change lights of frames that tell motion only.

The engines report what drivers command at decisions. What happened in the frames between shows in
the motion: highway-env's vehicles change their speed by their acceleration and nothing else, and a
vehicle that leaves the middle of its lane towards the next one is changing over, until it is there.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drive_rl.environments.scene import FloatArray, Kind, LaneShape, SceneState

IntArray = npt.NDArray[np.int64]

TURNED = 0.01
"""A vehicle turned further than this out of its lane's direction is leaving its middle [rad]."""
FASTEST = 20.0
"""A speed that changes faster than this is another vehicle's, or an impact [m/s^2]."""
ALIGNED = 0.6
"""Lanes whose direction differs more than this from a vehicle's are not its own [rad]."""
BESIDE = 1.0
"""Lanes lie side by side if their middles are a lane's width apart, give or take this [m]."""


def with_lights(scenes: Sequence[SceneState]) -> list[SceneState]:
    """Scenes of consecutive frames, with the commands that their motion shows.

    `acceleration` becomes the change of speed since the frame before, and `lane_change` the side
    to which a vehicle is leaving its lane. The first scene is given back as it is. The same entry
    is the same vehicle where `identity` says so; others keep what they have.

    Args:
        scenes: in order of time, on one road.
    """
    shown = list(scenes[:1])
    for before, scene in itertools.pairwise(scenes):
        acceleration = scene.acceleration.copy()
        _, rows, others = np.intersect1d(
            scene.identity, before.identity, assume_unique=True, return_indices=True
        )
        if scene.time > before.time:
            rate = (scene.speed[rows] - before.speed[others]) / (scene.time - before.time)
            known = np.abs(rate) < FASTEST
            acceleration[rows[known]] = rate[known]
        changing = lane_changes(scene)
        shown.append(dataclasses.replace(scene, acceleration=acceleration, lane_change=changing))
    return shown


def lane_changes(scene: SceneState) -> IntArray:
    """To which side each vehicle is leaving its lane: -1 left, 0 neither, +1 right, (n,)."""
    sides = np.zeros(len(scene), np.int64)
    moving = (scene.kind <= Kind.TRAFFIC) & (np.abs(scene.speed) > 1.0) & ~scene.crashed
    entries = np.flatnonzero(moving)
    if not len(entries) or not scene.lanes:
        return sides
    offset, turn, widths = _in_lanes(scene, entries)
    aligned = np.abs(turn) < ALIGNED
    distance = np.where(aligned, np.abs(offset), np.inf)
    own = distance.argmin(axis=1)
    here = np.arange(len(entries))
    on_lane = distance[here, own] <= widths[own]
    aside = np.where(on_lane, offset[here, own], 0.0)
    turned = turn[here, own]
    side = np.sign(turned).astype(np.int64)
    # Before the line it moves away from its lane's middle, behind it towards the next one's.
    leaving = on_lane & (np.abs(turned) > TURNED) & (aside * side > -0.05)
    beside = np.abs(offset - (aside - side * widths[own])[:, None]) < BESIDE
    leaving &= (beside & aligned).any(axis=1)
    sides[entries] = np.where(leaving, side, 0)
    return sides


def _in_lanes(
    scene: SceneState, entries: npt.NDArray[np.intp]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Offset to the right of each lane's middle [m], turn out of its direction [rad] and width.

    The first two are (num_entries, num_lanes); far from a lane its offset is infinite.
    """
    starts, steps, lanes, widths = _pieces(scene.lanes)
    lengths = np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-9)
    along = steps / lengths[:, None]
    place = scene.position[entries][:, None] - starts[None]  # (entries, pieces, 2)
    onward = (place * along[None]).sum(axis=2)
    aside = place[..., 1] * along[:, 0] - place[..., 0] * along[:, 1]
    beyond = np.maximum(np.maximum(-onward, onward - lengths), 0.0)
    away = np.hypot(aside, beyond)
    turn = scene.heading[entries][:, None] - np.arctan2(along[:, 1], along[:, 0])[None]
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    offsets = np.full((len(entries), len(widths)), np.inf)
    turns = np.zeros((len(entries), len(widths)))
    here = np.arange(len(entries))
    for lane in range(len(widths)):
        pieces = np.flatnonzero(lanes == lane)
        best = pieces[away[:, pieces].argmin(axis=1)]
        near = beyond[here, best] < 1.0
        offsets[:, lane] = np.where(near, aside[here, best], np.inf)
        turns[:, lane] = turn[here, best]
    return offsets, turns, widths


@functools.lru_cache(maxsize=8)
def _pieces(
    lanes: tuple[LaneShape, ...],
) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
    """Starts and steps of all lanes' pieces, (num_pieces, 2), whose each is, and lanes' widths."""
    starts = np.concatenate([lane.centerline[:-1] for lane in lanes])
    steps = np.concatenate([np.diff(lane.centerline, axis=0) for lane in lanes])
    owners = np.repeat(np.arange(len(lanes)), [len(lane.centerline) - 1 for lane in lanes])
    return starts, steps, owners, np.array([lane.width for lane in lanes])
