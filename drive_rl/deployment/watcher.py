"""The monitor at work: it gathers windows of what arrives, compares, and raises named alarms."""

from __future__ import annotations

import dataclasses
import logging
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.deployment.extras import needs
from drive_rl.deployment.inference import Model, Outputs
from drive_rl.deployment.profile import Profile, columns_of, make_profile
from drive_rl.deployment.traffic import Members
from drive_rl.errors import DriveRLError, UsageError

log = logging.getLogger("drive_rl.monitor")

KEPT = 500
"""Windows that the page shows."""

DRIFT = "slow_drift"
"""The alarm of the streaming detector, which adds up what no single window shows."""

_CALM = 0.0005  # ADWIN's confidence: alarms on chance alone are this rare per look


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one window was found to be.

    Attributes:
        number: of the window, from 1.
        decisions: up to its end.
        statistics: by name.
        alarms: names of what exceeded its limit.
    """

    number: int
    decisions: int
    statistics: dict[str, float]
    alarms: tuple[str, ...]


class Judge:
    """Windows against a profile, one after the other; it knows no threads and no clocks.

    Besides the profile's statistics it runs ADWIN (Bifet and Gavalda 2007) of `river` over the
    features' distance from window to window, for drifts too slow for any window to show.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.verdicts: deque[Verdict] = deque(maxlen=KEPT)
        self.windows = 0
        self.decisions = 0
        self._streaming = "feature_mmd" if "feature_mmd" in profile.limits else "observation_ks"
        self._detector = needs("river.drift", "deploy").ADWIN(
            delta=_CALM, clock=1, min_window_length=8, grace_period=16
        )

    def judge(self, columns: dict[str, NDArray[np.float64]]) -> Verdict:
        """Look at one window."""
        statistics = self.profile.statistics(columns)
        alarms = [
            name
            for name, value in statistics.items()
            if not value <= self.profile.limits.get(name, np.inf)
        ]
        mean, deviation = self.profile.chance[self._streaming]
        # Beyond ten deviations a window has its own alarm; here it must not drown the others.
        standard = float(np.clip((statistics[self._streaming] - mean) / deviation, -10, 10))
        before = self._detector.estimation
        self._detector.update((standard + 10) / 20)
        if self._detector.drift_detected and self._detector.estimation > before:
            alarms.append(DRIFT)
        self.windows += 1
        self.decisions += len(next(iter(columns.values())))
        verdict = Verdict(self.windows, self.decisions, statistics, tuple(alarms))
        self.verdicts.append(verdict)
        return verdict

    @property
    def names(self) -> list[str]:
        """Of all alarms there are."""
        return [*self.profile.limits, DRIFT]


class Watcher:
    """Watches what a server answers, without making anyone wait.

    Args:
        model: whose observations and outputs come.
        profile: what is normal.
    """

    def __init__(self, model: Model, profile: Profile) -> None:
        self.judge = Judge(profile.seen_by(model.outputs))
        self._model = model
        self._parts: list[dict[str, NDArray[np.float64]]] = []
        self._rows = 0
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="monitor")
        self._busy = False
        self._left_out = 0
        self._active: dict[str, Any] = {}
        self._total: Any = None
        self._windows: Any = None

    def publish(self, prometheus: Any, registry: Any) -> None:
        """Add the alarms to what Prometheus reads."""
        self._total = prometheus.Counter(
            "drive_rl_alarms", "Windows with this alarm", ["name"], registry=registry
        )
        self._windows = prometheus.Counter(
            "drive_rl_monitor_windows", "Windows compared with the profile", registry=registry
        )
        gauge = prometheus.Gauge(
            "drive_rl_alarm", "1 where the last window raised it", ["name"], registry=registry
        )
        for name in self.judge.names:
            self._active[name] = gauge.labels(name)
            self._active[name].set(0)
            self._total.labels(name)

    def add(self, members: Members, outputs: Outputs) -> None:
        """Decisions that were just taken. A full window is judged in a thread of its own."""
        part = columns_of(self._model, members, outputs)
        with self._lock:
            self._parts.append(part)
            self._rows += len(next(iter(members.values())))
            if self._rows < self.judge.profile.window:
                return
            parts, self._parts, self._rows = self._parts, [], 0
            if self._busy:  # more traffic than can be watched: some windows are left out
                self._left_out += 1
                return
            self._busy = True
        self._thread.submit(self._judge, parts)

    def close(self) -> None:
        """Judge what is full, and end."""
        self._thread.shutdown(wait=True)

    def page(self) -> str:
        """What was seen, as HTML."""
        from drive_rl.deployment.monitor_page import render

        return render(self._model.card["name"], self.judge)

    def _judge(self, parts: list[dict[str, NDArray[np.float64]]]) -> None:
        try:
            size = self.judge.profile.window
            columns = {
                name: np.concatenate([part[name] for part in parts])[:size] for name in parts[0]
            }
            verdict = self.judge.judge(columns)
            for name, gauge in self._active.items():
                gauge.set(name in verdict.alarms)
            if self._windows is not None:
                self._windows.inc()
            for name in verdict.alarms:
                if self._total is not None:
                    self._total.labels(name).inc()
            if verdict.alarms:
                said = ", ".join(verdict.alarms)
                line = f"alarm in window {verdict.number}: {said}"
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
                print(f"drive-rl: {stamp} {line}", file=sys.stderr, flush=True)
        except Exception:  # a monitor that fails must not take the server with it
            log.exception("a window could not be judged")
        finally:
            with self._lock:
                self._busy = False


def profile_place(source: Any, path: str | Path | None = None) -> Path | None:
    """Where the profile of a source lies, or would: beside an exported file, or in the run."""
    if path is not None:
        return Path(path)
    if not isinstance(source, (str, Path)):
        return None
    place = Path(source)
    if place.suffix == ".onnx":
        return place.with_name(place.name + ".profile.npz")
    if place.is_dir():
        return place / "profile.npz"
    return None


def find_profile(source: Any, model: Model, path: str | Path | None = None) -> Profile:
    """The stored profile of a policy, or one that is made now and stored.

    Raises:
        UsageError: an exported file without a profile beside it, or a profile of another policy.
        DriveRLError: a damaged profile.
    """
    place = profile_place(source, path)
    if place is not None and place.is_file():
        profile = Profile.load(place)
        if profile.model.get("inputs") != model.card["inputs"]:
            raise UsageError(f"{place}: is the profile of a policy with other observations")
        own = path is None and place == profile_place(source)
        if not own or profile.model.get("steps") == model.card["trained"]["steps"]:
            return profile
        # The run was trained on since: its features and actions are others now.
    if path is not None or (place is not None and place.name.endswith(".onnx.profile.npz")):
        raise UsageError(f"{place}: no such profile; `drive-rl export` writes it")
    from drive_rl.deployment.encoders import with_encoder
    from drive_rl.deployment.export import trained_policy

    print("drive-rl: driving to make the reference profile", file=sys.stderr, flush=True)
    profile = make_profile(with_encoder(trained_policy(source)), model)
    if place is not None:
        try:
            profile.save(place)
        except DriveRLError as error:  # a read-only run is watched all the same
            print(f"drive-rl: {error}", file=sys.stderr, flush=True)
    return profile


def make_watcher(source: Any, model: Model, path: str | Path | None = None) -> Watcher | None:
    """A watcher for a server; None, said once, for a file that has no profile beside it."""
    place = profile_place(source, path)
    if path is None and str(source).endswith(".onnx") and place is not None and not place.is_file():
        print(f"drive-rl: not monitored: there is no {place}", file=sys.stderr, flush=True)
        return None
    return Watcher(model, find_profile(source, model, path))
