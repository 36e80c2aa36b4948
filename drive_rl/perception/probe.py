"""Linear probes: what a single layer reads in frozen features, with few or many labels.

Beside an encoder stand one of the same architecture with random weights, which tells what the
probe does by itself, and one trained from scratch on the same labels, which tells whether
pretraining was worth it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drive_rl.errors import UsageError
from drive_rl.perception.dataset import DataSet, Split
from drive_rl.perception.evaluate import predict
from drive_rl.perception.heads import Heads, affordance_loss, predictions
from drive_rl.perception.labels import as_tensors
from drive_rl.perception.metrics import perception_metrics
from drive_rl.perception.networks import Encoder
from drive_rl.perception.spec import PerceptionSpec
from drive_rl.perception.training import PerceptionRun
from drive_rl.perception.weights import Weights, load_encoder

FIGURES = ("lane_f1", "car_ahead_f1", "lateral_offset_mae", "front_gap_relative_error")
_BATCH = 256
_PROBE_FRAMES = 4_000  # of the test split

Say = Callable[[str], None]


def probe_encoders(
    folder: Path,
    names: Sequence[str],
    shares: Sequence[float],
    *,
    steps: int = 400,
    seed: int = 0,
    say: Say = lambda _: None,
) -> list[dict[str, Any]]:
    """Probe encoders, a random one and one from scratch, with shares of the labels.

    Args:
        folder: a data set.
        names: of encoders; the architecture of the first is that of the two others.
        shares: of the training episodes whose labels are known, each above 0 and at most 1.

    Returns:
        A row for each encoder and share, with `FIGURES` on the test split.

    Raises:
        UsageError: a share that cannot be, or an encoder of other frames than the data's.
    """
    for share in shares:
        if not 0.0 < share <= 1.0:
            raise UsageError(f"share {share:g} is not above 0 and at most 1")
    data = DataSet(folder)
    weights = {name: load_encoder(name) for name in names}
    for each in weights.values():
        each.build_encoder().check(data.shape)
    first = next(iter(weights.values()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        untrained = Encoder(first.spec, first.shape, first.channels)
    untrained.mean.copy_(torch.from_numpy(data.mean))
    untrained.std.copy_(torch.from_numpy(data.std))
    encoders = {name: each.build_encoder() for name, each in weights.items()}
    encoders["random"] = untrained.eval()
    train, test = data.split("train"), data.split("test")
    tested = np.arange(len(test))[:_PROBE_FRAMES]
    rows = []
    for name, encoder in encoders.items():
        features, targets = _features(encoder, train), _features(encoder, test, tested)
        for share in shares:
            known = _known(train, share, seed)
            heads = _fitted(features[known], train.labels[known], data.num_lanes, steps, seed)
            with torch.inference_mode():
                said = {k: v.numpy() for k, v in predictions(heads(targets)).items()}
                said["grids"] = (heads(targets)["grids"] > 0).numpy()
            rows.append(_row(name, share, said, test.labels[tested]))
            say(f"{name}, {share:.0%} of the labels: lane F1 {rows[-1]['lane_f1']:.3f}")
    for share in shares:
        said = _from_scratch(data, first, share, steps, seed, test, tested)
        rows.append(_row("from scratch", share, said, test.labels[tested]))
        say(f"from scratch, {share:.0%} of the labels: lane F1 {rows[-1]['lane_f1']:.3f}")
    return rows


def _row(name: str, share: float, said: Any, labels: NDArray[Any]) -> dict[str, Any]:
    metrics = perception_metrics(said, labels)
    return {"encoder": name, "labels": f"{share:.0%}", **{k: metrics[k] for k in FIGURES}}


def _known(split: Split, share: float, seed: int) -> NDArray[np.int64]:
    """Frames of a share of the episodes."""
    episodes = np.unique(split.episodes)
    order = np.random.default_rng([seed, 77]).permutation(episodes)
    kept = order[: max(1, round(share * len(order)))]
    return np.flatnonzero(np.isin(split.episodes, kept))


def _features(encoder: Encoder, split: Split, rows: NDArray[np.int64] | None = None) -> Tensor:
    """Features of all frames of a split, or of some, (n, features)."""
    wanted = np.arange(len(split)) if rows is None else rows
    parts = []
    with torch.inference_mode():
        for start in range(0, len(wanted), _BATCH):
            stacks = split.stacks(wanted[start : start + _BATCH], encoder.spec.frames)
            parts.append(encoder(torch.from_numpy(stacks)))
    return torch.cat(parts).clone()


def _fitted(features: Tensor, labels: NDArray[Any], num_lanes: int, steps: int, seed: int) -> Heads:
    """Linear heads on features of known labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads(features.shape[1], num_lanes)
    # Features of different encoders have different scales: the probe should not care
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-3
    scaled = (features - mean) / std
    targets = {k: torch.from_numpy(v) for k, v in as_tensors(labels).items()}
    optimizer = torch.optim.AdamW(heads.affordances.parameters(), lr=1e-2, weight_decay=1e-2)
    random = np.random.default_rng([seed, 78])
    for step in range(steps):
        rows = torch.from_numpy(random.integers(0, len(scaled), _BATCH))
        loss = affordance_loss(heads(scaled[rows]), {k: v[rows] for k, v in targets.items()})
        optimizer.param_groups[0]["lr"] = 1e-2 * (1.0 - step / steps)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    # The scaling becomes part of the layer
    with torch.no_grad():
        for layer in (heads.affordances, heads.grids):
            layer.weight.div_(std)
            layer.bias.sub_(layer.weight @ mean)
    return heads


def _from_scratch(
    data: DataSet,
    like: Weights,
    share: float,
    steps: int,
    seed: int,
    test: Split,
    tested: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """What an encoder says that was trained whole, on these labels alone, for as many steps."""
    spec = PerceptionSpec(
        encoder=like.spec, objective="supervised", label_share=share, steps=steps, batch_size=64
    )
    with tempfile.TemporaryDirectory() as folder:
        run = PerceptionRun(Path(folder), spec, data, seed, torch.device("cpu"))
        for _ in range(steps):
            run.train_step()
        made = run.weights()
        encoder, heads = made.build_encoder(), made.build_heads()
    parts = [
        predict(encoder, heads, test.stacks(tested[start : start + _BATCH], like.spec.frames))
        for start in range(0, len(tested), _BATCH)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
