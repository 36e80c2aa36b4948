"""The monitor is quiet at home and rings elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("onnxruntime", reason="needs the extra 'deploy'")
pytest.importorskip("river", reason="needs the extra 'deploy'")

from drive_rl.deployment.inference import load_model
from drive_rl.deployment.monitor import monitor
from drive_rl.deployment.profile import Kernel, Profile, ks_distances, make_profile
from drive_rl.deployment.watcher import DRIFT, Judge, find_profile
from drive_rl.errors import DriveRLError, UsageError
from tests.deployment.policies import untrained_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A policy with its profile in its run."""
    run = untrained_run(tmp_path_factory.mktemp("watched") / "run")
    policy = run.load_policy()
    make_profile(policy, load_model(policy), decisions=16_000).save(run.path / "profile.npz")
    return run


def test_clean_traffic_raises_an_alarm_in_at_most_one_of_a_hundred_windows(run: Any) -> None:
    found = monitor(run.path, episodes=6000, seed=900_000)
    assert found.windows >= 100
    alarmed = sum(bool(verdict.alarms) for verdict in found.verdicts)
    assert alarmed / found.windows <= 0.01, found.alarms


def _frozen(members: dict[str, Any]) -> dict[str, Any]:
    return {name: np.zeros_like(array) for name, array in members.items()}


def _noisy(members: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        name: (array + rng.normal(0, 0.3, array.shape)).astype(array.dtype)
        for name, array in members.items()
    }


@pytest.mark.parametrize("fault", [_frozen, _noisy])
def test_a_broken_sensor_is_noticed_in_the_first_window(run: Any, fault: Any) -> None:
    found = monitor(run.path, episodes=200, disturb=fault)
    assert found.first == 200
    assert found.alarms["observation_ks"] == found.windows


def test_denser_traffic_is_noticed(run: Any) -> None:
    found = monitor(run.path, config={"vehicles_count": 12, "vehicles_density": 2}, episodes=400)
    assert found.first is not None


def test_a_drift_too_slow_for_any_window_is_noticed_by_the_stream(run: Any) -> None:
    profile = Profile.load(run.path / "profile.npz")
    judge = Judge(profile)
    mean, deviation = profile.chance["feature_mmd"]
    chance = np.random.default_rng(0).normal(0, 1, 400)
    alarms = []

    class Shifted:
        """A profile whose statistics are what this test says."""

        limits, chance = profile.limits, profile.chance

        def statistics(self, columns: Any) -> dict[str, float]:
            k = judge.windows
            shift = 0.0 if k < 200 else 2.0
            return {"feature_mmd": mean + deviation * (0.3 * chance[k] + shift)}

    judge.profile = Shifted()  # type: ignore[assignment]
    for _ in range(400):
        alarms.append(DRIFT in judge.judge({"action": np.zeros((200, 1))}).alarms)
    assert not any(alarms[:200])
    assert any(alarms[200:])


def test_the_page_shows_what_rang_and_escapes_names(run: Any, tmp_path: Path) -> None:
    found = monitor(run.path, episodes=200, disturb=_frozen, out=tmp_path / "page.html")
    assert found.page is not None
    page = found.page.read_text()
    assert "observation_ks" in page
    assert "http" not in page.replace("http-equiv", "")
    assert 'class="alarm"' in page


def test_a_profile_is_read_as_it_was_written(run: Any, tmp_path: Path) -> None:
    profile = Profile.load(run.path / "profile.npz")
    profile.save(tmp_path / "again.npz")
    again = Profile.load(tmp_path / "again.npz")
    assert again.limits == profile.limits
    for name, array in profile.columns.items():
        np.testing.assert_array_equal(array, again.columns[name])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"x" * 1000])
def test_a_damaged_profile_is_one_clear_line(run: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "profile.npz"
    path.write_bytes(content)
    with pytest.raises(DriveRLError, match="not a profile"):
        Profile.load(path)


def test_another_policys_profile_is_refused(run: Any, tmp_path: Path) -> None:
    other = load_model(untrained_run(tmp_path / "other", "grid").load_policy())
    with pytest.raises(UsageError, match="other observations"):
        find_profile("x", other, run.path / "profile.npz")
    with pytest.raises(UsageError, match="no such profile"):
        find_profile("x", other, tmp_path / "none.npz")


def test_ks_distances_are_scipys() -> None:
    rng = np.random.default_rng(3)
    sample = rng.normal(size=(300, 4))
    window = rng.normal(0.2, 1.3, size=(80, 4))
    sample[:, 1], window[:, 1] = np.round(sample[:, 1]), np.round(window[:, 1])  # ties
    sample[:, 2] = window[:, 2] = 5.0  # constants
    window[:, 3] = 9.0
    own = ks_distances(np.sort(sample, axis=0), window)
    expected = [stats.ks_2samp(sample[:, k], window[:, k]).statistic for k in range(4)]
    np.testing.assert_allclose(own, expected, atol=1e-12)


def test_the_kernel_distance_grows_with_the_shift_and_is_near_zero_without() -> None:
    rng = np.random.default_rng(4)
    kernel = Kernel(rng.normal(size=(3000, 10)))
    distances = [kernel.distance(rng.normal(shift, 1, size=(3000, 10))) for shift in (0, 0.3, 1)]
    assert distances[0] < 1e-3 < distances[1] < distances[2]
