"""Checkpoints are there whole or not at all."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.checkpoint import Checkpoint, DamagedCheckpoint

FILES = (
    "policy.safetensors",
    "optimizer.safetensors",
    "environment.npz",
    "state.json",
    "replay.npz",
    "manifest.json",
)


def example(step: int = 10) -> Checkpoint:
    generator = np.random.default_rng(step)
    return Checkpoint(
        step,
        {"net.weight": torch.arange(6.0).reshape(2, 3) + step, "net.bias": torch.zeros(2)},
        {"0.step": torch.tensor(3.0), "0.exp_avg": torch.ones(2, 3)},
        {"counters": {"num_timesteps": step}, "large": 2**100, "pi": 0.1 + 0.2},
        {"env/rng": np.array([2**63, 5], dtype=np.uint64), "env/on": np.array([True, False])},
        {"observations": generator.standard_normal((4, 2, 3)).astype(np.float32)},
    )


def assert_equal(ours: Checkpoint, theirs: Checkpoint) -> None:
    assert (ours.step, ours.state) == (theirs.step, theirs.state)
    for name in ("policy", "optimizer"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    for name in ("environment", "replay"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.keys() == other.keys()
        for key in one:
            assert one[key].dtype == other[key].dtype
            np.testing.assert_array_equal(one[key], other[key])


def read_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    said: list[str] = []
    return checkpoints.newest_whole(folder, said.append), said


def test_what_is_written_is_read_back_exactly(tmp_path: Path) -> None:
    place = checkpoints.write_checkpoint(tmp_path, example())
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
    assert_equal(checkpoints.read_checkpoint(place), example())


def test_an_empty_optimizer_and_no_replay_are_written_too(tmp_path: Path) -> None:
    place = checkpoints.write_checkpoint(tmp_path, Checkpoint(0, {"a": torch.zeros(1)}))
    assert not (place / "replay.npz").exists()
    assert checkpoints.read_checkpoint(place).optimizer == {}


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
def test_a_bit_flipped_anywhere_is_noticed(
    name: str, data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    path = checkpoints.write_checkpoint(folder, example()) / name
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    read, said = read_newest(folder)
    assert read is None
    assert len(said) == 1
    assert str(path) in said[0]


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
def test_a_file_cut_off_anywhere_is_noticed(
    name: str, data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = checkpoints.write_checkpoint(folder, example()) / name
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    read, said = read_newest(folder)
    assert read is None
    assert str(path) in said[0]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_an_older_checkpoint_taken(name: str, tmp_path: Path) -> None:
    checkpoints.write_checkpoint(tmp_path, example(10))
    newer = checkpoints.write_checkpoint(tmp_path, example(20))
    (newer / name).unlink()
    read, said = read_newest(tmp_path)
    assert read is not None
    assert_equal(read, example(10))
    assert len(said) == 1
    assert "left out checkpoint 20" in said[0]
    assert name in said[0]


def test_a_checkpoint_renamed_to_another_step_is_left_out(tmp_path: Path) -> None:
    checkpoints.write_checkpoint(tmp_path, example(10)).rename(tmp_path / "30")
    read, said = read_newest(tmp_path)
    assert read is None
    assert "of step 10" in said[0]


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(tmp_path: Path) -> None:
    place = checkpoints.write_checkpoint(tmp_path, example())
    (place / "state.json").write_text("")
    checkpoints.write_checkpoint(tmp_path, example())
    assert_equal(checkpoints.read_checkpoint(place), example())


def test_what_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.write_checkpoint(tmp_path, example(10))

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_flush_folder", fails)
    with pytest.raises(OSError, match="No space"):
        checkpoints.write_checkpoint(tmp_path, example(20))
    assert [path.name for path in tmp_path.iterdir()] == ["10"]


def test_leftovers_of_a_killed_process_are_no_checkpoints_and_are_swept(tmp_path: Path) -> None:
    place = checkpoints.write_checkpoint(tmp_path, example())
    shutil.copytree(place, tmp_path / ".writing-20")
    (tmp_path / ".last.writing").write_text("2")
    assert checkpoints.steps_in(tmp_path) == [10]
    checkpoints.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["10"]


def test_pruning_keeps_what_is_named(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoints.write_checkpoint(tmp_path, example(step))
    checkpoints.prune(tmp_path, {2, 4})
    assert checkpoints.steps_in(tmp_path) == [2, 4]


@pytest.mark.parametrize("name", [name for name in FILES if name != "manifest.json"])
def test_a_file_replaced_together_with_its_manifest_cannot_run_code(
    name: str, tmp_path: Path
) -> None:
    place = checkpoints.write_checkpoint(tmp_path, example())
    went_off = tmp_path / "went-off"
    (place / name).write_bytes(bomb(went_off))
    names = [path.name for path in place.iterdir() if path.name != "manifest.json"]
    manifest = checkpoints._manifest(10, [place / each for each in names])
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedCheckpoint, match=name):
        checkpoints.read_checkpoint(place)
    assert not went_off.exists()


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    place = checkpoints.write_checkpoint(tmp_path, example())
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(place / "environment.npz", objects=objects)
    names = [path.name for path in place.iterdir() if path.name != "manifest.json"]
    manifest = checkpoints._manifest(10, [place / each for each in names])
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedCheckpoint, match=r"environment\.npz"):
        checkpoints.read_checkpoint(place)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def bomb(path: Path) -> bytes:
    """A pickle that creates `path` when it is loaded."""
    return pickle.dumps(Bomb(path))


def test_the_bomb_of_these_tests_does_go_off(tmp_path: Path) -> None:
    pickle.loads(bomb(tmp_path / "went-off"))
    assert (tmp_path / "went-off").exists()
