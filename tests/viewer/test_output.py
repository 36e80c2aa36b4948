"""Files are whole or absent."""

from __future__ import annotations

import os
import signal
import threading

import imageio.v3 as iio
import numpy as np
import pygame
import pytest

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.viewer.output import (
    PICTURE_FORMATS,
    VIDEO_FORMATS,
    VideoFile,
    check_target,
    save_picture,
)


def frames(count, size=(64, 96)):
    for i in range(count):
        yield np.full((*size, 3), 20 * i, dtype=np.uint8)


def test_a_video_decodes_to_the_frames_that_went_in(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoFile(path, 30) as video:
        for frame in frames(10):
            video.add(frame)
        assert not path.exists()
    decoded = iio.imread(path)
    assert decoded.shape == (10, 64, 96, 3)
    np.testing.assert_allclose(decoded.mean(axis=(1, 2, 3)), np.arange(10) * 20, atol=4)
    assert iio.immeta(path)["fps"] == 30
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_a_video_of_an_odd_size_loses_a_line_and_of_a_changing_size_keeps_the_first(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoFile(path) as video:
        video.add(np.zeros((65, 97, 3), np.uint8))
        video.add(np.zeros((200, 300, 3), np.uint8))
    assert iio.imread(path).shape == (2, 64, 96, 3)


def test_an_error_leaves_nothing_and_an_older_video_alone(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")
    with pytest.raises(ZeroDivisionError), VideoFile(path) as video:  # noqa: PT012
        video.add(np.zeros((64, 64, 3), np.uint8))
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert path.read_bytes() == b"older"


def test_an_interruption_keeps_what_was_recorded(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt), VideoFile(path) as video:  # noqa: PT012
        for frame in frames(3):
            video.add(frame)
        raise KeyboardInterrupt
    assert len(iio.imread(path)) == 3


def test_an_interruption_within_a_write_waits_for_its_end(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (8, 360, 640, 4), dtype=np.uint8)
    path = tmp_path / "out.mp4"
    # Where SIGINT is ignored, as it is for a shell's background jobs, Python leaves it so
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for attempt in range(3):
            with pytest.raises(KeyboardInterrupt), VideoFile(path) as video:  # noqa: PT012
                video.add(noise[0])
                timer = threading.Timer(0.1 + 0.05 * attempt, signal.raise_signal, (signal.SIGINT,))
                timer.start()
                for _ in range(100):  # longer than the timer: most of it is writing
                    for frame in noise:
                        video.add(frame)
            assert len(iio.imread(path)) == video.frames
            assert os.listdir(tmp_path) == ["out.mp4"]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    import drive_rl.environments.video as output

    full = tmp_path / "full.mkv"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(output, "beside", lambda path: full)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (80, 256, 256, 3), dtype=np.uint8)

    def record() -> None:
        with VideoFile(tmp_path / "out.mkv") as video:
            for frame in noise:
                video.add(frame)

    with pytest.raises(DriveRLError, match=r"cannot write video .*out\.mkv") as caught:
        record()
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "formats", "message"),
    [
        ("out.avi", VIDEO_FORMATS, r"does not end in \.mp4"),
        ("out", PICTURE_FORMATS, r"does not end in \.png"),
        ("folder.png", PICTURE_FORMATS, "is a folder"),
    ],
)
def test_a_wrong_name_is_refused_before_any_work(tmp_path, name, formats, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=message):
        check_target(tmp_path / name, formats, "file")


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DriveRLError, match="cannot write video"):
        check_target(tmp_path / "file" / "out.mp4", VIDEO_FORMATS, "video")


def test_a_picture_is_what_was_drawn(tmp_path):
    surface = pygame.Surface((40, 30), 0, 32)
    surface.fill((10, 200, 30))
    save_picture(surface, tmp_path / "out.png")
    picture = iio.imread(tmp_path / "out.png")
    assert picture.shape[:2] == (30, 40)
    assert (picture[..., :3] == (10, 200, 30)).all()
    assert os.listdir(tmp_path) == ["out.png"]
