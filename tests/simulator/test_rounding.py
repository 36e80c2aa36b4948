"""Sums of two products fall where numpy's fall on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from drive_rl.environments.compiled import CompiledVectorEnv
from drive_rl.environments.vector import make_reference_env
from drive_rl.presets import load_environment
from drive_rl.simulator import elementary
from drive_rl.simulator.jit import kernel
from drive_rl.simulator.rounding import (
    FIRST_WHOLE,
    PLAIN,
    SECOND_WHOLE,
    rounding_of,
    roundings,
)

# Borders of cells along the axes, on which the centre of an agent's own lane lies
GRID = {
    "controlled_vehicles": 3,
    "action": {
        "type": "MultiAgentAction",
        "action_config": {"type": "ContinuousAction", "longitudinal": False},
    },
    "observation": {
        "type": "MultiAgentObservation",
        "observation_config": {
            "type": "OccupancyGrid",
            "features": ["presence", "on_road"],
            "grid_size": [[-18, 18], [-18, 18]],
            "grid_step": [3, 3],
            "align_to_vehicle_axes": True,
        },
    },
}


def test_the_three_ways_of_rounding_are_told_apart() -> None:
    assert rounding_of(lambda v, w: v[0] * w[0] + v[1] * w[1]) == PLAIN
    # the first product kept whole, by arithmetic of twice the precision
    wide = np.longdouble
    if np.finfo(wide).nmant < 63:
        pytest.skip("no long double here")
    assert rounding_of(lambda v, w: float(wide(v[0]) * w[0] + wide(v[1] * w[1]))) == FIRST_WHOLE
    assert rounding_of(lambda v, w: float(wide(v[1]) * w[1] + wide(v[0] * w[0]))) == SECOND_WHOLE


@pytest.mark.parametrize("seed", [3, 5, 9, 13])
def test_a_lane_on_the_border_of_cells_is_drawn_where_highway_env_draws_it(seed: int) -> None:
    spec = load_environment("racetrack-large-v0", GRID)
    seen, _ = make_reference_env(spec, reward_per_agent=False).reset(seed=seed)
    compiled = CompiledVectorEnv(spec.base, 1, spec.full_config)
    ours, _ = compiled.reset(seed=[seed])
    for mine, theirs in zip(ours, seen, strict=True):
        assert np.array_equal(mine[0], theirs)


@pytest.mark.parametrize("kernel", ["Prescott", "Haswell", "SkylakeX"])
def test_whatever_kernel_the_blas_takes_its_rounding_is_found(kernel: str) -> None:
    program = (
        "import numpy as np\n"
        "from drive_rl.simulator.products import *\n"
        "rng = np.random.default_rng(1)\n"
        "for _ in range(200):\n"
        "    v, w = rng.normal(size=(2, 2))\n"
        "    assert dot(v[0], w[0], v[1], w[1]) == np.dot(v, w)\n"
        "    assert norm(*v) == np.linalg.norm(v)\n"
        "    a, b = rng.normal(size=(2, 3))\n"
        "    assert dot_of_three(a[0], b[0], a[1], b[1], a[2], b[2]) == np.dot(a, b)\n"
        "    one = np.array([w, -w]) @ v\n"
        "    assert turned(w[0], v[0], w[1], v[1]) == one[0] == -one[1]\n"
        "    many = np.array([w, -w]) @ np.array([v, w, -v, w]).T\n"
        "    assert turned_with_others(w[0], v[0], w[1], v[1]) == many[0, 0] == many[1, 2]\n"
    )
    environment = {**os.environ, "OPENBLAS_CORETYPE": kernel, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    if done.returncode == -signal.SIGILL:
        pytest.skip(f"this processor lacks instructions of OpenBLAS's kernel for {kernel}")
    assert done.returncode == 0, done.stderr.decode()[-600:]
    assert set(roundings()) <= {PLAIN, FIRST_WHOLE, SECOND_WHOLE}


@kernel
def _all_of_them(ys, xs, out):
    for k in range(ys.shape[0]):
        out[0, k], out[1, k] = elementary.tan(ys[k]), elementary.asin(ys[k] / 3.0)
        out[2, k], out[3, k] = elementary.atan(ys[k]), elementary.atan2(ys[k], xs[k])


def test_functions_of_angles_are_numpys_to_the_bit() -> None:
    ys, xs = np.random.default_rng(0).uniform(-3, 3, (2, 5000))
    out = np.zeros((4, 5000))
    _all_of_them(ys, xs, out)
    expected = np.tan(ys), np.arcsin(ys / 3.0), np.arctan(ys), np.arctan2(ys, xs)
    np.testing.assert_array_equal(out, expected)
