"""End-to-end training speed: drive-rl against the stock set-up, side by side in one run.

    python -m benchmarks.training [--env highway-fast-v0] [--algo ppo] [--rounds 3] [--json|--write]
    python -m benchmarks.training --compile [--write]

Stock is what highway-env's users run today: Stable-Baselines3 on `SubprocVecEnv` over highway-env,
one process per core. drive-rl is `drive_rl.train`'s own loop on the compiled simulator. Both train
the same network (an MLP of 256 and 256 on the scene's own observation), with the same optimiser
settings and the same number of passes over every sample: epochs for PPO, and for DQN samples drawn
from the replay buffer per step of the environment. They take turns, and what counts is the ratio.
With --write, docs/training.md is written: these figures, and where the rest of the time goes. What
was measured before, of other environments and algorithms, is kept in benchmarks/results.

With --compile, an update is timed as it is and under `torch.compile`: does compiling pay?
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

# Steps that a turn of each side trains for: seconds, not minutes.
STOCK_STEPS = {"highway-v0": 48, "highway-fast-v0": 512}
OURS_STEPS = {"ppo": 65_536, "dqn": 24_576}
PROFILE_STEPS = {"ppo": 65_536, "dqn": 16_384}
PROFILED = ("simulation", "choosing actions", "updates")
PAGE = Path(__file__).parent.parent / "docs" / "training.md"
RESULTS = Path(__file__).parent / "results" / "training.json"
COMPILED_UPDATES = 60
COMPILING = (
    "Forward and backward pass of an update of PPO, and what `torch.compile` makes of it; the last "
    "column is over all updates of `agents/ppo.yaml`, less the time to compile. Not used: it needs "
    "a C++ compiler on the user's machine and compiles in every process, a resumed one too, and "
    "its sums are in another order than those of the eager network that plays and is exported."
)
ON_A_GPU = (
    "No machine that drive-rl was developed on has one. What is shown: "
    "`tests/training/test_devices.py` makes one update of PPO and of DQN, with every kind of "
    "network, on torch's `meta` device, where an operation on tensors of two devices fails as "
    "it would on CUDA. What has not been run: `--device cuda` itself; its speed, its numbers "
    "and its determinism are not known. The rollouts are simulated on the CPU in any case, and "
    "kept on the training's device; a `cnn` computes in bfloat16 there (`network.precision`). "
    "`torch.compile` is not used; `python -m benchmarks.training --compile` times it."
)
PPO_EPOCHS = 4
# Samples drawn per step of the environment. Stock: an update of 32 after every step of its two
# environments, as highway-env's documentation trains its DQN.
DQN_BATCH, DQN_REUSE = 32, 16


def _stock_env(env_id: str) -> Any:
    """In a worker process, which knows highway-env's ids only once it has imported it."""
    import gymnasium
    import highway_env  # noqa: F401

    return gymnasium.make(env_id, disable_env_checker=True)


def stock_rate(env_id: str, algo: str, steps: int) -> float:
    """Steps/s of Stable-Baselines3 with highway-env in worker processes."""
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    workers = os.cpu_count() or 1
    environment = make_vec_env(
        partial(_stock_env, env_id),
        n_envs=workers,
        vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "forkserver"},
    )
    network = {"net_arch": [256, 256]}
    if algo == "ppo":
        rollout = max(steps // workers, 1)
        model: Any = PPO(
            "MlpPolicy",
            environment,
            n_steps=rollout,
            batch_size=min(64, rollout * workers),
            n_epochs=PPO_EPOCHS,
            policy_kwargs=network,
            device="cpu",
        )
    else:
        model = DQN(
            "MlpPolicy",
            environment,
            batch_size=DQN_BATCH,
            train_freq=1,
            gradient_steps=1,
            learning_starts=DQN_BATCH,
            buffer_size=15_000,
            policy_kwargs=network,
            device="cpu",
        )
    try:
        environment.reset()
        began = time.perf_counter()
        model.learn(steps)
        return model.num_timesteps / (time.perf_counter() - began)
    finally:
        environment.close()


def our_rate(env_id: str, algo: str, steps: int, folder: Path) -> tuple[float, dict[str, Any]]:
    """Steps/s of drive-rl, from its own metrics, and the settings it ran with."""
    import drive_rl

    settings: dict[str, Any] = {
        "agent.network.kind": "mlp",
        "agent.network.hidden": [256, 256],
        "agent.observation": None,
        "agent.checkpoint_interval": steps,
    }
    if algo == "ppo":
        settings |= {
            "agent.num_envs": 512,
            "agent.n_steps": 16,
            "agent.batch_size": 4096,
            "agent.n_epochs": PPO_EPOCHS,
        }
    else:
        num_envs, batch = 64, 512
        settings |= {
            "agent.num_envs": num_envs,
            "agent.train_freq": 1,
            "agent.batch_size": batch,
            "agent.gradient_steps": num_envs * DQN_REUSE // batch,
            "agent.learning_starts": batch,
            "agent.buffer_size": 15_000,
        }
    run = drive_rl.train(
        env_id,
        algo,
        steps=steps,
        run=folder,
        engine="compiled",
        device="cpu",
        overrides=settings,
        evaluate=False,
    )
    last = run.metrics()[-1]
    return last["step"] / last["time"], settings


def measure(env_id: str, algo: str, rounds: int) -> dict[str, Any]:
    """Take turns for `rounds` rounds after one to warm up ours; medians and their ratio."""
    stock, ours = [], []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        our_rate(env_id, algo, 8_192, Path(folder) / "warm-up")
        for turn in range(rounds):
            stock.append(stock_rate(env_id, algo, STOCK_STEPS.get(env_id, 512)))
            rate, _ = our_rate(env_id, algo, OURS_STEPS[algo], Path(folder) / str(turn))
            ours.append(rate)
    ratios = [a / b for a, b in zip(ours, stock, strict=True)]
    return {
        "env": env_id,
        "algo": algo,
        "stock_steps_per_second": statistics.median(stock),
        "drive_rl_steps_per_second": statistics.median(ours),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def profile(env_id: str, algo: str, steps: int) -> dict[str, float]:
    """Shares of the wall-clock of a training with the agent's own settings, by what it does."""
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.dqn.policies import DQNPolicy

    import drive_rl
    from drive_rl.environments.sb3 import SB3VecEnv

    spent: dict[str, float] = {"simulation": 0.0, "choosing actions": 0.0, "updates": 0.0}

    def timed(function: Any, name: str) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - began

        return wrapper

    places: list[tuple[Any, str, str]] = [(SB3VecEnv, "step_wait", "simulation")]
    if algo == "ppo":
        places += [(ActorCriticPolicy, "forward", "choosing actions"), (PPO, "train", "updates")]
    else:
        places += [(DQNPolicy, "predict", "choosing actions"), (DQN, "train", "updates")]
    before = [vars(owner).get(name) for owner, name, _ in places]
    with tempfile.TemporaryDirectory() as folder:
        try:
            for owner, name, what in places:
                setattr(owner, name, timed(getattr(owner, name), what))
            run = drive_rl.train(
                env_id, algo, steps=steps, run=Path(folder) / "run", device="cpu", evaluate=False
            )
        finally:
            for (owner, name, _), original in zip(places, before, strict=True):
                if original is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)
        total = run.metrics()[-1]["time"]
    shares = {name: seconds / total for name, seconds in spent.items()}
    return shares | {"the rest": 1.0 - sum(shares.values()), "rate": steps / total}


def compiling(network: str) -> dict[str, Any]:
    """One PPO update's forward and backward pass on highway-fast-v0, eager and compiled."""
    import numpy as np
    import torch
    from gymnasium import spaces

    from drive_rl.presets import resolve_run
    from drive_rl.training.algorithms import build_policy
    from drive_rl.training.networks import resolve_network

    spec = resolve_run("highway-fast-v0", "ppo", overrides={"agent.network.kind": network})
    table = spaces.Box(-1.0, 1.0, (12, 7), np.float32)
    resolved = resolve_network(spec.agent.network, table, "Kinematics")
    spec = spec.model_copy(update={"agent": spec.agent.model_copy(update={"network": resolved})})
    policy: Any = build_policy(spec, table, spaces.Discrete(5), torch.device("cpu"))
    rows = torch.rand(spec.agent.batch_size, *table.shape)
    actions = torch.randint(5, (len(rows),))

    def update(evaluate: Any) -> None:
        values, log_probabilities, entropy = evaluate(rows, actions)
        loss = values.square().mean() - log_probabilities.mean() - entropy.mean()
        policy.zero_grad()
        loss.backward()

    def milliseconds(evaluate: Any) -> float:
        times = []
        for _ in range(COMPILED_UPDATES):
            began = time.perf_counter()
            update(evaluate)
            times.append(time.perf_counter() - began)
        return 1000 * statistics.median(times)

    update(policy.evaluate_actions)
    eager = milliseconds(policy.evaluate_actions)
    compiled = torch.compile(policy.evaluate_actions)
    began = time.perf_counter()
    update(compiled)
    return {
        "network": network,
        "batch": len(rows),
        "seconds_to_compile": time.perf_counter() - began,
        "eager_milliseconds": eager,
        "compiled_milliseconds": milliseconds(compiled),
        "updates": spec.agent.steps // len(rows) * spec.agent.n_epochs,  # type: ignore[union-attr]
    }


def keep(kind: str, rows: dict[str, Any]) -> dict[str, Any]:
    """Put rows among what was measured before; all of it."""
    kept: dict[str, Any] = {}
    if RESULTS.is_file():
        kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    measured = kept.setdefault(kind, {}) | rows
    kept[kind] = {name: measured[name] for name in sorted(measured)}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return kept


def write_page(kept: dict[str, Any]) -> None:
    """docs/training.md, from what has been measured."""
    lines = [
        "# Training: speed, and what has been run where",
        "",
        f"Written by `python -m benchmarks.training --write` on {os.cpu_count()} cores "
        f"({platform.machine()}), not by hand. Machines are noisy: what holds is the ratio, both "
        "sides taking turns in one run.",
        "",
        "## Against the stock set-up",
        "",
        "Stock: Stable-Baselines3, `SubprocVecEnv` with a process per core, highway-env. drive-rl: "
        "`drive_rl.train`. Same network (an MLP of 256 and 256 on the scene's own observation) and "
        f"same number of passes over every sample: {PPO_EPOCHS} epochs for PPO, {DQN_REUSE} "
        "samples drawn from the replay buffer per step for DQN. drive-rl has more environments and "
        "larger batches; the stock set-up cannot fill such in its time.",
        "",
        "| environment | algorithm | stock [steps/s] | drive-rl [steps/s] | ratio | "
        "lowest of the rounds | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['env']} | {row['algo']} | {row['stock_steps_per_second']:,.1f} | "
        f"{row['drive_rl_steps_per_second']:,.0f} | {row['ratio']:,.0f} | "
        f"{min(row['ratios']):,.0f} | {len(row['ratios'])} |"
        for row in kept.get("speed", {}).values()
    ]
    lines += [
        "",
        "## Where the time goes",
        "",
        "Shares of the wall-clock with the settings of `agents/*.yaml`; the rest is "
        "Stable-Baselines3's loop, buffers, metrics and checkpoints.",
        "",
        "| training | steps/s | simulation | choosing actions | updates | the rest |",
        "|---|---|---|---|---|---|",
    ]
    for name, shares in kept.get("profile", {}).items():
        parts = [f"{shares[part]:.0%}" for part in (*PROFILED, "the rest")]
        lines.append(f"| {name} | {shares['rate']:,.0f} | {' | '.join(parts)} |")
    if compiled := kept.get("compile", {}):
        lines += ["", "## Compiled updates", "", COMPILING, ""]
        lines += [
            "| network | batch | eager [ms] | compiled [ms] | to compile [s] | saved over a "
            "training [s] |",
            "|---|---|---|---|---|---|",
        ]
    for row in compiled.values():
        gain = row["eager_milliseconds"] - row["compiled_milliseconds"]
        lines.append(
            f"| {row['network']} | {row['batch']:,} | {row['eager_milliseconds']:.1f} | "
            f"{row['compiled_milliseconds']:.1f} | {row['seconds_to_compile']:.0f} | "
            f"{gain / 1000 * row['updates'] - row['seconds_to_compile']:.0f} |"
        )
    lines += ["", "## On a GPU", "", ON_A_GPU, ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(f"written: {PAGE}", file=sys.stderr)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--env", action="append", help="default: highway-fast-v0, highway-v0")
    parser.add_argument("--algo", action="append", choices=["ppo", "dqn"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--compile", action="store_true", help="time torch.compile instead")
    parser.add_argument("--write", action="store_true", help="write docs/training.md")
    arguments = parser.parse_args()
    measured: dict[str, dict[str, Any]] = {}
    if arguments.compile:
        measured["compile"] = {network: compiling(network) for network in ("mlp", "attention")}
    else:
        measured["speed"] = {}
        for env_id in arguments.env or ["highway-fast-v0", "highway-v0"]:
            for algo in arguments.algo or ["ppo", "dqn"]:
                row = measure(env_id, algo, arguments.rounds)
                measured["speed"][f"{algo} on {env_id}"] = row
                print(_line(row), file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if arguments.json or arguments.compile:
        rows = next(iter(measured.values()))
        print(json.dumps(list(rows.values()), indent=2))
    if not arguments.write:
        return
    if "speed" in measured:
        measured["profile"] = {
            name: profile(row["env"], row["algo"], PROFILE_STEPS[row["algo"]])
            for name, row in measured["speed"].items()
        }
    kept: dict[str, Any] = {}
    for kind, found in measured.items():
        kept = keep(kind, found)
    write_page(kept)


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['env']:18} {row['algo']}: stock {row['stock_steps_per_second']:8.1f} steps/s, "
        f"drive-rl {row['drive_rl_steps_per_second']:9.0f} steps/s, "
        f"ratio {row['ratio']:7.0f}  (of {len(row['ratios'])} rounds: "
        f"{min(row['ratios']):.0f} to {max(row['ratios']):.0f})"
    )


if __name__ == "__main__":
    main()
