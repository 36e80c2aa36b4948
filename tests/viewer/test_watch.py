"""`watch` and `drive-rl watch` without a display: videos, pictures, replays, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import imageio.v3 as iio
import numpy as np
import pytest

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation.episodes import StoredEpisode
from drive_rl.presets import load_environment
from drive_rl.viewer import watch


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    return subprocess.Popen(
        [sys.executable, "-c", "from drive_rl.cli import main; main()", "watch", *arguments],
        env=env | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_headless_recording_shows_the_episode_in_real_time(tmp_path):
    video, picture = tmp_path / "out.mp4", tmp_path / "out.png"
    watched = watch(
        "idle",
        "highway-fast-v0",
        headless=True,
        record=video,
        screenshot=picture,
        steps=2,
        engine="reference",
    )
    assert watched.decisions == 2
    decoded = iio.imread(video)
    assert 2.0 <= len(decoded) / iio.immeta(video)["fps"] <= 2.0 + 2.2  # and the end's pause
    assert (decoded[0] != decoded[40]).mean() > 0.02
    assert iio.imread(picture).shape[:2] == decoded.shape[1:3]
    assert sorted(os.listdir(tmp_path)) == ["out.mp4", "out.png"]


def test_watching_shows_the_episode_that_evaluate_scores():
    from drive_rl.evaluation import evaluate

    watched = watch("random", "highway-fast-v0", headless=True, seed=4)
    scored = evaluate("random", "highway-fast-v0", episodes=1, seed=4, baselines=())
    assert watched.episode_return == pytest.approx(scored.metrics["return"].mean, abs=1e-9)


@pytest.mark.parametrize("name", ["parking-v0", "racetrack-v1", "intersection-multi-agent-v2"])
def test_every_kind_of_action_can_be_watched(name, tmp_path):
    picture = tmp_path / "out.png"
    watched = watch("random", name, headless=True, screenshot=picture, steps=2, engine="reference")
    assert watched.decisions >= 1
    assert iio.imread(picture).std() > 10


def test_several_policies_drive_side_by_side(tmp_path):
    picture = tmp_path / "out.png"
    watch(
        ["idle", "random"],
        "highway-fast-v0",
        headless=True,
        screenshot=picture,
        steps=2,
        engine="reference",
    )
    shown = iio.imread(picture).astype(int)
    half = shown.shape[0] // 2
    assert (np.abs(shown[:half] - shown[half : 2 * half]).max(axis=2) > 30).mean() > 0.005


def test_a_replay_drives_the_stored_episode_again(tmp_path):
    path = tmp_path / "episode.json"
    actions = [0, 1, 2, 3, 1]
    path.write_text(json.dumps({"env": "highway-fast-v0", "seed": 7, "actions": actions}))
    watched = watch(replay=path, headless=True)

    import drive_rl

    env = drive_rl.make("highway-fast-v0")
    env.reset(seed=7)
    total, count = 0.0, 0
    for action in actions:
        _, reward, terminated, _, _ = env.step(action)
        total, count = total + reward, count + 1
        if terminated:
            break
    assert (watched.seed, watched.decisions) == (7, count)
    assert watched.episode_return == total


def test_an_episode_that_evaluate_stored_can_be_watched(tmp_path):
    stored = StoredEpisode(
        load_environment("highway-fast-v0"), "reference", 7, np.array([0, 1, 2]), "idle"
    )
    path = tmp_path / "episode.json"
    path.write_text(json.dumps(stored.to_json()))
    watched = watch(replay=path, headless=True, engine="reference")
    assert (watched.seed, watched.decisions) == (7, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "not a JSON object"),
        ('{"env": "highway-v0", "seed": 1}', "has no 'actions'"),
        ('{"env": "highway-v0", "seed": -1, "actions": [1]}', "seed -1"),
        ('{"env": "highway-v0", "seed": 1, "actions": []}', "actions"),
        ('{"env": "highway-v0", "seed": 1, "actions": [{}]}', "not an action"),
        ('{"env": "higway-v0", "seed": 1, "actions": [1]}', "did you mean 'highway-v0'"),
    ],
)
def test_a_file_that_is_no_episode_is_named_with_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "episode.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        watch(replay=path, headless=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "idle", "env_id": "higway-v0"}, "did you mean 'highway-v0'"),
        ({"policy": "idle"}, "no environment to watch"),
        ({"env_id": "highway-v0"}, "no policy to watch"),
        ({"policy": ["idle"] * 5, "env_id": "highway-v0"}, "too many"),
        ({"policy": "idle", "env_id": "highway-v0", "steps": 0}, "steps 0"),
        ({"policy": "idle", "env_id": "highway-v0", "episodes": -1}, "episodes -1"),
        ({"policy": "idle", "env_id": "highway-v0", "seed": -1}, "seed -1"),
        ({"policy": "idle", "env_id": "highway-v0", "record": "out.avi"}, "out.avi"),
        ({"policy": "idle", "env_id": "highway-v0", "screenshot": "out"}, r"\.png"),
    ],
)
def test_wrong_use_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        watch(**arguments, headless=True)


def test_an_unwritable_folder_is_found_before_driving(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DriveRLError, match="cannot write"):
        watch("idle", "highway-v0", headless=True, record=tmp_path / "file" / "out.mp4")


def test_without_a_display_one_line_names_the_headless_way():
    process = command("--env", "highway-v0", "--policy", "idle")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "no display" in errors
    assert "--headless" in errors


@pytest.mark.parametrize("driver", ["dummy", "offscreen", "x11", "nonsense"])
def test_a_video_driver_that_shows_nothing_is_noticed(driver, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    with pytest.raises(DriveRLError, match=r"no display .*--headless"):
        watch("idle", "highway-v0")


def test_stopping_a_recording_keeps_it(tmp_path):
    video = tmp_path / "out.mp4"
    process = command(
        *("--env", "highway-fast-v0", "--policy", "idle"),
        *("--headless", "--record", str(video), "--episodes", "100", "--engine", "reference"),
    )
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob(".*unfinished*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert str(video) in errors.splitlines()[-1]
    assert len(iio.imread(video)) >= 1
    assert os.listdir(tmp_path) == ["out.mp4"]
