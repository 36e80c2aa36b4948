"""Let a machine judge a policy: limits that it has to keep, the verdict in JUnit's XML."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from drive_rl.errors import DriveRLError, UsageError, unknown
from drive_rl.evaluation.metrics import BY_NAME
from drive_rl.evaluation.results import Evaluation, write_file


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a metric has to keep to: at least `value` where more is better, else at most."""

    metric: str
    value: float

    @property
    def at_least(self) -> bool:
        """Whether it is a lower limit."""
        return BY_NAME[self.metric].better == "more"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a policy keeps a limit."""

    policy: str
    limit: Limit
    measured: float
    passed: bool

    @property
    def words(self) -> str:
        """The verdict in one line."""
        metric = BY_NAME[self.limit.metric]
        side = "at least" if self.limit.at_least else "at most"
        verdict = "keeps" if self.passed else "misses"
        return (
            f"{self.policy} {verdict} {self.limit.metric} {side} "
            f"{metric.shown(self.limit.value)}: {metric.shown(self.measured)}"
        )


def parse_limits(texts: Sequence[str]) -> list[Limit]:
    """Limits such as `crash_rate=0.01` or `crash_rate=1%`.

    Raises:
        UsageError: not of that form, an unknown metric, or one of which neither more nor less is
            better.
    """
    limits = []
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"limit {text!r} is not of the form metric=value")
        if name not in BY_NAME:
            raise unknown("metric", name, BY_NAME)
        if BY_NAME[name].better is None:
            raise UsageError(f"limit {text!r}: neither more nor less {name} is better")
        try:
            percent = number.endswith("%")
            value = float(number.removesuffix("%")) / (100.0 if percent else 1.0)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(f"limit {text!r}: {number!r} is not a number")
        limits.append(Limit(name, value))
    return limits


def judge(evaluation: Evaluation, limits: Sequence[Limit]) -> list[Verdict]:
    """Every policy that was asked for against every limit, by its mean; baselines are not judged.

    A metric that could not be measured misses its limit.
    """
    verdicts = []
    for policy in evaluation.policies:
        if policy.kind != "policy":
            continue
        for limit in limits:
            estimate = policy.metrics.get(limit.metric)
            measured = math.nan if estimate is None else estimate.mean
            kept = measured >= limit.value if limit.at_least else measured <= limit.value
            verdicts.append(Verdict(policy.name, limit, measured, bool(kept)))
    return verdicts


def conclude(evaluation: Evaluation, limits: Sequence[Limit], junit: Path | None = None) -> None:
    """Judge, write the verdict where asked to, and fail if a limit is missed.

    Raises:
        DriveRLError: a limit is missed (each is named), or the file cannot be written.
    """
    verdicts = judge(evaluation, limits)
    if junit is not None:
        write_file(junit, junit_xml(evaluation, verdicts))
    missed = [verdict.words for verdict in verdicts if not verdict.passed]
    if missed:
        raise DriveRLError("; ".join(missed))


def junit_xml(evaluation: Evaluation, verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JUnit's XML: a suite per policy with its metrics, a case per limit."""
    root = ElementTree.Element("testsuites", name=f"drive-rl evaluate {evaluation.env}")
    for policy in evaluation.policies:
        if policy.kind != "policy":
            continue
        own = [verdict for verdict in verdicts if verdict.policy == policy.name]
        failed = sum(not verdict.passed for verdict in own)
        suite = ElementTree.SubElement(
            root, "testsuite", name=policy.name, tests=str(len(own)), failures=str(failed)
        )
        properties = ElementTree.SubElement(suite, "properties")
        for name, estimate in policy.metrics.items():
            if math.isfinite(estimate.mean):
                ElementTree.SubElement(properties, "property", name=name, value=repr(estimate.mean))
        for verdict in own:
            case = ElementTree.SubElement(
                suite, "testcase", classname=policy.name, name=verdict.limit.metric
            )
            if not verdict.passed:
                failure = ElementTree.SubElement(case, "failure", message=verdict.words)
                failure.text = verdict.words
    ElementTree.indent(root)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        + ElementTree.tostring(root, encoding="unicode")
        + "\n"
    )
