"""`drive-rl monitor`: let a policy drive somewhere and say whether that is where it is at home."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from drive_rl.deployment.encoders import with_encoder
from drive_rl.deployment.export import trained_policy
from drive_rl.deployment.inference import load_model
from drive_rl.deployment.monitor_page import render
from drive_rl.deployment.profile import columns_of
from drive_rl.deployment.traffic import Disturbance, Traffic, record
from drive_rl.deployment.watcher import Judge, Verdict, find_profile
from drive_rl.errors import UsageError
from drive_rl.evaluation.results import write_file
from drive_rl.presets import EnvironmentSpec, load_environment


@dataclasses.dataclass(frozen=True)
class Monitored:
    """What a monitoring found.

    Attributes:
        env: where the policy drove.
        windows: compared with the profile.
        alarms: windows with each alarm, by name.
        first: decisions until the first alarm, or None.
        verdicts: of the windows, in order.
        page: where the page was written, or None.
    """

    env: str
    windows: int
    alarms: dict[str, int]
    first: int | None
    verdicts: tuple[Verdict, ...]
    page: Path | None

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "schema": 1,
            "env": self.env,
            "windows": self.windows,
            "alarms": self.alarms,
            "decisions_to_first_alarm": self.first,
            "page": None if self.page is None else str(self.page),
        }

    def __str__(self) -> str:
        named = ", ".join(f"{name} in {count}" for name, count in self.alarms.items() if count)
        lines = [f"{self.env}: {self.windows} windows; " + (named or "no alarm")]
        if self.first is not None:
            lines.append(f"first alarm after {self.first:,} decisions")
        if self.page is not None:
            lines.append(f"Written: {self.page}")
        return "\n".join(lines)


def monitor(
    source: Any,
    env: str | EnvironmentSpec | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    episodes: int = 50,
    seed: int = 0,
    engine: str = "auto",
    profile: str | Path | None = None,
    out: str | Path | None = None,
    disturb: Disturbance | None = None,
) -> Monitored:
    """Let a policy drive, and compare what it sees and does with its reference profile.

    Args:
        source: whatever names a trained policy.
        env: where; None takes the environment that it was trained in.
        config: highway-env configuration on top.
        episodes: about how many; as many decisions as that many episodes of full length have.
        seed: of the episodes.
        profile: the reference; None takes the run's, or makes it.
        out: where to write the page.
        disturb: what a faulty sensor makes of observations.

    Raises:
        UsageError: no such policy or environment, or too few episodes for a window.
        DriveRLError: a damaged profile, a package of the extra `deploy` that is missing.
    """
    if episodes < 1:
        raise UsageError(f"episodes {episodes} is not a number of at least 1")
    policy = with_encoder(trained_policy(source))
    model = load_model(policy)
    spec = load_environment(policy.spec.env if env is None else env, config)
    judge = Judge(find_profile(source, model, profile))
    size = judge.profile.window
    decisions = max(episodes * _episode_decisions(spec), size)
    traffic = record(
        policy,
        decisions,
        env=spec,
        seed=seed,
        streams=max(1, min(16, decisions // size)),
        engine=engine,
        disturb=disturb,
    )
    verdicts = [judge.judge(columns) for columns in windows_of(model, traffic, size)]
    alarms = Counter(name for verdict in verdicts for name in verdict.alarms)
    first = next((verdict.decisions for verdict in verdicts if verdict.alarms), None)
    page = None
    if out is not None:
        page = Path(out)
        write_file(page, render(model.card["name"], judge))
    return Monitored(
        spec.id,
        len(verdicts),
        {name: alarms[name] for name in judge.names},
        first,
        tuple(verdicts),
        page,
    )


def windows_of(model: Any, traffic: Traffic, size: int) -> Iterator[dict[str, Any]]:
    """Whole windows of recorded traffic, each of one stream."""
    for index in range(traffic.streams):
        columns = columns_of(model, traffic.stream(index))
        count = len(next(iter(columns.values())))
        for start in range(0, count - size + 1, size):
            yield {name: array[start : start + size] for name, array in columns.items()}


def _episode_decisions(spec: EnvironmentSpec) -> int:
    config = spec.full_config
    duration = config.get("duration")
    seconds = float(duration) if isinstance(duration, (int, float)) else 40.0
    return max(int(np.ceil(seconds * float(config["policy_frequency"]))), 1)
