"""One process per run: run.lock, held by the operating system and so never stale."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from drive_rl.errors import DriveRLError

NAME = "run.lock"


class RunLock:
    """Exclusive ownership of a run folder, for as long as it is entered or the process lives.

    The lock is the system's lock on the file, which ends with the process, however it ends. The
    process id written into the file is for people.

    Raises:
        DriveRLError: another process owns the run (named by its id).
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._handle: int | None = None

    def __enter__(self) -> RunLock:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _lock(handle):
                owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
                os.close(handle)
                raise DriveRLError(
                    f"{self._path.parent}: another process (id {owner}) is at work on this run"
                )
            if _is_at(handle, self._path):
                break
            os.close(handle)  # its owner has just removed it; lock the one that is there now
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._handle = handle
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._handle is None:
            return
        if os.name == "nt":  # an open file cannot be removed there
            os.close(self._handle)
            self._path.unlink(missing_ok=True)
        else:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
        self._handle = None


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


if os.name == "nt":
    import msvcrt

    def _lock(handle: int) -> bool:
        try:
            # A byte far behind the id, which others may then still read.
            os.lseek(handle, 1 << 20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
