"""How fast the engines are on this machine: decisions per second, measured in turns.

Machines are noisy: the engines take turns in short rounds, so that whatever else runs disturbs all
of them alike, and what holds is the ratio. Random actions, resets and observations are included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from drive_rl.environments.compiled import CompiledVectorEnv, uncovered
from drive_rl.environments.vector import make_reference_env
from drive_rl.errors import UsageError
from drive_rl.presets import EnvironmentSpec, load_environment
from drive_rl.simulator.engine import available_processors

Step = Callable[[], int]
"""Takes some decisions and says how many."""

DRAWN = 32  # batches of random actions, drawn beforehand and used again


def compiled_step(
    spec: EnvironmentSpec, num_envs: int, threads: int, rng: np.random.Generator
) -> Step:
    """The compiled simulator without Gymnasium's dictionaries: what training and planning use."""
    env = CompiledVectorEnv(spec.base, num_envs, spec.full_config, threads)
    simulator = env.simulator
    simulator.seed(range(num_envs))
    simulator.reset()
    env.action_space.seed(int(rng.integers(2**31)))
    batches = [env._compiled.actions(env.action_space.sample()) for _ in range(DRAWN)]
    taken = 0

    def step() -> int:
        nonlocal taken
        simulator.step(batches[taken % DRAWN])
        taken += 1
        return num_envs

    step()
    return step


def reference_step(spec: EnvironmentSpec) -> Step:
    """highway-env, one environment in this process."""
    env = make_reference_env(spec, reward_per_agent=False)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(DRAWN)]
    taken = 0

    def step() -> int:
        nonlocal taken
        _, _, terminated, truncated, _ = env.step(actions[taken % DRAWN])
        if terminated or truncated:
            env.reset()
        taken += 1
        return 1

    return step


def rate(step: Step, seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Decisions per second over one round, of a clock: `time.process_time` counts both threads."""
    count, start = 0, clock()
    while (elapsed := clock() - start) < seconds:
        count += step()
    return count / elapsed


def take_turns(
    steps: Mapping[str, Step],
    rounds: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Medians over the rounds by name, and how many times faster the first is: `over_<name>`."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            rates[name].append(rate(step, seconds, clock))
    row: dict[str, Any] = {name: median(values) for name, values in rates.items()}
    first, *others = rates
    for name in others:
        pairs = zip(rates[first], rates[name], strict=True)
        row[f"over_{name}"] = median(ours / theirs for ours, theirs in pairs)
    return row


def benchmark(
    env_ids: Sequence[str] = ("highway-v0", "highway-fast-v0"),
    *,
    threads: Sequence[int] = (),
    num_envs: int = 64,
    rounds: int = 3,
    seconds: float = 1.0,
    reference: bool = True,
) -> Iterator[dict[str, Any]]:
    """Measure this machine: one row per environment and number of threads, as they are ready.

    Args:
        env_ids: names of environments, as `drive_rl.make` takes them.
        threads: numbers of threads; by default 1 and all usable processors.
        num_envs: environments per thread.
        rounds: rounds of each engine.
        seconds: length of a round.
        reference: measure highway-env beside the compiled engine.

    Returns:
        An iterator of rows: `env`, `threads`, decisions per second of `compiled` and of
        `highway_env`, and `over_highway_env`; or `env` and `uncovered`: why only highway-env
        plays it.

    Raises:
        UsageError: an environment is not known, or a number is not positive.
    """
    for name, value in (
        *(("threads", count) for count in threads),
        ("num_envs", num_envs),
        ("rounds", rounds),
        ("seconds", seconds),
    ):
        if not value > 0:
            raise UsageError(f"{name} is {value}; it must be positive")
    specs = {env_id: load_environment(env_id) for env_id in env_ids}
    return _rows(specs, threads, num_envs, rounds, seconds, reference)


def _rows(
    specs: Mapping[str, EnvironmentSpec],
    threads: Sequence[int],
    num_envs: int,
    rounds: int,
    seconds: float,
    reference: bool,
) -> Iterator[dict[str, Any]]:
    processors = available_processors()
    for env_id, spec in specs.items():
        reason = uncovered(spec.base, spec.full_config)
        if reason is not None:
            yield {"env": env_id, "uncovered": reason}
            continue
        for count in threads or sorted({1, processors}):
            rng = np.random.default_rng(0)
            steps = {"compiled": compiled_step(spec, num_envs * count, count, rng)}
            if reference:
                steps["highway_env"] = reference_step(spec)
            yield {"env": env_id, "threads": count, **take_turns(steps, rounds, seconds)}
