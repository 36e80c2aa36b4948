"""The last seconds before crashes as videos, drawn from what was recorded while they happened."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pygame

from drive_rl.environments.lights import with_lights
from drive_rl.environments.motion import between
from drive_rl.environments.rendering import Renderer, View, to_frame
from drive_rl.environments.scene import Kind, LaneShape, SceneState
from drive_rl.environments.video import VideoFile
from drive_rl.errors import DriveRLError
from drive_rl.evaluation.crashes import CrashTrace
from drive_rl.evaluation.episodes import folder_name
from drive_rl.evaluation.kinematics import (
    CRASHED,
    EGO,
    HEADING,
    LENGTH,
    NOBODY,
    OBSTACLE,
    ROLE,
    SPEED,
    WIDTH,
    X,
    Y,
)
from drive_rl.evaluation.results import CrashCard

SIZE = (640, 240)
FRAMES_PER_SECOND = 20
VIEW = View(scaling=9.0, centering_position=(0.4, 0.5), steady=True)
HOLD = 1.0
"""How long the crash itself stays on the screen [s]."""


@dataclasses.dataclass(frozen=True)
class Film:
    """A video of a crash.

    Attributes:
        file: its name.
        poster: the last picture, as JPEG.
    """

    file: str
    poster: bytes


def write_videos(cards: Sequence[CrashCard], folder: Path, name: str) -> dict[int, Film]:
    """Write a video of each crash into `folder`.

    Args:
        cards: of one policy.
        name: of the policy.

    Returns:
        Videos by the seed of the episode.

    Raises:
        DriveRLError: they cannot be written.
    """
    if not cards:
        return {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DriveRLError(f"cannot write {folder}: {error.strerror or error}") from None
    # Two at a time: one is drawn while the encoder of the other finishes.
    with ThreadPoolExecutor(2, "film") as pool:
        halves = list(
            pool.map(lambda part: _film_all(part, folder, name), (cards[::2], cards[1::2]))
        )
    return halves[0] | halves[1]


def _film_all(cards: Sequence[CrashCard], folder: Path, name: str) -> dict[int, Film]:
    renderer = Renderer()
    films = {}
    for card in cards:
        file = f"{folder_name(name)}-{card.seed}.mp4"
        last = film(scenes_of(card.trace, card.lanes), folder / file, renderer)
        poster = io.BytesIO()
        pygame.image.save(last, poster, "poster.jpg")
        films[card.seed] = Film(file, poster.getvalue())
    return films


def film(
    scenes: Sequence[SceneState], path: Path, renderer: Renderer | None = None
) -> pygame.Surface:
    """Write scenes as a video in real time; the last one stays for `HOLD` seconds.

    Args:
        scenes: in order of time.
        path: of the file.

    Returns:
        The last picture.

    Raises:
        DriveRLError: it cannot be written.
    """
    renderer = renderer or Renderer()
    surface = pygame.Surface(SIZE, 0, 32)
    times = np.array([scene.time for scene in scenes])
    moments = np.arange(times[0], times[-1], 1.0 / FRAMES_PER_SECOND)
    with VideoFile(path, FRAMES_PER_SECOND, quality=6, preset="ultrafast") as video:
        for time in moments:
            after = min(int(np.searchsorted(times, time, side="right")), len(scenes) - 1)
            before = max(after - 1, 0)
            span = times[after] - times[before]
            share = (time - times[before]) / span if span > 0 else 1.0
            renderer.draw(surface, between(scenes[before], scenes[after], float(share)), VIEW)
            video.add(to_frame(surface))
        renderer.draw(surface, scenes[-1], VIEW)
        last = to_frame(surface)
        for _ in range(round(HOLD * FRAMES_PER_SECOND)):
            video.add(last)
    os.chmod(path, 0o644)
    return surface


def scenes_of(trace: CrashTrace, lanes: tuple[LaneShape, ...]) -> list[SceneState]:
    """The recorded steps as scenes, the first one at time 0."""
    scenes = []
    for step, bodies in enumerate(trace.frames):
        rows = np.flatnonzero(bodies[:, ROLE] > NOBODY)
        shown = bodies[rows]
        kind = np.full(len(rows), Kind.TRAFFIC, np.int64)
        kind[shown[:, ROLE] == EGO] = Kind.EGO
        kind[shown[:, ROLE] == OBSTACLE] = Kind.OBSTACLE
        nothing = np.zeros(len(rows))
        scenes.append(
            SceneState(
                time=step * trace.dt,
                lanes=lanes,
                position=shown[:, [X, Y]],
                heading=shown[:, HEADING],
                speed=shown[:, SPEED],
                length=shown[:, LENGTH],
                width=shown[:, WIDTH],
                crashed=shown[:, CRASHED] > 0,
                kind=kind,
                acceleration=nothing,
                steering=nothing,
                lane_change=np.zeros(len(rows), np.int64),
                identity=rows.astype(np.int64),
            )
        )
    return with_lights(scenes)
