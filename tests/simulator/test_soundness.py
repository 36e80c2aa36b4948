"""Results depend on seeds and actions alone; a snapshot continues exactly; nothing diverges."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from benchmarks.soundness import violations
from drive_rl.environments.compiled import CompiledVectorEnv, uncovered
from drive_rl.presets import load_environment
from drive_rl.simulator.engine import Simulator
from drive_rl.simulator.scenes import SCENES

# One with parallel lanes, one with curves, rules and traffic that comes and goes, one with goals
IDS = ["highway-fast-v0", "intersection-v0", "parking-v0"]


def make(env_id: str, num_envs: int, num_threads: int = 1, **config: Any) -> Simulator:
    spec = load_environment(env_id, config or None)
    return CompiledVectorEnv(spec.base, num_envs, spec.full_config, num_threads).simulator


def actions_of(simulator: Simulator, seed: int, steps: int) -> Any:
    """(steps, num_agents, action_size), drawn from a seed: the same wherever the episode runs."""
    size = (steps, simulator.capacity.agents, simulator.action_size)
    rng = np.random.default_rng(seed)
    if simulator.action_size == 2:
        return rng.uniform(-1, 1, size)
    return rng.integers(0, 3, size).astype(np.float64)


def play(simulator: Simulator, seeds: list[int], steps: int) -> dict[int, bytes]:
    """Everything that each seed's environment said, through resets, as bytes."""
    simulator.seed(seeds)
    said = {seed: [row.tobytes()] for seed, row in zip(seeds, observe(simulator), strict=True)}
    actions = np.stack([actions_of(simulator, seed, steps) for seed in seeds], axis=1)
    for step in range(steps):
        r = simulator.step(actions[step])
        for row, seed in enumerate(seeds):
            said[seed] += [r.observations[row].tobytes(), r.rewards[row].tobytes()]
            said[seed] += [r.done[row].tobytes(), r.info.rewards[row].tobytes()]
    return {seed: b"".join(parts) for seed, parts in said.items()}


def observe(simulator: Simulator) -> Any:
    return simulator.reset().observations


@pytest.mark.parametrize("env_id", IDS)
def test_results_depend_neither_on_slots_nor_on_threads_nor_on_company(env_id):
    seeds = list(range(100, 170))
    crowd = play(make(env_id, 70, num_threads=3), seeds[::-1], 25)
    few = play(make(env_id, 3), seeds[:3], 25)
    assert {seed: crowd[seed] for seed in few} == few
    assert play(make(env_id, 1), [seeds[40]], 25)[seeds[40]] == crowd[seeds[40]]


@pytest.mark.parametrize("env_id", IDS)
def test_a_snapshot_in_mid_episode_continues_exactly_in_another_simulator(env_id):
    simulator, other = make(env_id, 4), make(env_id, 4, num_threads=2)
    simulator.seed(range(4))
    simulator.reset()
    other.seed(range(10, 14))
    other.reset()
    actions = np.stack([actions_of(simulator, seed, 40) for seed in range(4)], axis=1)
    for step in range(8):
        simulator.step(actions[step])
    snapshot = simulator.get_state()
    assert all(array.dtype != object for array in snapshot.values())
    other.set_state(snapshot)
    for step in range(8, 40):  # through the resets that follow
        here, there = simulator.step(actions[step]), other.step(actions[step])
        assert here.observations.tobytes() == there.observations.tobytes()
        assert here.rewards.tobytes() == there.rewards.tobytes()
        assert here.done.tobytes() == there.done.tobytes()


@pytest.mark.parametrize("env_id", sorted(SCENES))
def test_random_driving_keeps_every_scene_within_its_bounds(env_id):
    spec = load_environment(env_id)
    if uncovered(spec.base, spec.full_config):
        pytest.skip("runs on the reference engine")
    simulator = make(env_id, 8)
    simulator.seed(range(8))
    simulator.reset()
    actions = np.stack([actions_of(simulator, seed, 25) for seed in range(8)], axis=1)
    for step in range(25):
        result = simulator.step(actions[step])
        assert violations(simulator, result) == []


def step_until_interrupted(simulator: Simulator, actions: Any, delay: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, delay)
    while True:
        simulator.step(actions)


def test_an_interrupted_step_can_be_taken_again_from_a_snapshot():
    simulator = make("highway-fast-v0", 256, num_threads=2)
    simulator.seed(range(256))
    simulator.reset()
    snapshot = simulator.get_state()
    actions = np.ones((256, 1, 1))
    expected = simulator.step(actions).observations.copy()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for delay in (0.0005, 0.002, 0.004):
            with pytest.raises(KeyboardInterrupt):
                step_until_interrupted(simulator, actions, delay)
            simulator.set_state(snapshot)
            np.testing.assert_array_equal(simulator.step(actions).observations, expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _step_in_child(simulator: Simulator, actions: Any, queue: Any) -> None:
    queue.put(simulator.step(actions).observations.tobytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_process_steps_on_with_threads_of_its_own():
    simulator = make("highway-fast-v0", 128, num_threads=2)
    simulator.seed(range(128))
    simulator.reset()
    actions = np.ones((128, 1, 1))
    simulator.step(actions)  # the threads exist now, and do not survive the fork
    context: Any = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_step_in_child, args=(simulator, actions, queue))
    child.start()
    said = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    assert said == simulator.step(actions).observations.tobytes()


MEMORY = """
import resource, sys, numpy as np
from drive_rl.environments.compiled import CompiledVectorEnv
from drive_rl.presets import load_environment
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
spec = load_environment("highway-v0")
def run(n):
    env = CompiledVectorEnv(spec.base, n, spec.full_config)
    env.reset(seed=0)
    env.step(np.ones(n, np.int64))
    return env
run(1)
before = peak()
env = run(4096)
print(peak() - before)
"""


def test_4096_highway_environments_take_less_than_200_megabytes():
    answer = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    assert float(answer.stdout) < 200
