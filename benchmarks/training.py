"""End-to-end training speed: drive-rl against the stock set-up, side by side in one run.

    python -m benchmarks.training [--env highway-fast-v0] [--algo ppo] [--rounds 3] [--json|--write]

Stock is what highway-env's users run today: Stable-Baselines3 on `SubprocVecEnv` over highway-env,
one process per core. drive-rl is `drive_rl.train`'s own loop on the compiled simulator. Both train
the same network (an MLP of 256 and 256 on the scene's own observation), with the same optimiser
settings and the same number of passes over every sample: epochs for PPO, and for DQN samples drawn
from the replay buffer per step of the environment. They take turns, and what counts is the ratio.
With --write, docs/training.md is written: these figures, and where the rest of the time goes.
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


def write_page(rows: list[dict[str, Any]], profiles: dict[str, dict[str, float]]) -> None:
    """docs/training.md, from what was just measured."""
    lines = [
        "# Training: speed, and what has been run where",
        "",
        f"Written by `python -m benchmarks.training --write` on {os.cpu_count()} cores "
        f"({platform.machine()}), not by hand. The machine may have been busy with other work: "
        "what holds is the ratio, both sides taking turns in one run.",
        "",
        "## Against the stock set-up",
        "",
        "Stock: Stable-Baselines3, `SubprocVecEnv` with a process per core, highway-env. drive-rl: "
        "`drive_rl.train`. Same network (an MLP of 256 and 256 on the scene's own observation) and "
        "same number of passes over every sample.",
        "",
        "| environment | algorithm | stock [steps/s] | drive-rl [steps/s] | ratio | rounds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['env']} | {row['algo']} | {row['stock_steps_per_second']:,.1f} | "
        f"{row['drive_rl_steps_per_second']:,.0f} | {row['ratio']:,.0f} | {len(row['ratios'])} |"
        for row in rows
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
    for name, shares in profiles.items():
        parts = [f"{shares[part]:.0%}" for part in (*PROFILED, "the rest")]
        lines.append(f"| {name} | {shares['rate']:,.0f} | {' | '.join(parts)} |")
    lines += [
        "",
        "## On a GPU",
        "",
        "No machine that drive-rl was developed on has one. What is shown: "
        "`tests/training/test_devices.py` makes one update of PPO and of DQN, with every kind of "
        "network, on torch's `meta` device, where an operation on tensors of two devices fails as "
        "it would on CUDA. What has not been run: `--device cuda` itself; its speed, its numbers "
        "and its determinism are not known. The rollouts are simulated on the CPU in any case; "
        "mixed precision and `torch.compile` are not used.",
        "",
    ]
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(f"written: {PAGE}", file=sys.stderr)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--env", action="append", help="default: highway-fast-v0, highway-v0")
    parser.add_argument("--algo", action="append", choices=["ppo", "dqn"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="write docs/training.md")
    arguments = parser.parse_args()
    pairs = [
        (env_id, algo)
        for env_id in arguments.env or ["highway-fast-v0", "highway-v0"]
        for algo in arguments.algo or ["ppo", "dqn"]
    ]
    rows = []
    for env_id, algo in pairs:
        row = measure(env_id, algo, arguments.rounds)
        rows.append(row)
        print(
            f"{env_id:18} {algo}: stock {row['stock_steps_per_second']:8.1f} steps/s, "
            f"drive-rl {row['drive_rl_steps_per_second']:9.0f} steps/s, "
            f"ratio {row['ratio']:7.0f}  (of {len(row['ratios'])} rounds: "
            f"{min(row['ratios']):.0f} to {max(row['ratios']):.0f})",
            file=sys.stderr if arguments.json else sys.stdout,
            flush=True,
        )
    if arguments.json:
        print(json.dumps(rows, indent=2))
    if arguments.write:
        trained = sorted({(row["env"], row["algo"]) for row in rows})
        write_page(
            rows,
            {f"{algo} on {env}": profile(env, algo, PROFILE_STEPS[algo]) for env, algo in trained},
        )


if __name__ == "__main__":
    main()
