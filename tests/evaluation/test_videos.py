"""Videos of crashes: drawn from the recorded steps, bounded in number, linked from their cards."""

import imageio.v3 as iio
import numpy as np
import pytest

from drive_rl.environments.scene import Kind, LaneShape, Line
from drive_rl.evaluation import evaluate
from drive_rl.evaluation.crashes import CrashTrace
from drive_rl.evaluation.kinematics import CRASHED, NOBODY, ROLE, SPEED, X
from drive_rl.evaluation.page import render, write_page
from drive_rl.evaluation.videos import FRAMES_PER_SECOND, HOLD, SIZE, film, scenes_of

LANES = (LaneShape(np.array([[0.0, 0.0], [900.0, 0.0]]), 4.0, Line.CONTINUOUS, Line.CONTINUOUS),)


class Faster:
    """Always FASTER."""

    name = "<b>faster</b> / ä"

    def predict(self, observations, deterministic=True):
        return np.full(len(observations), 3)


def trace(steps=11, dt=0.2):
    """An ego at 20 m/s that brakes, and runs into something that stands."""
    frames = np.zeros((steps, 3, 8))
    for k in range(steps):
        speed = 20.0 - 0.5 * k
        frames[k, 0] = (100.0 + 20.0 * dt * k, 0.0, 0.0, speed, 5.0, 2.0, k == steps - 1, 0)
        frames[k, 1] = (145.0, 0.0, 0.0, 0.0, 2.0, 2.0, k == steps - 1, 2)
        frames[k, 2, ROLE] = NOBODY
    return CrashTrace(0, frames, dt)


@pytest.fixture(scope="module")
def evaluation():
    config = {"duration": 8, "vehicles_count": 12}
    return evaluate(Faster(), "highway-fast-v0", episodes=6, engine="reference", config=config)


def test_recorded_steps_become_scenes():
    recorded = trace()
    scenes = scenes_of(recorded, LANES)
    assert [scene.time for scene in scenes] == pytest.approx([0.2 * k for k in range(11)])
    assert scenes[0].kind.tolist() == [Kind.EGO, Kind.OBSTACLE]
    np.testing.assert_array_equal(scenes[4].position[:, 0], recorded.frames[4, :2, X])
    np.testing.assert_array_equal(scenes[4].speed, recorded.frames[4, :2, SPEED])
    assert recorded.frames[-1, :2, CRASHED].all()
    assert scenes[-1].crashed.all()
    np.testing.assert_allclose(scenes[5].acceleration, [-2.5, 0.0])  # its brake lights are on


def test_a_film_lasts_as_long_as_what_it_shows_and_ends_with_the_crash(tmp_path):
    path = tmp_path / "crash.mp4"
    film(scenes_of(trace(), LANES), path)
    frames = iio.imread(path)
    assert frames.shape[1:] == (SIZE[1], SIZE[0], 3)
    assert iio.immeta(path)["fps"] == FRAMES_PER_SECOND
    assert len(frames) == pytest.approx((2.0 + HOLD) * FRAMES_PER_SECOND, abs=1)
    assert (np.abs(frames[0].astype(int) - frames[24]) > 12).mean() > 0.001, "nothing moves"
    assert (np.abs(frames[-1].astype(int) - frames[-10]) > 12).mean() < 0.0001


def test_crashes_are_filmed_up_to_the_number_asked_for(evaluation, tmp_path):
    cards = evaluation.policies[0].details.cards
    assert len(cards) > 2
    folder = evaluation.write(tmp_path / "out", videos=2)
    names = sorted(path.name for path in (folder / "videos").iterdir())
    assert names == sorted(f"b-faster-b-{card.seed}.mp4" for card in cards[:2])
    page = (folder / "report.html").read_text()
    for name in names:
        assert f'src="videos/{name}"' in page
    assert page.count("<video") == 2
    assert "The first 2 have a video" in page
    assert "data:image/jpeg;base64,/9j/" in page


def test_none_are_filmed_where_nobody_wants_any(evaluation, tmp_path):
    folder = evaluation.write(tmp_path / "out", videos=0)
    assert sorted(path.name for path in folder.iterdir()) == [
        "episodes",
        "episodes.csv",
        "report.html",
        "report.json",
    ]
    assert "<video" not in (folder / "report.html").read_text()


def test_a_page_of_its_own_has_its_videos_in_a_folder_beside_it(evaluation, tmp_path):
    write_page(evaluation, tmp_path / "my page.html", videos=1)
    (file,) = (tmp_path / "my page-videos").iterdir()
    page = (tmp_path / "my page.html").read_text()
    assert f'src="my%20page-videos/{file.name}"' in page


def test_every_crash_has_a_card(evaluation):
    crashes = evaluation.policies[0].extras["crashes"]
    page = render(evaluation)
    assert page.count('<article class="card">') == len(crashes)
    assert f"All {len(crashes)} crashes" in page
