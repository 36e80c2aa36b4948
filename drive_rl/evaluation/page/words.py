"""What the page says in sentences, and numbers as people read them."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any

from drive_rl.evaluation.baselines import baseline_names
from drive_rl.evaluation.crashes import AT_FAULT
from drive_rl.evaluation.metrics import BY_NAME
from drive_rl.evaluation.results import Evaluation, PolicyResult
from drive_rl.evaluation.statistics import Estimate
from drive_rl.evaluation.tables import counted


def summary(evaluation: Evaluation) -> str:
    """The result in two sentences."""
    lead = evaluation.policies[0]
    crash, speed = lead.metrics.get("crash_rate"), lead.metrics.get("speed")
    words = f"In {counted(evaluation.num_episodes, 'episode')} of {evaluation.env} it"
    if speed is not None:
        words += f" drives at {shown('speed', speed.mean)} m/s"
    if crash is not None and crash.mean == 0:
        words += f" and never crashes (at most {shown('crash_rate', crash.high)}, 95%)."
    elif crash is not None:
        words += f" and crashes in {shown('crash_rate', crash.mean)} of them"
        words += f" ({ends('crash_rate', crash)})."
    else:
        words += "."
    success = lead.metrics.get("success_rate")
    if success is not None:
        words += f" It reaches the goal in {shown('success_rate', success.mean)}."
    rivals = [p for p in evaluation.policies[1:] if "return" in p.metrics]
    if rivals and "return" in lead.metrics:
        rival = max(rivals, key=lambda policy: policy.metrics["return"].mean)
        words += _against(evaluation, rival)
    return words


def _against(evaluation: Evaluation, rival: PolicyResult) -> str:
    for row in evaluation.settings.get("comparisons", ()):
        if row["against"] == rival.name:
            difference = estimate_of(row["difference"]["return"])
            if not math.isfinite(difference.low):
                return ""
            size = f"{BY_NAME['return'].shown(abs(difference.mean))} per episode"
            if difference.low > 0:
                return f" It earns {size} more than {rival.name}, the best of the others."
            if difference.high < 0:
                return f" {rival.name} earns {size} more."
            return f" Its return cannot be told from that of {rival.name}, the best of the others."
    return ""


def crash_sentence(lead: PolicyResult) -> str:
    kinds = lead.extras.get("crash_kinds", {})
    total = sum(kinds.values())
    if not total:
        return ""
    own = sum(kinds.get(kind, 0) for kind in AT_FAULT)
    if total == 1:
        who = "closed" if own else "did not close"
        return f"Of its one crash, it {who} the gap itself."
    share = f"all {total} of its" if own == total else f"{own} of its {total}"
    return (
        f"In {share} crashes it closed the gap itself. Kinds are told from the last two seconds: "
        "who was ahead, and who moved over."
    )


def at_most(lead: PolicyResult) -> str:
    crash = lead.metrics.get("crash_rate")
    return "?" if crash is None else shown("crash_rate", crash.high)


def about_policy(policy: PolicyResult) -> str:
    """Where a policy comes from, in one line."""
    about = policy.about
    words = []
    if "algo" in about:
        words.append(f"{about['algo']} trained in {about.get('trained_in', '?')}")
    elif policy.kind == "baseline" or policy.name in baseline_names():
        words.append("baseline")
    else:
        words.append("a policy object")
    if "step" in about:
        words.append(f"{about['step']:,} steps")
    if "training_seed" in about:
        words.append(f"seed {about['training_seed']}")
    if "device" in about:
        words.append(f"on {about['device']}")
    if "revision" in about:
        words.append(f"revision {about['revision'][:12]}")
    if "path" in about:
        words.append(str(about["path"]))
    words.append(f"driven on the {policy.engine} engine")
    return ", ".join(words)


def measured_note(evaluation: Evaluation) -> str:
    sources = {policy.extras.get("measured_from") for policy in evaluation.policies}
    if sources == {"simulation steps"}:
        return "From every simulation step, not from decisions."
    if "simulation steps" in sources:
        return "From every simulation step where the engine reports them; for others unknown."
    return "Unknown: the engine reports decisions only."


def command(evaluation: Evaluation) -> str:
    """What to type to see this again; empty where a policy was an object."""
    named = [policy_argument(policy) for policy in evaluation.policies if policy.kind == "policy"]
    if not all(named):
        return ""
    baselines = ",".join(p.name for p in evaluation.policies if p.kind == "baseline")
    return (
        f"drive-rl evaluate {' '.join(named)} --env {shlex.quote(evaluation.env)} "
        f"--episodes {evaluation.num_episodes} --seed {evaluation.seed} "
        f"--baselines {shlex.quote(baselines)}"
    )


def policy_argument(policy: PolicyResult) -> str:
    """A policy as it is named on the command line; empty for an object."""
    if "path" in policy.about:
        return shlex.quote(str(policy.about["path"]))
    if "trained_in" not in policy.about and policy.name in baseline_names():
        return f"--policy {policy.name}"
    return ""


def config(evaluation: Evaluation) -> str:
    config = evaluation.settings.get("scene", {}).get("config")
    return json.dumps(config, indent=2, ensure_ascii=False) if config else ""


def estimate_of(value: Any) -> Estimate:
    """An estimate out of report.json."""
    if not value:
        return Estimate(math.nan, math.nan, math.nan)
    ends = (math.nan if value[end] is None else value[end] for end in ("mean", "low", "high"))
    return Estimate(*ends)


def shown(name: str, value: float) -> str:
    return BY_NAME[name].shown(value)


def ends(name: str, estimate: Estimate) -> str:
    if not math.isfinite(estimate.low):
        return ""
    return f"{shown(name, estimate.low)} to {shown(name, estimate.high)}"
