"""Runs that the tests of training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drive_rl.presets import RunSpec
from drive_rl.runs.progress import Quiet
from drive_rl.training import Run, train_run
from tests.training.runs import TrainingProcess, small_spec

Start = Callable[[RunSpec | None, Path], TrainingProcess]


@pytest.fixture
def in_process(tmp_path: Path) -> Iterator[Start]:
    """Starts trainings (of a spec) and resumptions (None) in processes of their own."""
    started: list[TrainingProcess] = []

    def start(spec: RunSpec | None, run: Path) -> TrainingProcess:
        started.append(TrainingProcess(spec, run, tmp_path / f"said-{len(started)}"))
        return started[-1]

    yield start
    for process in started:
        process.kill_all()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """An unbroken run of each algorithm, trained once."""
    runs: dict[str, Run] = {}

    def get(algo: str) -> Run:
        if algo not in runs:
            folder = tmp_path_factory.mktemp("finished") / algo
            runs[algo] = train_run(small_spec(algo), folder, progress=Quiet(), evaluate=False)
        return runs[algo]

    return get
