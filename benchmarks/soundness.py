"""Random driving on every scene, for as long as you like: nothing may diverge, break or leak.

    python -m benchmarks.soundness [--decisions 10_000_000] [--ids highway-v0 ...] [--threads 2]

Decisions are shared out evenly over the scenes. Ends with exit code 1 if anything did
not hold, naming the scene, the seed and the decision.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np

from drive_rl.environments.compiled import CompiledVectorEnv, uncovered
from drive_rl.presets import load_environment
from drive_rl.simulator import state as st
from drive_rl.simulator.engine import Simulator
from drive_rl.simulator.results import StepResult
from drive_rl.simulator.scenes import SCENES
from drive_rl.simulator.vehicles import MAX_SPEED

FAR = 1e6  # nobody gets there [m]
# Speed is limited by the acceleration, whose last frame may go beyond the limit [m/s]
SLACK = 12.0
LEAK = 50.0  # growth of memory in one scene, after its first tenth, that is called one [MB]


def violations(simulator: Simulator, result: StepResult) -> list[str]:
    """What does not hold of a simulator after a step, in words; an empty list if all is well."""
    found = []
    state, network = simulator.state, simulator.roads.network
    counts = np.asarray(state.environments["num_vehicles"])
    if (counts < 1).any() or (counts > simulator.capacity.vehicles).any():
        return [f"there are {counts.min()} to {counts.max()} vehicles"]
    present = np.arange(simulator.capacity.vehicles) < counts[:, None]
    vehicles = np.asarray(state.vehicles)[present]
    for name in ("x", "y", "heading", "speed", "steering", "acceleration", "timer"):
        if not np.isfinite(vehicles[name]).all():
            found.append(f"{name} is not finite")
    if np.abs(vehicles["x"]).max() > FAR or np.abs(vehicles["y"]).max() > FAR:
        found.append("a vehicle is a thousand kilometres away")
    if np.abs(vehicles["speed"]).max() > MAX_SPEED + SLACK:
        found.append(f"a vehicle drives at {np.abs(vehicles['speed']).max():.1f} m/s")
    if np.abs(vehicles["cos"] ** 2 + vehicles["sin"] ** 2 - 1).max() > 1e-12:
        found.append("a direction is no unit vector")
    for name in ("lane", "target_lane"):
        lanes = vehicles[name]
        if (lanes < 0).any() or (lanes >= len(network.lanes)).any():
            found.append(f"{name} names no lane")
    agents = np.asarray(state.agents)
    if (agents < 0).any() or (agents >= counts[:, None]).any():
        found.append("an agent is none of the vehicles")
    elif not np.take_along_axis(np.asarray(state.vehicles)["is_agent"], agents, 1).all():
        found.append("an agent is somebody else")
    kinds = vehicles["kind"][vehicles["is_agent"]]
    if not (kinds <= st.MDP).all():
        found.append("an agent drives itself")
    for name, array in (("a reward", result.rewards), ("an observation", result.observations)):
        if not np.isfinite(array).all():
            found.append(f"{name} is not finite")
    return found


def drive(env_id: str, decisions: int, num_envs: int, threads: int) -> list[str]:
    """Random actions on one scene; what did not hold."""
    spec = load_environment(env_id)
    env = CompiledVectorEnv(spec.base, num_envs, spec.full_config, threads)
    simulator = env.simulator
    simulator.seed(range(num_envs))
    simulator.reset()
    rng = np.random.default_rng(0)
    size = (num_envs, simulator.capacity.agents, simulator.action_size)
    continuous = simulator.action_size == 2 or "lane-keeping" in env_id
    steps = -(-decisions // num_envs)
    start, at_first = time.perf_counter(), 0.0
    for step in range(steps):
        actions = rng.uniform(-1, 1, size) if continuous else rng.integers(0, 3, size)
        result = simulator.step(actions)
        found = violations(simulator, result)
        if found:
            return [
                f"{env_id}, decision {step} of seeds 0 to {num_envs - 1}: {what}" for what in found
            ]
        if step == steps // 10:
            at_first = peak_memory()
    grown = peak_memory() - at_first
    seconds = time.perf_counter() - start
    print(
        f"{env_id}: {steps * num_envs:,} decisions in {seconds:.0f} s, {grown:+.1f} MB", flush=True
    )
    return [f"{env_id}: memory grew by {grown:.0f} MB"] if grown > LEAK else []


def peak_memory() -> float:
    """The most that this process ever had [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Drive; exit with 1 if something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=lambda text: int(text.replace("_", "")), default=10**7)
    parser.add_argument("--ids", nargs="+", default=sorted(SCENES))
    parser.add_argument("--num-envs", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    found = []
    for env_id in arguments.ids:
        spec = load_environment(env_id)
        reason = uncovered(spec.base, spec.full_config)
        if reason:
            print(f"{env_id}: not covered ({reason})", flush=True)
            continue
        share = arguments.decisions // len(arguments.ids)
        found += drive(env_id, share, arguments.num_envs, arguments.threads)
    print("\n".join(found) or "nothing to report")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
