"""The command line: exit codes, one line per error, JSON and nothing else where it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drive_rl.cli import run


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("trian", 2, ["trian", "train"]),
        ("train --env highway-v0", 2, ["--algo"]),
        ("train --env higway-v0 --algo ppo", 2, ["higway-v0", "highway-v0"]),
        ("train --env highway-v0 --algo pppo", 2, ["pppo", "ppo"]),
        ("train --env highway-v0 --algo ppo --steps 0", 2, ["agent.steps", "0"]),
        ("train --env highway-v0 --algo ppo --steps -5", 2, ["agent.steps", "-5"]),
        ("train --env highway-v0 --algo ppo --steps many", 2, ["--steps"]),
        ("train --env highway-v0 --algo ppo --num-envs 0", 2, ["num_envs", "0"]),
        ("train --env highway-v0 --algo ppo --seed -1", 2, ["seed", "-1"]),
        ("train --env highway-v0 --algo ppo --engine fast", 2, ["engine", "fast"]),
        ("train --env highway-v0 --algo ppo --device tpu", 2, ["device", "tpu", "cuda"]),
        ("train --env highway-v0 --algo ppo --set agent.gama=1", 2, ["agent.gama", "agent.gamma"]),
        ("train --env highway-v0 --algo ppo --set", 2, ["--set"]),
        ("train --env racetrack-v0 --algo dqn", 2, ["dqn", "continuous", "ppo"]),
        ("train --env intersection-multi-agent-v0 --algo ppo", 2, ["several agents"]),
        ("resume nowhere", 2, ["nowhere", "no such run folder"]),
        ("resume .", 2, ["not a run folder"]),
        ("evaluate", 2, ["RUN", "--policy"]),
        ("evaluate nowhere", 2, ["nowhere"]),
        ("evaluate --policy random", 2, ["no environment"]),
        ("evaluate --env highway-v0 --policy randm", 2, ["randm", "random"]),
        ("evaluate --env highway-v0 --policy random --episodes 0", 2, ["episodes", "0"]),
        ("evaluate --env highway-v0 --policy idle --baselines foo", 2, ["foo"]),
        ("envs higway-v0", 2, ["higway-v0", "highway-v0"]),
        ("agents pppo", 2, ["pppo", "ppo"]),
        ("watch", 2, ["RUN", "--policy"]),
        ("benchmark --env higway-v0", 2, ["higway-v0", "highway-v0"]),
        ("benchmark --seconds 0", 2, ["seconds", "0"]),
        ("benchmark --threads -1", 2, ["threads", "-1"]),
    ],
)
def test_wrong_use_gives_exit_code_2_one_line_and_leaves_nothing_behind(
    line: str,
    code: int,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(line.split()) == code
    said = [
        each for each in capsys.readouterr().err.splitlines() if "using the reference" not in each
    ]
    assert len(said) == 1, said
    assert said[0].startswith("drive-rl: error: ")
    for word in words:
        assert word in said[0]
    assert list(tmp_path.iterdir()) == []


def test_cuda_without_cuda_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--env", "highway-fast-v0", "--algo", "ppo", "--device", "cuda"]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(Exception, match="higway-v0"):
        run(["envs", "higway-v0", "--debug"])


def test_set_takes_several_settings_and_repeats() -> None:
    from drive_rl.cli import _spread_settings

    several = ["train", "--set", "a=1", "b=2", "--seed", "3", "--set", "c=4"]
    assert _spread_settings(several) == [
        *("train", "--set", "a=1", "--set", "b=2", "--seed", "3", "--set", "c=4")
    ]


@pytest.mark.parametrize("line", ["envs", "envs merge-v0", "agents", "agents dqn", "doctor"])
def test_json_is_one_document_and_nothing_else(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*line.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_the_lists_name_every_environment_and_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["envs"]) == 0
    out = capsys.readouterr().out
    for name in ("highway-v0", "parking-ActionRepeat-v0", "intersection-multi-agent-v2"):
        assert name in out
    assert run(["agents"]) == 0
    out = capsys.readouterr().out
    assert "ppo" in out
    assert "dqn" in out


def test_an_evaluation_prints_the_schema_that_programs_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = "evaluate --env highway-fast-v0 --policy idle --episodes 3 --seed 4 --json --out"
    assert run([*line.split(), str(tmp_path / "out")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert document["env"] == "highway-fast-v0"
    assert document["episodes"] == 3
    assert document["seed"] == 4
    metrics = document["policies"][0]["metrics"]
    names = ("return", "episode_length", "crash_rate", "off_road_rate", "speed", "lane_changes")
    for name in names:
        assert metrics[name]["low"] <= metrics[name]["mean"] <= metrics[name]["high"]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == document
    assert (tmp_path / "out" / "episodes.csv").read_text().count("\n") > 3


def test_benchmark_measures_both_engines_and_their_ratio(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "benchmark --env highway-fast-v0,merge-v0 --threads 1 --rounds 1 --seconds 0.2 --json"
    assert run(line.split()) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["env"] for row in document["rows"]] == ["highway-fast-v0", "merge-v0"]
    for row in document["rows"]:
        ratio = row["compiled"] / row["highway_env"]
        assert row["over_highway_env"] == pytest.approx(ratio)
        assert min(row["compiled"], row["highway_env"]) > 0
