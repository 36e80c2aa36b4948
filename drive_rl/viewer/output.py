"""Pictures and videos on disk: there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pygame

from drive_rl.environments.video import VIDEO_FORMATS, VideoFile, beside, check_target
from drive_rl.errors import DriveRLError

__all__ = ["PICTURE_FORMATS", "VIDEO_FORMATS", "VideoFile", "check_target", "save_picture"]

PICTURE_FORMATS = (".png", ".jpg", ".jpeg")


def save_picture(surface: pygame.Surface, path: Path) -> None:
    """Write a surface as PNG or JPEG.

    Raises:
        DriveRLError: it cannot be written; nothing is left behind.
    """
    unfinished = beside(path)
    try:
        pygame.image.save(surface, str(unfinished))
        os.replace(unfinished, path)
    except (OSError, pygame.error) as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise DriveRLError(f"cannot write picture {str(path)!r}: {error}") from error
