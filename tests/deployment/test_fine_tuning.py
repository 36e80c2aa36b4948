"""A run that starts with another run's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from drive_rl.errors import UsageError
from drive_rl.presets import resolve_run
from drive_rl.runs.progress import Quiet
from drive_rl.training import resume, train_run
from drive_rl.training.finetune import BEFORE_AND_AFTER, fine_tune
from drive_rl.training.run import Run
from tests.deployment.policies import SMALL, untrained_run

SETTINGS = ["agent.n_steps=8", "agent.batch_size=16", "agent.evaluation_episodes=3"]


def test_it_starts_where_the_other_ended_and_the_report_shows_before_and_after(
    tmp_path: Path,
) -> None:
    source = untrained_run(tmp_path / "source")
    still = [*SETTINGS, "agent.learning_rate=1e-30", "agent.weight_decay=0"]
    tuned = fine_tune(
        source.path,
        config={**SMALL, "vehicles_count": 4},
        steps=32,
        num_envs=2,
        num_threads=1,
        run=tmp_path / "tuned",
        overrides=still,
        progress=Quiet(),
    )
    before = source.load_policy().network.state_dict()
    after = tuned.load_policy().network.state_dict()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)
    report = json.loads((tuned.path / "evaluation" / BEFORE_AND_AFTER / "report.json").read_text())
    assert len(report["policies"]) == 2
    assert report["policies"][0]["metrics"]["return"] == report["policies"][1]["metrics"]["return"]
    assert report["comparisons"][0]["difference"]["return"]["mean"] == 0
    assert Run.open(tuned.path).details["from"]["step"] == 32


def test_one_that_was_killed_before_its_first_checkpoint_starts_there_again(
    tmp_path: Path,
) -> None:
    source = untrained_run(tmp_path / "source")
    runs = [
        fine_tune(
            source.path,
            steps=32,
            num_envs=2,
            num_threads=1,
            run=tmp_path / name,
            overrides=SETTINGS,
            evaluate=False,
            progress=Quiet(),
        )
        for name in ("whole", "killed")
    ]
    for step in runs[1].steps():
        for file in (runs[1].checkpoints / str(step)).iterdir():
            file.unlink()
        (runs[1].checkpoints / str(step)).rmdir()
    again = resume(runs[1].path, progress=Quiet(), evaluate=False)
    weights = [run.load_policy().network.state_dict() for run in (runs[0], again)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_what_cannot_be_started_from_is_refused(tmp_path: Path) -> None:
    source = untrained_run(tmp_path / "source")
    with pytest.raises(UsageError, match="was trained by ppo; leave out --algo dqn"):
        fine_tune(source.path, algo="dqn", run=tmp_path / "x")
    with pytest.raises(UsageError, match="cannot change it"):
        fine_tune(source.path, run=tmp_path / "x", overrides=["agent.network.hidden=[8]"])
    with pytest.raises(UsageError, match="no weights to start from"):
        fine_tune("idle", run=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_agent_s_file_can_say_where_training_starts(tmp_path: Path) -> None:
    source = untrained_run(tmp_path / "source")
    still = [*SETTINGS, "agent.learning_rate=1e-30", "agent.weight_decay=0"]
    still += [f"agent.{name}={json.dumps(value)}" for name, value in _shape(source).items()]
    spec = resolve_run(
        source.spec.env,
        "ppo",
        num_threads=1,
        overrides=[*still, "agent.steps=32", "agent.num_envs=2", f"agent.start={source.path}"],
    )
    run = train_run(spec, tmp_path / "run", progress=Quiet(), evaluate=False)
    for name, value in source.load_policy().network.state_dict().items():
        torch.testing.assert_close(run.load_policy().network.state_dict()[name], value)
    assert Run.open(run.path).details["from"]["path"].startswith(str(source.path))
    lost = resolve_run(source.spec.env, "ppo", overrides=[*still, "agent.start=highway-v0/pppo"])
    with pytest.raises(UsageError, match="highway-v0/ppo"):
        train_run(lost, tmp_path / "lost", progress=Quiet(), evaluate=False)
    assert not (tmp_path / "lost").exists()


def _shape(run: Run) -> dict[str, Any]:
    return {"network": run.spec.agent.network.model_dump(mode="json")}
