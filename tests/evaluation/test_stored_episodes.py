"""Stored episodes drive again exactly."""

import json

import numpy as np
import pytest

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation import evaluate
from drive_rl.evaluation.episodes import folder_name, read_episode, replay
from drive_rl.evaluation.results import write_file, write_folder

CASES = {
    "highway-fast-v0": {"vehicles_count": 8, "duration": 8},
    "racetrack-v0": {"duration": 2},
    "intersection-multi-agent-v0": {"duration": 4},
    "parking-v0": {"duration": 2},
}


@pytest.mark.parametrize("env", CASES)
def test_a_stored_episode_drives_again_to_the_same_return(env, tmp_path):
    evaluation = evaluate(
        "random", env, episodes=2, seed=4, engine="reference", config=CASES[env], baselines=()
    )
    for name, episode in evaluation.stored_episodes():
        write_file(tmp_path / name, json.dumps(episode.to_json()))
    files = sorted((tmp_path / "random").iterdir())
    assert [file.name for file in files] == ["4.json", "5.json"]
    table = evaluation.policies[0].episodes
    for k, file in enumerate(files):
        stored = read_episode(file)
        assert replay(stored) == (table["return"][k], table["crashed"][k], len(stored))
        assert stored.outcome["return"] == table["return"][k]
        assert stored.policy == "random"


def test_an_episode_that_ends_early_says_so(tmp_path):
    evaluation = evaluate(
        "idle",
        "highway-fast-v0",
        episodes=1,
        engine="reference",
        config={"vehicles_count": 0, "duration": 3},
        baselines=(),
    )
    _, episode = next(evaluation.stored_episodes())
    document = episode.to_json()
    document["actions"] += [1, 1]
    write_file(tmp_path / "e.json", json.dumps(document))
    with pytest.raises(DriveRLError, match="5 decisions, but highway-fast-v0 ended it after 3"):
        replay(read_episode(tmp_path / "e.json"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "env": 3}'])
def test_a_file_that_is_no_episode_is_named(tmp_path, content):
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(UsageError, match=r"e\.json"):
        read_episode(tmp_path / "e.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_episode(tmp_path / "none.json")


def test_a_configuration_in_a_file_is_checked_like_one_that_was_typed(tmp_path):
    evaluation = evaluate(
        "idle", "parking-v0", episodes=1, engine="reference", config={"duration": 1}, baselines=()
    )
    document = next(evaluation.stored_episodes())[1].to_json()
    document["env"]["config"]["durations"] = 3
    write_file(tmp_path / "e.json", json.dumps(document))
    with pytest.raises(UsageError, match="did you mean 'duration'"):
        read_episode(tmp_path / "e.json")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("ppo seed 0", "ppo-seed-0"), ("../../etc", "etc"), ("<script>", "script"), ("..", "policy")],
)
def test_names_of_policies_make_harmless_folders(name, folder):
    assert folder_name(name) == folder


def test_float32_actions_survive_the_file():
    value = np.float32(0.1)
    assert np.float32(json.loads(json.dumps(float(value)))) == value


def test_a_folder_is_replaced_whole_or_left_as_it_was(tmp_path):
    write_folder(tmp_path / "episodes", [("a/0.json", "0"), ("a/1.json", "1")])
    write_folder(tmp_path / "episodes", [("b/0.json", "2")])

    def failing():
        yield ("c/0.json", "3")
        raise OSError(28, "No space left on device")

    with pytest.raises(DriveRLError, match="episodes: No space left on device"):
        write_folder(tmp_path / "episodes", failing())
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert files == ["episodes", "episodes/b", "episodes/b/0.json"]
