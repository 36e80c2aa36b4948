"""Photos to tiles to learn from: cleaned, cropped, classed, and split by source image.

    DATA/crops.npy   uint8 (count, side, side, 3); crops need not repeat
         table.csv   index,name,class,split,origin,licence,source
         data.yaml   how it was made

Two crops of one photograph never lie in two splits: a score on held-out crops of a photograph that
was learned from says nothing.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from drive_rl.errors import UsageError, nearest, unknown
from drive_rl.textures.sources import Photo, Skipped, read_source

COLUMNS = ("index", "name", "class", "split", "origin", "licence", "source")
SPLITS = ("train", "validation", "test")
ALL = "all"  # of them together: for what has learned from none
SCHEMA = 1
FLATTEST = 0.8  # deviation of brightness [of 255] below which a crop shows nothing
CUTS = (0.375, 0.625)  # a crop's side as a share of the photograph's shorter one


class Data(NamedTuple):
    """What a GAN learns from, or is scored against.

    Attributes:
        crops: uint8 (count, side, side, 3).
        table: a row per crop, with the columns of table.csv but for `index`.
    """

    folder: Path
    crops: NDArray[np.uint8]
    table: tuple[Mapping[str, str], ...]

    @property
    def classes(self) -> list[str]:
        """Names of the surfaces, sorted."""
        return sorted({row["class"] for row in self.table})

    def classes_of(self, split: str) -> list[str]:
        """Names of the surfaces that a split has crops of, sorted."""
        return sorted({row["class"] for row in self.table if row["split"] == split})

    @property
    def digest(self) -> str:
        """SHA-256 of the crops, their classes and their splits."""
        digest = hashlib.sha256(self.crops.tobytes())
        digest.update(repr([(row["class"], row["split"]) for row in self.table]).encode())
        return digest.hexdigest()

    def select(self, split: str) -> NDArray[np.int64]:
        """Indices of a split's crops, or of `all`; may be none."""
        found = [index for index, row in enumerate(self.table) if split in (row["split"], ALL)]
        return np.array(found, np.int64)


def prepare(
    sources: Sequence[str],
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    side: int = 64,
    crops: int = 96,
    seed: int = 0,
    licence: str = "unknown",
    say: Skipped = print,
) -> Data:
    """Write a folder of data from sources of photographs.

    Args:
        classes: keep these only; None keeps all.
        side: of a crop [px].
        crops: of each photograph.
        say: called with one line for each file that is skipped and for each warning.

    Raises:
        UsageError: nothing to learn from, or a place that is taken.
    """
    if not sources:
        raise UsageError("name a folder of photos, or skimage, miniworld, procedural")
    if side not in (32, 64, 128):
        raise UsageError(f"side {side} is not one of 32, 64, 128")
    if crops < 1:
        raise UsageError(f"{crops} crops of each photo is not at least 1")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: exists and is not empty; name another folder")
    photos = [photo for source in sources for photo in read_source(source, say, licence)]
    if not photos:
        raise UsageError(f"no photo to learn from in {', '.join(sources)}")
    found = sorted({photo.surface for photo in photos})
    for name in classes or ():
        if name not in found:
            if nearest(name, found):
                raise unknown("class", name, found)
            raise UsageError(f"class {name!r} has no photo; there are {', '.join(found)}")
    photos = [photo for photo in photos if classes is None or photo.surface in classes]
    splits = split_photos(photos, seed, say)
    tiles: list[NDArray[np.uint8]] = []
    table: list[dict[str, str]] = []
    for photo in photos:
        cut = cut_crops(photo, side, crops, seed)
        if not cut:
            say(f"{photo.origin} has no crop with anything to see; skipped")
        for k, tile in enumerate(cut):
            tiles.append(tile)
            table.append(
                {
                    "name": f"{photo.name}-{k:03d}",
                    "class": photo.surface,
                    "split": splits[photo.group],
                    "origin": photo.origin,
                    "licence": photo.licence,
                    "source": photo.group,
                }
            )
    if not any(row["split"] == "train" for row in table):
        raise UsageError(f"no photo of {', '.join(sources)} has a crop with anything to see")
    settings = {
        "sources": list(sources),
        "side": side,
        "crops": crops,
        "seed": seed,
        "classes": sorted({row["class"] for row in table}),
    }
    _write(out, np.stack(tiles), table, settings)
    return load_data(out)


def split_photos(photos: Sequence[Photo], seed: int, say: Skipped) -> dict[str, str]:
    """The split of each group: per class a fifth to test and to validation, at least one each.

    Of one photograph nothing can be held out, of two none is left to validate with.
    """
    splits: dict[str, str] = {}
    for surface in sorted({photo.surface for photo in photos}):
        groups = sorted({photo.group for photo in photos if photo.surface == surface})
        # By a hash, so that a photo that is added moves no other one
        groups.sort(key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
        free = [group for group in groups if group not in splits]
        count = len(free)
        if len(groups) == 1:
            say(
                f"class {surface} has one photo: all of it is learned from, nothing is held out, "
                "so that no score can tell learning from copying it"
            )
        held = max(round(0.2 * count), 1) if count > 1 else 0
        checked = max(round(0.2 * count), 1) if count > 2 else 0
        for number, group in enumerate(free):
            splits[group] = SPLITS[2 if number < held else 1 if number < held + checked else 0]
    return splits


def cut_crops(photo: Photo, side: int, count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Square crops of a photograph at places and sizes of its own, evenly lit, averaged down."""
    digest = hashlib.sha256(f"{seed}/{photo.group}/{photo.name}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest[:16], np.uint32))
    pixels = _evenly_lit(photo.pixels.astype(np.float32))
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    cut = []
    for _ in range(count):
        length = max(int(shorter * rng.uniform(*CUTS)), min(side, shorter))
        y = int(rng.integers(0, height - length + 1))
        x = int(rng.integers(0, width - length + 1))
        crop = _averaged(pixels[y : y + length, x : x + length], side)
        if crop.mean(axis=-1).std() >= FLATTEST:
            cut.append(np.clip(np.rint(crop), 0, 255).astype(np.uint8))
    return cut


def _evenly_lit(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take away the slope of the light over a photograph: a tile should look the same anywhere."""
    gray = pixels.mean(axis=-1)
    step = max(min(gray.shape) // 64, 1)
    small = gray[::step, ::step]
    y, x = (np.linspace(-1, 1, n) for n in small.shape)
    basis = np.stack(
        [np.ones_like(small), *np.broadcast_arrays(y[:, None] + 0 * x, x[None] + 0 * y[:, None])],
        axis=-1,
    ).reshape(-1, 3)
    weights, *_ = np.linalg.lstsq(basis, small.reshape(-1), rcond=None)
    rows = np.linspace(-1, 1, gray.shape[0])[:, None]
    columns = np.linspace(-1, 1, gray.shape[1])[None]
    slope = weights[1] * rows + weights[2] * columns
    return np.asarray(pixels - slope[..., None], np.float32)


def _averaged(crop: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """(side, side, 3) by averaging over areas, so that fine grain does not alias."""
    from PIL import Image

    channels = [
        np.asarray(Image.fromarray(crop[..., c]).resize((side, side), Image.Resampling.BOX))
        for c in range(3)
    ]
    return np.stack(channels, axis=-1)


def _write(
    out: Path, tiles: NDArray[np.uint8], table: Sequence[Mapping[str, str]], settings: Any
) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        np.save(out / "crops.npy", tiles, allow_pickle=False)
        with (out / "table.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for index, row in enumerate(table):
                writer.writerow({"index": index, **row})
        text = yaml.safe_dump({"schema": SCHEMA, **settings}, sort_keys=False)
        (out / "data.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror})") from None


def load_data(folder: Path | str) -> Data:
    """A folder of `prepare`, checked.

    Raises:
        UsageError: no such folder, or its files are not data.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"data {str(folder)!r}: no such folder")
    for name in ("crops.npy", "table.csv"):
        if not (folder / name).is_file():
            raise UsageError(
                f"{folder} is no data of `drive-rl textures prepare`: it has no {name}"
            )
    try:
        crops = np.load(folder / "crops.npy", allow_pickle=False)
        with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = reader.fieldnames or ()
    except (OSError, ValueError, EOFError, csv.Error) as error:
        raise UsageError(f"{folder} cannot be read: {error}") from None
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise UsageError(f"{folder / 'table.csv'} has no column {missing[0]!r}")
    if (
        crops.dtype != np.uint8
        or crops.ndim != 4
        or crops.shape[1:] != (crops.shape[1],) * 2 + (3,)
    ):
        raise UsageError(f"{folder / 'crops.npy'} has no crops (uint8, count x side x side x 3)")
    if not len(crops) or len(rows) != len(crops):
        raise UsageError(f"{folder}: {len(rows)} rows of the table for {len(crops)} crops")
    for row in rows:
        if row["split"] not in SPLITS:
            raise unknown(f"split in {folder / 'table.csv'}", str(row["split"]), SPLITS)
    table = tuple({key: row[key] for key in COLUMNS[1:]} for row in rows)
    return Data(folder, crops, table)


def load_split(text: str) -> tuple[Data, NDArray[np.int64], str]:
    """`DATA[test]`, or `DATA` for its test split: the data and the indices of the split's crops.

    `DATA[all]` is all crops.

    Raises:
        UsageError: no such data or split, or a split without crops.
    """
    name, split = text, "test"
    if text.endswith("]") and "[" in text:
        name, _, split = text[:-1].rpartition("[")
    if split not in (*SPLITS, ALL):
        raise unknown("split", split, (*SPLITS, ALL))
    data = load_data(name)
    chosen = data.select(split)
    if not len(chosen):
        raise UsageError(
            f"{name} has no crop in split {split}; that takes two photos of a class "
            "(three for validation)"
        )
    return data, chosen, split
