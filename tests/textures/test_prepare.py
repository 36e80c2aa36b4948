"""Data: any picture is read or named, and no photograph lies in two splits."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drive_rl.errors import UsageError
from drive_rl.textures import games
from drive_rl.textures.prepare import load_data, load_split, prepare
from drive_rl.textures.sources import read_picture, read_source
from tests.textures.photos import make_data, save_photo


def test_no_photo_lies_in_two_splits_and_every_class_has_all_three(tmp_path: Path) -> None:
    data = make_data(tmp_path, photos=4)
    splits: dict[str, set[str]] = {}
    for row in data.table:
        splits.setdefault(row["source"], set()).add(row["split"])
    assert len(splits) == 8
    assert all(len(each) == 1 for each in splits.values())
    for name in ("asphalt", "mud"):
        found = {row["split"] for row in data.table if row["class"] == name}
        assert found == {"train", "validation", "test"}


def test_another_photo_moves_no_crop_of_those_that_stay_in_their_split(tmp_path: Path) -> None:
    first = make_data(tmp_path / "a", photos=3)
    save_photo(tmp_path / "a" / "photos" / "asphalt" / "new.png", 99)
    second = prepare(
        [str(tmp_path / "a" / "photos")], tmp_path / "b", side=32, crops=6, say=lambda text: None
    )
    crops = {row["name"]: crop for row, crop in zip(second.table, second.crops, strict=True)}
    for row, crop in zip(first.table, first.crops, strict=True):
        np.testing.assert_array_equal(crop, crops[row["name"]])


def test_one_photo_works_and_is_warned_of(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "road.png", 0)
    said: list[str] = []
    data = prepare([str(tmp_path / "photos")], tmp_path / "data", side=32, crops=4, say=said.append)
    assert len(data.crops) == 4
    assert len(said) == 1
    assert "one photo" in said[0]
    assert "nothing is held out" in said[0]
    with pytest.raises(UsageError, match="no crop in split test"):
        load_split(f"{tmp_path / 'data'}[test]")


def test_what_is_no_picture_is_named_and_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    whole = save_photo(folder / "whole.png", 0)
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    (folder / "text.jpg").write_text("a road")
    (folder / "cut.png").write_bytes(whole.read_bytes()[:3000])
    (folder / "notes.txt").write_text("not looked at")
    said: list[str] = []
    data = prepare([str(folder)], tmp_path / "data", side=32, crops=4, say=said.append)
    assert {row["source"] for row in data.table} == {"whole.png"}
    named = [line for line in said if line.endswith("; skipped")]
    assert len(named) == 3
    assert any("pixel.png has 1 x 1 pixels" in line for line in named)
    assert any("text.jpg is no picture" in line for line in named)
    assert any("cut.png is corrupt" in line for line in named)


def test_every_mode_of_picture_is_read_as_what_it_shows(tmp_path: Path) -> None:
    gray = np.full((70, 70), 100, np.uint8)
    pictures = {
        "cmyk.tif": Image.new("CMYK", (70, 70), (0, 0, 0, 155)),
        "gray.png": Image.fromarray(gray),
        "deep.png": Image.fromarray(gray.astype(np.uint16) * 257),
        "palette.png": Image.fromarray(gray).convert("P"),
        "float.tif": Image.fromarray((gray / 255.0).astype(np.float32)),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        pixels = read_picture(tmp_path / name)
        assert pixels.shape == (70, 70, 3)
        assert pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels, 100, atol=1)


def test_what_is_transparent_gets_the_mean_of_what_is_not(tmp_path: Path) -> None:
    pixels = np.zeros((70, 70, 4), np.uint8)
    pixels[:, :60] = (90, 120, 30, 255)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png")[0, 65], (90, 120, 30))
    pixels[..., 3] = 0
    Image.fromarray(pixels, "RGBA").save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="mostly transparent"):
        read_picture(tmp_path / "b.png")


def test_a_class_whose_folder_has_no_photo_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save_photo(folder / "mud" / "a.png", 0)
    (folder / "gravel").mkdir()
    (folder / "snow").mkdir()
    (folder / "snow" / "text.jpg").write_text("a road")
    said: list[str] = []
    data = prepare([str(folder)], tmp_path / "data", side=32, crops=4, say=said.append)
    assert data.classes == ["mud"]
    left_out = [line for line in said if line.endswith("; left out")]
    assert [line.split()[1] for line in left_out] == ["gravel", "snow"]


def test_bad_sources_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    photo = save_photo(tmp_path / "photos" / "mud" / "a.png", 0)

    def refused(match: str, source: str, **options: object) -> None:
        with pytest.raises(UsageError, match=match):
            prepare([source], tmp_path / "out", say=lambda text: None, **options)  # type: ignore[arg-type]
        assert not (tmp_path / "out").exists()

    refused("no photo to learn from", str(tmp_path / "empty"))
    refused("no such folder", str(tmp_path / "missing" / "folder"))
    refused("did you mean 'skimage'", "skimages")
    refused("is a file", str(photo))
    refused("class 'gravel' has no photo", str(tmp_path / "photos"), classes=["gravel"])
    refused("side 48", str(tmp_path / "photos"), side=48)
    with pytest.raises(UsageError, match=r"has no crops\.npy"):
        load_data(tmp_path / "empty")


def test_flat_pictures_have_nothing_to_learn_from(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (80, 80), (100, 100, 100)).save(tmp_path / "photos" / "wall.png")
    with pytest.raises(UsageError, match="anything to see"):
        prepare([str(tmp_path / "photos")], tmp_path / "out", say=lambda text: None)


def test_pictures_of_a_game_are_read_from_its_archive_and_known_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = save_photo(tmp_path / "road.png", 0).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    archive = tmp_path / "base.pk3"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("a.png", "b.png", "c.png"):
            file.writestr(name, content)
    pictures = (
        games.Picture("a.png", "mud", games.MIT, "somebody", digest),
        games.Picture("b.png", "mud", games.CC0, "", digest, "of a"),
        games.Picture("c.png", "mud", games.CC0, "", "0" * 64),
        games.Picture("d.png", "mud", games.CC0, "", digest),
    )
    monkeypatch.setitem(games.GAMES, "ufoai", games.Game("ufoai-textures", archive, pictures))
    said: list[str] = []
    first, second = read_source("ufoai", said.append)
    assert first.origin == "ufoai-textures: a.png (somebody)"
    assert (first.group, second.group) == ("ufoai/a.png", "ufoai/of a")
    assert [first.licence, second.licence] == ["MIT", "CC0-1.0"]
    assert first.pixels.shape == (80, 80, 3)
    assert len(said) == 2
    assert all("is not the picture whose licence was looked up" in line for line in said)
    missing = games.Game("ufoai-textures", tmp_path / "none", pictures)
    monkeypatch.setitem(games.GAMES, "ufoai", missing)
    with pytest.raises(UsageError, match="needs Debian's package ufoai-textures"):
        list(read_source("ufoai", said.append))


def test_the_games_pictures_are_of_clean_licences_and_each_is_listed_once() -> None:
    pictures = [picture for game in games.GAMES.values() for picture in game.pictures]
    assert {picture.licence for picture in pictures} == {games.PUBLIC, games.CC0, games.MIT}
    assert len({picture.sha256 for picture in pictures}) == len(pictures)
