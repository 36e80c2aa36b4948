"""A run's folder and its run.yaml: made whole or not at all, read without running anything."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.runs.checkpoint import steps_in, write_text_atomically

SCHEMA = 1
RUN_FILE = "run.yaml"
CHECKPOINTS = "checkpoints"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(DriveRLError):
    """There is no room to write to."""


def check_available(path: Path, again: str | None = None) -> None:
    """Refuse a place for a new run that is taken.

    Args:
        again: how a run that is there is continued; None for a policy's.

    Raises:
        UsageError: it exists and is not an empty folder.
    """
    if (path / RUN_FILE).exists():
        how = again or f"`drive-rl resume {path}`"
        raise UsageError(f"{path}: a run exists there; {how} continues it, or name another folder")
    if path.is_dir():
        try:
            if any(path.iterdir()):
                raise UsageError(f"{path}: the folder exists and is not empty; name another one")
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    elif path.exists() or path.is_symlink():
        raise UsageError(f"{path}: exists and is not a folder; name another one")


def make_folder(path: Path, document: Mapping[str, Any], again: str | None = None) -> None:
    """Make a run's folder with its run.yaml, or leave nothing behind.

    Args:
        document: what run.yaml says beside its schema.
        again: as of `check_available`.

    Raises:
        UsageError: the folder exists and is not empty, or cannot be made.
    """
    check_available(path, again)
    text = yaml.safe_dump({"schema": SCHEMA, **document}, sort_keys=False, allow_unicode=True)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / CHECKPOINTS).mkdir()
        write_text_atomically(path / RUN_FILE, text)
    except OSError as error:
        with contextlib.suppress(OSError):
            for folder in (path / CHECKPOINTS, *made):
                folder.rmdir()
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from None


def read_document(path: Path, kind: str | None = None, what: str = "run folder") -> dict[str, Any]:
    """What a run's run.yaml says.

    Args:
        kind: of run that it must be, as run.yaml names it; None for a policy's.
        what: it is to be, in words.

    Raises:
        UsageError: no such folder, no run in it, or one of another kind.
    """
    file = path / RUN_FILE
    if not path.is_dir():
        raise UsageError(f"{path}: no such run folder")
    if not file.is_file():
        raise UsageError(f"{path}: not a {what} (it has no {RUN_FILE})")
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        schema, found = document["schema"], document.get("kind")
        if not isinstance(document["spec"], dict):
            raise TypeError("its spec is no mapping")
    except (
        OSError,
        yaml.YAMLError,
        ValueError,  # UnicodeDecodeError too
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise not_a_run(path, error) from None
    if found != kind:
        names = [name or "policy" for name in (found, kind)]
        raise UsageError(f"{path}: a run of kind {names[0]}, not {names[1]}")
    if schema != SCHEMA:
        raise UsageError(f"{file}: has schema {schema}; this version reads {SCHEMA}")
    return dict(document)


def not_a_run(path: Path, error: Exception) -> UsageError:
    """That the run.yaml in a folder describes no run."""
    reason = " ".join(str(error).split())[:200]
    return UsageError(f"{path / RUN_FILE}: not the description of a run ({reason})")


def last_good(path: Path) -> str:
    """Where one can go on after what went wrong."""
    steps = steps_in(path / CHECKPOINTS)
    if not steps:
        return "before the first checkpoint"
    return f"the last good checkpoint is {path / CHECKPOINTS / str(steps[-1])}"


@contextlib.contextmanager
def explained_disk(path: Path, again: str | None = None) -> Iterator[None]:
    """A full disk as one clear line.

    Args:
        path: the run's folder.
        again: as of `check_available`.

    Raises:
        DiskFull: says which checkpoint is whole.
    """
    tell = threading.excepthook

    def tell_others(failure: threading.ExceptHookArgs) -> None:
        # TensorBoard's thread met it first; its next call from this one raises it here.
        if not _is_full(failure.exc_value):
            tell(failure)

    threading.excepthook = tell_others
    try:
        yield
    except OSError as error:
        if not _is_full(error):
            raise
        steps = steps_in(path / CHECKPOINTS)
        kept = f"checkpoint {steps[-1]} is whole" if steps else "there is no checkpoint yet"
        raise DiskFull(
            f"{path}: no space left on the disk; stopped, {kept}; make room, then "
            + (again or f"`drive-rl resume {path}`")
        ) from error
    finally:
        threading.excepthook = tell


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_SPACE
