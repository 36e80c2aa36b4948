"""The encoder that ships: small, described, and able to see."""

from __future__ import annotations

import json

import numpy as np

import drive_rl
from drive_rl.data import data_folder
from drive_rl.perception.heads import affordance_count
from drive_rl.perception.spec import load_spec
from drive_rl.perception.weights import DEFAULT, load_encoder
from tests.conftest import Command


def test_it_is_small_and_of_the_settings_beside_it() -> None:
    file = data_folder("assets") / "perception" / f"{DEFAULT}.safetensors"
    assert file.stat().st_size < 5_000_000
    weights = load_encoder(DEFAULT)
    assert weights.spec == load_spec(DEFAULT).encoder
    assert weights.made["environment"]["id"] == "highway-camera-v0"


def test_the_command_scores_it_on_surfaces_that_nothing_was_trained_on(
    drive_rl_command: Command,
) -> None:
    result = drive_rl_command("perception", "evaluate", "--frames", "300", "--seed", "2", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == 1
    for split in ("test", "held_out"):
        # 300 frames are of a few episodes: what it reaches on many is in docs/perception.md
        assert document[split]["lane_f1"] > 0.9
        assert document[split]["lateral_offset_mae"] < 0.4
    assert document["test"]["lane_f1"] - document["held_out"]["lane_f1"] < 0.05


def test_the_preset_looks_through_it() -> None:
    envs = drive_rl.make_vec("highway-perception-v0", 2)
    seen, _ = envs.reset(seed=0)
    assert seen.shape == (2, affordance_count(load_encoder(DEFAULT).num_lanes))
    seen, *_ = envs.step(np.ones(2, np.int64))
    assert envs.observation_space.contains(seen)
