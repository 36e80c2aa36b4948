"""An evaluation is the same on both engines, and for every number of compiled environments."""

import numpy as np
import pytest

from drive_rl.environments import choose_engine
from drive_rl.evaluation import evaluate
from drive_rl.evaluation.kinematics import FIELDS
from drive_rl.presets import load_environment

SHORT = {"duration": 6, "vehicles_count": 12}

pytestmark = pytest.mark.skipif(
    choose_engine(load_environment("highway-fast-v0", SHORT), "auto") != "compiled",
    reason="the compiled engine does not cover highway-fast-v0",
)


def driven(engine, num_envs):
    return evaluate(
        "random",
        "highway-fast-v0",
        episodes=8,
        seed=1,
        num_envs=num_envs,
        engine=engine,
        config=SHORT,
        baselines=("idle",),
    )


@pytest.fixture(scope="module")
def compiled():
    return driven("compiled", 8)


def test_both_engines_drive_the_same_episodes(compiled):
    reference = driven("reference", 1)
    for ours, theirs in zip(compiled.policies, reference.policies, strict=True):
        assert (ours.engine, theirs.engine) == ("compiled", "reference")
        assert ours.extras["crash_kinds"] == theirs.extras["crash_kinds"]
        assert set(ours.episodes) == set(theirs.episodes)
        for name, column in theirs.episodes.items():
            if column.dtype.kind == "f":
                np.testing.assert_allclose(ours.episodes[name], column, rtol=1e-9, err_msg=name)
            else:
                np.testing.assert_array_equal(ours.episodes[name], column, err_msg=name)


def test_the_number_of_compiled_environments_changes_nothing(compiled):
    assert driven("compiled", 3).to_json() == compiled.to_json()


def test_cards_of_a_compiled_evaluation_have_a_road_and_the_last_actions(compiled):
    cards = compiled.policies[0].details.cards
    assert cards
    for card in cards:
        assert len(card.lanes) == 3
        assert 1 <= len(card.actions) <= 6
        assert card.trace.frames.shape[2] == len(FIELDS)


def test_both_rooms_name_the_fields_of_a_body_alike():
    from drive_rl.simulator import tracing

    assert tracing.FIELDS == FIELDS
