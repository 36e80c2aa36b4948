"""RLlib drives the rollouts; what comes out is a run like any other.

The training itself needs the extra `rllib`, in an environment of its own: `make rllib`.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drive_rl.cluster.ray_pool import keep_to_this_machine
from drive_rl.cluster.rllib.config import Layout, check_trainable, layout_of
from drive_rl.environments import make_vec
from drive_rl.environments.sb3 import SB3VecEnv
from drive_rl.errors import UsageError
from drive_rl.presets import PPOSpec, RunSpec, load_environment, resolve_run
from drive_rl.training import load_policy, resume
from drive_rl.training.algorithms import build_policy
from drive_rl.training.run import TRAINER, Run
from drive_rl.training.session import resolved
from tests.cluster.test_grid import ENV, SETTINGS

keep_to_this_machine()  # before anything imports Ray, which reads these settings once
try:
    importlib.import_module("ray.rllib.algorithms.ppo")
    missing = ""
except ImportError as error:
    missing = str(error)
needs_rllib = pytest.mark.skipif(
    bool(missing), reason=f"needs the extra 'rllib' in an environment of its own ({missing})"
)


def specification(env: str | Path, steps: int = 96, **settings: Any) -> RunSpec:
    """A small PPO run."""
    return resolve_run(str(env), "ppo", steps=steps, num_envs=4, overrides=SETTINGS, **settings)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An environment of seconds."""
    path = tmp_path / "small.yaml"
    path.write_text(ENV)
    return path


def ready(spec: RunSpec) -> tuple[RunSpec, Any, Any]:
    """With what "auto" stands for, and its spaces."""
    env = SB3VecEnv(make_vec(spec.env, 1, num_threads=1))
    found = resolved(spec, env), env.observation_space, env.action_space
    env.close()
    return found


def test_environments_are_spread_over_the_cores_but_one() -> None:
    agent = specification("highway-fast-v0", steps=100_000).agent
    assert isinstance(agent, PPOSpec)
    agent = agent.model_copy(update={"num_envs": 30, "n_steps": 16})
    assert layout_of(agent, cores=9) == Layout(workers=8, envs=4, rollout=16)
    assert layout_of(agent, cores=1) == Layout(workers=1, envs=30, rollout=16)
    assert layout_of(agent, cores=500).workers == 30
    assert layout_of(agent, cores=9, workers=2).batch == 2 * 15 * 16
    with pytest.raises(UsageError, match="the cluster has 9 cores"):
        layout_of(agent, cores=9, workers=10)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("agent.teacher=planner", "agent.teacher 'planner': RLlib's PPO cannot do that"),
        ("agent.target_kl=0.01", "set agent.target_kl=null"),
        ("agent.normalize_advantage=false", "set agent.normalize_advantage=true"),
        ("agent.bootstrap_truncated=false", "set agent.bootstrap_truncated=true"),
        ("agent.clip_range={start: 0.2, end: 0.1}", "set agent.clip_range=0.2"),
    ],
)
def test_what_rllib_cannot_do_is_refused_by_name(setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("'", ".")):
        check_trainable(resolve_run("highway-fast-v0", "ppo", overrides=[setting]))


def test_other_algorithms_and_options_that_do_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="trains ppo, not dqn"):
        check_trainable(resolve_run("highway-fast-v0", "dqn"))
    line = [sys.executable, "-m", "drive_rl.cli", "train", "--env", "highway-v0", "--algo", "ppo"]
    said = subprocess.run([*line, "--ray"], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "needs --trainer rllib" in said.stderr


@needs_rllib
@pytest.mark.parametrize("env", ["highway-fast-v0", "racetrack-v0"])
def test_rllibs_module_is_the_network_of_stable_baselines3(env: str) -> None:
    from ray.rllib.core.columns import Columns

    from drive_rl.cluster.rllib.learning import PREFIX, PolicyModule

    spec, observations, actions = ready(specification(env))
    module = PolicyModule(
        observation_space=observations,
        action_space=actions,
        model_config={"spec": spec.model_dump_json()},
    )
    policy = build_policy(spec, observations, actions, torch.device("cpu"))
    own = {name.removeprefix(PREFIX): value for name, value in module.state_dict().items()}
    policy.load_state_dict(own)
    space = observations
    rows = np.stack([np.clip(space.sample(), -1, 1) for _ in range(8)]).astype(space.dtype)
    batch = torch.from_numpy(rows)
    with torch.no_grad():
        said = module.forward_inference({Columns.OBS: batch})[Columns.ACTION_DIST_INPUTS]
        distribution = policy.get_distribution(batch).distribution
        values = module.compute_values({Columns.OBS: batch})
        expected = policy.predict_values(batch)[:, 0]
    if env == "racetrack-v0":
        mean, log_std = said.chunk(2, dim=-1)
        torch.testing.assert_close(mean, distribution.mean)
        torch.testing.assert_close(log_std.exp(), distribution.stddev)
    else:
        torch.testing.assert_close(said.softmax(-1), distribution.probs)
    torch.testing.assert_close(values, expected)


@needs_rllib
def test_episodes_are_told_of_as_stable_baselines3_is_told(small: Path) -> None:
    from drive_rl.cluster.rllib.sampling import make_env

    spec = specification(small)
    rllib = make_env({"spec": spec.model_dump_json(), "num_envs": 3})
    sb3 = SB3VecEnv(make_vec(load_environment(str(small)), 3, num_threads=1))
    rllib.reset(seed=5)
    sb3.seed(5)
    sb3.reset()
    chosen = np.random.default_rng(0).integers(5, size=(40, 3))
    expected: list[list[tuple[float, bool]]] = [[], [], []]
    told: list[list[tuple[float, bool]]] = [[], [], []]
    for row in chosen:
        *_, dones, infos = sb3.step(row)
        for k in np.flatnonzero(dones):
            expected[k].append((infos[k]["speed_mean"], infos[k]["crashed"]))
    taken = np.zeros(3, dtype=int)
    ended = np.zeros(3, dtype=bool)
    while taken.min() < 40:  # here a step after each episode's end is its successor's reset
        actions = np.array([chosen[min(taken[k], 39), k] for k in range(3)])
        _, _, terminated, truncated, info = rllib.step(actions)
        taken += ~ended
        ended = terminated | truncated
        for k in np.flatnonzero(ended):
            told[k].append((info["speed_mean"][k], bool(info["crashed"][k])))
    rllib.close()
    sb3.close()
    for own, other in zip(told, expected, strict=True):
        assert len(other) >= 5
        np.testing.assert_allclose(own[: len(other)], other)


@needs_rllib
def test_a_training_by_rllib_is_a_run_like_any_other(small: Path, tmp_path: Path) -> None:
    from drive_rl.cluster.rllib import train_rllib
    from drive_rl.evaluation import evaluate

    spec = specification(small, steps=256)
    run = train_rllib(spec, tmp_path / "run", workers=2)
    assert run.evaluation is not None
    assert run.details[TRAINER] == "rllib"
    again = Run.open(tmp_path / "run")
    assert again.steps()[-1] >= 256
    last = again.metrics()[-1]
    assert last["step"] == again.steps()[-1]
    assert {"return", "length", "crash_rate", "speed", "loss"} <= last.keys()
    assert 0 <= last["crash_rate"] <= 1
    assert last["speed"] > 10
    policy = build_policy(again.spec, run.observation_space, run.action_space, torch.device("cpu"))
    assert load_policy(run.path).network.state_dict().keys() == policy.state_dict().keys()
    found = evaluate(str(run.path), episodes=2, baselines=())
    assert found.policies[0].metrics["return"].mean > 0
    assert resume(run.path).steps() == again.steps()  # finished: nothing to do
    for step in again.steps():
        (run.checkpoints / str(step)).rename(run.checkpoints / f"gone{step}")
    with pytest.raises(UsageError, match="train --from"):
        resume(run.path)
