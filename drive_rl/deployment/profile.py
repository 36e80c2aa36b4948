"""The reference profile: what a policy meets, sees in it and does, where it was trained.

A window of decisions is compared with the profile by a few statistics. How large each gets by
chance is not computed but measured, on windows of clean traffic that the reference sample does
not contain: decisions in a row resemble one another, and tests for independent samples would
raise an alarm in every other window.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.deployment.inference import Model, Outputs
from drive_rl.deployment.network import ACTION, members_of
from drive_rl.deployment.traffic import Members, Traffic, record
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation.results import write_file

FloatArray = NDArray[np.float64]

WINDOW = 200
"""Decisions that are looked at together."""

DECISIONS = 48_000
IMAGE_DECISIONS = 32_000
REFERENCE_ENGINE_DECISIONS = 8_000
"""Of clean traffic behind a profile; fewer where each costs more: of images, of highway-env."""

FALSE_ALARMS = 0.001
"""Share of clean windows in which one statistic may exceed its limit."""

_NEEDS = {"feature_mmd": "features", "value_ks": "value"}  # outputs that statistics are made of
_STREAMS = 32
_SAMPLE = 2000  # decisions of the reference sample
_FOURIER = 256  # random features of the kernel
_LARGE = 512  # values in a member beyond which it is summed up (images)
_CELLS = 8  # a side, of the summary of an image
_SCHEMA = 2
_EULER = 0.5772156649015329


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """The reference of one policy.

    Attributes:
        model: name of the policy, and the inputs that it belongs to.
        window: decisions in a window.
        columns: reference sample by kind, (decisions, dimensions): `observation`, `action`, and,
            where the model tells, `value` and `features`.
        bounds: `low` and `high` of each dimension of the observation, (dimensions,), over many
            more decisions than the sample holds: extremes are rare.
        centres, scales: of each KS distance on clean windows, by kind, (dimensions,).
        limits: beyond which a statistic is an alarm, by name.
        chance: mean and deviation of each statistic on clean windows.
    """

    model: dict[str, Any]
    window: int
    columns: dict[str, FloatArray]
    bounds: dict[str, FloatArray]
    centres: dict[str, FloatArray]
    scales: dict[str, FloatArray]
    limits: dict[str, float]
    chance: dict[str, tuple[float, float]]

    def statistics(self, columns: dict[str, FloatArray]) -> dict[str, float]:
        """How far a window is from the reference, by the name of the alarm it would raise.

        observation_ks  largest Kolmogorov-Smirnov distance over dimensions, each in deviations of
                        what it is on clean windows (so that many dimensions cost no power)
        observation_range  share of decisions with a value that the reference never had
        feature_mmd     kernel two-sample statistic (Gretton et al. 2012) on encoder features,
                        by random Fourier features (Rahimi and Recht 2007)
        value_ks        Kolmogorov-Smirnov distance of values
        action_share    total variation of discrete actions, Kolmogorov-Smirnov of continuous ones
        """
        return self._reference.statistics(self.centres, self.scales, columns)

    @functools.cached_property
    def _reference(self) -> _Reference:
        return _Reference(self.columns, self.bounds)

    def seen_by(self, outputs: Sequence[str]) -> Profile:
        """The part of the profile that a model with these outputs can be compared with."""
        missing = [name for name in _NEEDS if _NEEDS[name] not in outputs]
        return dataclasses.replace(
            self, limits={k: v for k, v in self.limits.items() if k not in missing}
        )

    def save(self, path: Path) -> None:
        """Write the profile; raises DriveRLError where it cannot be."""
        document = {
            "schema": _SCHEMA,
            "model": self.model,
            "window": self.window,
            "limits": self.limits,
            "chance": self.chance,
        }
        arrays: dict[str, Any] = {
            "document": np.frombuffer(json.dumps(document).encode(), np.uint8)
        }
        for kind, group in (
            ("columns", self.columns),
            ("bounds", self.bounds),
            ("centres", self.centres),
            ("scales", self.scales),
        ):
            arrays |= {f"{kind}.{name}": array for name, array in group.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_file(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read a profile; nothing in it can run code.

        Raises:
            UsageError: no such file.
            DriveRLError: not a profile, or a damaged one.
        """
        import zipfile

        try:
            with np.load(path, allow_pickle=False) as archive:
                document = json.loads(archive["document"].tobytes())
                if document["schema"] != _SCHEMA:
                    raise DriveRLError(f"{path}: has schema {document['schema']}, not {_SCHEMA}")
                groups: dict[str, dict[str, FloatArray]] = {}
                for name in archive.files:
                    kind, _, column = name.partition(".")
                    if column:
                        groups.setdefault(kind, {})[column] = archive[name].astype(np.float64)
            return cls(
                model=dict(document["model"]),
                window=int(document["window"]),
                columns=groups["columns"],
                bounds={name: groups["bounds"][name] for name in ("low", "high")},
                centres=groups["centres"],
                scales=groups["scales"],
                limits={str(k): float(v) for k, v in document["limits"].items()},
                chance={str(k): (float(a), float(b)) for k, (a, b) in document["chance"].items()},
            )
        except FileNotFoundError:
            raise UsageError(f"{path}: no such profile") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:120]
            raise DriveRLError(f"{path}: not a profile that can be read ({reason})") from None


def make_profile(
    policy: Any,
    model: Model,
    *,
    decisions: int | None = None,
    window: int = WINDOW,
    seed: int = 500_000,
    engine: str = "auto",
) -> Profile:
    """Let a policy drive in its own environment, and note what is normal.

    Args:
        policy: a `drive_rl.training.Policy`.
        model: the same policy, see `load_model`.
        decisions: of clean traffic; None takes `DECISIONS`, or as many as are affordable.
        window: decisions in a window.

    Raises:
        UsageError: fewer decisions than 40 windows.
    """
    from drive_rl.environments import choose_engine

    if decisions is None:
        images = any(member.dtype == np.uint8 for member in members_of(policy.observation_space))
        decisions = IMAGE_DECISIONS if images else DECISIONS
        if choose_engine(policy.spec.env, engine) != "compiled":
            decisions = REFERENCE_ENGINE_DECISIONS
        decisions = max(decisions, 40 * window)
    if decisions < 40 * window:
        raise UsageError(f"decisions {decisions} are fewer than 40 windows of {window}")
    # Windows are cut from one stream each, and every stream must hold at least one.
    streams = min(_STREAMS, decisions // window)
    traffic = record(policy, decisions, seed=seed, streams=streams, engine=engine)
    return profile_of(model, traffic, window=window)


def profile_of(model: Model, traffic: Traffic, *, window: int = WINDOW) -> Profile:
    """The profile of recorded traffic: half of its streams are the sample, half the windows."""
    half = traffic.streams // 2
    parts = [columns_of(model, traffic.stream(k)) for k in range(traffic.streams)]
    pool = {name: np.concatenate([part[name] for part in parts[:half]]) for name in parts[0]}
    count = len(next(iter(pool.values())))
    rows = np.linspace(0, count - 1, min(_SAMPLE, count)).astype(np.int64)
    sample = {name: array[rows] for name, array in pool.items()}
    windows = [
        {name: array[start : start + window] for name, array in part.items()}
        for part in parts[half:]
        for start in range(0, len(part[ACTION]) - window + 1, window)
    ]
    centres: dict[str, FloatArray] = {}
    scales: dict[str, FloatArray] = {}
    seen_values = pool["observation"]
    bounds = {"low": seen_values.min(axis=0), "high": seen_values.max(axis=0)}
    reference = _Reference(sample, bounds)
    distances = np.stack([reference.distances(each) for each in windows])
    centres["observation"] = distances.mean(axis=0)
    # A dimension that hardly varied in the windows seen must not become hair-triggered.
    scales["observation"] = np.maximum(distances.std(axis=0, ddof=1), 0.02)
    seen = [reference.statistics(centres, scales, each) for each in windows]
    limits, chance = {}, {}
    for name in seen[0]:
        values = np.array([each[name] for each in seen])
        chance[name] = (float(values.mean()), float(max(values.std(ddof=1), 1e-9)))
        limits[name] = _limit(values)
    about = {
        "name": model.card["name"],
        "inputs": model.card["inputs"],
        "steps": model.card["trained"]["steps"],
    }
    return Profile(about, window, sample, bounds, centres, scales, limits, chance)


def columns_of(
    model: Model, members: Members, outputs: Outputs | None = None
) -> dict[str, FloatArray]:
    """What of a batch is compared, by kind, (decisions, dimensions) each."""
    outputs = outputs if outputs is not None else model.run(members)
    columns = {
        "observation": summary(members),
        ACTION: _as_rows(outputs[ACTION]),
    }
    for name in ("value", "features"):
        if name in outputs:
            columns[name] = _as_rows(outputs[name])
    return columns


def summary(members: Members) -> FloatArray:
    """Observations as rows of numbers; images as mean brightness of a few cells."""
    return np.concatenate([_summary_of(array) for array in members.values()], axis=1)


def _summary_of(array: NDArray[Any]) -> FloatArray:
    rows = len(array)
    if array.ndim == 4 and array[0].size > _LARGE:
        height, width = (size // _CELLS * _CELLS for size in array.shape[2:])
        cut = array[:, -1:, :height, :width].astype(np.float64)  # the newest frame
        cells = cut.reshape(rows, _CELLS, height // _CELLS, _CELLS, width // _CELLS)
        return np.concatenate(
            [cells.mean(axis=(2, 4)).reshape(rows, -1), cells.std(axis=(2, 4)).reshape(rows, -1)],
            axis=1,
        )
    return array.reshape(rows, -1).astype(np.float64)


def _as_rows(array: NDArray[Any]) -> FloatArray:
    return np.asarray(array, np.float64).reshape(len(array), -1)


# --- statistics -------------------------------------------------------------------------------


class _Reference:
    """A sample with all that does not change from window to window computed once."""

    def __init__(self, sample: dict[str, FloatArray], bounds: dict[str, FloatArray]) -> None:
        self.sample = sample
        self.bounds = bounds
        self.ordered = {name: np.sort(array, axis=0) for name, array in sample.items()}
        self.kernel = Kernel(sample["features"]) if "features" in sample else None

    def distances(self, columns: dict[str, FloatArray]) -> FloatArray:
        """KS distances of the observation's dimensions."""
        return ks_distances(self.ordered["observation"], columns["observation"])

    def statistics(
        self,
        centres: dict[str, FloatArray],
        scales: dict[str, FloatArray],
        columns: dict[str, FloatArray],
    ) -> dict[str, float]:
        """See `Profile.statistics`."""
        standard = (self.distances(columns) - centres["observation"]) / scales["observation"]
        found = {
            "observation_ks": float(standard.max()),
            "observation_range": _out_of_range(self.bounds, columns["observation"]),
            "action_share": _action_distance(self.ordered[ACTION], columns[ACTION]),
        }
        if "value" in self.ordered and "value" in columns:
            found["value_ks"] = float(ks_distances(self.ordered["value"], columns["value"]).max())
        if self.kernel is not None and "features" in columns:
            found["feature_mmd"] = self.kernel.distance(columns["features"])
        return found


def ks_distances(ordered: FloatArray, window: FloatArray) -> FloatArray:
    """Two-sample Kolmogorov-Smirnov distances, per dimension: (dimensions,).

    Args:
        ordered: the one sample, each dimension sorted, (decisions, dimensions).
        window: the other, in any order.
    """
    window = np.sort(window, axis=0)
    count, own = len(ordered), len(window)
    distances = np.empty(ordered.shape[1])
    for k in range(ordered.shape[1]):
        # The distance is largest at a value of the window, just at it or just before it.
        at = window[:, k]
        below = np.searchsorted(ordered[:, k], at, side="left") / count
        upto = np.searchsorted(ordered[:, k], at, side="right") / count
        # With ties, the window's own share before and at a value counts all of the equal ones.
        first = np.searchsorted(at, at, side="left")
        last = np.searchsorted(at, at, side="right")
        distances[k] = max(np.abs(upto - last / own).max(), np.abs(below - first / own).max())
    return distances


class Kernel:
    """Squared maximum mean discrepancy under a Gaussian kernel, by random Fourier features.

    Dimensions are divided by their deviation in the sample; the kernel is as wide as a typical
    distance between two rows then, the square root of twice the number of dimensions.

    Args:
        sample: (decisions, dimensions).
    """

    def __init__(self, sample: FloatArray) -> None:
        scale = sample.std(axis=0)
        self._used = scale > 1e-9
        self._scale = scale[self._used]
        self._centre = sample.mean(axis=0)[self._used]
        count = int(self._used.sum())
        rng = np.random.default_rng(0)  # the same features for every window
        self._frequencies = rng.normal(size=(count, _FOURIER)) / np.sqrt(2.0 * max(count, 1))
        self._phases = rng.uniform(0, 2 * np.pi, _FOURIER)
        self._embedded = self._embed(sample)

    def distance(self, window: FloatArray) -> float:
        """Of a window from the sample; 0 where they have the same distribution."""
        return float(2.0 * ((self._embed(window) - self._embedded) ** 2).mean())

    def _embed(self, rows: FloatArray) -> FloatArray:
        standard = (rows[:, self._used] - self._centre) / self._scale
        return np.asarray(np.cos(standard @ self._frequencies + self._phases).mean(axis=0))


def _out_of_range(bounds: dict[str, FloatArray], window: FloatArray) -> float:
    low, high = bounds["low"], bounds["high"]
    margin = 0.1 * (high - low) + 1e-6
    outside = (window < low - margin) | (window > high + margin) | ~np.isfinite(window)
    return float(outside.any(axis=1).mean())


def _action_distance(sample: FloatArray, window: FloatArray) -> float:  # sample: ordered
    if sample.shape[1] == 1 and np.array_equal(sample, np.round(sample)):
        actions = np.union1d(sample, window)
        shares = [np.array([(each == a).mean() for a in actions]) for each in (sample, window)]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)
    return float(ks_distances(sample, window).max())


def _limit(values: FloatArray) -> float:
    """What one statistic exceeds in `FALSE_ALARMS` of clean windows, by Gumbel's law of maxima.

    Never below a quarter more than the largest that was seen: measured before modelled, and the
    largest of some hundred windows is still exceeded in one of some hundred.
    """
    scale = values.std(ddof=1) * np.sqrt(6.0) / np.pi
    location = values.mean() - _EULER * scale
    modelled = location - scale * np.log(-np.log1p(-FALSE_ALARMS))
    return float(max(modelled, values.max() * 1.25, 1e-6))
