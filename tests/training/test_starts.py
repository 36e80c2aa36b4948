"""Trainings that begin with another agent's policy, which is trained first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from drive_rl.errors import UsageError
from drive_rl.presets import RunSpec, resolve_run
from drive_rl.runs.progress import Quiet
from drive_rl.training import Run, train_run

SCENE = "highway-fast-v0"
AGENT = """base: ppo
default:
  steps: 32
  num_envs: 2
  n_steps: 8
  batch_size: 16
  learning_rate: {rate}
  weight_decay: 0.0
  network: {{kind: mlp, hidden: [8]}}
  curriculum: []
  start: {start}
"""


class Told(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def _agents(folder: Path, starts: dict[str, str | None]) -> None:
    """Agents' files; those that start from another learn too little to tell."""
    for name, start in starts.items():
        rate = 1e-3 if start is None else 1e-30
        place = "null" if start is None else f"{SCENE}/{folder / start}.yaml"
        (folder / f"{name}.yaml").write_text(AGENT.format(rate=rate, start=place))


def _spec(folder: Path, name: str) -> RunSpec:
    return resolve_run(SCENE, str(folder / f"{name}.yaml"), seed=3, num_threads=1)


def _weights(run: Run) -> dict[str, torch.Tensor]:
    return run.load_policy().network.state_dict()


def test_what_does_not_ship_is_trained_first_and_found_there_by_the_next(tmp_path: Path) -> None:
    _agents(tmp_path, {"first": None, "second": "first", "third": "second"})
    told = Told()
    run = train_run(_spec(tmp_path, "third"), tmp_path / "run", progress=told, evaluate=False)
    assert [text.split(" does not ship")[0] for text in told.messages] == [
        f"{SCENE}/{tmp_path}/second.yaml",
        f"{SCENE}/{tmp_path}/first.yaml",
    ]
    first, second = (
        next(tmp_path.glob(f"start-{SCENE}-{name}-seed3-*")) for name in ("first", "second")
    )
    assert run.details["from"]["path"].startswith(str(second))
    for name, value in _weights(Run.open(first)).items():
        torch.testing.assert_close(_weights(run)[name], value)

    before = {file: file.stat().st_mtime_ns for file in first.rglob("*") if file.is_file()}
    again = train_run(_spec(tmp_path, "second"), tmp_path / "again", progress=told, evaluate=False)
    assert again.details["from"]["path"].startswith(str(first))
    assert before == {file: file.stat().st_mtime_ns for file in first.rglob("*") if file.is_file()}


def test_a_first_training_that_was_stopped_goes_on(tmp_path: Path) -> None:
    _agents(tmp_path, {"first": None, "second": "first"})
    run = train_run(_spec(tmp_path, "second"), tmp_path / "run", progress=Quiet(), evaluate=False)
    first = Run.open(next(tmp_path.glob("start-*")))
    for step in first.steps():  # as if it had been killed before its first checkpoint
        shutil.rmtree(first.checkpoints / str(step))
    again = train_run(_spec(tmp_path, "second"), tmp_path / "x", progress=Quiet(), evaluate=False)
    for name, value in _weights(run).items():
        torch.testing.assert_close(_weights(again)[name], value, rtol=0, atol=0)


def test_what_is_wrong_far_back_is_found_before_anything_is_trained(tmp_path: Path) -> None:
    _agents(tmp_path, {"second": "first", "third": "second", "a": "b", "b": "a"})
    with pytest.raises(UsageError, match=r"unknown policy .*first\.yaml"):
        train_run(_spec(tmp_path, "third"), tmp_path / "run", progress=Quiet(), evaluate=False)
    with pytest.raises(UsageError, match="goes on from itself"):
        train_run(_spec(tmp_path, "a"), tmp_path / "run", progress=Quiet(), evaluate=False)
    assert {path.name for path in tmp_path.iterdir()} == {
        "second.yaml",
        "third.yaml",
        "a.yaml",
        "b.yaml",
    }
