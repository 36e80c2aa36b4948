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
import threading
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from drive_rl.simulator.rounding import ways

DIGEST_SIZE = hashlib.sha256().digest_size


def attach(dispatcher: Any) -> None:
    """Give a compiled function its place on disk."""
    if config.DISABLE_JIT:
        return
    folder = cache_folder(Path(dispatcher.py_func.__code__.co_filename).parent)
    if folder is None:
        return
    dispatcher._cache = _Cache(dispatcher.py_func, folder)


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
    tag = str(sys.implementation.cache_tag)
    versions = (tag, numba.__version__, np.__version__, llvmlite.__version__)
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


class _Cache:
    """The compiled signatures of one function on disk; it never fails, and says when it compiles.

    One file for each signature, which is believed only if it is whole and the right one. numba's
    own cache has one index for all: two processes that add to it at once lose an entry, or give
    two signatures one file. Nor does the place of the source take part, as it does there: another
    checkout or installation of the same source finds what the first has compiled.
    """

    def __init__(self, function: Any, folder: Path) -> None:
        self.cache_path = str(folder)  # numba's name for it
        stem = Path(function.__code__.co_filename).stem
        self._name = f"{stem}.{function.__qualname__}".replace("<", "").replace(">", "")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for a signature, None where it has to be compiled."""
        target_context.refresh()
        key = (sig, target_context.codegen().magic_tuple())
        try:
            content = self._path(key).read_bytes()
            if hashlib.sha256(content[DIGEST_SIZE:]).digest() == content[:DIGEST_SIZE]:
                kept, data = pickle.loads(content[DIGEST_SIZE:])
                if kept == key:
                    return CompileResult._rebuild(target_context, *data)
        except Exception:  # not there, or damaged in whatever way: compile
            pass
        _say_compiling()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature."""
        if data.library.has_dynamic_globals:  # addresses of this process
            return
        key = (sig, data.codegen.magic_tuple())
        content = dumps((key, data._reduce()))
        path = self._path(key)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            unfinished.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(unfinished, path)
        except OSError:  # a full disk, or on Windows another process that is reading it
            with contextlib.suppress(OSError):
                unfinished.unlink()

    def flush(self) -> None:
        """Nothing is kept beside the files."""

    def _path(self, key: Any) -> Path:
        digest = hashlib.sha256(str(key).encode()).hexdigest()[:16]
        return Path(self.cache_path) / f"{self._name}.{digest}.kernel"
