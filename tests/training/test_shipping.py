"""Reference policies: made from runs, and used by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import drive_rl
from drive_rl.data import data_folder
from drive_rl.training import Run, load_policy, shipped_policies
from drive_rl.training.shipping import ship

Finished = Callable[[str], Run]
_LARGEST_IN_ALL = 5_000_000  # bytes


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_shipped_policy_acts_as_its_run_does(
    algo: str, finished: Finished, tmp_path: Path
) -> None:
    run = finished(algo)
    size = ship(run, tmp_path / "shipped")
    assert 0 < size < sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
    shape = run.observation_space.shape or ()
    batch = np.random.default_rng(0).standard_normal((9, *shape))
    policy = load_policy(tmp_path / "shipped")
    np.testing.assert_array_equal(policy.predict(batch), run.load_policy().predict(batch))
    if algo == "ppo":  # what it expects is shown, and chooses nothing
        np.testing.assert_allclose(
            policy.value(batch), run.load_policy().value(batch), rtol=0.01, atol=0.01
        )
    assert policy.step == max(run.steps())
    files = {file.name for file in (tmp_path / "shipped").rglob("*") if file.is_file()}
    assert files == {"run.yaml", "last", "manifest.json", "policy.safetensors"}
    weights = next((tmp_path / "shipped").rglob("policy.safetensors"))
    assert b"q_net_target" not in weights.read_bytes()  # which driving has no use for
    assert b"vf_features_extractor" not in weights.read_bytes()  # which is the actor's as well


def test_the_shipped_policies_are_small() -> None:
    found = (data_folder("assets") / "policies").rglob("*")
    files = [path for path in found if path.is_file()]  # a folder's size is its file system's
    assert shipped_policies()
    assert sum(file.stat().st_size for file in files) < _LARGEST_IN_ALL


@pytest.mark.parametrize("name", sorted(shipped_policies()))
def test_every_shipped_policy_drives_the_scene_it_is_named_after(name: str) -> None:
    policy = load_policy(name)
    assert policy.name == name
    assert policy.spec.env.id == name.partition("/")[0]
    scored = drive_rl.evaluate(policy, episodes=2, seed=0, baselines=())
    assert np.isfinite(scored.metrics["return"].mean)


def test_the_reference_policy_of_highway_fast_still_drives_fast_and_safely() -> None:
    """The scoreboard's check of one scene: anything that spoils simulator or network shows here."""
    scored = drive_rl.evaluate("highway-fast-v0/ppo", episodes=60, seed=0, baselines=())
    assert scored.metrics["return"].mean > 25.0
    assert scored.metrics["crash_rate"].mean < 0.15
    assert scored.metrics["speed"].mean > 26.0
