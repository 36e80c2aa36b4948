"""Presets and overrides: what is accepted, and what the one line of an error says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drive_rl.catalogue import check_config, default_config, scene_ids
from drive_rl.data import data_folder
from drive_rl.errors import UsageError, nearest
from drive_rl.presets import (
    PPOSpec,
    RunSpec,
    agent_names,
    environment_names,
    load_agent,
    load_environment,
    resolve_run,
)


def test_all_31_scenes_of_highway_env_have_a_preset() -> None:
    assert len(scene_ids()) == 31
    presets = {path.stem for path in data_folder("envs").glob("*.yaml")}
    assert set(scene_ids()) <= presets


@pytest.mark.parametrize("name", environment_names())
def test_an_environment_preset_is_valid_and_describes_itself(name: str) -> None:
    spec = load_environment(name)
    assert spec.id == name
    assert spec.description
    assert set(default_config(spec.base)) <= set(spec.full_config)


@pytest.mark.parametrize("algo", agent_names())
@pytest.mark.parametrize("name", environment_names())
def test_every_agent_resolves_on_every_environment(name: str, algo: str) -> None:
    spec = resolve_run(name, algo)
    assert spec.env.id == name
    assert algo.partition("-")[0] == spec.agent.algo


def test_a_spec_survives_yaml_unchanged() -> None:
    spec = resolve_run("merge-v0", "dqn", seed=7, overrides=["agent.gamma=0.9"])
    text = yaml.safe_dump(spec.model_dump(mode="json"))
    assert RunSpec.model_validate(yaml.safe_load(text)) == spec


def test_specs_are_frozen() -> None:
    spec = load_agent("ppo", "highway-v0")
    with pytest.raises(ValueError, match="frozen"):
        spec.gamma = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["agent.learning_rat=1"], ["agent.learning_rat", "agent.learning_rate"]),
        (["agent.learning_rate={start: 1, fin: 2}"], ["agent.learning_rate.fin"]),
        (["agent.network.hiden=[64]"], ["agent.network.hiden", "agent.network.hidden"]),
        (["agent.learning_rate=-1"], ["agent.learning_rate", "-1", "greater than 0"]),
        (["agent.learning_rate=fast"], ["agent.learning_rate", "'fast'", "number"]),
        (["agent.learning_rate=.nan"], ["agent.learning_rate", "nan"]),
        (["agent.gamma=1.5"], ["agent.gamma", "1.5"]),
        (["agent.steps=0"], ["agent.steps", "0"]),
        (["agent.n_steps=2.5"], ["agent.n_steps", "2.5"]),
        (["agent.network.kind=transformer"], ["transformer", "attention"]),
        (["env.config.lane_count=2"], ["lane_count", "lanes_count"]),
        (["env.lanes_count=2"], ["env.config.lanes_count"]),
        (["env.config.observation.horison=2"], ["horison", "horizon"]),
        (["env.config.lanes_count=-2"], ["lanes_count", "-2"]),
        (["env.config.normalize_reward=maybe"], ["normalize_reward", "maybe"]),
        (["env.config.other_vehicles_type=a.b"], ["a.b", "IDMVehicle"]),
        (["sed=1"], ["sed", "seed"]),
        (["agent=3"], ["agent"]),
        (["nonsense"], ["nonsense", "key=value"]),
        (["agent.steps=[1"], ["agent.steps=[1"]),
    ],
)
def test_a_wrong_override_is_one_line_that_names_value_and_remedy(
    overrides: list[str], words: list[str]
) -> None:
    with pytest.raises(UsageError) as raised:
        resolve_run("highway-v0", "ppo", overrides=overrides)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    spec = resolve_run("highway-v0", "ppo", overrides=["agent.steps=1e6", "agent.gamma=9e-1"])
    assert spec.agent.steps == 1_000_000
    assert spec.agent.gamma == 0.9


def test_a_nested_override_keeps_the_rest_of_the_scenes_own_value() -> None:
    spec = resolve_run(
        "intersection-v0", "ppo", overrides=["env.config.action.target_speeds=[0,9]"]
    )
    action = spec.env.full_config["action"]
    assert action["target_speeds"] == [0, 9]
    assert action["lateral"] is False


def test_an_observation_that_the_user_names_goes_over_the_agents_own() -> None:
    agents = resolve_run("highway-v0", "ppo").env.config["observation"]
    assert agents == {"type": "TimeToCollision", "horizon": 10}
    one = resolve_run("highway-v0", "ppo", overrides=["env.config.observation.horizon=7"])
    assert one.env.config["observation"] == {**agents, "horizon": 7}
    own = load_environment("highway-v0", {"observation": {"type": "OccupancyGrid"}})
    assert resolve_run(own, "ppo").env.config["observation"] == {"type": "OccupancyGrid"}
    assert resolve_run(own, "ppo").agent.observation is None
    asked = resolve_run(own, "ppo", overrides=["agent.observation={type: Kinematics}"])
    assert asked.env.config["observation"] == {"type": "Kinematics"}


def test_a_whole_observation_replaces_the_default_as_in_highway_env() -> None:
    spec = load_environment("intersection-v0", {"observation": {"type": "Kinematics"}})
    assert spec.full_config["observation"] == {"type": "Kinematics"}


def test_an_environment_file_of_the_users_own_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "busy.yaml"
    file.write_text("base: highway-v0\nconfig: {vehicles_count: 80}\ndescription: busy\n")
    spec = load_environment(str(file))
    assert spec.id == "busy"
    assert spec.full_config["vehicles_count"] == 80


def test_an_agent_file_of_the_users_own_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = (data_folder("agents") / "ppo.yaml").read_text()
    file.write_text(text.replace("clip_range: 0.2", "clip_range: 0.1", 1))
    spec = load_agent(str(file), "merge-v0")
    assert isinstance(spec, PPOSpec)
    assert spec.clip_range == 0.1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: highway-v0\nconfig: {a: [1\n", ["broken.yaml", "line 3"]),
        ("base: higway-v0\n", ["broken.yaml", "higway-v0", "highway-v0"]),
        ("base: highway-v0\nconfg: {}\n", ["broken.yaml", "confg", "config"]),
        ("base: highway-v0\nconfig: {lane_count: 2}\n", ["broken.yaml", "lanes_count"]),
        ("- 1\n- 2\n", ["broken.yaml", "list", "mapping"]),
        ("!!python/object/apply:os.system ['true']\n", ["broken.yaml"]),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as raised:
        load_environment(str(file))
    for word in words:
        assert word in str(raised.value)


def test_unknown_names_come_with_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'highway-v0'"):
        load_environment("higway-v0")
    with pytest.raises(UsageError, match="did you mean 'ppo'"):
        load_agent("pppo", "highway-v0")


_numbers = st.one_of(st.integers(), st.floats(allow_nan=True), st.text(max_size=8), st.none())


@given(key=st.sampled_from(sorted(default_config("highway-v0"))), value=_numbers)
def test_any_value_for_any_key_is_accepted_or_refused_in_one_line(key: str, value: object) -> None:
    said = ""
    try:
        checked = check_config("highway-v0", {key: value})
    except UsageError as error:
        said = str(error)
        checked = {key: None}
    assert set(checked) == {key}
    assert "\n" not in said
    assert said == "" or key in said or "type" in said


@given(st.text(min_size=1, max_size=20))
def test_an_unknown_key_is_always_refused(key: str) -> None:
    if key not in default_config("merge-v0") and not key.endswith("_reward"):
        with pytest.raises(UsageError, match="unknown key"):
            check_config("merge-v0", {key: 1})


@given(
    gamma=st.floats(0, 1),
    steps=st.integers(1, 10**9),
    hidden=st.lists(st.integers(1, 1024), min_size=1, max_size=3),
)
def test_overrides_and_their_texts_agree(gamma: float, steps: int, hidden: list[int]) -> None:
    values = {"agent.gamma": gamma, "agent.steps": steps, "agent.network.hidden": hidden}
    texts = [f"{key}={value!r}" for key, value in values.items()]
    by_text = resolve_run("highway-v0", "ppo", overrides=texts)
    by_value = resolve_run("highway-v0", "ppo", overrides=values)
    assert by_text == by_value
    assert by_text.agent.gamma == gamma
    assert by_text.agent.steps == steps
    assert list(by_text.agent.network.hidden) == hidden


def test_nearest_gives_nothing_where_nothing_is_close() -> None:
    assert nearest("qqqq", ["highway-v0", "merge-v0"]) is None


def test_rates_are_read_of_the_agent_s_own_columns_only() -> None:
    def closing(*overrides: str, config: dict[str, Any] | None = None) -> bool:
        env = load_environment("highway-fast-v0", config)
        return resolve_run(env, "ppo", overrides=overrides).agent.network.closing

    other = {"observation": {"type": "Kinematics", "features": ["x", "y"]}}
    assert closing()
    assert not closing(config=other)
    assert not closing("agent.observation={type: Kinematics, features: [x, y]}")
    assert not closing("agent.observation=null")
    assert closing("agent.network.closing=true", config=other)
    assert closing("agent.network={closing: true}", config=other)
