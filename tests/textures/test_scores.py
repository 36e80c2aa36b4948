"""Scores: known on sets whose answer is known, and in the right order elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

from drive_rl.cli import run
from drive_rl.errors import UsageError
from drive_rl.textures import scores
from drive_rl.textures.features import extract
from drive_rl.textures.procedural import ROADS, make_tiles
from drive_rl.textures.report import FLOOR, PROCEDURAL, score_bank
from tests.textures.photos import save_photo


def _normal(seed: int, shift: float = 0.0, count: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (count, 8))


def test_distances_are_small_between_draws_of_one_distribution_and_grow_with_the_shift() -> None:
    for distance in (scores.kernel_distance, scores.frechet_distance):
        found = [distance(_normal(0), _normal(1, shift)) for shift in (0.0, 0.5, 1.0)]
        assert found[0] < found[1] < found[2]
    assert abs(scores.kernel_distance(_normal(0), _normal(1))) < 0.1


def test_the_frechet_distance_is_that_of_the_formula() -> None:
    x, y = _normal(0), 1.5 * _normal(1, 0.5)
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(first @ second).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert scores.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_precision_and_recall_tell_missing_modes_from_wrong_ones() -> None:
    left, right, far = _normal(0), _normal(1, 50.0), _normal(2, 500.0)
    both = np.concatenate([left, right])
    precision, recall = scores.precision_recall(both, _normal(3))
    assert precision > 0.8
    assert 0.3 < recall < 0.55
    assert scores.precision_recall(both, far) == (0.0, 0.0)


def test_copies_of_training_crops_are_found() -> None:
    train = _normal(0)
    nearest = scores.nearest_train(np.concatenate([train[:3] + 1e-6, _normal(1)]), train)
    assert (nearest[:3] < scores.MEMORISED).all()
    assert (nearest[3:] > scores.MEMORISED).all()


def test_the_seam_ratio_is_one_on_a_torus_and_large_across_a_step() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    assert scores.seam_ratio(noise) == pytest.approx(1.0, abs=0.05)
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 64, 64, 3))
    assert scores.seam_ratio(ramp) > 20


def test_a_picture_is_like_itself_and_unlike_noise() -> None:
    picture, other = np.random.default_rng(0).random((2, 64, 64))
    assert scores.ms_ssim(picture, picture) == pytest.approx(1.0)
    assert scores.ms_ssim(picture, other) < 0.5


def test_pixel_distances_are_zero_to_itself_and_see_brightness_and_grain() -> None:
    tiles, _ = make_tiles({"gravel": ROADS["gravel"]}, per_class=4, side=64)
    bright = np.clip(tiles.astype(int) + 40, 0, 255).astype(np.uint8)
    noisy = np.random.default_rng(0).integers(0, 256, tiles.shape, dtype=np.uint8)

    def sliced(other: np.ndarray) -> float:
        return scores.sliced_wasserstein(tiles, other, np.random.default_rng(0))

    assert sliced(tiles) < 0.03
    assert sliced(bright) > 3 * sliced(tiles)
    assert scores.spectrum_distance(tiles, tiles) == 0.0
    assert scores.spectrum_distance(tiles, noisy) > scores.spectrum_distance(tiles, bright)


def test_the_filters_tell_surfaces_apart() -> None:
    first, table = make_tiles(ROADS, per_class=3, seed=0)
    second, _ = make_tiles(ROADS, per_class=3, seed=1)
    x, y = extract("filters", first), extract("filters", second)
    assert x.shape == (len(first), 78)
    nearest = scores.distances(y, x).argmin(axis=1)
    classes = [row["class"] for row in table]
    right = np.mean([classes[k] == name for k, name in zip(nearest, classes, strict=True)])
    assert right > 0.6


def test_a_bank_is_scored_beside_the_floor_and_the_procedural_bank(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(3):
        save_photo(tmp_path / "photos" / "mud" / f"{k}.png", k, size=160)
    data, bank = tmp_path / "data", tmp_path / "bank"
    words = ["textures", "prepare", str(tmp_path / "photos"), "--out", str(data), "--crops", "8"]
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["crops"]["mud"]["test"] == 8
    sampled = ["sample", "procedural", "--count", "8", "--seed", "5", "--out", str(bank)]
    assert run(["textures", *sampled]) == 0
    capsys.readouterr()
    asked = ["score", str(bank), "--against", f"{data}[test]", "--features", "filters", "--json"]
    assert run(["textures", *asked]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert document["features"] == "filters"
    assert "not FID" in document["note"]
    assert {str(bank), FLOOR, PROCEDURAL} < set(document["scores"])
    own = document["scores"][str(bank)]
    assert own["kernel_distance"] > document["scores"][FLOOR]["kernel_distance"]
    assert own["memorised"] == 0
    with pytest.raises(UsageError, match="did you mean 'test'"):
        score_bank("procedural", f"{data}[tset]", features="filters")
    with pytest.raises(UsageError, match="did you mean 'filters'"):
        score_bank("procedural", f"{data}[test]", features="filter")
