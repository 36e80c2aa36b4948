"""Trainings of networks that are no policies: begun, interrupted, gone on with, and refused."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from torch import nn

from drive_rl.errors import Diverged, DriveRLError, Interrupted, UsageError
from drive_rl.runs.checkpoint import read_checkpoint
from drive_rl.runs.folder import read_document
from drive_rl.runs.networks import NetworkRun, begin, go_on
from drive_rl.runs.progress import Quiet
from drive_rl.specs import TrainingSpec

KIND = "line"


class LineSpec(TrainingSpec):
    steps: int = 6
    checkpoint_interval: int = 2
    num_threads: int | None = 1


class Numbers(NamedTuple):
    folder: Path
    digest: str = "abc"


class Line(NetworkRun):
    """A line through points that come of the seed and the step."""

    def __init__(self, path: Path, seed: int, device: torch.device) -> None:
        super().__init__(path, seed, device)
        self.line = nn.Linear(1, 1)
        nn.init.constant_(self.line.weight, 0.5)
        nn.init.zeros_(self.line.bias)
        self.networks = {"line": self.line}
        self.optimizers = {"line": torch.optim.AdamW(self.line.parameters(), lr=0.1)}
        self.before: Callable[[Line], None] = lambda run: None

    def label(self) -> str:
        return "a line"

    def train_step(self) -> dict[str, float]:
        self.before(self)
        random = torch.Generator().manual_seed(1000 * self.seed + self.step)
        x = torch.rand(8, 1, generator=random)
        loss = ((self.line(x) - 2.0 * x - 1.0) ** 2).mean()
        if self.step == 5 and self.seed == 13:
            loss = loss * float("nan")
        self.update("line", loss, max_grad_norm=1.0)
        self.step += 1
        return {"loss": float(loss.detach())}


def _begun(
    path: Path,
    seed: int = 3,
    before: Callable[[Line], None] | None = None,
    start: str | None = None,
) -> Path:
    run = Line(path, seed, torch.device("cpu"))
    if before is not None:
        run.before = before
    return begin(run, KIND, LineSpec(), Numbers(path.parent), {"from": start}, Quiet())


def _gone_on(path: Path, data: Numbers | None = None) -> Path:
    document = read_document(path, KIND)
    build = lambda seed, device: Line(path, seed, device)  # noqa: E731
    return go_on(path, document, LineSpec(), data or Numbers(path.parent), build, Quiet())


def _weights(path: Path, step: int = 6) -> dict[str, torch.Tensor]:
    return read_checkpoint(path / "checkpoints" / str(step)).policy


def _interrupting(run: Line) -> None:
    if run.step == 2:
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_interrupted_training_says_where_it_is_and_goes_on_to_the_same_weights(
    tmp_path: Path,
) -> None:
    _begun(tmp_path / "whole")
    with pytest.raises(Interrupted, match=r"saved at step 3.*--resume") as stopped:
        _begun(tmp_path / "stopped", before=_interrupting)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert not (tmp_path / "stopped" / "run.lock").exists()
    _gone_on(tmp_path / "stopped")
    whole, resumed = _weights(tmp_path / "whole"), _weights(tmp_path / "stopped")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert (tmp_path / "stopped" / "checkpoints" / "last").read_text() == "6\n"


def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"step 6: the loss of the line is nan.*checkpoints/4"):
        _begun(tmp_path / "run", seed=13)


def test_without_a_checkpoint_a_run_starts_over_but_not_one_that_began_with_weights(
    tmp_path: Path,
) -> None:
    for name, start in (("own", None), ("begun", "road")):
        with pytest.raises(Interrupted):
            _begun(tmp_path / name, before=_interrupting, start=start)
        shutil.rmtree(tmp_path / name / "checkpoints")
        (tmp_path / name / "checkpoints").mkdir()
    _begun(tmp_path / "whole")
    _gone_on(tmp_path / "own")
    whole, again = _weights(tmp_path / "whole"), _weights(tmp_path / "own")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    with pytest.raises(DriveRLError, match="no whole checkpoint to resume from"):
        _gone_on(tmp_path / "begun")


def test_what_cannot_be_gone_on_with_is_told_in_one_line(tmp_path: Path) -> None:
    run = _begun(tmp_path / "run")
    with pytest.raises(UsageError, match="--resume continues it"):
        _begun(run)
    with pytest.raises(UsageError, match="is not the data that"):
        _gone_on(run, Numbers(tmp_path, "other"))
    with pytest.raises(UsageError, match="a run of kind line, not policy"):
        read_document(run)
    document = yaml.safe_load((run / "run.yaml").read_text())
    for changes, words in (
        ({"schema": 2}, "has schema 2"),
        ({"spec": 3}, "its spec is no mapping"),
    ):
        (run / "run.yaml").write_text(yaml.safe_dump(document | changes))
        with pytest.raises(UsageError, match=words):
            read_document(run, KIND)
    del document["torch_threads"]
    (run / "run.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(UsageError, match="torch_threads"):
        _gone_on(run)
