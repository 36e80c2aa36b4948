"""A machine can judge a policy by limits, and reads the verdict as JUnit's XML."""

import math
from xml.etree import ElementTree

import pytest

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation.judging import Limit, conclude, judge, junit_xml, parse_limits
from drive_rl.evaluation.results import Evaluation, PolicyResult
from drive_rl.evaluation.statistics import Estimate


def evaluation(**metrics):
    estimates = {name: Estimate(value, value, value) for name, value in metrics.items()}
    ours = PolicyResult('<"odd"> & name', "policy", estimates, {}, "compiled")
    baseline = PolicyResult("idle", "baseline", estimates, {}, "compiled")
    return Evaluation("highway-v0", 10, 0, (ours, baseline), {})


def test_a_limit_is_an_upper_one_where_less_is_better():
    measured = evaluation(crash_rate=0.02, speed=28.0)
    verdicts = judge(measured, parse_limits(["crash_rate=0.01", "crash_rate=2%", "speed=28"]))
    assert [verdict.passed for verdict in verdicts] == [False, True, True]
    assert "misses crash_rate at most 1.0%: 2.0%" in verdicts[0].words
    assert not judge(measured, [Limit("speed", 28.1)])[0].passed


def test_what_was_not_measured_misses_its_limit():
    assert not judge(evaluation(), [Limit("speed", 0.0)])[0].passed
    assert not judge(evaluation(comfort=math.nan), [Limit("comfort", 0.0)])[0].passed


def test_baselines_are_not_judged():
    assert len(judge(evaluation(speed=1.0), [Limit("speed", 2.0)])) == 1


def test_junit_xml_counts_failures_and_keeps_odd_names():
    measured = evaluation(crash_rate=0.02, speed=28.0)
    verdicts = judge(measured, parse_limits(["crash_rate=0.01", "speed=20"]))
    root = ElementTree.fromstring(junit_xml(measured, verdicts).encode())
    (suite,) = root.findall("testsuite")
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (
        '<"odd"> & name',
        "2",
        "1",
    )
    assert [case.find("failure") is not None for case in suite.findall("testcase")] == [True, False]
    assert suite.find("properties/property[@name='speed']").get("value") == "28.0"


def test_a_missed_limit_fails_after_the_verdict_is_written(tmp_path):
    measured = evaluation(crash_rate=0.02)
    conclude(measured, parse_limits(["crash_rate=0.02"]), tmp_path / "good.xml")
    with pytest.raises(DriveRLError, match="misses crash_rate"):
        conclude(measured, parse_limits(["crash_rate=0.01"]), tmp_path / "bad.xml")
    assert 'failures="0"' in (tmp_path / "good.xml").read_text()
    assert 'failures="1"' in (tmp_path / "bad.xml").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crash_rate", "metric=value"),
        ("crashrate=1", "did you mean 'crash_rate'"),
        ("crash_rate=low", "'low' is not a number"),
        ("speed=nan", "not a number"),
        ("lane_changes=3", "neither more nor less"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_limits([text])
