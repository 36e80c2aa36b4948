"""Labelled frames on disk: shards that are memory-mapped, checked, and read as stacks.

    DATA/data.yaml              what it is: environment, shape, splits, shards with their SHA-256,
                                the pixels' mean and deviation in the training split
        <split>-<n>.frames.npy  uint8 (frames, channels, height, width), whole episodes in order
        <split>-<n>.labels.npy  records of `labels.label_dtype`
        <split>-<n>.index.npy   (frames, 2) int32: number of the episode, decision within it

A frame is stored once: a stack is gathered from the frames before it when it is read, the first
frame of an episode standing for those that there were not. Only what a batch needs is read, so a
data set may be larger than memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from drive_rl.errors import DriveRLError, UsageError, unknown

SCHEMA = 1
FILE = "data.yaml"
KIND = "perception-data"
SPLITS = ("train", "validation", "test", "held_out")
PARTS = ("frames", "labels", "index")


class Writer:
    """Writes a data set, split by split, episode by episode.

    Args:
        folder: must not hold anything yet.
        shard_frames: frames after which a shard is closed.

    Raises:
        UsageError: the folder is not empty, or cannot be made.
    """

    def __init__(self, folder: Path, shard_frames: int = 8192) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder}: exists and is not empty; name another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be made ({error.strerror})") from None
        self.folder, self.shard_frames = folder, shard_frames
        self.shards: list[dict[str, Any]] = []
        self._sums: NDArray[np.float64] | None = None
        self._episodes: list[tuple[Any, Any, Any]] = []
        self._split = ""
        self._count = 0
        self._next_episode = 0

    def begin(self, split: str) -> None:
        """What follows belongs to this split."""
        self._close_shard()
        self._split = split

    def add(self, frames: NDArray[np.uint8], labels: NDArray[Any]) -> None:
        """An episode: (T, channels, height, width) and (T,), at its decisions from the first on."""
        place = np.stack(
            [np.full(len(frames), self._next_episode), np.arange(len(frames))], axis=1
        ).astype(np.int32)
        self._next_episode += 1
        self._episodes.append((frames, labels, place))
        self._count += len(frames)
        if self._split == "train":
            self._measure(frames)
        if self._count >= self.shard_frames:
            self._close_shard()

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write data.yaml; without it the folder is no data set.

        Args:
            about: what else it says: environment, policies, seeds, versions.

        Raises:
            UsageError: a split without frames.
        """
        self._close_shard()
        counts = {
            split: sum(shard["count"] for shard in self.shards if shard["split"] == split)
            for split in SPLITS
        }
        for split, count in counts.items():
            if not count:
                raise UsageError(f"{self.folder}: split {split} is empty; collect more frames")
        assert self._sums is not None
        mean = self._sums[1] / self._sums[0]
        deviation = np.sqrt(np.maximum(self._sums[2] / self._sums[0] - mean**2, 1e-6))
        document = {
            "schema": SCHEMA,
            "kind": KIND,
            **about,
            "frames": counts,
            "mean": [round(float(value), 4) for value in mean],
            "std": [round(float(value), 4) for value in deviation],
            "shards": self.shards,
        }
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        beside = self.folder / f".{FILE}.writing"
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.folder / FILE)

    def _measure(self, frames: NDArray[np.uint8]) -> None:
        """Add to the sums over pixels: how many, their values, their squares; (3, channels)."""
        counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in
                           frames.transpose(1, 0, 2, 3)]).astype(np.float64)  # fmt: skip
        levels = np.arange(256.0)
        sums = np.stack([counts.sum(1), counts @ levels, counts @ levels**2])
        self._sums = sums if self._sums is None else self._sums + sums

    def _close_shard(self) -> None:
        if not self._episodes:
            return
        number = sum(shard["split"] == self._split for shard in self.shards)
        name = f"{self._split}-{number:03d}"
        digests = {}
        for part, arrays in zip(PARTS, zip(*self._episodes, strict=True), strict=True):
            path = self.folder / f"{name}.{part}.npy"
            np.save(path, np.concatenate(arrays), allow_pickle=False)
            digests[part] = _digest(path)
        self.shards.append(
            {"name": name, "split": self._split, "count": self._count, "sha256": digests}
        )
        self._episodes, self._count = [], 0


@dataclass(frozen=True)
class _Shard:
    frames: NDArray[np.uint8]
    labels: NDArray[Any]
    index: NDArray[np.int32]


class Split:
    """One split of a data set, read as stacks.

    Attributes:
        labels: of all frames, in memory, (frames,).
        episodes: number of each frame's episode, (frames,).
        decisions: of each frame, within its episode, (frames,).
    """

    def __init__(self, name: str, shards: list[_Shard], stack: int) -> None:
        self.name, self._shards, self._stack = name, shards, stack
        self._starts = np.cumsum([0, *(len(shard.labels) for shard in shards)])
        self.labels = np.concatenate([shard.labels for shard in shards])
        index = np.concatenate([shard.index for shard in shards])
        self.episodes, self.decisions = index[:, 0], index[:, 1]

    def __len__(self) -> int:
        return len(self.labels)

    def stacks(self, rows: NDArray[np.int64], frames: int | None = None) -> NDArray[np.uint8]:
        """Stacks (n, frames * channels, height, width), newest frame last.

        Args:
            rows: which frames are the newest, (n,).
            frames: in a stack; None takes as many as the environment gives.
        """
        count = self._stack if frames is None else frames
        back = np.arange(count - 1, -1, -1)  # (count,)
        wanted = rows[:, None] - np.minimum(back, self.decisions[rows][:, None])  # (n, count)
        shape = self._shards[0].frames.shape[1:]
        result = np.empty((*wanted.shape, *shape), np.uint8)
        of_shard = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(of_shard):
            chosen = of_shard == number
            local = wanted[chosen] - self._starts[number]
            result[chosen] = self._shards[number].frames[local]
        return result.reshape(len(rows), count * shape[0], *shape[1:])


class DataSet:
    """A data set of `drive-rl perception collect`.

    Args:
        folder: of the data set.
        verify: compare every shard with its checksum, which reads it whole.

    Raises:
        UsageError: no data set there, or one of another version.
        DriveRLError: a shard is missing or is not what was written.
    """

    def __init__(self, folder: Path | str, verify: bool = True) -> None:
        self.folder = Path(folder)
        self.about = _read_about(self.folder)
        try:
            self.shape: tuple[int, ...] = tuple(map(int, self.about["shape"]))
            self.channels = int(self.about["channels"])
            self.num_lanes = int(self.about["num_lanes"])
            self.mean = np.array(self.about["mean"], np.float32)
            self.std = np.array(self.about["std"], np.float32)
            shards = [
                (str(shard["name"]), str(shard["split"]), dict(shard["sha256"]))
                for shard in self.about["shards"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{self.folder / FILE} is incomplete: {error}") from None
        self.digest = hashlib.sha256(repr(shards).encode()).hexdigest()
        self._shards: dict[str, list[_Shard]] = {}
        for name, split, digests in shards:
            self._shards.setdefault(split, []).append(self._open(name, digests, verify))

    def split(self, name: str) -> Split:
        """A split by name.

        Raises:
            UsageError: there is none of this name, or nothing in it.
        """
        if name not in SPLITS:
            raise unknown("split", name, SPLITS)
        shards = self._shards.get(name, [])
        if not sum(len(shard.labels) for shard in shards):
            raise UsageError(f"{self.folder}: split {name} is empty")
        return Split(name, shards, self.shape[0] // self.channels)

    def _open(self, name: str, digests: Mapping[str, str], verify: bool) -> _Shard:
        arrays = []
        for part in PARTS:
            path = self.folder / f"{name}.{part}.npy"
            if not path.is_file():
                raise DriveRLError(f"{self.folder} lacks its shard {path.name}; collect it again")
            if verify and _digest(path) != digests.get(part):
                raise DriveRLError(f"{path} does not match its SHA-256; collect the data again")
            try:
                if part == "frames":
                    arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
                else:
                    arrays.append(np.load(path, allow_pickle=False))
            except (ValueError, OSError, EOFError) as error:
                raise DriveRLError(f"{path} cannot be read: {error}") from None
        return _Shard(*arrays)


def _read_about(folder: Path) -> dict[str, Any]:
    file = folder / FILE
    if not file.is_file():
        raise UsageError(f"{folder}: no data set of `drive-rl perception collect` (no {FILE})")
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise UsageError(f"{file} does not describe a data set of perception")
    if document.get("schema") != SCHEMA:
        raise UsageError(f"{file} has schema {document.get('schema')}; this version reads {SCHEMA}")
    return document


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
