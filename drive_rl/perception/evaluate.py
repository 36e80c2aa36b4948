"""Scores of an encoder on test episodes, and on the same episodes on held-out textures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drive_rl.environments import make_vec
from drive_rl.errors import UsageError
from drive_rl.perception.collect import episodes_of, split_environment, split_seed
from drive_rl.perception.heads import Heads, predictions
from drive_rl.perception.labels import Labeller
from drive_rl.perception.metrics import MEASURED, confusion, perception_metrics
from drive_rl.perception.networks import Encoder, fused
from drive_rl.perception.weights import DEFAULT, Weights, load_encoder
from drive_rl.presets import EnvironmentSpec, load_environment

SCHEMA = 1
SPLITS = ("test", "held_out")
POLICY = "mixed"
WORST = 6  # pictures of each kind of mistake that are kept
_BATCH = 128

Stacks = NDArray[np.uint8]
Batch = tuple[Stacks, NDArray[Any]]


@dataclass(frozen=True)
class Mistake:
    """A frame, and what was wrong about it.

    Attributes:
        kind: which figure it spoils.
        text: what was said, and what is true.
        size: of the error, in that figure's unit.
        frame: uint8 (height, width, 3).
    """

    kind: str
    text: str
    size: float
    frame: NDArray[np.uint8]


@dataclass(frozen=True)
class Scores:
    """An encoder's scores.

    Attributes:
        document: what `--json` prints.
        lanes, cars: confusion matrices by split.
        mistakes: the worst of each kind, by split.
    """

    document: dict[str, Any]
    lanes: dict[str, NDArray[np.int64]]
    cars: dict[str, NDArray[np.int64]]
    mistakes: dict[str, list[Mistake]]


def evaluate_encoder(
    encoder: str | Path | Weights = DEFAULT,
    env: str | EnvironmentSpec = "highway-camera-v0",
    *,
    frames: int = 4_000,
    seed: int = 0,
    num_envs: int = 32,
    say: Callable[[str], None] = lambda _: None,
) -> Scores:
    """Drive fresh episodes, look at each frame, and compare what was said with what is true.

    Args:
        frames: of each split.
        seed: of the episodes; those of both splits are the same but for their surfaces.

    Raises:
        UsageError: an environment without frames or labels, or with frames that the encoder does
            not read.
    """
    if frames < 1:
        raise UsageError(f"frames {frames} is not at least 1")
    weights = encoder if isinstance(encoder, Weights) else load_encoder(encoder)
    spec = load_environment(env)
    eyes, heads = fused(weights.build_encoder()), weights.build_heads()
    _check(weights, eyes, split_environment(spec, "test"))
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "encoder": weights.name,
        "env": spec.id,
        "frames": frames,
        "seed": seed,
    }
    lanes, cars, mistakes = {}, {}, {}
    for split in SPLITS:
        batches = _batches(spec, split, frames, seed, num_envs, weights)
        predicted, labels, worst = _look(eyes, heads, weights.channels, batches)
        document[split] = perception_metrics(predicted, labels)
        found = predicted["lane"].argmax(axis=1)
        lanes[split] = confusion(labels["lane"], found, weights.num_lanes)
        cars[split] = confusion(labels["car_ahead"], predicted["car_ahead"] > 0.5, 2)
        mistakes[split] = worst
        say(f"{split}: {len(labels):,} frames, lane F1 {document[split]['lane_f1']:.3f}")
    return Scores(document, lanes, cars, mistakes)


def predict(encoder: Encoder, heads: Heads, stacks: Stacks) -> dict[str, NDArray[Any]]:
    """What is said of stacks, as numpy; see `heads.predictions`, and `grids` as bool."""
    with torch.inference_mode():
        raw = heads(encoder(torch.from_numpy(np.ascontiguousarray(stacks))))
        found = {name: value.numpy() for name, value in predictions(raw).items()}
        return found | {"grids": (raw["grids"] > 0).numpy()}


def _check(weights: Weights, encoder: Encoder, spec: EnvironmentSpec) -> None:
    envs = make_vec(spec, 1)
    try:
        labeller = Labeller(envs)
        encoder.check(envs.single_observation_space.shape or ())
        if labeller.num_lanes > weights.num_lanes:
            raise UsageError(
                f"{spec.id} has roads of {labeller.num_lanes} lanes, and {weights.name} tells "
                f"{weights.num_lanes} apart"
            )
    finally:
        envs.close()


def _batches(
    spec: EnvironmentSpec, split: str, frames: int, seed: int, num_envs: int, weights: Weights
) -> Iterator[Batch]:
    """Stacks and labels of fresh episodes, `frames` in all."""
    count = weights.spec.frames
    # Seeds of collecting begin at 0: these are from behind them
    first = split_seed(seed, split) + 5_000_000
    left = frames
    for pictures, labels in episodes_of(
        split_environment(spec, split), POLICY, first, num_envs, weights.channels
    ):
        rows = np.arange(len(labels))[:left]
        back = np.maximum(rows[:, None] - np.arange(count - 1, -1, -1), 0)  # (n, count)
        stacks = pictures[back]
        yield stacks.reshape(len(rows), -1, *stacks.shape[3:]), labels[rows]
        left -= len(rows)
        if left <= 0:
            return


def _look(
    encoder: Encoder, heads: Heads, channels: int, batches: Iterator[Batch]
) -> tuple[dict[str, NDArray[Any]], NDArray[Any], list[Mistake]]:
    said: list[dict[str, NDArray[Any]]] = []
    truth: list[NDArray[Any]] = []
    worst: list[Mistake] = []
    for stacks, labels in _merged(batches):
        predicted = predict(encoder, heads, stacks)
        said.append(predicted)
        truth.append(labels)
        worst = _worst([*worst, *_mistakes(predicted, labels, stacks[:, -channels:])])
    joined = {name: np.concatenate([each[name] for each in said]) for name in said[0]}
    return joined, np.concatenate(truth), worst


def _merged(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Episodes put together to batches of at least `_BATCH` frames."""
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(len(labels) for _, labels in waiting) >= _BATCH:
            yield tuple(map(np.concatenate, zip(*waiting, strict=True)))  # type: ignore[misc]
            waiting = []
    if waiting:
        yield tuple(map(np.concatenate, zip(*waiting, strict=True)))  # type: ignore[misc]


def _mistakes(said: dict[str, NDArray[Any]], labels: NDArray[Any], newest: Stacks) -> list[Mistake]:
    """The worst frames of a batch, of each kind."""
    lane, rows = said["lane"].argmax(axis=1), np.arange(len(labels))
    true_lane, true_gap, true_offset = (
        labels[name] for name in ("lane", "front_gap", "lateral_offset")
    )
    surplus = said["lane"][rows, lane] - said["lane"][rows, true_lane]
    doubt = np.abs(said["car_ahead"] - labels["car_ahead"])
    gap = np.abs(said["front_gap"] - true_gap) / np.maximum(true_gap, 1.0)
    offset = np.abs(said["lateral_offset"] - true_offset)
    kinds: dict[str, tuple[NDArray[Any], Callable[[int], str]]] = {
        "lane": (surplus, lambda r: f"{lane[r]}, is {true_lane[r]}"),
        "car ahead": (
            np.where(doubt > 0.5, doubt, 0.0),
            lambda r: f"{said['car_ahead'][r]:.0%} sure, gap {true_gap[r]:.1f} m",
        ),
        "gap ahead": (
            np.where(true_gap <= MEASURED, gap, 0.0),
            lambda r: f"{said['front_gap'][r]:.1f} m, is {true_gap[r]:.1f} m",
        ),
        "lateral offset": (
            offset,
            lambda r: f"{said['lateral_offset'][r]:+.2f} m, is {true_offset[r]:+.2f} m",
        ),
    }
    found = []
    for kind, (sizes, text) in kinds.items():
        for row in np.argsort(-sizes)[:WORST]:
            if sizes[row] > 0.0:
                picture = np.broadcast_to(newest[row], (3, *newest.shape[2:])).transpose(1, 2, 0)
                found.append(Mistake(kind, text(row), float(sizes[row]), picture.copy()))
    return found


def _worst(mistakes: list[Mistake]) -> list[Mistake]:
    kept = []
    for kind in dict.fromkeys(each.kind for each in mistakes):
        own = [each for each in mistakes if each.kind == kind]
        kept += sorted(own, key=lambda each: -each.size)[:WORST]
    return kept
