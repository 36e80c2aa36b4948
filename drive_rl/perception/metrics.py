"""How well affordances and grids are told, from predictions and labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.perception.labels import REACH

MEASURED = 60.0  # gaps up to here count in the relative error [m]

Arrays = Mapping[str, NDArray[Any]]


def perception_metrics(predicted: Arrays, labels: NDArray[Any]) -> dict[str, float]:
    """All figures of one split.

    Args:
        predicted: of `heads.predictions`, as numpy, and `grids` (n, 2, rows, columns) as bool.
        labels: records of `labels.label_dtype`, (n,).

    Returns:
        lane_accuracy; lane_f1: the mean over lanes; car_ahead_accuracy, car_ahead_f1: of "there is
        one"; lateral_offset_mae [m]; heading_error_mae [rad]; speed_mae [m/s];
        front_gap_mae [m] and front_gap_relative_error, where the car ahead is within `MEASURED`;
        front_gap_within_10_percent: the share of these; front_speed_mae [m/s]; gap_ahead_mae and
        gap_behind_mae [m], over all lanes with a vehicle within `MEASURED`; drivable_iou and
        occupied_iou.
    """
    lane = predicted["lane"].argmax(axis=1)
    matrix = confusion(labels["lane"], lane, predicted["lane"].shape[1])
    ahead = confusion(labels["car_ahead"], predicted["car_ahead"] > 0.5, 2)
    result = {
        "lane_accuracy": float((lane == labels["lane"]).mean()),
        "lane_f1": macro_f1(matrix),
        "car_ahead_accuracy": float(np.trace(ahead) / max(ahead.sum(), 1)),
        "car_ahead_f1": float(f1_scores(ahead)[1]),
    }
    for name in ("lateral_offset", "heading_error", "speed"):
        result[f"{name}_mae"] = float(np.abs(predicted[name] - labels[name]).mean())
    gap = labels["front_gap"]
    near = gap <= MEASURED
    error = np.abs(predicted["front_gap"] - gap)[near]
    result["front_gap_mae"] = _mean(error)
    result["front_gap_relative_error"] = _mean(error / np.maximum(gap[near], 1.0))
    result["front_gap_within_10_percent"] = _mean(error <= 0.1 * gap[near])
    speed = np.abs(predicted["front_speed"] - labels["front_speed"])
    result["front_speed_mae"] = _mean(speed[near])
    exists = np.arange(labels["gap_ahead"].shape[1]) < labels["num_lanes"][:, None]
    for side in ("ahead", "behind"):
        own = labels[f"gap_{side}"]
        counted = exists & (own <= min(MEASURED, REACH))
        result[f"gap_{side}_mae"] = _mean(np.abs(predicted[f"gap_{side}"] - own)[counted])
    for number, name in enumerate(("drivable", "occupied")):
        there, found = labels[name] > 0, predicted["grids"][:, number]
        result[f"{name}_iou"] = float((there & found).sum() / max((there | found).sum(), 1))
    return result


def confusion(truth: NDArray[Any], found: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """How often each class (row) was taken for each (column), (classes, classes)."""
    flat = truth.astype(np.int64) * classes + found.astype(np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def f1_scores(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each class, the harmonic mean of precision and recall; nan where it never occurs."""
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return 2.0 * np.diag(matrix) / np.where(both > 0, both, np.nan)


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """The mean of the F1 of the classes that occur."""
    return float(np.nanmean(f1_scores(matrix)))


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0
