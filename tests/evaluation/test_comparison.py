"""Policies against each other, on hand-worked cases."""

import numpy as np
import pytest

from drive_rl.evaluation.comparison import (
    across_seeds,
    against_others,
    improvement,
    over_runs,
    share_of_the_way,
)
from drive_rl.evaluation.results import PolicyResult


def result(name, returns, seed=None, algo="ppo"):
    returns = np.asarray(returns, float)
    about = {} if seed is None else {"algo": algo, "trained_in": "x", "training_seed": seed}
    episodes = {"return": returns, "crashed": returns < 0, "speed": 2 * returns}
    return PolicyResult(name, "policy", {}, episodes, "reference", about)


def test_differences_are_of_the_first_policy_on_the_same_episodes():
    first, second = result("a", [1, 2, 3]), result("b", [0, 2, -1])
    (comparison,) = against_others([first, second])
    assert (comparison["policy"], comparison["against"]) == ("a", "b")
    assert comparison["difference"]["return"]["mean"] == pytest.approx(5 / 3)
    assert comparison["difference"]["crash_rate"]["mean"] == pytest.approx(-1 / 3)
    assert "driving_score" not in comparison["difference"]
    # 1 beats 0, -1; 2 beats 0, -1 and ties; 3 beats all: 2 + 2.5 + 3 of 9
    assert comparison["probability_of_improvement"]["mean"] == pytest.approx(7.5 / 9)


def test_improvement_of_equals_is_a_coin_toss_with_an_interval_around_it():
    values = np.random.default_rng(0).normal(size=60)
    estimate = improvement(values, values)
    assert estimate.mean == 0.5
    assert estimate.low <= 0.5 <= estimate.high


def test_improvement_of_many_episodes_is_resampled_from_the_first_thousand():
    a, b = np.random.default_rng(1).normal(size=(2, 1500))
    estimate = improvement(a + 0.5, b)
    assert estimate.low < estimate.mean < estimate.high


def test_share_of_the_way_is_zero_at_random_and_one_at_the_planner():
    random, planner = np.array([0.0, 2.0, 4.0]), np.array([10.0, 12.0, 14.0])
    assert share_of_the_way(random, random, planner).mean == 0.0
    assert share_of_the_way(planner, random, planner).mean == 1.0
    assert share_of_the_way(random + 7.5, random, planner).mean == pytest.approx(0.75)
    assert np.isnan(share_of_the_way(random, random, random).mean)


def test_over_runs_takes_the_middle_half_of_runs():
    runs = np.array([[0.0] * 5, [10.0] * 5, [12.0] * 5, [100.0] * 5])
    estimate = over_runs(runs)
    assert estimate.mean == pytest.approx(11.0)
    assert estimate.low < 11.0 < estimate.high


def test_only_runs_that_differ_in_their_seed_alone_are_taken_together():
    policies = [
        result("a", [1, 2], seed=0),
        result("b", [3, 4], seed=1),
        result("c", [5, 6], seed=0, algo="dqn"),
        result("d", [7, 8]),
    ]
    (group,) = across_seeds(policies)
    assert group["policies"] == ["a", "b"]
    assert group["interquartile_mean"]["return"]["mean"] == pytest.approx(2.5)
