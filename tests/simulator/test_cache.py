"""Compiled kernels on disk: shared between processes, rebuilt when damaged, private, optional."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import tiny
print(tiny.twice(21.0))
"""
MODULE = """
from drive_rl.simulator.jit import kernel

@kernel
def twice(x):
    return 2.0 * x
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process that uses a kernel, with a cache folder."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "tiny.py").write_text(MODULE)

    def run(cache: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(folder=str(source))],
            env={**os.environ, "DRIVE_RL_CACHE_DIR": str(cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def finish(process: subprocess.Popen[str]) -> tuple[bool, str]:
    """(did it say that it compiles, what it printed)."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return "compiling" in err, out.strip()


def test_two_processes_may_compile_at_once_and_a_third_finds_the_kernels(start, tmp_path):
    both = [start(tmp_path / "cache") for _ in range(2)]
    assert [finish(process)[1] for process in both] == ["42.0", "42.0"]
    assert finish(start(tmp_path / "cache")) == (False, "42.0")


def test_damaged_files_are_compiled_again(start, tmp_path):
    cache = tmp_path / "cache"
    finish(start(cache))
    files = [path for path in cache.rglob("*.nb*") if path.is_file()]
    assert {path.suffix for path in files} == {".nbi", ".nbc"}
    for damage in (
        lambda old: old[:-20] + bytes(20),
        lambda old: b"",
        lambda old: old[: len(old) // 2],
    ):
        for path in files:
            path.write_bytes(damage(path.read_bytes()))
        assert finish(start(cache))[1] == "42.0"
        assert finish(start(cache)) == (False, "42.0")  # and kept whole


def test_the_folder_is_the_users_alone(start, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o777)
    finish(start(cache))
    (kernels,) = cache.iterdir()
    for folder in [kernels, *kernels.iterdir()]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_without_a_folder_to_write_to_kernels_live_as_long_as_the_process(start, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    assert finish(start(occupied)) == (False, "42.0")
