"""A grid does what is missing, whatever happened before."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from drive_rl.cluster.board import Board
from drive_rl.cluster.grid import folder_lock, grid, make_tasks, parse_seeds
from drive_rl.cluster.pool import Event, LocalPool, Told
from drive_rl.cluster.summary import render
from drive_rl.cluster.tasks import RunTask, ShardTask, perform, task_from_json, task_name
from drive_rl.errors import DriveRLError, Interrupted, UsageError

ENV = """
base: highway-fast-v0
config: {vehicles_count: 2, lanes_count: 2, duration: 4, simulation_frequency: 5}
"""
SETTINGS = (
    "agent.n_steps=16",
    "agent.batch_size=16",
    "agent.network={kind: auto, hidden: [16], features: 8}",
    "agent.checkpoint_interval=64",
    "agent.evaluation_episodes=2",
)


@pytest.fixture
def small(tmp_path: Path) -> str:
    """An environment of seconds."""
    path = tmp_path / "small.yaml"
    path.write_text(ENV)
    return str(path)


def command(env: str, out: Path, seeds: str = "0", steps: int = 64) -> list[str]:
    """The same grid as a command line."""
    line = [sys.executable, "-m", "drive_rl.cli", "grid", "--env", env, "--algo", "ppo"]
    line += ["--seeds", seeds, "--steps", str(steps), "--num-envs", "2", "--out", str(out)]
    return [*line, "--set", *SETTINGS, "--workers", "1"]


def rows(out: Path) -> list[dict[str, str]]:
    """What results.csv holds."""
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def weights(out: Path, step: int) -> bytes:
    """The weights of the only run's last checkpoint."""
    (place,) = out.glob(f"runs/*/*/*/checkpoints/{step}/policy.safetensors")
    return place.read_bytes()


def until(condition: Callable[[], Any], process: subprocess.Popen[bytes]) -> None:
    """Wait until something has happened, or the process has ended."""
    while not condition() and process.poll() is None:
        time.sleep(0.005)


class Recorder:
    """A pool that does nothing but note what it was asked for; names in `broken` fail."""

    def __init__(self, broken: Sequence[int] = ()) -> None:
        self.asked: list[RunTask | ShardTask] = []
        self.broken = broken

    def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
        self.asked += tasks
        return [Event(tasks[k], "failed", "the disk is full") for k in self.broken]


class Here:
    """A pool that does its tasks in this process."""

    def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
        events = []
        for task in tasks:
            try:
                perform(task.model_dump_json(), str(root))
                events.append(Event(task, "done"))
            except DriveRLError as error:
                events.append(Event(task, "failed", str(error)))
            told(events[-1])
        return [event for event in events if event.state == "failed"]


def test_a_grid_gives_a_row_per_run_and_the_same_again_does_only_what_is_missing(
    tmp_path: Path, small: str
) -> None:
    out = tmp_path / "out"
    settings: dict[str, Any] = {"steps": 64, "num_envs": 2, "overrides": SETTINGS, "workers": 1}
    first = grid([small], ["ppo"], [0], out, **settings)
    assert list(rows(out)[0]) == ["env", "algo", "seed", "run", "return", "crash_rate", "speed"]
    report = json.loads((Path(first[0]["run"]) / "evaluation/final/report.json").read_text())
    metrics = report["policies"][0]["metrics"]
    for name in ("return", "crash_rate", "speed"):
        assert float(rows(out)[0][name]) == metrics[name]["mean"]
    before = (out / "results.csv").read_bytes()
    nothing = Recorder()
    assert grid([small], ["ppo"], [0], out, pool=nothing, **settings) == first
    assert nothing.asked == []
    assert (out / "results.csv").read_bytes() == before
    more = Recorder()
    grid([small], ["ppo"], [0, 1], out, pool=more, **settings)
    assert [task.run.seed for task in more.asked if isinstance(task, RunTask)] == [1]


def test_a_grid_whose_processes_are_killed_goes_on_and_ends_in_the_same_weights(
    tmp_path: Path, small: str
) -> None:
    steps = 384
    out = tmp_path / "killed"
    process = subprocess.Popen(command(small, out, steps=steps), stderr=subprocess.PIPE)
    until(lambda: list(out.glob("runs/*/*/*/checkpoints/*/manifest.json")), process)
    process.kill()  # the parent: its worker notices, saves and stops
    process.communicate()
    settings: dict[str, Any] = {"steps": steps, "num_envs": 2, "overrides": SETTINGS}
    for name in ("killed", "unbroken"):
        grid([small], ["ppo"], [0], tmp_path / name, workers=1, **settings)
    assert weights(tmp_path / "killed", steps) == weights(tmp_path / "unbroken", steps)
    pair = [rows(tmp_path / name)[0] for name in ("unbroken", "killed")]
    for row in pair:
        del row["run"]
    assert pair[0] == pair[1]


def test_a_task_whose_worker_is_killed_is_begun_again_from_its_checkpoint(
    tmp_path: Path, small: str
) -> None:
    (task,) = make_tasks([small], ["ppo"], [0], steps=256, num_envs=2, overrides=SETTINGS)
    events: list[str] = []
    killed: list[int] = []

    def told(event: Event | None) -> None:
        if event is not None:
            events.append(event.state)
        elif not killed and list(tmp_path.glob("runs/*/*/*/checkpoints/*/manifest.json")):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    words = entry.read_bytes().split(b"\0")
                    if b"drive_rl.cluster.worker" in words and str(tmp_path).encode() in words:
                        killed.append(int(entry.parent.name))
                        os.kill(killed[-1], signal.SIGKILL)

    if not Path("/proc/self/cmdline").exists():
        pytest.skip("finds the worker through /proc")
    assert LocalPool(1).run([task], tmp_path, told) == []
    assert killed
    assert events == ["running", "again", "running", "done"]


def test_ctrl_c_saves_what_runs_and_says_how_to_go_on(tmp_path: Path, small: str) -> None:
    out = tmp_path / "out"
    line = command(small, out, steps=100_000)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    until(lambda: list(out.glob("runs/*/*/*/checkpoints/*/manifest.json")), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in said.splitlines()[-1]
    (log,) = out.glob("logs/*.log")
    assert "saved at step" in log.read_text()


def test_a_full_disk_is_one_clear_line_and_nothing_is_lost(tmp_path: Path, small: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:  # a real one, of a size that the run's first files fit in
        mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
        subprocess.run(mounting, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk cannot be mounted here")
    try:
        settings: dict[str, Any] = {"steps": 64, "num_envs": 2, "overrides": SETTINGS}
        with pytest.raises(
            DriveRLError, match=r"no space left on the disk|No space left on device"
        ):
            grid([small], ["ppo"], [0], disk / "out", pool=Here(), **settings)
        room = ["mount", "-o", "remount,size=20m", str(disk)]
        subprocess.run(room, check=True, capture_output=True)
        assert len(grid([small], ["ppo"], [0], disk / "out", pool=Here(), **settings)) == 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_grids_page_has_every_agent_and_run_and_no_script(tmp_path: Path) -> None:
    rows = [
        {"env": "<i>", "algo": algo, "seed": seed, "run": str(tmp_path / f"{algo}{seed}")}
        | {"return": seed + 20.0, "crash_rate": 0.25, "speed": None}
        for algo in ("ppo", "dqn")
        for seed in (0, 1, 2)
    ]
    page = tmp_path / "ppo1" / "evaluation" / "final" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    text = render(rows, 7, tmp_path)
    assert "6 of 7 runs" in text
    assert text.count("<circle") == 6
    assert "21.00 <small>20." in text
    assert "<i>" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count('<a href="ppo1/evaluation/final/report.html">') == 1


def test_the_table_of_tasks_shows_what_runs_how_far_it_is_and_what_ended(
    tmp_path: Path, small: str
) -> None:
    tasks = make_tasks([small], ["ppo"], [0, 1, 2], steps=64)
    said = io.StringIO()
    with Board(tasks, tmp_path, said) as board:
        board(Event(tasks[0], "running"))
        folder = tmp_path / tasks[0].folder
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text('{"step": 32, "return": 3.5, "speed": 25.0}\n')
        board(Event(tasks[1], "failed", "the disk is full"))
        shown = io.StringIO()
        Console(file=shown, width=120).print(board.table())
    table = shown.getvalue()
    assert "1 running, 1 waiting, 1 failed" in table
    assert "32 of 64" in table
    assert "3.5" in table
    assert "seed 1: failed: the disk is full" in said.getvalue()


def test_what_fails_is_named_and_the_rest_is_kept(tmp_path: Path, small: str) -> None:
    with pytest.raises(DriveRLError, match=r"1 of 2 runs failed, the first \(.*seed 1\) because"):
        grid([small], ["ppo"], [0, 1], tmp_path, steps=64, pool=Recorder(broken=[1]))


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path, small: str) -> None:
    grid([small], ["ppo"], [0], tmp_path, steps=64, pool=Recorder())
    with pytest.raises(UsageError, match=r"agent.steps is 64 there, 96 here"):
        grid([small], ["ppo"], [0], tmp_path, steps=96, pool=Recorder())
    grid([small], ["ppo"], [1], tmp_path, steps=96, pool=Recorder())


def test_two_grids_in_one_folder_do_not_mix(tmp_path: Path, small: str) -> None:
    with folder_lock(tmp_path), pytest.raises(DriveRLError, match="at work in this folder"):
        grid([small], ["ppo"], [0], tmp_path, steps=64, pool=Recorder())


def test_a_damaged_list_of_tasks_is_one_clear_line(tmp_path: Path, small: str) -> None:
    (tmp_path / "grid.json").write_text('{"schema": 1, "tasks": [{"kind": "ru')
    with pytest.raises(DriveRLError, match=r"grid.json: damaged .*finished runs are kept"):
        grid([small], ["ppo"], [0], tmp_path, steps=64, pool=Recorder())


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path: Path, small: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DriveRLError, match="cannot be written"):
        grid([small], ["ppo"], [0], tmp_path / "file", steps=64, pool=Recorder())


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0..3", [0, 1, 2, 3]), ("7", [7]), ("0,2,5", [0, 2, 5]), ("0..1, 10", [0, 1, 10])],
)
def test_seeds_are_numbers_and_ranges_with_both_ends(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "0-9", "9..0", "-1", "0..", "1.5", "0..99999999999"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="seeds"):
        parse_seeds(text)


def test_combinations_that_cannot_be_are_refused_before_anything_runs(tmp_path: Path) -> None:
    pool = Recorder()
    with pytest.raises(UsageError, match="dqn needs discrete actions"):
        grid(["highway-fast-v0", "racetrack-v0"], ["ppo", "dqn"], [0], tmp_path, pool=pool)
    with pytest.raises(UsageError, match="did you mean 'highway-v0'"):
        grid(["higway-v0"], ["ppo"], [0], tmp_path, pool=pool)
    with pytest.raises(UsageError, match="seeds 3 is named twice"):
        grid(["highway-fast-v0"], ["ppo"], [3, 3], tmp_path, pool=pool)
    assert pool.asked == []
    assert not list(tmp_path.iterdir())


def test_a_task_is_named_by_what_it_is(small: str) -> None:
    one, two = make_tasks([small], ["ppo"], [0, 1], steps=64)
    assert task_name(one) != task_name(two)
    (same,) = make_tasks([small], ["ppo"], [0], steps=64)
    assert task_name(same) == task_name(one)
    (longer,) = make_tasks([small], ["ppo"], [0], steps=65)
    assert task_name(longer) != task_name(one)
    assert task_from_json(one.model_dump_json()) == one


def test_a_stop_is_no_failure(tmp_path: Path, small: str) -> None:
    class Stopped(Recorder):
        def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        grid([small], ["ppo"], [0], tmp_path, steps=64, pool=Stopped())
    assert rows(tmp_path) == []
