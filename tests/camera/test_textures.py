"""Banks: what ships is whole and repeats, what is no bank is told in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drive_rl.errors import UsageError
from drive_rl.textures.banks import bank_names, check_tileable, load_bank, save_bank
from drive_rl.textures.procedural import ROADS, VERGES, make_tiles

SURFACES = ("asphalt_new", "asphalt_old", "concrete", "gravel", "wet", "snow", "patched", "cracked")


@pytest.mark.parametrize("name", ["procedural", "verges", "photos"])
def test_shipped_banks_load_and_have_all_splits(name: str) -> None:
    assert name in bank_names()
    bank = load_bank(name)  # checks that every tile repeats
    for split in ("train", "validation", "held_out"):
        assert len(bank.select(split)) > 0
    assert all(row["origin"] and row["licence"] for row in bank.table)


def test_the_procedural_bank_has_every_surface_and_is_what_the_code_makes() -> None:
    bank = load_bank("procedural")
    assert {row["class"] for row in bank.table} == set(SURFACES) == set(ROADS)
    tiles, _ = make_tiles({"asphalt_new": ROADS["asphalt_new"]}, per_class=2, seed=0)
    np.testing.assert_array_equal(bank.tiles[:2], tiles)


@pytest.mark.parametrize("name", sorted(ROADS | VERGES))
def test_generated_tiles_repeat_without_a_seam(name: str) -> None:
    tiles, _ = make_tiles({name: (ROADS | VERGES)[name]}, per_class=3, seed=99, side=32)
    for tile in tiles:
        check_tileable(name, tile)


def _table(count: int) -> list[dict[str, str]]:
    row = {"class": "asphalt", "split": "train", "origin": "here", "licence": "MIT"}
    return [{"name": f"tile-{k}", **row} for k in range(count)]


def test_a_bank_survives_being_written(tmp_path: Path) -> None:
    tiles, table = make_tiles(ROADS, per_class=1, seed=1, side=16)
    save_bank(tmp_path / "mine", tiles, table)
    bank = load_bank(tmp_path / "mine")
    np.testing.assert_array_equal(bank.tiles, tiles)
    assert list(bank.table) == table


def test_a_picture_with_a_seam_is_refused(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(64)[None, :, None] * 3, (64, 64, 3)).astype(np.uint8)
    with pytest.raises(UsageError, match="not tileable: its left and right differ"):
        save_bank(tmp_path, ramp[None], _table(1))


@pytest.mark.parametrize(
    ("tiles", "said"),
    [
        (np.zeros((2, 64, 64), np.uint8), "are no tiles"),
        (np.zeros((2, 64, 64, 3), np.float32), "are no tiles"),
        (np.zeros((0, 64, 64, 3), np.uint8), "empty"),
        (np.zeros((1, 64, 48, 3), np.uint8), "not square"),
        (np.zeros((1, 65, 65, 3), np.uint8), "not square"),
    ],
)
def test_what_are_no_tiles_is_refused(tmp_path: Path, tiles: np.ndarray, said: str) -> None:
    np.save(tmp_path / "tiles.npy", tiles)
    (tmp_path / "table.csv").write_text("index,name,class,split,origin,licence\n")
    with pytest.raises(UsageError, match=said):
        load_bank(tmp_path)


def test_what_is_no_bank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_bank(tmp_path / "missing" / "folder")
    with pytest.raises(UsageError, match=r"has no tiles\.npy"):
        load_bank(tmp_path)
    (tmp_path / "tiles.npy").write_text("a picture of a road")
    (tmp_path / "table.csv").write_text("index,name\n")
    with pytest.raises(UsageError, match="not an array of tiles"):
        load_bank(tmp_path)
    np.save(tmp_path / "tiles.npy", np.zeros((1, 16, 16, 3), np.uint8))
    with pytest.raises(UsageError, match="no column 'class'"):
        load_bank(tmp_path)
    header = "index,name,class,split,origin,licence\n"
    (tmp_path / "table.csv").write_text(header)
    with pytest.raises(UsageError, match="0 rows for 1 tiles"):
        load_bank(tmp_path)
    (tmp_path / "table.csv").write_text(header + "0,a,asphalt,trian,here,MIT\n")
    with pytest.raises(UsageError, match="did you mean 'train'"):
        load_bank(tmp_path)
