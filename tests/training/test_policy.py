"""Trained policies by name, for one observation and for many."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drive_rl
from drive_rl.errors import UsageError
from drive_rl.training import Run, load_policy

Finished = Callable[[str], Run]


def observations(run: Run, count: int) -> Any:
    generator = np.random.default_rng(0)
    return generator.standard_normal((count, *run.observation_space.shape)).astype(np.float32)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_one_observation_gives_one_action_and_a_batch_as_many(
    algo: str, finished: Finished
) -> None:
    run = finished(algo)
    policy = run.load_policy()
    batch = observations(run, 7)
    actions = policy.predict(batch)
    assert actions.shape == (7,)
    assert policy.predict(batch[0]).shape == ()
    assert policy.predict(batch[0]) == actions[0]
    assert policy.value(batch).shape == (7,)
    assert policy.value(batch[0]).shape == (1,)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_probabilities_sum_to_one_and_favour_the_action_taken(
    algo: str, finished: Finished
) -> None:
    run = finished(algo)
    policy = run.load_policy()
    batch = observations(run, 20)
    probabilities = policy.action_probabilities(batch)
    assert probabilities.shape == (20, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), policy.predict(batch))


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(
    algo: str, finished: Finished
) -> None:
    run = finished(algo)
    policy = run.load_policy()
    batch = observations(run, 100)
    together = policy.value(batch)
    np.testing.assert_array_equal(together[::-1], policy.value(batch[::-1]))
    for index in (0, 17, 99):
        assert policy.value(batch[index])[0] == together[index]


def test_a_stochastic_policy_does_not_always_do_the_same(finished: Finished) -> None:
    run = finished("ppo")
    batch = np.repeat(observations(run, 1), 200, axis=0)
    policy = run.load_policy()
    assert len(set(policy.predict(batch, deterministic=False).tolist())) > 1
    assert len(set(policy.predict(batch).tolist())) == 1


def test_observations_of_another_shape_are_refused(finished: Finished) -> None:
    with pytest.raises(UsageError, match="shape"):
        finished("ppo").load_policy().predict(np.zeros((4, 9, 9), np.float32))


def test_a_policy_is_named_by_run_checkpoint_or_object(finished: Finished) -> None:
    run = finished("ppo")
    last = max(run.steps())
    policy = drive_rl.load_policy(run.path)
    assert policy.step == last
    assert load_policy(str(run.checkpoints / str(run.steps()[0]))).step == run.steps()[0]
    assert load_policy(run.path, which=run.steps()[0]).step == run.steps()[0]
    assert load_policy(run.path, which="best").step == int((run.checkpoints / "best").read_text())
    assert load_policy(policy) is policy
    assert policy.spec == run.spec


def test_a_baseline_is_a_policy_too() -> None:
    policy = load_policy("idle", env="highway-fast-v0")
    assert hasattr(policy, "predict")
    with pytest.raises(UsageError, match="--env"):
        load_policy("idle")


def test_a_name_that_means_nothing_gets_the_nearest_one(finished: Finished) -> None:
    with pytest.raises(UsageError, match="did you mean 'random'"):
        load_policy("randm")
    run = finished("ppo")
    with pytest.raises(UsageError, match=f"did you mean '{run.path}'"):
        load_policy(str(run.path)[:-1])
    with pytest.raises(UsageError, match="unknown checkpoint"):
        load_policy(run.path, which=7)
    with pytest.raises(UsageError, match="predict"):
        load_policy(42)  # type: ignore[arg-type]


def test_a_damaged_best_checkpoint_gives_way_to_the_newest(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished("ppo").path, tmp_path / "copy")
    run = Run.open(tmp_path / "copy")
    first = run.steps()[0]
    (run.checkpoints / "best").write_text(f"{first}\n")
    (run.checkpoints / str(first) / "policy.safetensors").write_bytes(b"")
    assert run.load_policy("best").step == max(run.steps())
    assert f"left out checkpoint {first}" in capsys.readouterr().err
