"""A run folder: what stands in it, who may write to it, what cannot be one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.runs.lock import RunLock
from drive_rl.runs.metrics import MetricsLog
from drive_rl.runs.progress import PlainLines, Quiet
from drive_rl.training import Run, load_policy, resume, train, train_run
from tests.runs.test_checkpoint import bomb
from tests.training.runs import CONFIG, small_spec, weights

Finished = Callable[[str], Run]


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Run:
    """A finished PPO run of one's own, to spoil."""
    shutil.copytree(finished("ppo").path, tmp_path / "copy")
    return Run.open(tmp_path / "copy")


def test_the_folder_holds_what_the_design_names(finished: Finished) -> None:
    run = finished("dqn")
    assert {path.name for path in run.path.iterdir() if not path.name.startswith("events")} == {
        "run.yaml",
        "metrics.jsonl",
        "checkpoints",
    }
    assert list(run.path.glob("events.out.tfevents.*"))
    last = int((run.checkpoints / "last").read_text())
    assert last == max(run.steps()) >= run.spec.agent.steps
    assert int((run.checkpoints / "best").read_text()) in run.steps()
    assert {path.name for path in (run.checkpoints / str(last)).iterdir()} == {
        "policy.safetensors",
        "optimizer.safetensors",
        "environment.npz",
        "state.json",
        "replay.npz",
        "manifest.json",
    }


def test_run_yaml_tells_how_the_run_came_to_be(finished: Finished) -> None:
    document = yaml.safe_load((finished("ppo").path / "run.yaml").read_text())
    assert document["spec"]["agent"]["network"]["kind"] != "auto"
    assert document["spec"]["engine"] == "reference"
    assert document["device"] == "cpu"
    assert document["command"]
    assert document["versions"].keys() >= {
        "python",
        "drive_rl",
        "torch",
        "stable_baselines3",
        "gymnasium",
        "highway_env",
        "numpy",
        "numba",
    }


def test_only_the_last_checkpoints_and_the_best_are_kept(finished: Finished) -> None:
    for algo in ("ppo", "dqn"):
        assert 3 <= len(finished(algo).steps()) <= 4


def test_each_iteration_has_a_line_with_its_figures(finished: Finished) -> None:
    for algo in ("ppo", "dqn"):
        lines = finished(algo).metrics()
        steps = [line["step"] for line in lines]
        assert steps == sorted(set(steps))
        assert lines[-1].keys() >= {
            "time",
            "fps",
            "episodes",
            "return",
            "length",
            "crash_rate",
            "speed",
            "loss",
            "learning_rate",
        }
        assert 0 <= lines[-1]["crash_rate"] <= 1
        assert lines[-1]["speed"] > 0


def test_a_resumed_run_has_no_line_and_no_event_twice(
    tmp_path: Path, in_process: Any, finished: Finished
) -> None:
    run = tmp_path / "run"
    process = in_process(small_spec("ppo"), run)
    process.wait_until(lambda: (run / "checkpoints" / "last").exists())
    lines = (run / "metrics.jsonl").stat().st_size
    process.wait_until(lambda: (run / "metrics.jsonl").stat().st_size > lines)
    process.kill_all()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99')  # cut off in the middle
    resume(run, progress=Quiet(), evaluate=False)
    expected = [line["step"] for line in finished("ppo").metrics()]
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()] == expected
    events = EventAccumulator(str(run))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == expected


def test_a_resumed_run_s_events_are_read_after_those_of_the_same_second(
    copy: Run,
) -> None:
    for events in copy.path.glob("events.out.tfevents.*"):
        events.unlink()
    # Process ids of the killed and of the resuming process are in no order.
    killed = copy.path / f"events.out.tfevents.{int(time.time()):010d}.host.999999999.0"
    killed.touch()
    MetricsLog(copy, 32).close()
    first, second = sorted(copy.path.glob("events.out.tfevents.*"))
    assert first == killed
    assert second != killed


def test_a_finished_run_is_left_alone(copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.checkpoints.rglob("*")}
    resume(copy.path, evaluate=False)
    assert "finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in copy.checkpoints.rglob("*")} == before


def test_a_damaged_last_checkpoint_is_named_and_trained_again(
    copy: Run, finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    last = copy.checkpoints / str(max(copy.steps()))
    content = bytearray((last / "policy.safetensors").read_bytes())
    content[-1] ^= 1
    (last / "policy.safetensors").write_bytes(content)
    resume(copy.path, progress=Quiet(), evaluate=False)
    said = capsys.readouterr().err
    assert f"left out checkpoint {last.name}" in said
    assert "policy.safetensors" in said
    assert weights(copy) == weights(finished("ppo"))


def test_a_run_without_a_whole_checkpoint_starts_over(copy: Run, finished: Finished) -> None:
    for step in copy.steps():
        (copy.checkpoints / str(step) / "manifest.json").unlink()
    with pytest.raises(DriveRLError, match="no whole checkpoint"):
        copy.load_policy()
    resume(copy.path, progress=Quiet(), evaluate=False)
    assert weights(copy) == weights(finished("ppo"))
    assert [m["step"] for m in copy.metrics()] == [m["step"] for m in finished("ppo").metrics()]


def test_pickle_bombs_in_every_file_of_a_run_do_not_go_off(
    finished: Finished, tmp_path: Path
) -> None:
    whole = finished("dqn")
    files = [path for path in whole.path.rglob("*") if path.is_file()]
    oldest = whole.checkpoints / str(min(whole.steps()))
    went_off = tmp_path / "went-off"
    for number, file in enumerate(files):
        if oldest in file.parents:
            continue  # its files are of the same kinds as the newest one's
        spoilt = tmp_path / str(number)
        shutil.copytree(whole.path, spoilt)
        (spoilt / file.relative_to(whole.path)).write_bytes(bomb(went_off))
        with contextlib.suppress(DriveRLError):
            load_policy(spoilt)
        with contextlib.suppress(DriveRLError):
            Run.open(spoilt).newest(lambda _: None)
            Run.open(spoilt).metrics()
        assert not went_off.exists(), file
    assert len(list(tmp_path.iterdir())) > 10


def test_yaml_tags_that_would_build_objects_are_refused(copy: Run) -> None:
    went_off = copy.path / "went-off"
    (copy.path / "run.yaml").write_text(f"!!python/object/apply:os.mkdir ['{went_off}']\n")
    with pytest.raises(UsageError, match=r"run\.yaml"):
        load_policy(copy.path)
    assert not went_off.exists()


def test_loading_imports_no_module_that_a_run_names(copy: Run) -> None:
    document = yaml.safe_load((copy.path / "run.yaml").read_text())
    document["spec"]["env"]["base"] = "antigravity_of_a_stranger:Env-v0"
    (copy.path / "run.yaml").write_text(yaml.safe_dump(document))
    load_policy(copy.path).predict(np.zeros(copy.observation_space.shape, np.float32))


def test_nothing_in_a_checkpoint_is_a_pickle(finished: Finished) -> None:
    for file in finished("dqn").checkpoints.rglob("*"):
        if file.is_file():
            with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError)):
                pickle.loads(file.read_bytes())


# --- who may write ----------------------------------------------------------------------------


def test_two_processes_do_not_write_one_run(copy: Run) -> None:
    with RunLock(copy.path), pytest.raises(DriveRLError, match=f"id {os.getpid()}"):
        resume(copy.path, progress=Quiet(), evaluate=False)
    assert not (copy.path / "run.lock").exists()


def test_the_lock_of_a_killed_process_does_not_hold(copy: Run) -> None:
    code = (
        "import os, pathlib, signal, sys; from drive_rl.runs.lock import RunLock\n"
        "RunLock(pathlib.Path(sys.argv[1])).__enter__()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(copy.path)], check=False)
    assert (copy.path / "run.lock").exists()
    with RunLock(copy.path):
        pass


# --- what cannot be ---------------------------------------------------------------------------


def train_small(run: Path, env: str = "highway-fast-v0", algo: str = "ppo", **more: Any) -> Run:
    return train(
        env,
        algo,
        steps=16,
        num_envs=1,
        engine="reference",
        run=run,
        progress=Quiet(),
        evaluate=False,
        **more,
    )


def test_a_folder_that_has_a_run_is_not_trained_into(copy: Run) -> None:
    with pytest.raises(UsageError, match="drive-rl resume"):
        train_small(copy.path)


def test_a_folder_that_has_something_else_is_not_trained_into(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        train_small(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError):
            train_small(place, config=CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drive_rl.runs import checkpoint

    def fails(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint, "_write_flushed", fails)
    with pytest.raises(UsageError, match="Permission denied"):
        train_small(tmp_path / "a" / "b" / "run", config=CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_dqn_on_continuous_actions_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dqn needs discrete actions"):
        train_small(tmp_path / "run", env="parking-v0", algo="dqn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "gpu", "cuda:x"])
def test_a_device_that_is_not_there_is_refused_in_one_line(device: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=repr(device)) as caught:
        train_small(tmp_path / "run", device=device)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "nowhere", "file"])
def test_what_is_no_run_is_not_resumed(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="run folder"):
        resume(tmp_path / name)


def test_a_checkpoint_of_another_shape_is_named_in_one_line(copy: Run) -> None:
    document = yaml.safe_load((copy.path / "run.yaml").read_text())
    document["spaces"]["observation"]["shape"] = [5, 9]
    (copy.path / "run.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(DriveRLError, match="has shape") as caught:
        load_policy(copy.path)
    assert "\n" not in str(caught.value)
    shutil.rmtree(copy.checkpoints / str(max(copy.steps())))
    with pytest.raises(DriveRLError, match="other observations"):
        resume(copy.path, progress=Quiet(), evaluate=False)


def fill(path: Path) -> None:
    """Write until there is no room left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_stops_the_run_in_one_line_with_its_last_checkpoint_whole(
    tmp_path: Path, in_process: Any, finished: Finished
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        sys.platform == "linux"
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not mounted:
        pytest.skip("a small disk cannot be mounted here")
    try:
        run = disk / "run"
        process = in_process(small_spec("ppo"), run)
        process.wait_until(lambda: (run / "checkpoints" / "last").exists())
        filler = disk / "filler"
        fill(filler)
        code, said = process.finish()
        assert code == 1, said
        assert said.count("\n") == 1, said
        assert "no space left" in said
        assert Run.open(run).newest() is not None
        filler.unlink()
        resume(run, progress=Quiet(), evaluate=False)
        assert weights(Run.open(run)) == weights(finished("ppo"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_run_trained_by_name_lies_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train_run(small_spec("ppo", steps=16), progress=Quiet(), evaluate=False)
    assert run.path.parent == Path("runs/highway-fast-v0/ppo")
    assert run.path.name.endswith("-seed0")


def test_a_training_past_its_last_step_has_no_time_left() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream, interval=0.0)
    lines.start("ppo", 100, 0)
    lines.update(120, {})
    assert ", 0:00 left" in stream.getvalue()
