"""Lessons in easier scenes come before the scene itself, and leave no trace in its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drive_rl.errors import UsageError
from drive_rl.presets import resolve_run
from drive_rl.runs.progress import Quiet
from drive_rl.training import train_run
from tests.training.runs import small_spec


def curriculum(*lessons: tuple[float, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"until": until, "config": config} for until, config in lessons]


def test_each_lesson_has_its_share_and_the_scene_itself_the_rest(tmp_path: Path) -> None:
    lessons = curriculum((0.25, {"duration": 1}), (0.5, {"duration": 2}))
    spec = small_spec("ppo", steps=128, n_steps=32, curriculum=lessons, checkpoint_interval=1000)
    run = train_run(spec, tmp_path / "run", progress=Quiet(), evaluate=False)
    lengths = [entry["length"] for entry in run.metrics()]
    assert [lengths[0] <= 1, lengths[1] <= 2] == [True, True]
    # Nothing of the lessons in the figures of what follows
    assert lengths[2] > 2
    assert lengths[3] > 2


def test_the_best_of_a_lesson_is_not_the_best_of_the_scene(tmp_path: Path) -> None:
    lessons = curriculum((0.5, {"reward_speed_range": [0, 1], "duration": 40}))
    spec = small_spec("ppo", steps=128, n_steps=16, curriculum=lessons, checkpoint_interval=16)
    run = train_run(spec, tmp_path / "run", progress=Quiet(), evaluate=False)
    assert int((run.checkpoints / "best").read_text()) > 64


def test_a_lesson_that_looks_otherwise_is_refused_before_the_run_has_a_folder(
    tmp_path: Path,
) -> None:
    spec = small_spec(
        "ppo",
        observation={"type": "TimeToCollision", "horizon": 10},
        curriculum=curriculum((0.5, {"policy_frequency": 2})),
    )
    with pytest.raises(UsageError, match=r"^agent.curriculum: after lesson 1, .* observations"):
        train_run(spec, tmp_path / "run", progress=Quiet(), evaluate=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("lessons", "said"),
    [
        (curriculum((0.5, {}), (0.4, {})), r"curriculum\[1\].until 0.4 is not after 0.5"),
        (curriculum((0.5, {"vehicle_count": 3})), r"curriculum\[0\].*'vehicles_count'"),
        (curriculum((0.5, {"action": {"type": "DiscreteAction"}})), "'action'.*no others"),
        (curriculum((1.0, {})), "until"),
    ],
)
def test_lessons_that_cannot_be_given_are_refused_in_one_line(
    lessons: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        resolve_run("highway-fast-v0", "ppo", overrides={"agent.curriculum": lessons})
    assert "\n" not in str(caught.value)
