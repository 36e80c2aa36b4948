"""Compiled kernels on disk: shared between processes, rebuilt when damaged, private, optional."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from numba.core import config

from drive_rl.simulator import cache

MODULE = """
from drive_rl.simulator.jit import kernel

@kernel
def twice(x):
    return 2.0 * x
"""
SCRIPT = "import sys; sys.path.insert(0, sys.argv[1]); import tiny; print(tiny.twice(21.0))"

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a kernel."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "tiny.py").write_text(MODULE)
    return folder


Answer = tuple[bool, float]


@pytest.fixture
def use(source: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Imports the kernel anew, as a new process would, and uses it with a cache folder."""

    def used(folder: Path, source: Path = source, value: float = 21.0) -> Answer:
        """(was it found on disk, what it returned)."""
        monkeypatch.setenv("DRIVE_RL_CACHE_DIR", str(folder))
        cache.cache_folder.cache_clear()
        module = ModuleType("tiny")
        file = source / "tiny.py"
        exec(compile(file.read_text(), file, "exec"), vars(module))
        answer = module.twice(value)
        return sum(module.twice.stats.cache_hits.values()) == 1, answer

    yield used
    cache.cache_folder.cache_clear()


def kernels(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_two_processes_may_compile_at_once_and_a_third_finds_the_kernels(source, tmp_path):
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(source)],
            env={**os.environ, "DRIVE_RL_CACHE_DIR": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(process: subprocess.Popen[str]) -> tuple[bool, str]:
        """(did it say that it compiles, what it printed)."""
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return "compiling" in err, out.strip()

    both = [start() for _ in range(2)]
    assert [finish(process)[1] for process in both] == ["42.0", "42.0"]
    assert finish(start()) == (False, "42.0")
    assert len(kernels(tmp_path / "cache")) == 1


def test_another_copy_of_the_source_finds_the_kernels_of_the_first(use, source, tmp_path):
    assert use(tmp_path / "cache") == (False, 42.0)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "tiny.py").write_text(MODULE)
    assert use(tmp_path / "cache", other) == (True, 42.0)
    (other / "tiny.py").write_text(MODULE.replace("2.0", "3.0"))
    assert use(tmp_path / "cache", other) == (False, 63.0)


def test_each_signature_has_a_file_of_its_own(use, tmp_path):
    assert use(tmp_path / "cache", value=21.0) == (False, 42.0)
    assert use(tmp_path / "cache", value=21) == (False, 42.0)
    assert len(kernels(tmp_path / "cache")) == 2
    assert use(tmp_path / "cache", value=21.0) == (True, 42.0)
    assert use(tmp_path / "cache", value=21) == (True, 42.0)


def test_damaged_files_are_compiled_again(use, tmp_path):
    folder = tmp_path / "cache"
    use(folder)
    (file,) = kernels(folder)
    for damage in (
        lambda old: old[:-20] + bytes(20),
        lambda old: b"",
        lambda old: old[: len(old) // 2],
    ):
        file.write_bytes(damage(file.read_bytes()))
        assert use(folder) == (False, 42.0)
        assert use(folder) == (True, 42.0)  # and kept whole


def test_a_file_of_another_signature_is_not_taken(use, tmp_path):
    folder = tmp_path / "cache"
    use(folder, value=21.0)
    (first,) = kernels(folder)
    use(folder, value=21)
    (second,) = set(kernels(folder)) - {first}
    first.write_bytes(second.read_bytes())
    assert use(folder, value=21.0) == (False, 42.0)


def test_the_folder_is_the_users_alone(use, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o777)
    use(folder)
    (inside,) = folder.iterdir()
    for each in [inside, *inside.iterdir()]:
        assert stat.S_IMODE(each.stat().st_mode) == 0o700


def test_without_a_folder_to_write_to_kernels_live_as_long_as_the_process(use, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    assert use(occupied) == (False, 42.0)
    assert occupied.read_text() == "not a folder"
