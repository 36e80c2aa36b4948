"""Data sets hold what was seen, are the same every time, and say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from drive_rl.environments import make_vec
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.perception.collect import collect, split_environment, split_seed
from drive_rl.perception.dataset import SPLITS, DataSet, Writer
from tests.perception.roads import SIDE, make_data, tiny_environment


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_data(tmp_path_factory.mktemp("data") / "data")


def test_a_stack_is_what_the_environment_gave(data: DataSet) -> None:
    train = data.split("train")
    envs = make_vec(split_environment(tiny_environment(), "train"), 1)
    first, _ = envs.reset(seed=split_seed(0, "train"))
    stack = train.stacks(np.array([0]))
    assert stack.shape == (1, 6, SIDE, SIDE)
    assert np.array_equal(stack, first)
    second = train.stacks(np.array([1]))
    assert np.array_equal(second[:, :3], first[:, -3:])


def test_episodes_are_whole_and_belong_to_one_split(data: DataSet) -> None:
    seen: set[int] = set()
    for name in SPLITS:
        split = data.split(name)
        own = set(split.episodes.tolist())
        assert not own & seen
        seen |= own
        starts = np.flatnonzero(np.diff(split.episodes, prepend=-1))
        assert (split.decisions[starts] == 0).all()


def test_held_out_episodes_are_the_tests_on_other_surfaces(data: DataSet) -> None:
    test, held_out = data.split("test"), data.split("held_out")
    assert np.array_equal(test.labels[:4], held_out.labels[:4])
    assert not np.array_equal(test.stacks(np.arange(4)), held_out.stacks(np.arange(4)))


def test_statistics_are_those_of_the_training_split(data: DataSet) -> None:
    train = data.split("train")
    frames = train.stacks(np.arange(len(train)), 1).astype(np.float64)
    assert data.mean == pytest.approx(frames.mean(axis=(0, 2, 3)), abs=1e-3)
    assert data.std == pytest.approx(frames.std(axis=(0, 2, 3)), abs=1e-3)


def test_the_same_arguments_give_the_same_data(data: DataSet, tmp_path: Path) -> None:
    assert make_data(tmp_path / "again").digest == data.digest


def _copied(data: DataSet, folder: Path) -> Path:
    folder.mkdir()
    for path in data.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_missing_shard_is_named(data: DataSet, tmp_path: Path) -> None:
    folder = _copied(data, tmp_path / "data")
    (folder / "test-000.frames.npy").unlink()
    with pytest.raises(DriveRLError, match=r"lacks its shard test-000\.frames\.npy"):
        DataSet(folder)


def test_a_changed_shard_is_named(data: DataSet, tmp_path: Path) -> None:
    folder = _copied(data, tmp_path / "data")
    shard = folder / "train-000.labels.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DriveRLError, match=r"train-000\.labels\.npy does not match its SHA-256"):
        DataSet(folder)


def test_an_empty_split_is_named(data: DataSet, tmp_path: Path) -> None:
    folder = _copied(data, tmp_path / "data")
    about = yaml.safe_load((folder / "data.yaml").read_text())
    about["shards"] = [shard for shard in about["shards"] if shard["split"] != "validation"]
    (folder / "data.yaml").write_text(yaml.safe_dump(about))
    with pytest.raises(UsageError, match="split validation is empty"):
        DataSet(folder).split("validation")


def test_what_is_no_data_set_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set"):
        DataSet(tmp_path)
    (tmp_path / "other").write_text("taken")
    with pytest.raises(UsageError, match="not empty"):
        Writer(tmp_path)


def test_a_policy_that_cannot_drive_there_is_refused(tmp_path: Path) -> None:
    steered = tiny_environment(action={"type": "ContinuousAction"})
    with pytest.raises(UsageError, match="'wander' chooses among actions"):
        collect(steered, 20, tmp_path / "data", policy="wander", num_envs=1)


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ("highway-v0", "highway-v0 has no frames: its observation is Kinematics"),
        (tiny_environment(randomization={}), "has one road surface"),
    ],
)
def test_what_cannot_be_collected_is_said_before_driving(
    env: object, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=reason):
        collect(env, 100, tmp_path / "data")  # type: ignore[arg-type]
    assert not (tmp_path / "data").exists()
