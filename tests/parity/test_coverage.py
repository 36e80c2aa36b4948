"""docs/coverage.md is true: what it calls covered is played, what it does not has its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from drive_rl.catalogue import default_config, scene_ids
from drive_rl.environments import coverage
from drive_rl.environments.compiled import uncovered
from drive_rl.environments.coverage import Config, Entry
from drive_rl.errors import UsageError
from tests.parity.compare import assert_same_episodes

DOCUMENT = Path(__file__).parents[2] / "docs" / "coverage.md"


def plays(env_id: str) -> list[tuple[Config, list[Entry]]]:
    """Configurations that together hold every covered entry of a scene, few of them.

    Each begins with an entry that none has yet, and takes one more of every axis, and all keys,
    as long as the whole stays covered.
    """
    default = default_config(env_id)
    waiting = [entry for entry in coverage.entries(env_id) if entry.reason is None]
    found = []
    while waiting:
        config: Config = {}
        held: list[Entry] = []
        for entry in waiting:
            taken = {other.axis for other in held} - {"key"}
            changes_again = any(name in config for name in entry.config)
            if entry.axis in taken or changes_again:
                continue
            if uncovered(env_id, default | config | entry.config) is None:
                config |= entry.config
                held.append(entry)
        found.append((config, held))
        waiting = [entry for entry in waiting if entry not in held]
    return found


@pytest.fixture(autouse=True)
def _a_driver_that_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """highway-env draws nothing under the dummy video driver."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "offscreen")


@pytest.mark.parametrize("env_id", scene_ids())
def test_every_covered_entry_of_a_scene_is_played_as_highway_env_plays_it(env_id: str) -> None:
    played: list[Entry] = []
    for seed, (config, entries) in enumerate(plays(env_id)):
        assert_same_episodes(env_id, config, seed=seed, steps=4)
        played += entries
    assert set(map(str, played)) == {
        str(entry) for entry in coverage.entries(env_id) if entry.reason is None
    }


def test_what_is_not_covered_has_a_reason_that_the_engine_gives() -> None:
    from drive_rl.environments import make

    refused = [entry for env_id in scene_ids() for entry in coverage.entries(env_id)]
    refused = [entry for entry in refused if entry.reason is not None]
    reasons = {str(entry.reason): entry for entry in refused}
    for reason, entry in reasons.items():
        with pytest.raises(UsageError, match="does not cover") as error:
            make(entry.env_id, config=entry.config, engine="compiled")
        assert reason in str(error.value)
    for env_id, config in coverage.LIMITS:
        assert uncovered(env_id, default_config(env_id) | config)


def test_the_document_is_what_the_command_writes() -> None:
    assert DOCUMENT.read_text() == coverage.document()


def test_every_key_of_every_scene_is_in_the_document() -> None:
    known = {*coverage.KEYS, *coverage.DRAWING, "action", "observation", "other_vehicles_type"}
    known |= {"manual_control"}  # a limit
    for env_id in scene_ids():
        assert set(default_config(env_id)) <= known
