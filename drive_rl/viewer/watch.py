"""`watch`: from names of policies to a window, or to a video and a picture without one."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pygame
from gymnasium.vector import AutoresetMode

from drive_rl.environments import make_vec
from drive_rl.environments.rendering import to_frame
from drive_rl.errors import Interrupted, UsageError
from drive_rl.evaluation import policies as policies_module
from drive_rl.evaluation.baselines import Baseline, baseline_names, make_baseline
from drive_rl.evaluation.rollout import longest_episode
from drive_rl.evaluation.senses import as_trained
from drive_rl.presets import EnvironmentSpec, load_environment
from drive_rl.viewer.controller import Controller
from drive_rl.viewer.episode import Envs, Episode
from drive_rl.viewer.output import (
    PICTURE_FORMATS,
    VIDEO_FORMATS,
    VideoFile,
    check_target,
    save_picture,
)
from drive_rl.viewer.replay import Replay, read_replay
from drive_rl.viewer.screen import Screen, default_size
from drive_rl.viewer.wheel import Wheel, action_names
from drive_rl.viewer.window import VIDEO_FRAMES_PER_SECOND, Window

MOST_RUNS = 4
"""Rides side by side that can still be told apart on a screen."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """What `watch` showed and saved.

    Attributes:
        episodes: shown to their end.
        seed: of the last episode.
        decisions: of the last episode, as far as it was shown.
        episode_return: up to there, for the first policy.
        ended: how it ended; None where it did not.
        pictures, videos: files that were written.
    """

    episodes: int
    seed: int
    decisions: int
    episode_return: float
    ended: str | None
    pictures: tuple[Path, ...]
    videos: tuple[Path, ...]

    def __str__(self) -> str:
        end = f", {self.ended}" if self.ended else ""
        lines = [
            f"seed {self.seed}: return {self.episode_return:.2f} "
            f"after {self.decisions} decisions{end}"
        ]
        return "\n".join(lines + [f"saved {path}" for path in self.videos + self.pictures])


def watch(
    policy: Any = (),
    env_id: str | EnvironmentSpec | None = None,
    *,
    seed: int = 0,
    engine: str = "auto",
    record: str | os.PathLike[str] | None = None,
    screenshot: str | os.PathLike[str] | None = None,
    headless: bool = False,
    episodes: int | None = None,
    steps: int | None = None,
    replay: str | os.PathLike[str] | None = None,
) -> Watched:
    """Watch policies drive.

    Args:
        policy: what names a policy (a run or checkpoint folder, a shipped one, a baseline), an
            object with `predict`, or a list of these: they drive side by side on the same seeds.
        env_id: the environment; None takes the first policy's own.
        seed: of the first episode; the ones after it count on from there.
        engine: "auto", "compiled" or "reference".
        record: video file to record to, from the beginning.
        screenshot: picture file for the last picture, and for the first press of S.
        headless: open no window; show one episode unless told otherwise, and save what is asked.
        episodes: stop after so many; None goes on until the window is closed.
        steps: decisions after which an episode is over at the latest.
        replay: an episode that `evaluate` stored; takes the place of policy and environment.

    Raises:
        UsageError: an unknown name, a bad count, or a file of another kind.
        DriveRLError: no display, or a file that cannot be written.
        Interrupted: Ctrl-C; what was recorded so far is kept.
    """
    _check_counts(seed, episodes, steps)
    video = None if record is None else Path(record)
    picture = None if screenshot is None else Path(screenshot)
    if video is not None:
        check_target(video, VIDEO_FORMATS, "video")
    if picture is not None:
        check_target(picture, PICTURE_FORMATS, "picture")
    asked = list(policy) if isinstance(policy, (list, tuple)) else [policy]
    if replay is not None and asked:
        raise UsageError("a replay brings its own actions; name no policy beside it")

    def prepare() -> _Show:
        if replay is not None:
            stored = read_replay(Path(replay), env_id)
            return _replayed(stored, engine, episodes, steps)
        return _driven(asked, env_id, seed, engine, episodes, steps, headless)

    if headless:
        return _without_window(prepare(), video, picture)
    return _in_window(prepare, seed, video, picture)


@dataclasses.dataclass(frozen=True)
class _Show:
    """What is going to be seen, with or without a window."""

    controller: Controller
    screen: Screen
    env_name: str

    def close(self) -> None:
        """End the simulation."""
        self.controller.close()
        for ride in self.controller.rides:
            ride.episode.envs.close()


def _driven(
    asked: Sequence[Any],
    env_id: str | EnvironmentSpec | None,
    seed: int,
    engine: str,
    episodes: int | None,
    steps: int | None,
    headless: bool,
) -> _Show:
    if not asked:
        raise UsageError("no policy to watch; name a run, or a baseline with --policy")
    if len(asked) > MOST_RUNS:
        raise UsageError(f"{len(asked)} policies are too many to watch; {MOST_RUNS} at most")
    loaded = [policies_module.load(each) for each in asked]
    scene = _scene([each for _, each in loaded], env_id)
    rides = []
    for name, each in loaded:
        if isinstance(each, Baseline):
            each = make_baseline(name, scene)
        rides.append(Episode(_one(_as_seen_by(each, scene), engine), each, name))
    first_name, first_policy = rides[0].name, rides[0].policy
    choices: list[tuple[str, Callable[[], Any]]] = [(first_name, lambda: first_policy)]
    for name in sorted(baseline_names(), key=["rule", "planner", "random", "idle"].index):
        if name != first_name:
            choices.append((name, functools.partial(make_baseline, name, scene)))
    return _show(
        rides,
        scene,
        seed=seed,
        choices=choices,
        background=not headless,
        episodes=1 if headless and episodes is None else episodes,
        steps=steps or longest_episode(scene),
    )


def _one(scene: EnvironmentSpec, engine: str) -> Envs:
    return make_vec(scene, 1, engine=engine, num_threads=1, autoreset_mode=AutoresetMode.DISABLED)


def _replayed(replay: Replay, engine: str, episodes: int | None, steps: int | None) -> _Show:
    envs = _one(replay.scene, engine)
    return _show(
        [Episode(envs, replay.policy(), replay.name)],
        replay.scene,
        seed=replay.seed,
        choices=[],
        background=False,
        episodes=1 if episodes is None else episodes,
        steps=min(steps or len(replay.actions), len(replay.actions)),
        only_seed=True,
    )


def _show(
    rides: list[Episode],
    scene: EnvironmentSpec,
    *,
    seed: int,
    choices: list[tuple[str, Callable[[], Any]]],
    background: bool,
    episodes: int | None,
    steps: int,
    only_seed: bool = False,
) -> _Show:
    config = scene.full_config
    space = rides[0].envs.single_action_space
    action_config = dict(config.get("action", {}))
    if action_config.get("type") == "MultiAgentAction":
        action_config = dict(action_config["action_config"])
    agent_space = space[0] if isinstance(space, gymnasium.spaces.Tuple) else space
    names = action_names(agent_space, action_config)
    frames = int(config["simulation_frequency"] // config["policy_frequency"])
    controller = Controller(
        rides,
        seed=seed,
        decisions_per_second=float(config["simulation_frequency"]) / max(frames, 1),
        wheel=None if only_seed else Wheel.for_space(space, action_config),
        choices=choices,
        background=background,
        max_episodes=episodes,
        max_decisions=steps,
        only_seed=only_seed,
    )
    if background:
        for ride in controller.rides:  # compiles what is left while the window still says so
            ride.episode.extend()
    return _Show(controller, Screen(config, scene.id, names), scene.id)


def _in_window(
    prepare: Callable[[], _Show], seed: int, video: Path | None, picture: Path | None
) -> Watched:
    window = Window()
    try:
        with _TerminationsAsInterrupts():
            show = window.wait_for(prepare)
            if show is None:
                return Watched(0, seed, 0, 0.0, None, (), ())
            return _show_in(window, show, video, picture)
    except KeyboardInterrupt as error:
        raise _interrupted(error, window.videos) from None
    finally:
        window.close()


def _show_in(window: Window, show: _Show, video: Path | None, picture: Path | None) -> Watched:
    controller = show.controller
    stem = f"drive-rl-{Path(show.env_name).stem}-seed"
    wanted_picture, wanted_video = [picture], [video]

    def next_picture() -> Path:
        return _take(wanted_picture) or _unused(f"{stem}{controller.seed}", ".png")

    def next_video() -> Path:
        return _take(wanted_video) or _unused(f"{stem}{controller.seed}", ".mp4")

    names = ", ".join(ride.episode.name for ride in controller.rides)
    title = f"drive-rl · {show.env_name} · {names}"
    controller.recording = video is not None
    try:
        window.show(controller, show.screen, title, next_picture, next_video)
    finally:
        show.close()
    if wanted_picture[0] is not None:
        save_picture(window.surface, wanted_picture[0])
        window.pictures.append(wanted_picture[0])
    return _watched(controller, window.pictures, window.videos)


def _without_window(show: _Show, video: Path | None, picture: Path | None) -> Watched:
    controller, screen = show.controller, show.screen
    screen.hint = ""
    size = default_size(screen.wide, len(controller.rides))
    surface = pygame.Surface([n // 2 * 2 for n in size], 0, 32)
    videos: list[Path] = []
    try:
        with _TerminationsAsInterrupts():
            if video is None:
                _run_to_the_end(controller)
            else:
                _record(controller, screen, surface, video, videos)
    except KeyboardInterrupt as error:
        raise _interrupted(error, videos) from None
    finally:
        show.close()
    if picture is not None:
        screen.draw(surface, controller)
        save_picture(surface, picture)
    return _watched(controller, [picture] if picture else [], videos)


def _run_to_the_end(controller: Controller) -> None:
    while not controller.closed:
        controller.tick(1.0)


def _record(
    controller: Controller, screen: Screen, surface: pygame.Surface, video: Path, saved: list[Path]
) -> None:
    file = VideoFile(video, VIDEO_FRAMES_PER_SECOND)
    try:
        with file:
            while not controller.closed:
                screen.draw(surface, controller)
                file.add(to_frame(surface))
                controller.tick(1.0 / VIDEO_FRAMES_PER_SECOND)
    finally:
        if file.frames:
            saved.append(video)


def _watched(controller: Controller, pictures: list[Path], videos: list[Path]) -> Watched:
    moment = controller.rides[0].moment(controller.position)
    return Watched(
        controller.episodes_shown,
        controller.seed,
        moment.index,
        moment.episode_return,
        moment.ended,
        tuple(pictures),
        tuple(videos),
    )


def _scene(drivers: list[Any], env_id: str | EnvironmentSpec | None) -> EnvironmentSpec:
    if env_id is not None:
        return load_environment(env_id)
    for each in drivers:
        own = getattr(getattr(each, "spec", None), "env", None)
        if isinstance(own, EnvironmentSpec):
            return own
    raise UsageError("no environment to watch; name one with --env, or a run")


def _as_seen_by(policy: Any, scene: EnvironmentSpec) -> EnvironmentSpec:
    """The scene with the observation and the actions that this policy was trained with."""
    own = getattr(getattr(policy, "spec", None), "env", None)
    if not isinstance(own, EnvironmentSpec) or own == scene:
        return scene
    return as_trained(scene, own)


def _check_counts(seed: Any, episodes: Any, steps: Any) -> None:
    for name, count in (("episodes", episodes), ("steps", steps)):
        if count is not None and (isinstance(count, bool) or count < 1 or count != int(count)):
            raise UsageError(f"{name} {count!r} is not a whole number of at least 1")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed {seed!r} is not a whole number of at least 0")


def _take(slot: list[Path | None]) -> Path | None:
    path, slot[0] = slot[0], None
    return path


def _unused(stem: str, suffix: str) -> Path:
    """A file name in the working folder that is not taken."""
    path, count = Path(f"{stem}{suffix}"), 1
    while path.exists():
        count += 1
        path = Path(f"{stem}-{count}{suffix}")
    return path


class _TerminationsAsInterrupts:
    """Lets SIGTERM end the recording in the same way as Ctrl-C, while inside."""

    def __enter__(self) -> None:
        self._before: Any = None
        try:
            self._before = signal.signal(signal.SIGTERM, self._interrupt)
        except ValueError:  # not the main thread; whoever runs that one looks after signals
            self._before = None

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)


def _interrupted(error: KeyboardInterrupt, videos: list[Path]) -> Interrupted:
    number = error.args[0] if error.args else signal.SIGINT
    kept = f"; recorded so far: {videos[-1]}" if videos else ""
    return Interrupted(f"stopped watching{kept}", int(number))
