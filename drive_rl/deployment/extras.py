"""Packages that only some commands need."""

from __future__ import annotations

import importlib
from typing import Any

from drive_rl.errors import DriveRLError


def needs(module: str, extra: str) -> Any:
    """The module, or one line that says how to get it.

    Args:
        module: its import name.
        extra: the extra of drive-rl that brings it.

    Raises:
        DriveRLError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = module if getattr(error, "name", None) in (None, module) else error.name
        raise DriveRLError(
            f"{missing} cannot be loaded ({error}); it comes with the extra {extra!r}: "
            f"pip install 'drive-rl[{extra}]'"
        ) from None
