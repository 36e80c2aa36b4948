"""The simulator is Python: without compilation it says the same, to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive_rl.environments.compiled import CompiledVectorEnv
from drive_rl.presets import load_environment

CASES = [
    ("highway-fast-v0", {"vehicles_count": 8}, 4),
    ("roundabout-v0", {}, 2),
    ("intersection-v0", {"initial_vehicle_count": 3}, 2),
    ("racetrack-v0", {}, 4),
]


def play(env_id: str, config: dict[str, Any], steps: int) -> list[str]:
    """Rewards and observations of two environments, written out exactly."""
    spec = load_environment(env_id, config or None)
    simulator = CompiledVectorEnv(spec.base, 2, spec.full_config, 1).simulator
    simulator.seed([5, 6])
    simulator.reset()
    rng = np.random.default_rng(0)
    said = []
    for _ in range(steps):
        size = (2, simulator.capacity.agents, simulator.action_size)
        r = simulator.step(rng.integers(0, 3, size).astype(float))
        said += [float(x).hex() for x in (*r.rewards, *r.observations.ravel())]
    return said


@pytest.fixture(scope="module")
def plain() -> list[list[str]]:
    """What each case says in a process without compilation."""
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.simulator.test_plain_python"],
        input=json.dumps(CASES),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )
    said: list[list[str]] = json.loads(answer.stdout)
    return said


@pytest.mark.parametrize("case", range(len(CASES)), ids=[env_id for env_id, *_ in CASES])
def test_without_compilation_the_same_bits_come_out(case: int, plain: list[list[str]]) -> None:
    assert plain[case] == play(*CASES[case])


if __name__ == "__main__":
    print(json.dumps([play(*case) for case in json.load(sys.stdin)]))
