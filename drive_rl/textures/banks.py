"""Texture banks: a folder with tiles and a table that says what each is.

    tiles.npy   uint8 (count, height, width, 3); every tile repeats without a seam
    table.csv   index,name,class,split,origin,licence

`split` is train, validation or held_out, so that a policy can be scored on surfaces that it has
never seen. A bank is named by a folder of assets/textures, or by its path.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drive_rl.data import data_folder
from drive_rl.errors import UsageError, unknown

COLUMNS = ("index", "name", "class", "split", "origin", "licence")
SPLITS = ("train", "validation", "held_out")
SIDES = (16, 32, 64, 128, 256, 512)

WORST_SEAM = 2.0
"""A tile's seam may differ from the differences inside of it by this factor."""


class Bank(NamedTuple):
    """Tiles and what they are.

    Attributes:
        tiles: uint8 (count, side, side, 3).
        table: a row per tile, with the columns of table.csv but for `index`.
    """

    name: str
    tiles: NDArray[np.uint8]
    table: tuple[Mapping[str, str], ...]

    def select(
        self, split: str | None = None, classes: Sequence[str] | None = None
    ) -> NDArray[np.int64]:
        """Indices of the tiles of a split and of some classes; None takes all.

        Raises:
            UsageError: an unknown split or class, or a choice that leaves nothing.
        """
        known = sorted({row["class"] for row in self.table})
        if split is not None and split not in SPLITS:
            raise unknown("split", str(split), SPLITS)
        for each in classes or ():
            if each not in known:
                raise unknown(f"class of bank {self.name}", str(each), known)
        found = [
            index
            for index, row in enumerate(self.table)
            if (split is None or row["split"] == split)
            and (classes is None or row["class"] in classes)
        ]
        if not found:
            raise UsageError(f"bank {self.name} has no tile of split {split} and class {classes}")
        return np.array(found, np.int64)


def bank_names() -> list[str]:
    """The banks of assets/textures."""
    return sorted(path.parent.name for path in _shipped().glob("*/table.csv"))


def load_bank(name: str | Path) -> Bank:
    """A bank by name, or by the path of its folder; checked, and kept for the next time.

    Raises:
        UsageError: there is no such bank, or its files are not one.
    """
    folder = Path(name)
    if str(name) in bank_names():
        folder = _shipped() / str(name)
    elif not folder.is_dir():
        if folder.name == str(name):
            raise unknown("texture bank", str(name), bank_names())
        raise UsageError(f"texture bank {str(name)!r}: no such folder")
    stamp = (folder / "tiles.npy", folder / "table.csv")
    for path in stamp:
        if not path.is_file():
            raise UsageError(f"{folder} is no texture bank: it has no {path.name}")
    times = tuple(path.stat().st_mtime_ns for path in stamp)
    return _load(str(name), folder, times)


@functools.lru_cache(maxsize=32)
def _load(name: str, folder: Path, times: tuple[int, ...]) -> Bank:
    path = folder / "tiles.npy"
    try:
        tiles = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UsageError(f"{path} is not an array of tiles: {error}") from None
    except (ValueError, EOFError):  # which speaks of pickles, whatever the file is
        raise UsageError(f"{path} is not an array of tiles: give uint8 as np.save writes") from None
    check_tiles(path, tiles)
    table = read_table(folder / "table.csv", len(tiles))
    for tile, row in zip(tiles, table, strict=True):
        check_tileable(f"{path}: tile {row['name']}", tile)
    tiles.flags.writeable = False
    return Bank(name, tiles, table)


def check_tiles(where: object, tiles: NDArray[np.uint8]) -> None:
    """Are these tiles?

    Raises:
        UsageError: another type or shape, none at all, or a side that is no power of two.
    """
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[3] != 3:
        shape = "x".join(map(str, tiles.shape))
        raise UsageError(
            f"{where}: {tiles.dtype} of shape {shape} are no tiles (uint8, count x side x side x 3)"
        )
    if not len(tiles):
        raise UsageError(f"{where}: the bank is empty")
    if tiles.shape[1] != tiles.shape[2] or tiles.shape[1] not in SIDES:
        raise UsageError(
            f"{where}: tiles of {tiles.shape[1]} x {tiles.shape[2]} are not square with a side "
            f"of {', '.join(map(str, SIDES))}"
        )


def check_tileable(where: object, tile: NDArray[np.uint8]) -> None:
    """Does a tile repeat without a seam?

    Its first and last rows, and columns, may differ no more than neighbours inside of it do.

    Raises:
        UsageError: they do.
    """
    values = tile.astype(np.float64)
    for axis, name in ((0, "top and bottom"), (1, "left and right")):
        inside = np.abs(np.diff(values, axis=axis)).mean(axis=(1 - axis, 2))
        first, last = values.take(0, axis=axis), values.take(-1, axis=axis)
        seam = np.abs(first - last).mean()
        # A slab's joint is as sharp as a seam: what counts is the sharpest line inside
        if seam > max(WORST_SEAM * inside.mean(), 1.25 * inside.max()) + 3.0:
            raise UsageError(
                f"{where} is not tileable: its {name} differ by {seam:.1f}, "
                f"neighbours inside by {inside.mean():.1f}"
            )


def read_table(path: Path, count: int) -> tuple[Mapping[str, str], ...]:
    """The rows of a table.csv, in the order of their index.

    Raises:
        UsageError: missing columns, a wrong number of rows, an index or split that does not exist.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]!r}")
    if len(rows) != count:
        raise UsageError(f"{path} has {len(rows)} rows for {count} tiles")
    for number, row in enumerate(rows):
        if row["index"] != str(number):
            raise UsageError(f"{path}: row {number + 1} has index {row['index']!r}, not {number}")
        if row["split"] not in SPLITS:
            raise unknown(f"split in {path}", str(row["split"]), SPLITS)
    return tuple({key: row[key] for key in COLUMNS[1:]} for row in rows)


def save_bank(folder: Path, tiles: NDArray[np.uint8], table: Iterable[Mapping[str, str]]) -> None:
    """Write a bank.

    Raises:
        UsageError: the tiles are none, or are not tileable.
    """
    rows = list(table)
    check_tiles(folder, tiles)
    for tile, row in zip(tiles, rows, strict=True):
        check_tileable(f"{folder}: tile {row['name']}", tile)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "tiles.npy", tiles, allow_pickle=False)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for index, row in enumerate(rows):
            writer.writerow({"index": index, **row})


def _shipped() -> Path:
    return data_folder("assets") / "textures"
