"""Driving measured from simulation steps, the same however decisions and slots cut them up."""

import numpy as np
import pytest

from drive_rl.environments import make
from drive_rl.evaluation import evaluate
from drive_rl.evaluation import kinematics as k
from drive_rl.evaluation.driving import DrivingObserver
from drive_rl.evaluation.recording import MOST_BODIES, bodies_of, make_recording_vec
from drive_rl.evaluation.score import driving_score, fast_speed
from drive_rl.presets import load_environment

DT = 0.2
SLOT, EPISODE = np.array([0]), np.array([0])


def measured(speed, heading=0.0, gap=None, frames=5, crashed_at=None, leader=0.0):
    """What is measured of an ego at these speeds with a leader `gap` metres ahead, bumpers."""
    speed = np.asarray(speed, float)
    steps = len(speed)
    bodies = np.zeros((steps, 2, len(k.FIELDS)))
    bodies[..., k.LENGTH], bodies[..., k.WIDTH] = 5.0, 2.0
    bodies[:, 0, k.SPEED], bodies[:, 0, k.HEADING] = speed, heading
    bodies[:, 0, k.ROLE], bodies[:, 1, k.ROLE] = k.EGO, k.NOBODY
    if gap is not None:
        bodies[:, 1, k.X], bodies[:, 1, k.ROLE] = np.asarray(gap) + 5.0, k.VEHICLE
        bodies[:, 1, k.SPEED] = leader
    if crashed_at is not None:
        bodies[crashed_at:, 0, k.CRASHED] = bodies[crashed_at:, 1, k.CRASHED] = 1.0
    observer = DrivingObserver(1, 1, DT)
    observer.begin(SLOT, EPISODE)
    for start in range(0, steps, frames):
        observer.stepped(SLOT, EPISODE, {"frames": bodies[None, start : start + frames]})
    observer.end(SLOT, EPISODE)
    return observer, {name: float(column[0]) for name, column in observer.columns.items()}


def test_steady_driving_behind_a_leader():
    _, values = measured([20.0] * 10, gap=30.0, leader=20.0)
    assert values["time_headway"] == pytest.approx(1.5)
    assert np.isnan(values["ttc_min"])
    assert values["ttc_below"] == 0.0
    assert values["comfort"] == 1.0
    assert values["density"] == 1.0
    assert values["distance"] == values["progress"] == pytest.approx(20.0 * 2.0)


def test_reversing_is_distance_but_no_progress():
    _, values = measured([2.0] * 5 + [-2.0] * 5)
    assert values["distance"] == pytest.approx(4.0)
    assert values["progress"] == pytest.approx(0.0)


def test_time_under_the_bound_is_a_share_of_all_steps():
    # a standing leader at 20 m/s: 0.95 s are 19 m
    gaps = [30.0, 25.0, 19.1, 18.9, 10.0, 5.0, 60.0, 60.0, 60.0, 60.0]
    _, values = measured([20.0] * 10, gap=gaps)
    assert values["ttc_below"] == pytest.approx(0.3)
    assert values["ttc_min"] == pytest.approx(0.25)


def test_a_jump_in_speed_breaks_comfort_where_hand_worked_steps_say():
    # 0.4 m/s in 0.2 s are 2 m/s², fine; their onset and end are jerks of 10 m/s³, which are not.
    _, values = measured([10.0, 10.0, 10.4, 10.8, 10.8, 10.8, 10.8, 10.8, 10.8, 10.8])
    assert values["comfort_longitudinal_acceleration"] == 1.0
    assert values["comfort_longitudinal_jerk"] == pytest.approx(0.8)
    assert values["comfort"] == pytest.approx(0.8)


@pytest.mark.parametrize("frames", [1, 2, 3, 10])
def test_decisions_cut_nothing_from_comfort(frames):
    generator = np.random.default_rng(0)
    speed = 10 + generator.normal(size=12).cumsum() * 0.3
    heading = generator.normal(size=12).cumsum() * 0.05
    _, whole = measured(speed, heading, frames=12)
    _, cut = measured(speed, heading, frames=frames)
    np.testing.assert_equal(cut, whole)
    assert 0 < whole["comfort"] < 1


def test_impact_and_aftermath_are_no_driving():
    speed = [20.0] * 5 + [3.0, 2.0, 1.0, 0.0, 0.0]
    observer, values = measured(speed, gap=30.0, leader=20.0, crashed_at=5)
    _, until = measured([20.0] * 5, gap=30.0, leader=20.0)
    np.testing.assert_equal(values, until)
    assert observer.traces[0].frames.shape == (6, 2, len(k.FIELDS))


def test_an_engine_that_reports_no_frames_leaves_nothing_measured():
    observer = DrivingObserver(1, 1, DT)
    observer.begin(SLOT, EPISODE)
    observer.stepped(SLOT, EPISODE, {"speed": np.array([1.0])})
    observer.end(SLOT, EPISODE)
    assert observer.columns == {}
    assert observer.histograms == {}


def test_recorded_frames_end_where_the_decision_ends():
    spec = load_environment("merge-v0")
    envs = make_recording_vec(spec, 1, engine="reference")
    twin = make(spec, engine="reference")
    envs.reset(seed=5)
    twin.reset(seed=5)
    for action in (3, 0, 1):
        infos = envs.step(np.array([action]))[-1]
        twin.step(action)
        frames = infos["frames"][0]
        assert frames.shape == (15, MOST_BODIES, len(k.FIELDS))
        np.testing.assert_array_equal(frames[-1], bodies_of(twin.unwrapped.scene_env))
        assert (np.diff(frames[:, 0, k.X]) > 0).all()
    assert (frames[-1, :, k.ROLE] == k.OBSTACLE).sum() == 1
    envs.close()
    twin.close()


def test_of_many_bodies_the_nearest_are_reported():
    spec = load_environment("highway-fast-v0", {"vehicles_count": 90, "duration": 3})
    env = make(spec, engine="reference")
    env.reset(seed=0)
    bodies = bodies_of(env.unwrapped.scene_env)
    everyone = env.unwrapped.scene_env.road.vehicles
    ego = env.unwrapped.scene_env.vehicle
    apart = sorted(np.hypot(*(v.position - ego.position)) for v in everyone)
    shown = sorted(np.hypot(bodies[:, k.X] - bodies[0, k.X], bodies[:, k.Y] - bodies[0, k.Y]))
    np.testing.assert_allclose(shown, apart[:MOST_BODIES])
    assert bodies[0, k.ROLE] == k.EGO
    env.close()


def test_a_score_is_that_of_its_formula():
    columns = {
        "crashed": np.array([False, True, False, False]),
        "off_road": np.array([0.0, 0.0, 1.0, 0.0]),
        "speed": np.array([24.0, 30.0, 30.0, 40.0]),
        "ttc_min": np.array([0.5, 2.0, 2.0, np.nan]),
        "comfort": np.array([0.5, 1.0, 1.0, 0.9]),
    }
    hand_worked = [100 * (0 + 5 * 0.8 + 2 * 0.5) / 12, 0.0, 0.0, 100 * (5 + 5 + 2 * 0.9) / 12]
    np.testing.assert_allclose(driving_score(columns, 30.0), hand_worked)
    assert driving_score(columns, None) is None
    assert driving_score({"speed": columns["speed"]}, 30.0) is None


def test_the_fast_speed_is_what_the_scene_rewards():
    assert fast_speed(load_environment("highway-v0")) == 30.0
    assert fast_speed(load_environment("intersection-v0")) == 9.0
    assert fast_speed(load_environment("two-way-v0")) == 30.0
    assert fast_speed(load_environment("parking-v0")) is None


def test_a_report_says_how_it_was_measured_and_what_crashed():
    evaluation = evaluate(
        "idle", "highway-fast-v0", episodes=3, engine="reference", baselines=("random",)
    )
    idle = evaluation.to_json()["policies"][0]
    assert idle["measured_from"] == "simulation steps"
    crashed = int(evaluation.policies[0].episodes["crashed"].sum())
    assert sum(idle["crash_kinds"].values()) == crashed == len(idle["crashes"]) > 0
    for name in ("driving_score", "time_headway", "ttc_below", "comfort", "crashes_per_100km"):
        assert idle["metrics"][name]["mean"] is not None
    assert sum(idle["histograms"]["speed"]["counts"]) > 0
    cards = evaluation.policies[0].details.cards
    assert [card.seed for card in cards] == sorted(card.seed for card in cards)
    assert all(len(card.lanes) == 3 and len(card.actions) >= 1 for card in cards)
