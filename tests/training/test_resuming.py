"""A run that is killed at any moment and resumed ends in the same weights, bit for bit."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from drive_rl.runs.progress import Quiet
from drive_rl.training import Run, resume, train_run
from tests.training.runs import small_spec, weights


def finish(run: Path) -> Run:
    return resume(run, progress=Quiet(), evaluate=False)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_two_unbroken_runs_of_a_seed_end_in_equal_weights(
    algo: str, finished: Any, tmp_path: Path
) -> None:
    again = train_run(small_spec(algo), tmp_path / "again", progress=Quiet(), evaluate=False)
    assert weights(again) == weights(finished(algo))


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_runs_of_other_seeds_end_in_other_weights(algo: str, finished: Any, tmp_path: Path) -> None:
    spec = small_spec(algo, seed=1)
    other = train_run(spec, tmp_path / "other", progress=Quiet(), evaluate=False)
    assert weights(other) != weights(finished(algo))


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_a_random_moment_ends_in_the_weights_of_an_unbroken_one(
    algo: str, seed: int, finished: Any, tmp_path: Path, in_process: Any
) -> None:
    run = tmp_path / "killed"
    metrics = run / "metrics.jsonl"
    goal = random.Random(seed).randint(1, 5 if algo == "ppo" else 40)
    process = in_process(small_spec(algo), run)
    process.wait_until(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= goal)
    process.kill_all()
    assert weights(finish(run)) == weights(finished(algo))
    assert [entry["step"] for entry in Run.open(run).metrics()] == [
        entry["step"] for entry in finished(algo).metrics()
    ]
    for ours, theirs in zip(Run.open(run).metrics(), finished(algo).metrics(), strict=True):
        for clock in ("time", "fps"):
            ours.pop(clock)
            theirs.pop(clock)
        assert ours == theirs
    assert (run / "checkpoints" / "best").read_text() == (
        finished(algo).checkpoints / "best"
    ).read_text()


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_asked_to_stop_saves_and_is_resumed_exactly(
    algo: str, number: int, code: int, finished: Any, tmp_path: Path, in_process: Any
) -> None:
    run = tmp_path / "stopped"
    process = in_process(small_spec(algo), run)
    metrics = run / "metrics.jsonl"
    process.wait_until(lambda: metrics.exists() and metrics.stat().st_size > 0)
    process.send(number)
    returned, said = process.finish()
    assert (returned, said.count("\n")) == (code, 1), said
    assert "saved at step" in said
    steps = Run.open(run).steps()
    assert steps
    assert not (run / "run.lock").exists()
    assert weights(finish(run)) == weights(finished(algo))


def test_a_run_killed_over_and_over_ends_in_the_weights_of_an_unbroken_one(
    finished: Any, tmp_path: Path, in_process: Any
) -> None:
    run = tmp_path / "killed"
    source: Any = small_spec("ppo")
    for step in (32, 64):
        process = in_process(source, run)
        place = run / "checkpoints" / str(step)
        process.wait_until(place.exists)
        process.kill_all()
        source = None
    assert weights(finish(run)) == weights(finished("ppo"))


def test_several_processes_of_environments_are_resumed_exactly(
    tmp_path: Path, in_process: Any
) -> None:
    spec = small_spec("ppo", num_envs=2, steps=64)
    unbroken = train_run(spec, tmp_path / "unbroken", progress=Quiet(), evaluate=False)
    run = tmp_path / "killed"
    process = in_process(spec, run)
    process.wait_until(lambda: bool((run / "checkpoints" / "last").exists()))
    process.kill_all()
    assert weights(finish(run)) == weights(unbroken)
