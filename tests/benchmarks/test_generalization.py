"""The generalization study: its surfaces, its statistics and its gate; nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.generalization import page, surfaces
from drive_rl.textures.banks import load_bank
from drive_rl.textures.sources import TORCS


def _cells(own: float, unseen: float, spread: float = 0.5) -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    return [
        {
            "own": {"return": own, "crash_rate": 0.1},
            "test": {
                f"surface {k}": {"return": unseen + spread * random.standard_normal()}
                for k in range(20)
            },
        }
        for _ in range(5)
    ]


def test_the_gate_opens_to_a_driver_that_loses_something_elsewhere() -> None:
    teacher = {"own": {"return": 36.0}}
    assert page.gate({"one": _cells(34.0, 26.0)}, teacher)[0]
    assert not page.gate({"one": _cells(20.0, 10.0)}, teacher)[0]  # cannot drive
    assert not page.gate({"one": _cells(34.0, 34.0)}, teacher)[0]  # loses nothing


def test_intervals_hold_the_figure_and_improvement_is_even_against_oneself() -> None:
    values = page.tables(_cells(34.0, 26.0, spread=3.0))
    assert values.shape == (5, 20)
    estimate = page.over_seeds_and_surfaces(values)
    assert estimate.low < estimate.mean < estimate.high
    assert page.improvement(values, values).mean == pytest.approx(0.5)
    assert page.improvement(values + 100.0, values).low == 1.0


def test_banks_differ_by_seed_and_are_the_same_for_one(tmp_path: Path) -> None:
    first, other = (load_bank(surfaces.make_bank("one", k, tmp_path)).tiles for k in (0, 1))
    again = load_bank(surfaces.make_bank("one", 0, tmp_path / "again")).tiles
    assert len(first) == 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.skipif(not TORCS.is_dir(), reason="needs Debian's torcs-data")
def test_no_photograph_of_the_test_is_one_to_train_on() -> None:
    train, test = surfaces.split_photos()
    assert len(test) >= 20
    assert not {photo.pixels.tobytes() for photo in train} & {
        photo.pixels.tobytes() for photo in test
    }
    assert not any("brondehach" in photo.name for photo in (*train, *test))
