"""Intervals and summaries against hand-worked cases and against scipy."""

import math

import numpy as np
import pytest
import scipy.stats

from drive_rl.evaluation import statistics


def test_wilson_interval_of_no_event_in_100_episodes_reaches_to_the_hand_worked_end():
    # z**2 / (n + z**2) with z = 1.959964
    estimate = statistics.rate(np.zeros(100))
    assert (estimate.mean, estimate.low) == (0.0, 0.0)
    assert estimate.high == pytest.approx(3.8414588 / 103.8414588, abs=1e-8)


def test_wilson_interval_of_only_events_mirrors_that_of_none():
    none, all_of_them = statistics.rate(np.zeros(20)), statistics.rate(np.ones(20))
    assert all_of_them.high == 1.0
    assert all_of_them.low == pytest.approx(1 - none.high)


@pytest.mark.parametrize(("events", "count"), [(1, 10), (7, 40), (250, 500)])
def test_wilson_interval_is_that_of_scipy(events, count):
    flags = np.arange(count) < events
    ours = statistics.rate(flags)
    theirs = scipy.stats.binomtest(events, count).proportion_ci(0.95, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_bca_interval_of_a_skewed_mean_is_that_of_scipy():
    sample = np.random.default_rng(3).exponential(size=60)
    ours = statistics.mean(sample)
    theirs = scipy.stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours.mean == sample.mean()
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_bca_interval_covers_a_skewed_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(8)
    covered = 0
    for _ in range(200):
        estimate = statistics.mean(generator.exponential(size=40))
        covered += estimate.low <= 1.0 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_equal_values_have_an_interval_of_no_width():
    estimate = statistics.mean(np.full(10, 2.5))
    assert (estimate.mean, estimate.low, estimate.high) == (2.5, 2.5, 2.5)


def test_one_episode_has_a_mean_but_no_interval():
    estimate = statistics.mean([4.0])
    assert estimate.mean == 4.0
    assert math.isnan(estimate.low)
    assert estimate.to_json() == {"mean": 4.0, "low": None, "high": None}


def test_no_episode_has_no_mean_either():
    assert statistics.mean([]).to_json() == {"mean": None, "low": None, "high": None}
    assert statistics.rate([math.nan]).to_json() == {"mean": None, "low": None, "high": None}


def test_unknown_values_are_left_out():
    assert statistics.mean([1.0, math.nan, 3.0]).mean == 2.0
    assert statistics.rate([1.0, math.nan, 0.0, 0.0]).mean == pytest.approx(1 / 3)


def test_the_same_episodes_give_the_same_interval():
    sample = np.random.default_rng(1).normal(size=50)
    assert statistics.mean(sample, seed=4) == statistics.mean(sample, seed=4)
    assert statistics.mean(sample, seed=4) != statistics.mean(sample, seed=5)


def test_a_ratio_is_of_totals_and_not_a_mean_of_ratios():
    estimate = statistics.ratio([1.0, 0.0, 1.0], [10.0, 1.0, 9.0])
    assert estimate.mean == pytest.approx(0.1)
    assert estimate.low < 0.1 < estimate.high


def test_no_crash_in_100_km_does_not_rule_out_three():
    # exact Poisson: exp(-3.6889) = 0.025
    estimate = statistics.ratio(np.zeros(50), np.full(50, 2000.0), scale=1e5)
    assert (estimate.mean, estimate.low) == (0.0, 0.0)
    assert estimate.high == pytest.approx(3.6888795)


def test_interquartile_mean_is_the_mean_of_the_middle_half():
    assert statistics.interquartile_mean([1, 2, 3, 4, 5, 6, 7, 100]) == pytest.approx(4.5)
    sample = np.random.default_rng(0).normal(size=40)
    assert statistics.interquartile_mean(sample) == pytest.approx(
        scipy.stats.trim_mean(sample, 0.25)
    )


def test_interquartile_mean_counts_values_on_the_edge_in_part():
    # Of five values 1.25 fall away on each side: a quarter of the second and fourth is cut.
    expected = (0.75 * 2 + 3 + 0.75 * 7) / 2.5
    assert statistics.interquartile_mean([3, 1, 7, 2, 50]) == pytest.approx(expected)


def test_probability_of_improvement_counts_ties_half():
    # 2 beats 1 and ties 2; 3 beats both: (1 + 0.5 + 1 + 1) / 4
    assert statistics.probability_of_improvement([2, 3], [1, 2]) == pytest.approx(3.5 / 4)


def test_probability_of_improvement_is_the_mann_whitney_statistic():
    generator = np.random.default_rng(2)
    a, b = generator.integers(0, 9, 30), generator.integers(2, 11, 25)
    u = scipy.stats.mannwhitneyu(a, b).statistic
    assert statistics.probability_of_improvement(a, b) == pytest.approx(u / (30 * 25))


def test_paired_difference_sees_what_two_separate_intervals_hide():
    scenes = np.random.default_rng(0).normal(scale=10, size=80)
    ours, theirs = scenes + 1.0, scenes + np.random.default_rng(1).normal(scale=0.5, size=80)
    difference = statistics.paired_difference(ours, theirs)
    assert difference.low > 0
    assert statistics.mean(ours).low < statistics.mean(theirs).high


def test_many_episodes_are_resampled_in_bounded_memory():
    chunks = list(statistics.resampled(50_000, seed=0, resamples=120))
    assert sum(len(chunk) for chunk in chunks) == 120
    assert max(chunk.size for chunk in chunks) <= 2_000_000


def test_an_interval_of_many_episodes_takes_memory_in_proportion():
    import tracemalloc

    sample = np.random.default_rng(0).normal(size=30_000)
    tracemalloc.start()
    statistics.mean(sample)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # n**2 flags alone would be 900 MB
