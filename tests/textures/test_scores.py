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
from drive_rl.textures.banks import load_bank
from drive_rl.textures.crops import Crops, halves, joined, samples
from drive_rl.textures.features import extract
from drive_rl.textures.procedural import ROADS, make_tiles
from drive_rl.textures.report import FLOOR, PROCEDURAL, TRAIN, score_bank
from drive_rl.textures.weights import load_weights
from tests.textures.photos import make_data, save_photo


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


def _set(found: np.ndarray, each: int = 1) -> Crops:
    """Crops of mud with these features, `each` of a photograph."""
    photos = [str(k // each) for k in range(len(found))]
    tiles = np.zeros((len(found), 4, 4, 3), np.uint8)
    return Crops(tiles, ("mud",) * len(found), tuple(photos), found)


def test_precision_and_recall_tell_missing_modes_from_wrong_ones() -> None:
    left, right, far = _normal(0), _normal(1, 50.0), _normal(2, 500.0)
    both = _set(np.concatenate([left, right]))
    counts = {"mud": 100}
    precision, recall = scores.precision_recall(both, _set(_normal(3)), counts, draws=4)
    assert precision > 0.8
    assert 0.3 < recall < 0.55
    assert scores.precision_recall(both, _set(far), counts, draws=4) == (0.0, 0.0)


def test_a_collapsed_bank_has_no_recall_and_other_photographs_have_that_of_the_floor() -> None:
    rng = np.random.default_rng(0)

    def photographs(count: int) -> np.ndarray:
        centres = rng.normal(0, 1.0, (count, 8)).repeat(10, axis=0)
        return np.asarray(centres + rng.normal(0, 0.01, (10 * count, 8)))  # ten alike of each

    real = _set(photographs(40), each=10)
    collapsed = _set(real.found[:1] + rng.normal(0, 1e-3, (200, 8)))  # a photograph, no other
    others = _set(photographs(20), each=10)
    unlimited = _set(rng.normal(0, 1.0, (200, 8)))  # as a perfect generator: each tile anew
    counts = {"mud": 20}
    floor = np.mean(
        [scores.precision_recall(*pair, counts, draws=10) for pair in halves(real, 10, seed=0)],
        axis=0,
    )
    assert floor.min() > 0.6
    precision, recall = scores.precision_recall(real, collapsed, counts)
    assert precision > 0.4
    assert recall < 0.02
    for each in (others, unlimited):
        np.testing.assert_allclose(scores.precision_recall(real, each, counts), floor, atol=0.12)
    assert np.isnan(scores.precision_recall(real, others, {"mud": 3})).all()


def test_samples_are_as_many_in_every_set_and_one_of_a_photograph() -> None:
    real = _crops(["asphalt"] * 6 + ["mud"] * 6, list("aabbcc") + list("ddeeff"))
    train = _crops(["asphalt"] * 4 + ["mud"] * 2, list("gghh") + list("ii"))
    made = _crops(["asphalt"] * 8, [str(k) for k in range(8)])
    counts = samples(["asphalt", "mud"], [made, real, train, joined([real, train])])
    assert counts == {"asphalt": 2, "mud": 1}  # of 5 photographs each half has 2
    drawn = real.drawn({"asphalt": 2, "mud": 3}, np.random.default_rng(0))
    assert drawn.surfaces == ("asphalt",) * 2 + ("mud",) * 3
    assert len(set(drawn.photos)) == 5
    assert made.drawn({"mud": 2}, np.random.default_rng(0)).surfaces == ("asphalt",) * 2


def _crops(surfaces: list[str], photos: list[str]) -> Crops:
    count = len(surfaces)
    found = np.arange(count, dtype=np.float64)[:, None]
    tiles = np.zeros((count, 4, 4, 3), np.uint8)
    return Crops(tiles, tuple(surfaces), tuple(photos), found)


def test_every_surface_and_every_photograph_of_it_counts_as_much() -> None:
    crops = _crops(
        ["asphalt"] * 90 + ["gravel"] * 10 + ["mud"] * 4, ["a"] * 80 + ["b"] * 10 + list("cd") * 7
    )
    chosen = crops.of(["asphalt", "gravel"], 20)
    assert [chosen.surfaces.count(name) for name in ("asphalt", "gravel", "mud")] == [10, 10, 0]
    assert [chosen.photos.count(name) for name in "abcd"] == [5, 5, 5, 5]
    instead = crops.of(["asphalt", "snow"], 20)  # no snow: whatever there is
    assert set(instead.photos[10:]) == set("abcd")


def test_halves_of_photographs_share_none_and_leave_out_what_has_but_one() -> None:
    crops = _crops(
        ["asphalt"] * 6 + ["gravel"] * 4 + ["mud"], list("aabbcc") + list("ddee") + ["f"]
    )
    for first, second in halves(crops, 8, seed=0):
        assert not set(first.photos) & set(second.photos)
        assert set(first.surfaces) == set(second.surfaces) == {"asphalt", "gravel"}
    assert not list(halves(_crops(["mud"], ["f"]), 8, seed=0))


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
    assert {str(bank), FLOOR, PROCEDURAL, TRAIN} == set(document["scores"])
    assert document["surfaces"] == {"mud": 1}
    assert any("stand in for mud" in remark for remark in document["remarks"])
    assert any("held out: 1 photo;" in remark for remark in document["remarks"])
    own = document["scores"][str(bank)]
    assert own["kernel_distance"] > document["scores"][FLOOR]["kernel_distance"]
    assert own["memorised"] == 0
    nobody = load_bank(str(bank))
    nobody.table[0]["origin"] = f"{tmp_path} seed 5"  # no run is there (any more)
    again = score_bank(nobody, f"{data}[test]", features="filters")
    assert again["discriminator_gap"] is None
    assert again["scores"][str(bank)] == own
    everything = score_bank("procedural", f"{data}[all]", features="filters")
    assert everything["surfaces"] == {"mud": 3}
    assert TRAIN not in everything["scores"]
    assert "memorised" not in everything["scores"][PROCEDURAL]
    with pytest.raises(UsageError, match="did you mean 'test'"):
        score_bank("procedural", f"{data}[tset]", features="filters")
    with pytest.raises(UsageError, match="did you mean 'filters'"):
        score_bank("procedural", f"{data}[test]", features="filter")


def test_what_a_bank_has_learned_from_is_not_held_out_for_it(tmp_path: Path) -> None:
    data = make_data(tmp_path, photos=2)
    origin = load_weights("roadgan").made["sources"][0]["origin"]
    table = data.folder / "table.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("photos/mud/0.png", origin), encoding="utf-8")
    with pytest.raises(UsageError, match="roadgan has learned from 1 of the photos"):
        score_bank("roadgan", f"{data.folder}[all]", features="filters")
