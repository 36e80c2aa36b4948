"""The planner as PPO's teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drive_rl.environments import make_vec
from drive_rl.environments.sb3 import SB3VecEnv
from drive_rl.errors import UsageError
from drive_rl.evaluation.effort import effort_for
from drive_rl.presets import ImitationSpec, PPOSpec, RunSpec, load_environment, resolve_run
from drive_rl.runs.progress import Quiet
from drive_rl.training import Run, resume, teaching, train_run
from drive_rl.training.algorithms import build_algorithm
from drive_rl.training.teaching import discounted, imitate, preferences
from tests.training.runs import weights

# Two others on two lanes, and few states to look at: the planner is quick there.
SCENE = {"vehicles_count": 2, "lanes_count": 2, "duration": 4}


def taught(steps: int = 64, **overrides: Any) -> RunSpec:
    settings: dict[str, Any] = {
        "num_envs": 2,
        "n_steps": 8,
        "batch_size": 16,
        "n_epochs": 1,
        "checkpoint_interval": 16,
        "network": {"kind": "mlp", "hidden": [32]},
        "imitation.num_envs": 2,
        "imitation.rounds": 2,
        "imitation.decisions": 6,
        "imitation.epochs": 2,
        "imitation.batch_size": 8,
        **overrides,
    }
    return resolve_run(
        "highway-fast-v0",
        "ppo-teacher",
        steps=steps,
        num_threads=1,
        engine="compiled",
        overrides={f"agent.{name}": value for name, value in settings.items()}
        | {f"env.config.{name}": value for name, value in SCENE.items()},
    )


def test_the_agent_s_file_is_ppo_with_a_teacher() -> None:
    plain = resolve_run("highway-fast-v0", "ppo").agent
    with_teacher = resolve_run("highway-fast-v0", "ppo-teacher").agent
    assert isinstance(plain, PPOSpec)
    assert isinstance(with_teacher, PPOSpec)
    assert (plain.teacher, with_teacher.teacher) == (None, "planner")
    assert with_teacher.network == plain.network
    # What the file does not name is as without a teacher
    assert with_teacher.observation == plain.observation
    assert (with_teacher.n_steps, with_teacher.n_epochs) == (plain.n_steps, plain.n_epochs)


def test_preferences_rise_with_values_and_equals_are_equal() -> None:
    wanted = preferences(np.array([[1.0, 2.0, 2.0, -50.0]]), temperature=0.5)
    assert wanted.sum() == pytest.approx(1.0)
    assert wanted[0, 1] == wanted[0, 2]
    assert wanted[0, 1] / wanted[0, 0] == pytest.approx(np.e**2, rel=1e-5)
    assert wanted[0, 3] == pytest.approx(0.0, abs=1e-12)


def test_returns_are_discounted_and_stop_where_episodes_do() -> None:
    rewards = np.ones((3, 2), np.float32)
    ends = np.array([[False, True], [False, False], [True, True]])
    beyond = np.array([[0, 0], [0, 0], [4, 0]], np.float32)
    returns = discounted(rewards, ends, beyond, gamma=0.5)
    np.testing.assert_allclose(returns[:, 0], [2.25, 2.5, 3.0])
    np.testing.assert_allclose(returns[:, 1], [1.0, 1.5, 1.0])


def test_a_pupil_comes_to_agree_with_its_teacher() -> None:
    spec = taught(
        **{"imitation.num_envs": 8, "imitation.decisions": 12, "imitation.epochs": 40},
    )
    with torch.random.fork_rng(devices=[]):
        env = SB3VecEnv(make_vec(spec.env, 2, engine="compiled", num_threads=1))
        model: Any = build_algorithm(spec, env, torch.device("cpu"))
        said: list[str] = []
        figures = imitate(model, spec, 5, said.append, lambda: None)
    assert figures["labelled_states"] == 2 * 8 * 12
    losses = [float(line.rsplit(" ", 1)[1]) for line in said]
    assert len(losses) == 2
    assert losses[-1] < np.log(5)  # the loss of knowing nothing
    agreement = figures["teacher_agreement"]
    assert agreement is not None
    assert agreement > 0.5


def test_how_hard_the_teacher_thinks_is_the_planners_way_unless_it_is_given() -> None:
    spec = taught()
    assert isinstance(spec.agent, PPOSpec)
    env = make_vec(spec.env, 2, engine="compiled", num_threads=1)
    usual = effort_for(spec.env, env.single_action_space)
    for asked in ({}, {"width": 3}, {"width_each": 7}, {"width": 3, "width_each": 7}):
        plan = ImitationSpec(**asked)
        assert teaching._effort(env, plan) == dataclasses.replace(usual, **asked)
    env.close()


def test_the_planner_teaches_in_the_first_lesson() -> None:
    # Its pupils are slow where slowness is paid for, which is what they are paid for here.
    hint = {"reward_speed_range": [30, 20], "right_lane_reward": 0.0, "collision_reward": 0.0}
    slowness = []
    for lessons in ([{"until": 0.5, "config": hint}], []):
        spec = taught(
            curriculum=lessons,
            **{"imitation.num_envs": 16, "imitation.decisions": 8},
            **{"imitation.epochs": 40, "imitation.width": 4},
        )
        with torch.random.fork_rng(devices=[]):
            env = SB3VecEnv(
                make_vec(load_environment(spec.env, hint), 32, engine="compiled", num_threads=1)
            )
            model: Any = build_algorithm(spec, env, torch.device("cpu"))
            imitate(model, spec, 5, lambda said: None, lambda: None)
        env.seed(7)
        observations = env.reset()
        for _ in range(4):
            actions, _ = model.predict(observations, deterministic=True)
            observations, rewards, _, _ = env.step(actions)
        slowness.append(rewards.mean())
        env.close()
    assert slowness[0] > 0.8
    assert slowness[1] < 0.5


def test_the_same_seed_gives_the_same_weights_and_a_killed_run_too(
    tmp_path: Path, in_process: Any
) -> None:
    unbroken = train_run(taught(), tmp_path / "unbroken", progress=Quiet(), evaluate=False)
    assert unbroken.metrics()[0]["labelled_states"] == 24
    process = in_process(taught(), tmp_path / "killed")
    process.wait_until((tmp_path / "killed" / "checkpoints" / "last").exists)
    process.kill_all()
    resumed = resume(tmp_path / "killed", progress=Quiet(), evaluate=False)
    assert weights(resumed) == weights(unbroken)
    # Killed before its first checkpoint, it starts over: lessons and all.
    begun = Run.create(
        tmp_path / "begun",
        unbroken.spec,
        unbroken.observation_space,
        unbroken.action_space,
        unbroken.details,
    )
    assert weights(resume(begun.path, progress=Quiet(), evaluate=False)) == weights(unbroken)


def test_without_a_teacher_the_weights_are_others(tmp_path: Path) -> None:
    alone = train_run(taught(teacher=None), tmp_path / "alone", progress=Quiet(), evaluate=False)
    with_teacher = train_run(taught(), tmp_path / "taught", progress=Quiet(), evaluate=False)
    assert "labelled_states" not in alone.metrics()[0]
    assert weights(alone) != weights(with_teacher)


def test_a_scene_without_discrete_actions_has_no_teacher(tmp_path: Path) -> None:
    spec = resolve_run("parking-v0", "ppo-teacher", steps=64, num_envs=2, num_threads=1)
    with pytest.raises(UsageError, match="continuous; train without one"):
        train_run(spec, tmp_path / "run", progress=Quiet())
    assert not (tmp_path / "run").exists()
