"""What ships: small, of clean licences, seamless, and what the commands make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from drive_rl.cli import run
from drive_rl.data import data_folder
from drive_rl.errors import UsageError
from drive_rl.textures.banks import bank_names, load_bank
from drive_rl.textures.sampling import Request, sample_tiles
from drive_rl.textures.scores import seam_ratio
from drive_rl.textures.spec import load_spec
from drive_rl.textures.weights import load_weights

SHIPPED = data_folder("assets") / "textures"
CLEAN = {"CC0-1.0", "Apache-2.0", "MIT", "public domain"}


def test_the_weights_are_small_and_learned_from_clean_licences_only() -> None:
    assert (SHIPPED / "roadgan.safetensors").stat().st_size < 8e6
    made = load_weights("roadgan").made
    assert {source["licence"] for source in made["sources"]} <= CLEAN
    assert "textures train" in made["command"]
    assert made["steps"] == load_spec("roadgan").steps


def test_the_bank_is_what_the_weights_make_of_its_seed() -> None:
    bank = load_bank("roadgan")
    assert "roadgan" in bank_names()
    assert bank.tiles.shape == (256, 64, 64, 3)
    tiles, table = sample_tiles(load_weights("roadgan"), Request(256, seed=5))
    assert list(bank.table) == table
    # Other machines round their sums differently
    assert np.abs(bank.tiles.astype(int) - tiles).max() <= 2


def test_shipped_tiles_have_no_seam_at_any_size() -> None:
    assert 0.9 < seam_ratio(load_bank("roadgan").tiles) < 1.1
    weights = load_weights("roadgan")
    tiles, _ = sample_tiles(weights, Request(24, seed=2, size=128))
    assert 0.9 < seam_ratio(tiles) < 1.1
    # One large tile has one border: it is to be no sharper than the sharpest line inside
    (large,), _ = sample_tiles(weights, Request(1, seed=2, size=512))
    for axis in (0, 1):
        steps = np.abs(np.diff(large.astype(int), axis=axis, append=large.take([0], axis)))
        lines = steps.mean(axis=(1 - axis, 2))
        assert lines[-1] <= lines[:-1].max()


def test_controls_do_to_tiles_what_they_are_called() -> None:
    weights = load_weights("roadgan")
    classes = {"concrete": 1.0}  # light enough for water to darken it, which mirrors the sky too
    plain, _ = sample_tiles(weights, Request(16, 1, 64, classes))
    snow, _ = sample_tiles(weights, Request(16, 1, 64, classes, {"snow": (1.0, 1.0)}))
    wet, _ = sample_tiles(weights, Request(16, 1, 64, classes, {"wetness": (1.0, 1.0)}))
    assert snow.mean() > plain.mean() + 20
    assert wet.mean() < plain.mean() - 5


def test_the_commands_of_the_design_make_banks_and_wrong_ones_say_what_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("roadgan", "procedural"):
        words = ["textures", "sample", name, "--count", "8", "--seed", "5"]
        assert run([*words, "--out", str(tmp_path / name)]) == 0
        assert len(load_bank(tmp_path / name).tiles) == 8
    capsys.readouterr()
    for words, said in (
        (["sample", "roadgn", "--out", str(tmp_path / "x")], "did you mean 'roadgan'"),
        (["sample", "roadgan", "--classes", "asfalt", "--out", str(tmp_path / "x")], "'asphalt'"),
        (["sample", "roadgan", "--snow", "2", "--out", str(tmp_path / "x")], "range within 0..1"),
        (["train", str(tmp_path / "none"), "--out", str(tmp_path / "x")], "no such folder"),
        (["score", "roadgan", "--against", str(tmp_path / "none")], "no such folder"),
    ):
        assert run(["textures", *words]) == 2
        out, err = capsys.readouterr()
        assert said in err
        assert err.count("\n") == 1
        assert not out


def test_networks_of_other_settings_do_not_go_with_shipped_weights(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"loss": "minimax"}))
    assert load_spec(config).loss == "minimax"
    config.write_text("loss: [")
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        load_spec(config)
    words = ["textures", "train", str(tmp_path), "--out", str(tmp_path / "x"), "--from", "roadgan"]
    assert run([*words, "--set", "generator.style=8"]) == 2
