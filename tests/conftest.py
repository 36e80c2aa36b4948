"""What all tests share."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# highway-env's own last bit depends on the processor: on what numpy's BLAS fuses, and on AVX-512,
# where numpy's tan, arctan, arcsin and arctan2 are not the C library's (docs/coverage.md). The
# tests take the same way on all of them, that of the golden files. Read when numpy is imported,
# here and in subprocesses; tests/simulator/test_rounding.py goes the other ways.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
    os.environ.setdefault("NPY_DISABLE_CPU_FEATURES", "X86_V4 AVX512_ICL AVX512_SPR")

import pytest
from hypothesis import HealthCheck, settings

# Deadlines are clocks, and the machine is noisy.
settings.register_profile(
    "drive-rl",
    deadline=None,
    max_examples=int(os.environ.get("DRIVE_RL_TEST_EXAMPLES", "30")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("drive-rl")

# Tests of these need no compiled kernels, or few.
_WITHOUT_KERNELS = ("textures", "training", "test_presets.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker compile what both need while the other does something else.

    Each of two workers begins with a half of the list. Where both begin with scenes, both compile
    the same kernels at the same time; so the second half begins with tests that need none.
    """
    root = Path(__file__).parent
    first = [item.path.relative_to(root).parts[0] in _WITHOUT_KERNELS for item in items]
    rest = [item for item, other in zip(items, first, strict=True) if not other]
    others = [item for item, other in zip(items, first, strict=True) if other]
    half = len(items) // 2
    items[:] = rest[:half] + others + rest[half:]


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def drive_rl_command(tmp_path: Path) -> Command:
    """Runs `drive-rl ...` as a user would, in a process of its own, in an empty folder."""

    def run(*arguments: str, timeout: float = 300, **kwargs: object) -> object:
        return subprocess.run(
            [sys.executable, "-m", "drive_rl.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=kwargs.pop("cwd", tmp_path),
            env={**os.environ, "COLUMNS": "200", **kwargs.pop("env", {})},  # type: ignore[dict-item]
            check=False,
        )

    return run  # type: ignore[return-value]
