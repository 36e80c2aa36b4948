"""`evaluate` end to end on highway-env itself, and the files it leaves."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation import evaluate, print_table
from drive_rl.evaluation.companion import Companion
from drive_rl.evaluation.final import check_place
from drive_rl.presets import load_environment

SHORT = {"duration": 5, "vehicles_count": 8}


class Faster:
    """Always the meta-action FASTER."""

    name = "faster"

    def predict(self, observations, deterministic=True):
        return np.full(len(observations), 3)


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(
        Faster(), "highway-fast-v0", episodes=4, seed=3, engine="reference", config=SHORT
    )


def test_the_document_has_the_fields_that_others_rely_on(evaluation):
    document = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert {key: document[key] for key in ("schema", "env", "episodes", "seed")} == {
        "schema": 1,
        "env": "highway-fast-v0",
        "episodes": 4,
        "seed": 3,
    }
    assert [policy["name"] for policy in document["policies"]] == ["faster", "random", "idle"]
    names = ("return", "episode_length", "crash_rate", "off_road_rate", "speed", "lane_changes")
    for policy in document["policies"]:
        for name in names:
            metric = policy["metrics"][name]
            assert metric["low"] <= metric["mean"] <= metric["high"]


def test_the_first_policy_is_the_one_that_metrics_speaks_of(evaluation):
    assert evaluation.metrics["speed"] == evaluation.policies[0].metrics["speed"]
    assert evaluation.metrics["speed"].mean > evaluation.policies[2].metrics["speed"].mean


def test_written_files_hold_what_was_measured(evaluation, tmp_path):
    evaluation.write(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    names = ["episodes", "episodes.csv", "report.html", "report.json", "videos"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {path.suffix for path in (folder / "videos").iterdir()} == {".mp4"}
    stored = sorted(path.name for path in (folder / "episodes" / "faster").iterdir())
    assert stored == ["3.json", "4.json", "5.json", "6.json"]
    assert json.loads((folder / "report.json").read_text()) == evaluation.to_json()
    rows = list(csv.DictReader(io.StringIO((folder / "episodes.csv").read_text())))
    assert len(rows) == 3 * 4
    ours = [float(row["return"]) for row in rows if row["policy"] == "faster"]
    assert ours == evaluation.policies[0].episodes["return"].tolist()
    assert [row["seed"] for row in rows[:4]] == ["3", "4", "5", "6"]
    assert {row["crashed"] for row in rows} <= {"0", "1"}
    assert {row["off_road"] for row in rows} <= {"0", "1"}


def test_an_episode_is_that_of_its_seed_in_whatever_evaluation(evaluation):
    later = evaluate(
        Faster(),
        "highway-fast-v0",
        episodes=2,
        seed=5,
        engine="reference",
        config=SHORT,
        baselines=("random",),
    )
    for one, other in zip(evaluation.policies[:2], later.policies, strict=True):
        assert one.episodes["return"][2:].tolist() == other.episodes["return"].tolist()


@pytest.mark.slow
def test_worker_processes_give_the_figures_of_a_single_process(evaluation):
    again = evaluate(
        Faster(),
        "highway-fast-v0",
        episodes=4,
        seed=3,
        num_envs=2,
        engine="reference",
        config=SHORT,
        baselines=("random", "idle"),
    )
    assert again.to_json() == evaluation.to_json()


def test_the_table_fits_80_columns_and_shows_every_metric(evaluation):
    console = Console(width=80, file=io.StringIO(), color_system=None)
    print_table(evaluation, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for word in ("faster", "random", "idle", "return", "crashes", "off road", "[m/s]", "length"):
        assert word in text
    assert "…" not in text


def test_names_in_the_table_are_no_markup():
    class Odd(Faster):
        name = "[red]x[/red]"

    evaluation = evaluate(
        Odd(), "highway-fast-v0", episodes=1, engine="reference", config=SHORT, baselines=()
    )
    console = Console(width=80, file=io.StringIO(), color_system=None)
    print_table(evaluation, console)
    assert "[red]x[/red]" in console.file.getvalue()


def test_policies_of_one_name_are_told_apart():
    evaluation = evaluate(
        [Faster(), Faster(), "idle"],
        "highway-fast-v0",
        episodes=1,
        engine="reference",
        config=SHORT,
        baselines=("idle",),
    )
    assert [policy.name for policy in evaluation.policies] == ["faster", "faster (2)", "idle"]


def test_a_policy_drives_its_own_environment_with_its_own_eyes():
    own = load_environment(
        "highway-fast-v0",
        {**SHORT, "observation": {"type": "OccupancyGrid"}, "lanes_count": 2},
    )

    class Trained(Faster):
        spec = type("Spec", (), {"env": own, "agent": type("A", (), {"algo": "ppo"}), "seed": 0})

        def predict(self, observations, deterministic=True):
            assert observations.shape[1:] == (4, 11, 11)
            return super().predict(observations)

    at_home = evaluate(Trained(), episodes=1, engine="reference", baselines=())
    assert at_home.to_json()["scene"]["config"]["lanes_count"] == 2
    abroad = evaluate(
        Trained(), "highway-v0", config=SHORT, episodes=1, engine="reference", baselines=("idle",)
    )
    assert "observation" not in abroad.to_json()["scene"]["config"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": 0}, "episodes 0 is not a whole number of at least 1"),
        ({"num_envs": -1}, "num_envs -1"),
        ({"seed": -1}, "seed -1"),
        ({"baselines": ("idel",)}, "unknown baseline 'idel'; did you mean 'idle'"),
        ({"env_id": "higway-v0"}, "did you mean 'highway-v0'"),
        ({"config": {"lane_count": 3}}, "did you mean 'lanes_count'"),
        ({"env_id": None}, "no environment"),
        ({"policy": object()}, "object is no policy"),
        ({"policy": []}, "no policy"),
    ],
)
def test_wrong_input_is_refused_by_name(arguments, message):
    given = {"policy": Faster(), "env_id": "highway-fast-v0"} | arguments
    with pytest.raises(UsageError, match=message):
        evaluate(given.pop("policy"), given.pop("env_id"), **given)


def test_a_folder_that_cannot_be_written_is_one_clear_line(evaluation, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DriveRLError, match=r"cannot write .*report.json"):
        evaluation.write(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_second_process_for_the_baselines_changes_no_figure():
    settings = {"env_id": "highway-fast-v0", "episodes": 200, "config": {"duration": 3}}
    told = []
    alone = evaluate("idle", **settings, baselines=("random",))
    beside = evaluate(
        "idle",
        **settings,
        baselines=("random",),
        parallel=True,
        progress=lambda *each: told.append(each),
    )
    assert beside.episodes_csv() == alone.episodes_csv()
    assert beside.to_json() == alone.to_json()
    assert {name: total for name, _, total in told} == {"idle": 200, "random": 200}


def fails(reason, progress):
    raise UsageError(reason)


def dies(progress):
    os._exit(1)


def test_what_goes_wrong_in_the_second_process_is_said_here():
    with Companion(None) as companion:
        companion.ask(fails, [{"reason": "no road"}])
        with pytest.raises(UsageError, match=r"^no road$"):
            companion.results()
    with Companion(None) as companion:
        companion.ask(dies, [{}])
        with pytest.raises(DriveRLError, match="has been killed"):
            companion.results()


@pytest.mark.parametrize("env", ["racetrack-v0", "lane-keeping-v0"])
def test_meta_actions_are_refused_where_no_vehicle_knows_them(env):
    with pytest.raises(UsageError, match=r"DiscreteMetaAction.*ContinuousAction.*--env highway-"):
        evaluate("highway-fast-v0/ppo", env, episodes=1)


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_driven():
    with pytest.raises(UsageError, match="/proc cannot be written"):
        check_place(Path("/proc/no/such/place"))
