"""Runs that the tests of training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drive_rl.presets import RunSpec
from drive_rl.training import Run, train_run
from drive_rl.training.progress import Quiet
from tests.training.runs import TRAIN_SCRIPT, TrainingProcess, small_spec

Start = Callable[[RunSpec | str, Path], TrainingProcess]


@pytest.fixture
def in_process(tmp_path: Path) -> Iterator[Start]:
    """Starts trainings (a spec) and resumptions ("resume") in processes of their own."""
    script = tmp_path / "train_here.py"
    script.write_text(TRAIN_SCRIPT)
    started: list[TrainingProcess] = []

    def start(source: RunSpec | str, run: Path) -> TrainingProcess:
        if isinstance(source, RunSpec):
            file = tmp_path / f"spec-{len(started)}.json"
            file.write_text(source.model_dump_json())
            source = str(file)
        started.append(TrainingProcess(script, source, run))
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
