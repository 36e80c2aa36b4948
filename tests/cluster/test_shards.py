"""Episodes that were driven in shards are the episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from drive_rl.cluster.pool import Event, Told
from drive_rl.cluster.shards import evaluate_sharded
from drive_rl.cluster.tasks import RunTask, ShardTask, perform
from drive_rl.errors import UsageError
from drive_rl.evaluation import evaluate


class Here:
    """A pool that does its tasks itself, the last one first."""

    def __init__(self) -> None:
        self.done = 0

    def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
        for task in reversed(tasks):
            perform(task.model_dump_json(), str(root))
            told(Event(task, "done"))
            self.done += 1
        return []


def test_shards_give_the_figures_of_an_undivided_evaluation(tmp_path: Path) -> None:
    env = tmp_path / "small.yaml"
    env.write_text(
        "base: highway-fast-v0\n"
        "config: {vehicles_count: 2, lanes_count: 2, duration: 4, simulation_frequency: 5}\n"
    )
    whole = evaluate("random", str(env), episodes=25, seed=3, baselines=("idle",))
    pool = Here()
    out = tmp_path / "out"
    sharded = evaluate_sharded(
        ["random"], str(env), episodes=25, seed=3, baselines=["idle"], out=out, shard=10, pool=pool
    )
    assert pool.done == 6
    assert [each.name for each in sharded.policies] == ["random", "idle"]
    for own, other in zip(whole.policies, sharded.policies, strict=True):
        assert own.kind == other.kind
        assert own.metrics.keys() == other.metrics.keys()
        for name, estimate in own.metrics.items():
            assert estimate.to_json() == other.metrics[name].to_json()
        for column in ("seed", "return", "crashed"):
            np.testing.assert_array_equal(own.episodes[column], other.episodes[column])
    again = Here()
    evaluate_sharded(
        ["random"], str(env), episodes=30, seed=3, baselines=["idle"], out=out, shard=10, pool=again
    )
    assert again.done == 2  # the last shard of each is longer now


def test_shards_need_episodes_and_a_place_to_drive() -> None:
    with pytest.raises(UsageError, match="episodes 0"):
        evaluate_sharded(["random"], "highway-v0", episodes=0)
    with pytest.raises(UsageError, match="no environment"):
        evaluate_sharded(["random"], episodes=5)
