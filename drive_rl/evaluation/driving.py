"""How an episode was driven, accumulated from its simulation steps while it runs.

Memory does not grow with the number of episodes but for one number per column; only the last
seconds of an episode that ends in a crash are kept whole, to tell what happened.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.evaluation.crashes import Crash, CrashTrace, classify
from drive_rl.evaluation.kinematics import (
    COMFORT,
    COMFORT_HISTORY,
    CRASHED,
    HEADING,
    SPEED,
    TTC_BOUND,
    motion_quantities,
    time_headway,
    time_to_collision,
    traffic_nearby,
    within,
)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

KEPT = 5.0
"""Seconds before a crash that are kept."""

HEADWAY_EDGES = np.linspace(0.0, 5.0, 51)
TTC_EDGES = np.linspace(0.0, 5.0, 51)
SPEED_EDGES = np.linspace(-10.0, 40.0, 101)
"""Bins of the distributions over simulation steps [s], [s], [m/s]."""


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Simulation steps by value: counts (n,) between edges (n + 1,), the rest in the outer bins."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class DrivingObserver:
    """Measures driving from `info["frames"]`; see `rollout.Observer`.

    Attributes:
        columns: one value per episode, nan where it is unknown; empty until frames arrive.
        histograms: "headway", "ttc" (steps with one within 5 s) and "speed", over all steps.
        crashes: what each crash was, by episode.
        traces: the last seconds before the first crashes, by episode.
    """

    def __init__(self, num_envs: int, episodes: int, dt: float, keep_traces: int = 12) -> None:
        self.dt = dt
        self.seen = False
        self.crashes: dict[int, Crash] = {}
        self.traces: dict[int, CrashTrace] = {}
        self._keep = keep_traces
        names = ["time_headway", "ttc_min", "ttc_below", "comfort", "density"]
        names += ["distance", "progress"]
        names += [f"comfort_{bound.name}" for bound in COMFORT]
        self._columns = {name: np.full(episodes, np.nan) for name in names}
        self._counts = {
            "headway": np.zeros(len(HEADWAY_EDGES) - 1, np.int64),
            "ttc": np.zeros(len(TTC_EDGES) - 1, np.int64),
            "speed": np.zeros(len(SPEED_EDGES) - 1, np.int64),
        }
        self._sums: dict[str, FloatArray] = {}
        sums = [
            "steps",
            "distance",
            "progress",
            "headway",
            "headways",
            "ttc_below",
            "comfort",
            "density",
        ]
        for name in [*sums, *(bound.name for bound in COMFORT)]:
            self._sums[name] = np.zeros(num_envs)
        self._ttc_min = np.full(num_envs, np.inf)
        self._before = np.full((num_envs, COMFORT_HISTORY, 2), np.nan)  # speed, heading
        self._crashed = np.zeros(num_envs, np.bool_)
        self._recent: list[list[FloatArray]] = [[] for _ in range(num_envs)]

    @property
    def columns(self) -> dict[str, FloatArray]:
        """See the class."""
        return self._columns if self.seen else {}

    @property
    def histograms(self) -> dict[str, Histogram]:
        """See the class."""
        if not self.seen:
            return {}
        edges = {"headway": HEADWAY_EDGES, "ttc": TTC_EDGES, "speed": SPEED_EDGES}
        return {
            name: Histogram(tuple(edges[name].tolist()), tuple(counts.tolist()))
            for name, counts in self._counts.items()
        }

    def begin(self, slots: IntArray, episodes: IntArray) -> None:
        """Forget what the slots' last episodes were like."""
        for sums in self._sums.values():
            sums[slots] = 0.0
        self._ttc_min[slots] = np.inf
        self._before[slots] = np.nan
        self._crashed[slots] = False
        for slot in slots.tolist():
            self._recent[slot] = []

    def decided(self, slots: IntArray, episodes: IntArray, observations: Any, actions: Any) -> None:
        """Nothing: only what happens counts here."""

    def stepped(self, slots: IntArray, episodes: IntArray, infos: dict[str, Any]) -> None:
        """Measure the frames of one decision of these slots."""
        if "frames" not in infos:
            return
        self.seen = True
        frames = np.asarray(infos["frames"])[slots]  # (n, steps, bodies, fields)
        ego, others = frames[:, :, 0], frames[:, :, 1:]
        crashed = ego[..., CRASHED] > 0
        # The impact itself, and what comes after it, is no driving.
        driven = ~(np.maximum.accumulate(crashed, axis=1) | self._crashed[slots, None])
        headway = time_headway(ego, others)
        ttc = time_to_collision(ego, others)
        self._add(slots, driven, ego, others, headway, ttc)
        self._add_comfort(slots, driven, ego)
        self._keep_recent(slots, frames, crashed)
        self._crashed[slots] |= crashed.any(axis=1)

    def _add(
        self,
        slots: IntArray,
        driven: BoolArray,
        ego: FloatArray,
        others: FloatArray,
        headway: FloatArray,
        ttc: FloatArray,
    ) -> None:
        sums = self._sums
        following = driven & ~np.isnan(headway)
        closing = driven & np.isfinite(ttc)
        sums["steps"][slots] += driven.sum(axis=1)
        sums["distance"][slots] += (driven * np.abs(ego[..., SPEED])).sum(axis=1) * self.dt
        sums["progress"][slots] += (driven * ego[..., SPEED]).sum(axis=1) * self.dt
        sums["headways"][slots] += following.sum(axis=1)
        sums["headway"][slots] += np.where(following, headway, 0.0).sum(axis=1)
        sums["ttc_below"][slots] += (driven & (ttc < TTC_BOUND)).sum(axis=1)
        sums["density"][slots] += (driven * traffic_nearby(ego, others)).sum(axis=1)
        soonest = np.where(driven, ttc, np.inf).min(axis=1)
        self._ttc_min[slots] = np.minimum(self._ttc_min[slots], soonest)
        for name, values, edges in (
            ("headway", headway[following], HEADWAY_EDGES),
            ("ttc", ttc[closing], TTC_EDGES),
            ("speed", ego[..., SPEED][driven], SPEED_EDGES),
        ):
            inside = np.clip(values, edges[0], edges[-1])
            self._counts[name] += np.histogram(inside, edges)[0]

    def _add_comfort(self, slots: IntArray, driven: BoolArray, ego: FloatArray) -> None:
        motion = np.concatenate([self._before[slots], ego[..., [SPEED, HEADING]]], axis=1)
        quantities = motion_quantities(motion[..., 0], motion[..., 1], self.dt)
        everything = driven.copy()
        for bound in COMFORT:
            kept = within(bound, quantities[bound.name][:, COMFORT_HISTORY:]) & driven
            self._sums[bound.name][slots] += kept.sum(axis=1)
            everything &= kept
        self._sums["comfort"][slots] += everything.sum(axis=1)
        self._before[slots] = motion[:, -COMFORT_HISTORY:]

    def _keep_recent(self, slots: IntArray, frames: FloatArray, crashed: BoolArray) -> None:
        """Hold the last seconds of each slot, up to its crash."""
        decisions = 1 + int(np.ceil(KEPT / (self.dt * frames.shape[1])))
        for row, slot in enumerate(slots.tolist()):
            if self._crashed[slot]:
                continue
            recent = self._recent[slot]
            end = int(np.argmax(crashed[row])) + 1 if crashed[row].any() else frames.shape[1]
            recent.append(frames[row, :end])
            del recent[:-decisions]

    def end(self, slots: IntArray, episodes: IntArray) -> None:
        """Write down what the slots' episodes were like."""
        if not self.seen:
            return
        steps = self._sums["steps"][slots]
        with np.errstate(divide="ignore", invalid="ignore"):
            for name in ("ttc_below", "comfort", "density"):
                self._columns[name][episodes] = self._sums[name][slots] / steps
            for bound in COMFORT:
                share = self._sums[bound.name][slots] / steps
                self._columns[f"comfort_{bound.name}"][episodes] = share
            mean_headway = self._sums["headway"][slots] / self._sums["headways"][slots]
        self._columns["time_headway"][episodes] = mean_headway
        self._columns["ttc_min"][episodes] = np.where(
            np.isfinite(self._ttc_min[slots]), self._ttc_min[slots], np.nan
        )
        for name in ("distance", "progress"):
            self._columns[name][episodes] = self._sums[name][slots]
        for slot, episode in zip(slots.tolist(), episodes.tolist(), strict=True):
            if self._crashed[slot] and self._recent[slot]:
                frames = np.concatenate(self._recent[slot])[-round(KEPT / self.dt) :]
                trace = CrashTrace(episode, frames, self.dt)
                self.crashes[episode] = classify(trace)
                keep_first(self.traces, episode, trace, self._keep)


def keep_first(kept: dict[int, Any], episode: int, value: Any, most: int) -> None:
    """Keep the values of the first episodes: first in number, in whatever order they end."""
    kept[episode] = value
    if len(kept) > most:
        del kept[max(kept)]
