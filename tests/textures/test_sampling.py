"""Banks that are sampled: seeded, in shares as asked for, without seams at any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from drive_rl.errors import UsageError
from drive_rl.textures.banks import load_bank
from drive_rl.textures.networks import Generator
from drive_rl.textures.sampling import (
    Request,
    contact_sheet,
    parse_classes,
    parse_range,
    sample_bank,
    sample_tiles,
)
from drive_rl.textures.scores import seam_ratio
from drive_rl.textures.weights import Weights
from tests.textures.photos import tiny_spec


@pytest.fixture(scope="module")
def weights() -> Weights:
    spec = tiny_spec(side=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(spec.generator, 2)
    return Weights("mine", spec, ("asphalt", "mud"), generator.state_dict(), {}, {})


def test_a_seed_gives_the_same_tiles_and_another_others(weights: Weights) -> None:
    first, _ = sample_tiles(weights, Request(5, seed=1))
    np.testing.assert_array_equal(first, sample_tiles(weights, Request(5, seed=1))[0])
    assert (first != sample_tiles(weights, Request(5, seed=2))[0]).mean() > 0.5


@pytest.mark.parametrize("size", [64, 128, 512])
def test_tiles_of_any_size_repeat_without_a_seam(weights: Weights, size: int) -> None:
    count = 12 if size == 64 else 2
    tiles, _ = sample_tiles(weights, Request(count, size=size))
    assert tiles.shape == (count, size, size, 3)
    assert 0.9 < seam_ratio(tiles) < 1.1


def test_classes_come_in_the_shares_asked_for_and_controls_in_their_range(
    weights: Weights, tmp_path: Path
) -> None:
    request = Request(
        40, 0, 64, parse_classes("mud:3,asphalt:1"), {"wetness": parse_range("wetness", "0.2..0.8")}
    )
    sample_bank(weights, request, tmp_path / "bank")
    bank = load_bank(tmp_path / "bank")
    assert sum(row["class"] == "mud" for row in bank.table) == 30
    for row in bank.table:
        made, wetness = row["origin"].split("; ")
        assert made == "mine seed 0"
        assert 0.2 <= float(wetness.removeprefix("wetness ")) <= 0.8
    for split in ("train", "validation", "held_out"):
        assert len(bank.select(split)) > 0


def test_procedural_banks_are_sampled_by_the_same_request(tmp_path: Path) -> None:
    sample_bank(None, Request(4, 1, 64, {"gravel": 1.0}), tmp_path / "a")
    sample_bank(None, Request(4, 1, 64, {"gravel": 1.0}), tmp_path / "b")
    a, b = load_bank(tmp_path / "a"), load_bank(tmp_path / "b")
    np.testing.assert_array_equal(a.tiles, b.tiles)
    assert {row["class"] for row in a.table} == {"gravel"}
    with pytest.raises(UsageError, match="have no snow"):
        sample_bank(None, Request(4, controls={"snow": (0.0, 1.0)}), tmp_path / "c")


def test_wrong_requests_are_told_in_one_line(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'asphalt'"):
        sample_tiles(weights, Request(1, classes={"asphal": 1.0}))
    with pytest.raises(UsageError, match="count 0"):
        sample_tiles(weights, Request(0))
    with pytest.raises(UsageError, match="size 100 is not one of 64, 128, 256, 512"):
        sample_tiles(weights, Request(1, size=100))
    with pytest.raises(UsageError, match="positive number"):
        parse_classes("mud:lots")
    for text in ("0.8..0.2", "0..2", "much", "nan"):
        with pytest.raises(UsageError, match="wetness"):
            parse_range("wetness", text)
    with pytest.raises(UsageError, match="unknown class of surfaces 'mars'"):
        sample_bank(None, Request(1, classes={"mars": 1.0}), tmp_path / "c")


def test_a_sheet_shows_tiles_in_reading_order() -> None:
    tiles = np.zeros((3, 16, 16, 3), np.uint8)
    tiles[1], tiles[2] = 1, 2
    sheet = contact_sheet(tiles, 2)
    assert sheet.shape == (32, 32, 3)
    assert (sheet[0, 0, 0], sheet[0, 31, 0], sheet[31, 0, 0]) == (0, 1, 2)
