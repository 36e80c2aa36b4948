"""Runs with untrained networks: what deployment does with a policy does not depend on its skill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.dqn.policies import DQNPolicy

from drive_rl.environments import make_vec
from drive_rl.environments.sb3 import SB3VecEnv
from drive_rl.presets import EnvironmentSpec, load_environment, resolve_run
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.checkpoint import Checkpoint
from drive_rl.runs.provenance import provenance
from drive_rl.training import Run
from drive_rl.training.algorithms import build_policy
from drive_rl.training.networks import resolve_network

SMALL = {"vehicles_count": 2, "lanes_count": 2, "duration": 4, "simulation_frequency": 5}

VEHICLES = {
    "type": "Kinematics",
    "vehicles_count": 15,
    "features": ["presence", "x", "y", "vx", "vy", "cos_h", "sin_h"],
    "see_behind": True,
}

SENSES: dict[str, tuple[str, dict[str, Any]]] = {
    "vehicles": ("highway-fast-v0", {**SMALL, "observation": VEHICLES}),
    "grid": ("highway-fast-v0", {**SMALL, "observation": {"type": "OccupancyGrid"}}),
    "time to collision": (
        "highway-fast-v0",
        {**SMALL, "observation": {"type": "TimeToCollision", "horizon": 5}},
    ),
    "lidar": ("highway-fast-v0", {**SMALL, "observation": {"type": "LidarObservation"}}),
    "continuous": ("racetrack-v0", {"simulation_frequency": 5, "duration": 6, "other_vehicles": 0}),
    "goals": ("parking-v0", {"simulation_frequency": 5, "duration": 6}),
    "camera": (
        "highway-fast-v0",
        {
            **SMALL,
            "observation": {
                "type": "CameraObservation",
                "width": 40,
                "height": 40,
                "stack_size": 2,
            },
        },
    ),
}
"""Environments that differ in what the policy sees and does."""


def untrained_run(path: Path, senses: str = "vehicles", algo: str = "ppo", seed: int = 0) -> Run:
    """A run folder with one checkpoint of random weights."""
    env, config = SENSES[senses]
    spec = resolve_run(
        load_environment(env, config),
        algo,
        steps=32,
        num_envs=2,
        seed=seed,
        device="cpu",
        num_threads=1,
        overrides={"agent.network": {"kind": "auto", "hidden": [32], "features": 16}},
    )
    envs = make_vec(spec.env, 1, num_threads=1)
    adapted = SB3VecEnv(envs)
    kind = spec.env.full_config["observation"]["type"]
    network = resolve_network(spec.agent.network, adapted.observation_space, kind)
    agent = spec.agent.model_copy(update={"network": network})
    spec = spec.model_copy(update={"agent": agent})
    observation_space, action_space = adapted.observation_space, adapted.action_space
    envs.close()
    with torch.random.fork_rng(devices=[]):
        policy = build_policy(spec, observation_space, action_space, torch.device("cpu"))
        torch.manual_seed(seed)
        for parameter in policy.parameters():
            # Wide weights and no biases: what is seen decides, not the biases.
            scale = 2.0 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.0
            torch.nn.init.normal_(parameter, std=scale)
    if senses == "vehicles":
        _balance(policy, spec.env)
    run = Run.create(path, spec, observation_space, action_space, provenance("cpu", 1))
    weights = {name: value.clone() for name, value in policy.state_dict().items()}
    checkpoints.write_checkpoint(run.checkpoints, Checkpoint(32, weights))
    checkpoints.write_text_atomically(run.checkpoints / "last", "32\n")
    return run


def _balance(policy: Any, env: EnvironmentSpec) -> None:
    """Move the last biases so that scores are 0 on average, and actions differ between scenes.

    What is subtracted is large, and single precision keeps seven digits of it: the scores are
    scaled to a policy's own size, which changes no action.
    """
    envs = make_vec(env, 32, num_threads=1)
    seen = torch.from_numpy(np.array(envs.reset(seed=0)[0]))
    envs.close()
    with torch.no_grad():
        if isinstance(policy, DQNPolicy):
            last = policy.q_net.q_net[-1]
            last.bias -= policy.q_net(seen).mean(dim=0)
        else:
            latent = policy.mlp_extractor.forward_actor(policy.extract_features(seen))
            last = policy.action_net
            last.bias -= last(latent).mean(dim=0)
        last.weight *= 0.1
        last.bias *= 0.1
