"""The real window on a real X server, told what to do by key events."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

needed = ("Xvfb", "xdotool")
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in needed), reason=f"needs {' and '.join(needed)}"
)
PATIENCE = 60.0
SMALL_CAMERA = """
base: highway-fast-v0
config:
  vehicles_count: 4
  observation: {type: CameraObservation, width: 48, height: 48, stack_size: 1}
"""


@pytest.fixture(scope="module")
def display():
    """The name of an X server of our own."""
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1400x900x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait(10)


class Viewer:
    """`drive-rl watch` in a folder of its own."""

    def __init__(self, display: str, folder: Path, *arguments: str) -> None:
        self.folder = folder
        hidden = ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY")
        self.env = {k: v for k, v in os.environ.items() if k not in hidden} | {"DISPLAY": display}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from drive_rl.cli import main; main()", "watch", *arguments],
            env=self.env,
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    def press(self, *keys: str) -> None:
        subprocess.run(["xdotool", "key", *keys], env=self.env, check=True)
        time.sleep(0.15)

    def picture(self) -> np.ndarray:
        """Press S, and read what that saved."""
        before = set(self.folder.glob("drive-rl-*.png"))
        deadline = time.monotonic() + PATIENCE
        pressed = 0.0
        while not (new := set(self.folder.glob("drive-rl-*.png")) - before):
            assert time.monotonic() < deadline, "S saved no picture"
            assert self.process.poll() is None, self.process.stderr.read()
            if time.monotonic() - pressed > 3.0:  # the window may not be there yet
                self.press("s")
                pressed = time.monotonic()
            time.sleep(0.05)
        return iio.imread(max(new)).astype(int)

    def close(self) -> int:
        if self.process.poll() is None:
            self.press("Escape")
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()


@pytest.fixture
def viewer(display, tmp_path):
    started: list[Viewer] = []

    def start(*arguments: str) -> Viewer:
        started.append(Viewer(display, tmp_path, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()


def road(picture: np.ndarray) -> np.ndarray:
    """The upper part of the scene: no notices there, no figures."""
    return picture[60:250]


def test_keys_do_what_the_help_says(viewer, tmp_path):
    window = viewer(
        *("--env", "highway-fast-v0", "--policy", "idle", "--seed", "2"),
        *("--engine", "reference"),
    )
    first, second = window.picture(), window.picture()
    assert (road(first) != road(second)).any(), "it does not drive"

    window.press("space")
    paused = window.picture()
    time.sleep(0.5)
    np.testing.assert_array_equal(road(paused), road(window.picture()))

    window.press("Right")
    time.sleep(0.8)
    here = window.picture()
    assert (road(here) != road(paused)).any(), "Right did not move the ego"
    window.press("Right")
    time.sleep(0.8)
    there = window.picture()
    assert (road(there) != road(here)).any()
    window.press("Left")
    time.sleep(0.8)
    np.testing.assert_array_equal(road(window.picture()), road(here))

    window.press("h")
    covered = window.picture()
    assert (road(covered) != road(here)).mean() > 0.1
    window.press("h")

    window.press("v")
    time.sleep(2.0)
    window.press("v")
    deadline = time.monotonic() + PATIENCE
    while not (videos := list(tmp_path.glob("drive-rl-*.mp4"))):
        assert time.monotonic() < deadline, "V saved no video"
        time.sleep(0.05)
    assert len(iio.imread(videos[0])) >= 1

    window.press("r")
    assert (road(window.picture()) != road(here)).any()
    assert any("seed3" in path.name for path in tmp_path.glob("drive-rl-*.png"))
    assert window.close() == 0


def test_a_window_records_and_saves_its_last_picture_where_it_is_told(viewer, tmp_path):
    window = viewer(
        *("--env", "roundabout-v1", "--policy", "random", "--engine", "reference"),
        *("--record", "out.mp4", "--screenshot", "out.png", "--steps", "1", "--episodes", "1"),
    )
    assert window.process.wait(PATIENCE) == 0
    assert len(iio.imread(tmp_path / "out.mp4")) >= 5
    assert iio.imread(tmp_path / "out.png").std() > 10
    assert sorted(os.listdir(tmp_path)) == ["out.mp4", "out.png"]


def test_camera_keys_in_a_real_window(viewer, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL_CAMERA)
    window = viewer(
        *("--env", "small.yaml", "--policy", "idle", "--seed", "2", "--engine", "reference"),
    )
    window.picture()
    window.press("space")
    plain = window.picture()
    camera = (slice(330, 560), slice(240, 520))
    assert plain[camera].std() > 20, "there is no camera in the panel"
    window.press("t")
    deadline = time.monotonic() + PATIENCE
    while ((other := window.picture())[camera] != plain[camera]).mean() < 0.05:
        assert time.monotonic() < deadline, "T changed nothing"
    np.testing.assert_array_equal(road(other)[:150], road(plain)[:150])
    window.press("c")
    assert (window.picture()[camera] != other[camera]).mean() > 0.2
    window.press("c", "c")
    without = window.picture()
    assert (without[340:360] != plain[340:360]).mean() > 0.2, "the panel has not made room"
    assert window.close() == 0


def test_an_error_while_preparing_is_one_line(viewer):
    window = viewer("--env", "highway-v0", "--policy", "no-such-run")
    _, errors = window.process.communicate(timeout=PATIENCE)
    assert window.process.returncode == 2
    assert errors.splitlines()[-1].startswith("drive-rl: error: ")
    assert "Traceback" not in errors
