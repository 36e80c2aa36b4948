"""Batches of whatever a Gymnasium space describes: arrays, dictionaries, tuples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces


def take(batch: Any, rows: npt.NDArray[np.int64]) -> Any:
    """Some rows of a batch; dictionaries and tuples keep their form."""
    if isinstance(batch, dict):
        return {key: take(value, rows) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(take(value, rows) for value in batch)
    return np.asarray(batch)[rows]


def joined(parts: list[Any]) -> Any:
    """Batches one after the other, as one batch."""
    head = parts[0]
    if len(parts) == 1:
        return head
    if isinstance(head, dict):
        return {key: joined([part[key] for part in parts]) for key in head}
    if isinstance(head, tuple):
        return tuple(joined([part[i] for part in parts]) for i in range(len(head)))
    return np.concatenate([np.asarray(part) for part in parts])


def first(space: spaces.Space[Any], batch: Any) -> Any:
    """The first entry of a batch, as a single sub-environment takes it."""
    if isinstance(space, spaces.Dict):
        return {key: first(each, batch[key]) for key, each in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(first(s, part) for s, part in zip(space.spaces, batch, strict=True))
    entry = np.asarray(batch)[0]
    return int(entry) if isinstance(space, spaces.Discrete) else entry


def batch_size(space: spaces.Space[Any], observations: Any) -> int | None:
    """How many observations of `space` there are; None for a single one without a batch axis."""
    leaf, shape = observations, space
    while isinstance(shape, (spaces.Dict, spaces.Tuple)):
        key: Any = next(iter(shape.spaces)) if isinstance(shape, spaces.Dict) else 0
        leaf, shape = leaf[key], shape[key]
    own = shape.shape
    given = np.shape(leaf)
    if own is None or given == own:
        return None
    return int(given[0])


def length(batch: Any) -> int:
    """Entries of a batch."""
    while isinstance(batch, (dict, tuple)):
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return len(batch)
