"""What the keys mean: the viewer's state, without window, clock or drawing.

Time is `position`, in decisions since the start: 3.25 is a quarter of the way from the fourth
moment to the fifth. `tick` moves it, `handle` obeys a key. Everything the window shows and does
follows from this object, so everything can be tested without one.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from drive_rl.environments.cameras import FREE_VIEWS, road_textures
from drive_rl.environments.motion import between
from drive_rl.environments.scene import FloatArray, SceneState
from drive_rl.errors import DriveRLError
from drive_rl.viewer.episode import Episode, Moment
from drive_rl.viewer.wheel import Wheel

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
STEP_SECONDS = 0.25
"""How long a single decision takes to show when stepping, at most [s]."""
END_PAUSE = 2.0
"""How long an episode's end stays before the next one begins [s]."""
NOTICE_SECONDS = 3.0
LONG_WAIT = 0.3
"""A wait for the simulation that is worth a word [s]."""
TRAIL_SECONDS = 4.0


VIEWS = ("policy", "front", "top", "off")
"""Cameras in the order of C: what the policy sees, free ones, none."""
_VIEW_NAMES = {
    "policy": "camera: what the policy sees",
    "front": "camera: free, from the ego",
    "top": "camera: free, from above",
    "off": "camera off",
}


class Command(enum.Enum):
    """What a key asks for."""

    PAUSE = enum.auto()
    STEP = enum.auto()
    STEP_BACK = enum.auto()
    SPEED_UP = enum.auto()
    SLOW_DOWN = enum.auto()
    NEXT_SEED = enum.auto()
    SAME_SEED = enum.auto()
    WHEEL = enum.auto()
    NEXT_POLICY = enum.auto()
    NEXT_TEXTURE = enum.auto()
    NEXT_CAMERA = enum.auto()
    SALIENCY = enum.auto()
    PLAN = enum.auto()
    TRAILS = enum.auto()
    SCREENSHOT = enum.auto()
    RECORD = enum.auto()
    ZOOM_IN = enum.auto()
    ZOOM_OUT = enum.auto()
    HELP = enum.auto()
    CLOSE = enum.auto()


@dataclasses.dataclass
class Ride:
    """One episode on the screen.

    Attributes:
        episode: what is driven.
        coming: what is being worked on: the next moment, or another policy's first thought.
        shown: the last scene between two moments: its position, the later moment, the scene.
    """

    episode: Episode
    coming: Future[Any] | None = None
    shown: tuple[float, Moment, SceneState] | None = None

    def moment(self, position: float) -> Moment:
        """The moment at or before a position."""
        return self.episode.moments[min(math.floor(position), len(self.episode.moments) - 1)]


class Controller:
    """The state of the viewer.

    Args:
        episodes: what drives, side by side; all start on the same seed.
        seed: of the first episode.
        decisions_per_second: of the environment, in simulated time.
        wheel: turns arrow keys into actions; None where the action space has no such meaning.
        choices: policies that NEXT_POLICY goes through, the present one first: names, and what
            makes each.
        background: whether to simulate in a thread while the last decision is being shown.
        max_episodes: how many episodes to show before closing; None never closes.
        max_decisions: decisions after which an episode counts as shown; None for no limit.
        only_seed: whether there is no other seed than the first: a replay.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        *,
        seed: int = 0,
        decisions_per_second: float = 1.0,
        wheel: Wheel | None = None,
        choices: Sequence[tuple[str, Callable[[], Any]]] = (),
        background: bool = False,
        max_episodes: int | None = None,
        max_decisions: int | None = None,
        only_seed: bool = False,
    ) -> None:
        self.rides = [Ride(episode) for episode in episodes]
        self.first_seed = self.seed = seed
        self.decisions_per_second = decisions_per_second
        self.wheel, self.wheel_taken = wheel, False
        self.max_episodes, self.max_decisions = max_episodes, max_decisions
        self.speed = 1.0
        self.position = 0.0
        self.paused = False
        self.closed = False
        self.help_shown = False
        self.plan_shown = True
        self.trails_shown = False
        self.saliency_shown = True
        self.has_camera = any(ride.episode.camera is not None for ride in self.rides)
        self.view = "policy" if self.has_camera else "off"
        self.texture: int | None = None
        self.recording = False
        self.zoom = 1.0
        self.screenshots_wanted = 0
        self.episodes_shown = 0
        self.notice = ""
        self._notice_left = 0.0
        self._step_target: int | None = None
        self._end_shown = 0.0
        self._waited = 0.0
        self._choices = list(choices)
        self._chosen = 0
        self._only_seed = only_seed
        self._worker = ThreadPoolExecutor(1, "simulation") if background else None
        self._start(seed)

    # What is to be seen

    @property
    def index(self) -> int:
        """The decision that the position has reached."""
        return math.floor(self.position)

    @property
    def at_end(self) -> bool:
        """Whether every ride has shown its end."""
        return all(self._ride_ended(ride) for ride in self.rides)

    @property
    def waiting(self) -> bool:
        """Whether the picture has been waiting for the simulation."""
        return self._waited > LONG_WAIT

    def ending(self, ride: Ride) -> str | None:
        """How a ride has ended (see `Moment.ended`), None while it has not."""
        if not self._ride_ended(ride):
            return None
        return ride.episode.moments[-1].ended or ("replayed" if self._only_seed else "time limit")

    def scene(self, ride: Ride) -> SceneState:
        """What a ride looks like at the present position."""
        moments = ride.episode.moments
        index = min(self.index, len(moments) - 1)
        share = self.position - index
        if index + 1 >= len(moments) or share <= 0:
            return moments[index].scene
        if ride.shown is None or ride.shown[:2] != (self.position, moments[index + 1]):
            frames = (moments[index].scene, *moments[index + 1].frames)
            place = min(share, 1.0) * (len(frames) - 1)
            before = min(math.floor(place), len(frames) - 2)
            scene = between(frames[before], frames[before + 1], place - before)
            ride.shown = (self.position, moments[index + 1], scene)
        return ride.shown[2]

    def trails(self, ride: Ride) -> list[FloatArray]:
        """Where every vehicle of a ride has been in the last seconds, oldest point first."""
        since = max(0, math.floor(self.position - TRAIL_SECONDS * self.decisions_per_second))
        now = self.scene(ride)
        scenes = [
            scene
            for moment in ride.episode.moments[since : self.index + 2]
            for scene in moment.frames[::2]
            if scene.time < now.time
        ]
        paths: dict[int, list[FloatArray]] = {int(name): [] for name in now.identity}
        for scene in [*scenes, now]:
            for name, place, kind in zip(scene.identity, scene.position, scene.kind, strict=True):
                if kind <= 1 and int(name) in paths:
                    paths[int(name)].append(place)
        return [np.array(path) for path in paths.values() if len(path) > 1]

    # What changes it

    def handle(self, command: Command) -> None:
        """Obey a key."""
        _HANDLERS[command](self)

    def tick(self, seconds: float) -> None:
        """Let time pass by the clock on the wall."""
        self._notice_left -= seconds
        if self._notice_left <= 0:
            self.notice = ""
        for ride in self.rides:
            self._collect(ride)
        if self.closed:
            return
        if self.paused:
            self._tick_step(seconds)
        elif self.at_end:
            self._end_shown += seconds
            if self._end_shown >= END_PAUSE:
                self._finish_episode()
        else:
            before = self.position
            self._advance(seconds * self.speed * self.decisions_per_second)
            self._waited = 0.0 if self.position > before else self._waited + seconds

    def say(self, notice: str) -> None:
        """Show a line for a few seconds."""
        self.notice, self._notice_left = notice, NOTICE_SECONDS

    def close(self) -> None:
        """Stop simulating."""
        self.closed = True
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)

    def _tick_step(self, seconds: float) -> None:
        if self._step_target is None:
            return
        rate = max(self.speed * self.decisions_per_second, 1 / STEP_SECONDS)
        if self._step_target > self.position:
            self._advance(min(seconds * rate, self._step_target - self.position))
            if self.at_end:
                self._step_target = None
        else:
            self.position = max(self.position - seconds * rate, float(self._step_target))
        if self._step_target is not None and abs(self.position - self._step_target) < 1e-9:
            self.position, self._step_target = float(self._step_target), None

    def _advance(self, decisions: float) -> None:
        """Move the position on, no further than what is simulated."""
        goal = self.position + decisions
        while self.position < goal and not self.at_end:
            following = math.floor(self.position) + 1
            for ride in self.rides:
                self._want(ride, following)
            if not all(self._is_known(ride, following) for ride in self.rides):
                break
            self.position = float(following) if goal > following - 1e-9 else goal
        if self._worker is not None and not self.wheel_taken:
            for ride in self.rides:
                self._want(ride, self.index + 2)

    def _is_known(self, ride: Ride, index: int) -> bool:
        last = len(ride.episode.moments) - 1
        return index <= last or self._ended_by(ride, last)

    def _want(self, ride: Ride, count: int) -> None:
        """Have moment `count` simulated, now or in the background."""
        while len(ride.episode.moments) <= count and ride.coming is None:
            if self._ended_by(ride, len(ride.episode.moments) - 1):
                return
            action = None
            if self.wheel_taken and self.wheel is not None and ride is self.rides[0]:
                action = self.wheel.action()
            if self._worker is not None:
                ride.coming = self._worker.submit(ride.episode.extend, action)
                return
            ride.episode.extend(action)

    def _ended_by(self, ride: Ride, index: int) -> bool:
        """Whether a ride is over at moment `index`, by itself or by the limit of decisions."""
        moment = ride.episode.moments[index]
        limit = self.max_decisions
        return moment.ended is not None or (limit is not None and moment.index >= limit)

    def _ride_ended(self, ride: Ride) -> bool:
        last = len(ride.episode.moments) - 1
        return self.position >= last and self._ended_by(ride, last)

    @staticmethod
    def _collect(ride: Ride) -> None:
        if ride.coming is not None and ride.coming.done():
            coming, ride.coming = ride.coming, None
            coming.result()  # raises here what was raised there

    def _settle(self) -> None:
        """Wait until nothing is being simulated."""
        for ride in self.rides:
            if ride.coming is not None:
                coming, ride.coming = ride.coming, None
                coming.result()

    def _rewrite(self) -> None:
        """Let what comes after the present moment be decided anew."""
        self._settle()
        for ride in self.rides:
            ride.episode.cut(math.ceil(self.position))

    def _start(self, seed: int) -> None:
        self._settle()
        self.seed, self.position = seed, 0.0
        self._step_target, self._end_shown, self._waited = None, 0.0, 0.0
        for ride in self.rides:
            ride.episode.start(seed)

    def _finish_episode(self) -> None:
        self.episodes_shown += 1
        if self.max_episodes is not None and self.episodes_shown >= self.max_episodes:
            self.closed = True
        else:
            self._next_seed()

    def _next_seed(self) -> None:
        if self._only_seed:
            self.say("a stored episode has one seed")
        self._start(self.seed if self._only_seed else self.seed + 1)

    def _toggle_pause(self) -> None:
        self.paused = not self.paused
        self._step_target = None
        if self.wheel_taken:  # whoever drives does not repeat what was driven before
            self._rewrite()

    def _step(self, count: int) -> None:
        self.paused = True
        target = self._step_target
        if self.wheel_taken and count > 0:
            self._rewrite()
        if target is None:
            target = math.floor(self.position) if count > 0 else math.ceil(self.position)
        self._step_target = max(target + count, 0)

    def _change_speed(self, by: int) -> None:
        at = SPEEDS.index(self.speed) + by
        self.speed = SPEEDS[min(max(at, 0), len(SPEEDS) - 1)]
        self.say(f"speed {self.speed:g}x")

    def _take_wheel(self) -> None:
        if self.wheel is None:
            self.say("the arrows cannot drive this kind of action")
            return
        self.wheel_taken = not self.wheel_taken
        self.wheel.release()
        self._rewrite()
        self.say("you drive: arrows" if self.wheel_taken else "the policy drives")

    def _next_policy(self) -> None:
        if len(self._choices) < 2:
            self.say("there is no other policy")
            return
        self._rewrite()
        self._chosen = (self._chosen + 1) % len(self._choices)
        name, make = self._choices[self._chosen]
        self.say(f"policy: {name}")
        ride = self.rides[0]
        if self._worker is None:
            self._switch(ride, name, make)
        else:  # a planner may take its time for the first thought
            ride.coming = self._worker.submit(self._switch, ride, name, make)

    def _switch(self, ride: Ride, name: str, make: Callable[[], Any]) -> None:
        """Put another policy at the wheel, or say why it cannot drive here."""
        try:
            ride.episode.set_policy(make(), name)
        except DriveRLError as error:
            self.say(f"{ride.episode.name} stays: {str(error).partition(';')[0]}")

    def _next_camera(self) -> None:
        views = VIEWS if self.has_camera else VIEWS[1:]
        self.view = views[(views.index(self.view) + 1) % len(views)]
        if self.view in FREE_VIEWS and not any(ride.episode.has_road for ride in self.rides):
            self.view = views[-1]
            self.say("no camera: this environment does not tell its road")
        else:
            self.say(_VIEW_NAMES[self.view])

    def _next_texture(self) -> None:
        if self.view == "off" and not self.has_camera:
            self.say("textures are seen by cameras only: C switches one on")
            return
        names = road_textures(self.rides[0].episode.camera)[0]
        following = 0 if self.texture is None else self.texture + 1
        self.texture = following if following < len(names) else None
        self.say(f"road: {'its own' if self.texture is None else names[self.texture]}")
        if not self.has_camera:
            return
        self._settle()
        for ride in self.rides:
            last = len(ride.episode.moments) - 1
            index, shown = (min(at, last) for at in (math.ceil(self.position), self.index))
            if self._worker is None:
                ride.episode.set_texture(self.texture, index, shown)
            else:
                ride.coming = self._worker.submit(
                    ride.episode.set_texture, self.texture, index, shown
                )

    def _toggle(self, name: str, label: str) -> None:
        setattr(self, name, not getattr(self, name))
        if label:
            self.say(f"{label} {'on' if getattr(self, name) else 'off'}")

    def _change_zoom(self, factor: float) -> None:
        self.zoom = min(max(self.zoom * factor, 0.25), 4.0)

    def _want_screenshot(self) -> None:
        self.screenshots_wanted += 1

    def _close(self) -> None:
        self.closed = True


_HANDLERS: dict[Command, Callable[[Controller], None]] = {
    Command.PAUSE: Controller._toggle_pause,
    Command.STEP: lambda c: c._step(1),
    Command.STEP_BACK: lambda c: c._step(-1),
    Command.SPEED_UP: lambda c: c._change_speed(1),
    Command.SLOW_DOWN: lambda c: c._change_speed(-1),
    Command.NEXT_SEED: Controller._next_seed,
    Command.SAME_SEED: lambda c: c._start(c.seed),
    Command.WHEEL: Controller._take_wheel,
    Command.NEXT_POLICY: Controller._next_policy,
    Command.NEXT_TEXTURE: Controller._next_texture,
    Command.NEXT_CAMERA: Controller._next_camera,
    Command.SALIENCY: lambda c: c._toggle("saliency_shown", "saliency"),
    Command.PLAN: lambda c: c._toggle("plan_shown", "planned lane"),
    Command.TRAILS: lambda c: c._toggle("trails_shown", "trails"),
    Command.SCREENSHOT: Controller._want_screenshot,
    Command.RECORD: lambda c: c._toggle("recording", ""),
    Command.ZOOM_IN: lambda c: c._change_zoom(1.25),
    Command.ZOOM_OUT: lambda c: c._change_zoom(1 / 1.25),
    Command.HELP: lambda c: c._toggle("help_shown", ""),
    Command.CLOSE: Controller._close,
}
