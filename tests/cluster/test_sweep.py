"""A sweep ends in the same best trial, however often it is stopped and whoever does the work."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("optuna", reason="needs the extra 'sweep'")

from drive_rl.cluster.pool import Event, Told
from drive_rl.cluster.sweep import BEST, JOURNAL, sweep
from drive_rl.cluster.tasks import RunTask, ShardTask
from drive_rl.errors import DriveRLError, Interrupted, UsageError
from drive_rl.evaluation.results import Evaluation, PolicyResult
from drive_rl.evaluation.statistics import Estimate
from drive_rl.presets import load_agent


class Formula:
    """A pool whose runs score by a formula: best at a learning rate of 1e-3 and gamma 0.9.

    Args:
        stop_after: runs after which it is interrupted.
    """

    def __init__(self, stop_after: int | None = None, backwards: bool = False) -> None:
        self.stop_after = stop_after
        self.backwards = backwards
        self.done: list[str] = []

    def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
        for task in reversed(tasks) if self.backwards else tasks:
            if self.stop_after is not None and len(self.done) >= self.stop_after:
                raise Interrupted("stopped")
            assert isinstance(task, RunTask)
            agent = task.run.agent
            assert isinstance(agent.learning_rate, float)
            score = -abs(agent.learning_rate - 1e-3) * 1e3 - abs(agent.gamma - 0.9) * 5
            score += 0.01 * task.run.seed
            estimate = Estimate(score, score, score)
            metrics = dict.fromkeys(("return", "crash_rate", "speed"), estimate)
            result = PolicyResult("p", "policy", metrics, {}, "compiled")
            evaluation = Evaluation("e", 0, 0, (result,), {})
            evaluation.write(root / task.folder / "evaluation" / "final", page=False)
            self.done.append(task.folder)
        return []


def run(out: Path, pool: Formula, **settings: Any) -> dict[str, Any]:
    """A small sweep."""
    settings = {"trials": 24, "seeds": [0, 1], "steps": 64, "num_envs": 2, **settings}
    return sweep("highway-fast-v0", "ppo", out, pool=pool, **settings)


def test_it_finds_better_settings_than_it_began_with_and_prunes(tmp_path: Path) -> None:
    pool = Formula()
    best = run(tmp_path, pool)
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == best["trials"] == 24
    assert best["value"] == max(float(r["return"]) for r in rows if r["state"] == "complete")
    assert best["value"] > float(rows[0]["return"])
    assert best["pruned"] == sum(row["state"] == "pruned" for row in rows) > 0
    assert len(pool.done) == 2 * 24 - best["pruned"]


def test_the_best_trial_is_an_agent_that_train_takes(tmp_path: Path) -> None:
    best = run(tmp_path, Formula(), trials=4)
    agent = load_agent(str(tmp_path / BEST), "highway-fast-v0")
    assert agent.learning_rate == pytest.approx(best["params"]["learning_rate"])
    assert agent.gamma == best["params"]["gamma"]
    assert agent.steps == 64
    assert yaml.safe_load((tmp_path / BEST).read_text())["algo"] == "ppo"


@pytest.mark.parametrize("stop_after", [3, 13])
def test_a_sweep_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, stop_after: int) -> None:
    whole = run(tmp_path / "whole", Formula(), trials=12)
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", Formula(stop_after), trials=12)
    resumed = Formula()
    again = run(tmp_path / "stopped", resumed, trials=12)
    assert {**again, "agent": ""} == {**whole, "agent": ""}
    tables = [(tmp_path / name / "trials.csv").read_text() for name in ("whole", "stopped")]
    assert tables[0] == tables[1]


def test_the_order_in_which_runs_finish_changes_nothing(tmp_path: Path) -> None:
    one = run(tmp_path / "one", Formula(), trials=12)
    two = run(tmp_path / "two", Formula(backwards=True), trials=12)
    assert one["params"] == two["params"]
    assert (tmp_path / "one/trials.csv").read_text() == (tmp_path / "two/trials.csv").read_text()


def test_a_round_is_as_large_as_asked_for(tmp_path: Path) -> None:
    class Counting(Formula):
        sizes: list[int] = []

        def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
            self.sizes.append(len(tasks))
            return super().run(tasks, root, told)

    pool = Counting()
    run(tmp_path, pool, trials=6, together=6)
    assert pool.sizes == [6, 6]
    with pytest.raises(UsageError, match="another sweep"):
        run(tmp_path, Formula(), trials=6)
    with pytest.raises(UsageError, match="round 0"):
        run(tmp_path, Formula(), trials=6, together=0)


def test_more_trials_go_on_and_none_again_does_nothing(tmp_path: Path) -> None:
    run(tmp_path, Formula(), trials=8)
    nothing = Formula()
    run(tmp_path, nothing, trials=8)
    assert nothing.done == []
    assert run(tmp_path, Formula(), trials=12)["trials"] == 12


def test_a_half_written_last_line_is_what_a_kill_leaves_and_is_forgiven(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, Formula(5), trials=8)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 5, "worker_')
    assert run(tmp_path, Formula(), trials=8)["trials"] == 8


def test_a_damaged_journal_is_one_clear_line(tmp_path: Path) -> None:
    run(tmp_path, Formula(), trials=4)
    path = tmp_path / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"\x00garbage\n", *lines[3:]]))
    with pytest.raises(DriveRLError, match=r"journal.log, line 4: damaged"):
        run(tmp_path, Formula(), trials=8)


def test_another_sweep_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, Formula(), trials=4)
    with pytest.raises(UsageError, match="another sweep"):
        run(tmp_path, Formula(), trials=4, steps=65)
    with pytest.raises(UsageError, match="trials 0"):
        run(tmp_path, Formula(), trials=0)


def test_what_is_set_is_not_varied(tmp_path: Path) -> None:
    best = run(tmp_path, Formula(), trials=4, overrides=["agent.gamma=0.7"])
    assert "gamma" not in best["params"]
    assert yaml.safe_load((tmp_path / BEST).read_text())["default"]["gamma"] == 0.7
    assert json.loads(json.dumps(best)) == best
