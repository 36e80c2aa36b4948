"""Where compiled kernels are kept between processes: the user's own cache folder.

Each version of the source, of numba and numpy, and each processor has a folder of its own, so
nothing stale is ever found. What is read is checked against its SHA-256; what is damaged is
compiled again. Without a folder to write to, kernels live as long as the process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import stat
import sys
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import FunctionCache, IndexDataCacheFile

from drive_rl.simulator.rounding import ways

DIGEST_SIZE = hashlib.sha256().digest_size


def attach(dispatcher: Any) -> None:
    """Give a compiled function its place on disk."""
    if config.DISABLE_JIT:
        return
    folder = cache_folder(Path(dispatcher.py_func.__code__.co_filename).parent)
    if folder is None:
        return
    kept = config.CACHE_DIR
    config.CACHE_DIR = str(folder)  # numba takes the place from there, and from nowhere else
    try:
        dispatcher._cache = _Cache(dispatcher.py_func)
    except (OSError, RuntimeError):
        pass
    finally:
        config.CACHE_DIR = kept


def user_cache_folder() -> Path:
    """DRIVE_RL_CACHE_DIR, or the place for caches on this platform."""
    chosen = os.environ.get("DRIVE_RL_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "drive_rl"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/drive_rl"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drive_rl"


@functools.cache
def cache_folder(source: Path) -> Path | None:
    """The folder for kernels of a source folder, or None if there can be none that is safe."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    cpu = str(config.CPU_NAME or llvmlite.binding.get_host_cpu_name())
    versions = (numba.__version__, np.__version__, llvmlite.__version__)
    for part in (*versions, cpu, ways()):  # variables can make numpy take another way
        digest.update(part.encode() + b"\0")
    package = here.parent
    # A kernel of somebody else's may be made of any helpers here
    folders = {here, source} if source.is_relative_to(package) else {package, source}
    for folder in sorted(folders):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    try:
        root = user_cache_folder() / "kernels"
        folder = root / digest.hexdigest()[:16]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if all(_is_private(each) for each in (root, folder)) else None
    except (OSError, RuntimeError):
        return None


def _is_private(folder: Path) -> bool:
    """Can only this user have put files there? (Cached code is run.)"""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    if status.st_uid != os.getuid():
        return False
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        folder.chmod(0o700)
    return True


@functools.cache
def _say_compiling() -> None:
    print(
        "drive-rl: compiling the simulator for this processor (about half a minute, once)",
        file=sys.stderr,
        flush=True,
    )


class _CheckedFile(IndexDataCacheFile):  # type: ignore[misc]
    """Cache files that are only believed if they are whole."""

    def _load_index(self) -> Any:
        try:
            return super()._load_index()
        except Exception:  # damaged in whatever way: compile again
            return {}

    def _save_data(self, name: str, data: Any) -> None:
        content = pickle.dumps(data, protocol=-1)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(content).digest() + content)

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[DIGEST_SIZE:]).digest() != content[:DIGEST_SIZE]:
            raise OSError(f"{name} is damaged")
        return pickle.loads(content[DIGEST_SIZE:])


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function, which never fails and says when it compiles."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = _CheckedFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # damaged in whatever way: compile again
            found = None
        if found is None:
            _say_compiling()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
