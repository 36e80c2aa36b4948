"""The window: what arrives from the keyboard, what is shown, and when."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pygame

from drive_rl.environments.rendering import to_frame
from drive_rl.errors import DriveRLError
from drive_rl.viewer import keys
from drive_rl.viewer.controller import Command, Controller
from drive_rl.viewer.output import VideoFile, save_picture
from drive_rl.viewer.screen import Screen, default_size, draw_preparing

Result = TypeVar("Result")

FRAMES_PER_SECOND = 60
VIDEO_FRAMES_PER_SECOND = 30
LONGEST_TICK = 0.1
"""A frame that took longer counts as this: a stall is not to be caught up with [s]."""
SWITCH_INTERVAL = 0.0005
"""How soon drawing makes way for the simulation's thread [s]; Python's own is 5 ms, which that
thread would wait for after every call into torch."""
INVISIBLE_DRIVERS = ("dummy", "offscreen", "evdev")

NO_DISPLAY = (
    "there is no display to open a window on ({reason}); add --headless with "
    "--record FILE.mp4 or --screenshot FILE.png"
)


class Window:
    """A pygame window that shows a controller and obeys its keys.

    It opens at once, says that it is preparing while `wait_for` runs, and shows what it is given.

    Raises:
        DriveRLError: there is no display that a person could see.
    """

    def __init__(self) -> None:
        self.pictures: list[Path] = []
        self.videos: list[Path] = []
        self._video: VideoFile | None = None
        self._since_video_frame = 0.0
        open_display()
        pygame.display.set_caption("drive-rl")
        self.surface = _open(default_size(wide=True, rides=1))
        pygame.key.set_repeat(0)

    def wait_for(self, work: Callable[[], Result]) -> Result | None:
        """What `work` returns; None if the window was closed before.

        It runs in a thread, for loading a policy takes seconds and compiling the simulator, once
        on a machine, a minute: a window that does not answer for so long looks broken.
        """
        results: list[Result] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # it is raised again below
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        clock, begun = pygame.time.Clock(), time.monotonic()
        while thread.is_alive():
            for event in pygame.event.get():
                escape = event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE
                if escape or event.type == pygame.QUIT:
                    return None
            self.surface = pygame.display.get_surface() or self.surface
            draw_preparing(self.surface, time.monotonic() - begun)
            pygame.display.flip()
            clock.tick(20)
        if errors:
            raise errors[0]
        return results[0]

    def show(
        self,
        controller: Controller,
        screen: Screen,
        title: str,
        picture_path: Callable[[], Path],
        video_path: Callable[[], Path],
    ) -> None:
        """Show a controller until it is closed.

        Args:
            controller: what is shown.
            screen: how it is drawn.
            title: of the window.
            picture_path: names the file of the next screenshot.
            video_path: names the file of the next recording.
        """
        self.controller, self.screen = controller, screen
        self._picture_path, self._video_path = picture_path, video_path
        pygame.display.set_caption(title)
        size = default_size(screen.wide, len(controller.rides))
        if size != default_size(wide=True, rides=1):
            self.surface = _open(size)
        self._run()

    def _run(self) -> None:
        clock = pygame.time.Clock()
        seconds = 0.0
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            while not self.controller.closed:
                self._handle_events()
                self.controller.tick(min(seconds, LONGEST_TICK))
                self.surface = pygame.display.get_surface() or self.surface
                self.screen.draw(self.surface, self.controller)
                self._save(seconds)
                pygame.display.flip()
                seconds = clock.tick(FRAMES_PER_SECOND) / 1000
        except BaseException:
            self._end_video(keep=isinstance(sys.exception(), KeyboardInterrupt))
            raise
        else:
            self._end_video(keep=True)
        finally:
            sys.setswitchinterval(before)
            self.controller.close()

    def close(self) -> None:
        """Take the window off the screen."""
        pygame.display.quit()

    def _handle_events(self) -> None:
        controller = self.controller
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                controller.handle(Command.CLOSE)
            elif event.type == pygame.KEYDOWN:
                if controller.wheel_taken and controller.wheel and event.key in keys.ARROWS:
                    controller.wheel.press(keys.ARROWS[event.key])
                    continue
                command = keys.command(event.key, controller.wheel_taken)
                if command is not None:
                    controller.handle(command)
            elif event.type == pygame.KEYUP:
                if controller.wheel and event.key in keys.ARROWS:
                    controller.wheel.lift(keys.ARROWS[event.key])
            elif event.type == pygame.MOUSEWHEEL and event.y:
                controller.handle(Command.ZOOM_IN if event.y > 0 else Command.ZOOM_OUT)

    def _save(self, seconds: float) -> None:
        """Whatever of the picture just drawn belongs on disk."""
        controller = self.controller
        while controller.screenshots_wanted:
            controller.screenshots_wanted -= 1
            try:
                path = self._picture_path()
                save_picture(self.surface, path)
            except DriveRLError as error:
                controller.say(str(error))
            else:
                self.pictures.append(path)
                controller.say(f"saved {path}")
        if controller.recording:
            self._record(seconds)
        elif self._video is not None:
            self._end_video(keep=True)

    def _record(self, seconds: float) -> None:
        if self._video is None:
            path = self._video_path()
            self._video = VideoFile(path, VIDEO_FRAMES_PER_SECOND)
            self._since_video_frame = 1.0 / VIDEO_FRAMES_PER_SECOND
            self.controller.say(f"recording {path}")
        self._since_video_frame += min(seconds, LONGEST_TICK)
        while self._since_video_frame >= 1.0 / VIDEO_FRAMES_PER_SECOND:
            self._since_video_frame -= 1.0 / VIDEO_FRAMES_PER_SECOND
            self._video.add(to_frame(self.surface))

    def _end_video(self, *, keep: bool) -> None:
        if self._video is None:
            return
        video, self._video = self._video, None
        if not keep:
            video.discard()
        elif video.close():
            self.videos.append(video.path)
            self.controller.say(f"saved {video.path}")


def open_display() -> None:
    """Connect to a display that a person can see.

    Raises:
        DriveRLError: there is none. SDL falls back to drivers that show nothing, in silence.
    """
    chosen = os.environ.get("SDL_VIDEODRIVER")
    if not chosen and sys.platform.startswith("linux"):
        screens = ("DISPLAY", "WAYLAND_DISPLAY")
        if not any(os.environ.get(name) for name in screens) and not Path("/dev/dri").exists():
            raise DriveRLError(
                NO_DISPLAY.format(reason="neither DISPLAY nor WAYLAND_DISPLAY is set")
            )
    try:
        pygame.display.init()
    except pygame.error as error:
        raise DriveRLError(NO_DISPLAY.format(reason=error)) from error
    driver = pygame.display.get_driver()
    if driver in INVISIBLE_DRIVERS:
        pygame.display.quit()
        raise DriveRLError(NO_DISPLAY.format(reason=f"SDL's video driver is {driver!r}"))


def _open(size: tuple[int, int]) -> pygame.Surface:
    try:
        return pygame.display.set_mode(_fitting_the_desktop(size), pygame.RESIZABLE)
    except pygame.error as error:
        pygame.display.quit()
        raise DriveRLError(NO_DISPLAY.format(reason=error)) from error


def _fitting_the_desktop(size: tuple[int, int]) -> tuple[int, int]:
    """The window's first size: not larger than the desktop, twice as large on a very fine one."""
    desktops = pygame.display.get_desktop_sizes()
    if not desktops:
        return size
    width, height = desktops[0]
    factor = min(0.95 * width / size[0], 0.9 * height / size[1])
    finest = 2.0 if factor >= 2.6 else 1.5 if factor >= 1.9 else 1.0
    factor = min(factor, finest)
    return (round(size[0] * factor), round(size[1] * factor))
