"""End-to-end training speed: drive-rl against the stock set-up, side by side in one run.

    python -m benchmarks.training [--env highway-fast-v0] [--algo ppo] [--rounds 3] [--json]

Stock is what highway-env's users run today: Stable-Baselines3 on `SubprocVecEnv` over highway-env,
one process per core. drive-rl is `drive_rl.train`'s own loop on the compiled simulator. Both train
the same network (an MLP of 256 and 256 on the scene's own observation), with the same optimiser
settings and the same number of passes over every sample: epochs for PPO, and for DQN samples drawn
from the replay buffer per step of the environment. They take turns, and what counts is the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

# Steps that a turn of each side trains for: seconds, not minutes.
STOCK_STEPS = {"highway-v0": 48, "highway-fast-v0": 512}
OURS_STEPS = {"ppo": 65_536, "dqn": 24_576}
PPO_EPOCHS = 4
# Samples drawn per step of the environment. Stock: an update of 32 after every step of its two
# environments, as highway-env's documentation trains its DQN.
DQN_BATCH, DQN_REUSE = 32, 16


def stock_rate(env_id: str, algo: str, steps: int) -> float:
    """Steps/s of Stable-Baselines3 with highway-env in worker processes."""
    import gymnasium
    import highway_env  # noqa: F401
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    workers = os.cpu_count() or 1
    environment = make_vec_env(
        lambda: gymnasium.make(env_id, disable_env_checker=True),
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


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--env", action="append", help="default: highway-fast-v0, highway-v0")
    parser.add_argument("--algo", action="append", choices=["ppo", "dqn"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
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


if __name__ == "__main__":
    main()
