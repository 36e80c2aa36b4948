"""Evaluations are kept with their run, and read back as they were."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation import evaluate, read_evaluation
from drive_rl.evaluation.final import EpisodeProgress, check_place, evaluate_run, folder_for


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(
        "idle",
        "parking-v0",
        episodes=2,
        engine="reference",
        config={"duration": 1},
        baselines=("random",),
    )


def test_what_is_read_equals_what_was_written(evaluation, tmp_path):
    read = read_evaluation(evaluation.write(tmp_path, page=False))
    assert json.dumps(read.to_json()) == json.dumps(evaluation.to_json())
    assert read.episodes_csv() == evaluation.episodes_csv()
    for ours, theirs in zip(read.policies, evaluation.policies, strict=True):
        for name, column in theirs.episodes.items():
            np.testing.assert_array_equal(ours.episodes[name], column)
            assert ours.episodes[name].dtype == column.dtype, name


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("report.json", "{"),
        ("report.json", "[]"),
        ("report.json", '{"schema": 99}'),
        ("report.json", '{"schema": 1, "env": "x", "episodes": "many"}'),
        ("episodes.csv", "policy,seed\nidle,zero\n"),
    ],
)
def test_damaged_files_are_named(evaluation, tmp_path, file, content):
    evaluation.write(tmp_path, page=False)
    (tmp_path / file).write_text(content)
    with pytest.raises(DriveRLError, match=str(tmp_path)):
        read_evaluation(tmp_path)


def test_a_folder_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(UsageError, match="no evaluation"):
        read_evaluation(tmp_path)


def test_a_run_is_evaluated_once(evaluation, tmp_path):
    calls = []

    def load_policy():
        calls.append(1)
        return SimpleNamespace(
            name="still",
            spec=SimpleNamespace(env=None),
            predict=lambda observations: np.zeros((len(observations["observation"]), 2)),
        )

    agent = SimpleNamespace(evaluation_episodes=2)
    run = SimpleNamespace(
        path=tmp_path,
        evaluation=evaluation,
        spec=SimpleNamespace(agent=agent, engine="reference"),
        load_policy=load_policy,
    )
    assert evaluate_run(run) is evaluation
    run.evaluation = None
    evaluation.write(tmp_path / "evaluation" / "final", page=False)
    assert evaluate_run(run).to_json() == evaluation.to_json()
    assert calls == []


def test_an_evaluation_of_a_run_lies_in_the_run(tmp_path):
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "100"
    checkpoint.mkdir(parents=True)
    (run / "run.yaml").write_text("schema: 1")
    assert folder_for([str(run)], 50, 7) == run / "evaluation" / "50-episodes-seed7"
    assert folder_for([checkpoint], 50, 7).resolve() == folder_for([run], 50, 7).resolve()
    assert folder_for([run], 5, 0, "merge-v0").name == "merge-v0-5-episodes-seed0"
    assert folder_for(["random"], 50, 7) is None
    assert folder_for([object()], 50, 7) is None


def test_a_place_that_cannot_be_written_is_found_out_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    check_place(None)
    check_place(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="is not a folder"):
        check_place(tmp_path / "file" / "deep")


def test_progress_says_nothing_where_episodes_are_quick():
    stream = io.StringIO()
    with EpisodeProgress(stream) as progress:
        progress("idle", 0, 3)
        progress("idle", 3, 3)
    assert stream.getvalue() == ""
