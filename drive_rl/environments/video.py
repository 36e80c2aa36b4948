"""Videos on disk: there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pygame

from drive_rl.errors import DriveRLError, UsageError

VIDEO_FORMATS = (".mp4", ".mkv", ".webm")
_STREAMED = ["-movflags", "+faststart"]  # browsers can play it while it arrives


def check_target(path: Path, formats: tuple[str, ...], what: str) -> None:
    """See that a file can be written before any work is done for it.

    Raises:
        UsageError: another format, or a folder's name.
        DriveRLError: a folder that cannot be written.
    """
    if path.suffix.lower() not in formats:
        raise UsageError(f"{what} {str(path)!r} does not end in {', '.join(formats)}")
    if path.is_dir():
        raise UsageError(f"{what} {str(path)!r} is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DriveRLError(f"cannot write {what} {str(path)!r}: {error.strerror}") from error


def beside(path: Path) -> Path:
    """A name for the unfinished file, in the same folder and of the same format."""
    return path.with_name(f".{path.stem}.{os.getpid()}.unfinished{path.suffix}")


class VideoFile:
    """A video, written beside its place and moved there by `close`.

    Args:
        path: ends in one of `VIDEO_FORMATS`.
        frames_per_second: of the video.
        quality: 0 to 10, imageio's.
        preset: x264's; "veryfast" takes half the time of the default, for files a tenth larger,
            "ultrafast" half of that, for twice the size.

    As a context manager: an exception inside discards the video, but for an interruption by the
    user, which keeps what there is.
    """

    def __init__(
        self,
        path: Path,
        frames_per_second: int = 30,
        quality: int = 8,
        preset: str = "veryfast",
    ) -> None:
        check_target(path, VIDEO_FORMATS, "video")
        self.path = path
        self.frames = 0
        self._rate = frames_per_second
        self._quality = quality
        self._preset = preset
        self._unfinished = beside(path)
        self._size: tuple[int, int] | None = None
        self._writer: Any = None

    def add(self, picture: npt.NDArray[np.uint8]) -> None:
        """Append a frame, uint8: RGB (height, width, 3), or BGRX (height, width, 4).

        Later ones are of the same kind, and fitted to the first one's size.

        Raises:
            DriveRLError: the file cannot be written, for a full disk.
        """
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
        if self._size is None:
            self._size = (height, width)
            self._writer = self._open(picture.shape[2])
        elif self._size != (height, width):
            picture = _fitted(picture, self._size)
        picture = picture[: self._size[0], : self._size[1]]
        try:
            with _uninterrupted():
                self._writer.append_data(np.ascontiguousarray(picture))
                self.frames += 1
        except (OSError, RuntimeError) as error:
            self.discard()
            raise DriveRLError(f"cannot write video {str(self.path)!r}: {_first(error)}") from error

    def close(self) -> bool:
        """Finish the video and put it in its place; False where there was no frame."""
        if self._writer is None:
            return False
        try:
            with _uninterrupted():
                self._writer.close()
                self._writer = None
                if not self._unfinished.stat().st_size:
                    raise OSError("the encoder wrote nothing")
                os.replace(self._unfinished, self.path)
        except (OSError, RuntimeError) as error:
            self.discard()
            raise DriveRLError(f"cannot write video {str(self.path)!r}: {_first(error)}") from error
        return True

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError, RuntimeError):
            if self._writer is not None:
                self._writer.close()
        self._writer = None
        with contextlib.suppress(OSError):
            self._unfinished.unlink()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            self.close()
        else:
            self.discard()

    def _open(self, channels: int) -> Any:
        import imageio

        encoding = ["-preset", self._preset, *_STREAMED]
        try:
            return imageio.get_writer(
                self._unfinished,
                format="FFMPEG",
                fps=self._rate,
                quality=self._quality,
                macro_block_size=2,
                ffmpeg_log_level="error",
                input_params=["-pix_fmt", "bgr0"] if channels == 4 else None,
                output_params=encoding if self.path.suffix.lower() != ".webm" else None,
            )
        except (OSError, RuntimeError, ImportError) as error:
            raise DriveRLError(f"cannot write video {str(self.path)!r}: {_first(error)}") from error


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back until the end of the block, and lets them act then.

    imageio kills its encoder where one arrives within a write, and the file is then no video. Only
    the main thread gets signals; elsewhere there is nothing to hold back.
    """
    before: dict[int, Any] = {}
    arrived: list[int] = []
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, lambda which, _: arrived.append(which))
        yield
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def _fitted(picture: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The picture at another size; a window may be resized while it is recorded."""
    height, width, channels = picture.shape
    layout: Any = "RGB" if channels == 3 else "RGBX"  # the order of colours does not matter here
    surface = pygame.image.frombytes(picture.tobytes(), (width, height), layout)
    scaled = pygame.transform.smoothscale(surface, (size[1], size[0]))
    return np.frombuffer(pygame.image.tobytes(scaled, layout), np.uint8).reshape(*size, channels)


def _first(error: BaseException) -> str:
    """The first line of a message; the encoder's go on for pages."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
