"""Every key does what the help says, told from the controller alone."""

from __future__ import annotations

import time

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import drive_rl
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation.baselines import make_baseline
from drive_rl.viewer.controller import END_PAUSE, SPEEDS, Command, Controller
from drive_rl.viewer.episode import Episode
from drive_rl.viewer.figures import figures
from drive_rl.viewer.wheel import Wheel, action_names

from .conftest import KeepLane, MoveRight, OneStraight, StraightEnv

META = {"type": "DiscreteMetaAction"}
NAMES = action_names(StraightEnv.action_space, META)


def controller(*, policies=(KeepLane,), **changes) -> Controller:
    episodes = [Episode(OneStraight(), policy(), policy.name) for policy in policies]
    wheel = Wheel.for_space(StraightEnv.action_space, META)
    return Controller(episodes, **({"seed": 3, "wheel": wheel} | changes))


def run(control: Controller, seconds: float, step: float = 1 / 60) -> None:
    for _ in range(round(seconds / step)):
        control.tick(step)


def ego_x(control: Controller) -> float:
    scene = control.scene(control.rides[0])
    return float(scene.position[scene.ego, 0])


def test_it_drives_at_real_time():
    control = controller()
    run(control, 2.5)
    assert ego_x(control) == pytest.approx(3 + 20 * 2.5)


def test_motion_is_smooth_at_sixty_frames_a_second():
    control = controller()
    places = []
    for _ in range(200):
        control.tick(1 / 60)
        places.append(ego_x(control))
    np.testing.assert_allclose(np.diff(places), 20 / 60, rtol=1e-6)


def test_pause_stops_and_goes_on():
    control = controller()
    run(control, 1.3)
    control.handle(Command.PAUSE)
    before = ego_x(control)
    run(control, 5.0)
    assert ego_x(control) == before
    control.handle(Command.PAUSE)
    run(control, 1.0)
    assert ego_x(control) == pytest.approx(before + 20)


def test_step_pauses_and_shows_exactly_one_decision_each():
    control = controller()
    run(control, 1.3)
    control.handle(Command.STEP)
    run(control, 1.0)
    assert control.paused
    assert control.position == 2.0
    for _ in range(3):
        control.handle(Command.STEP)
    run(control, 2.0)
    assert control.position == 5.0


def test_step_back_goes_to_the_moment_before_and_stops_at_the_start():
    control = controller()
    run(control, 2.5)
    control.handle(Command.STEP_BACK)
    run(control, 1.0)
    assert control.position == 2.0
    for _ in range(9):
        control.handle(Command.STEP_BACK)
    run(control, 3.0)
    assert control.position == 0.0


def test_speeds_go_from_a_quarter_to_sixteen():
    control = controller()
    for _ in range(9):
        control.handle(Command.SLOW_DOWN)
    assert control.speed == 0.25
    run(control, 4.0)
    assert control.position == pytest.approx(1.0)
    seen = []
    for _ in range(9):
        seen.append(control.speed)
        control.handle(Command.SPEED_UP)
    assert control.speed == 16.0
    assert seen[: len(SPEEDS)] == list(SPEEDS)


def test_next_seed_and_same_seed_start_over():
    control = controller()
    run(control, 2.0)
    control.handle(Command.NEXT_SEED)
    assert (control.seed, control.position, ego_x(control)) == (4, 0.0, 4.0)
    run(control, 2.0)
    control.handle(Command.SAME_SEED)
    assert (control.seed, control.position, ego_x(control)) == (4, 0.0, 4.0)


def test_an_episode_s_end_stays_for_a_while_and_the_next_seed_follows():
    control = controller()
    run(control, StraightEnv.DECISIONS + 0.5 * END_PAUSE)
    assert control.at_end
    assert control.seed == 3
    assert control.rides[0].moment(control.position).ended == "time limit"
    run(control, END_PAUSE)
    assert control.seed == 4
    assert not control.at_end


def test_it_closes_after_the_episodes_asked_for():
    control = controller(max_episodes=2, max_decisions=3)
    run(control, 2 * (3 + END_PAUSE) + 1)
    assert control.closed
    assert control.episodes_shown == 2


def test_close_closes():
    control = controller()
    control.handle(Command.CLOSE)
    assert control.closed


def test_whoever_takes_the_wheel_drives_from_there():
    control = controller()
    run(control, 1.5)
    control.handle(Command.WHEEL)
    control.wheel.press("right")
    run(control, 1.0)
    ride = control.rides[0]
    # The decision under way is finished first; the press counts for the next one, once.
    run(control, 1.5)
    assert ride.episode.actions == [1, 1, 2, 1]
    assert ride.episode.moments[2].thought.action == 1  # the policy's choice stays visible
    shown = figures(control, ride, NAMES, {})
    assert [c.label for c in shown.choices if c.by_policy] == ["Idle"]
    control.handle(Command.WHEEL)
    assert not control.wheel_taken


def test_taking_the_wheel_after_going_back_rewrites_what_followed():
    control = controller()
    run(control, 4.2)
    control.handle(Command.STEP_BACK)
    control.handle(Command.STEP_BACK)
    run(control, 1.0)
    assert control.position == 3.0
    control.handle(Command.WHEEL)
    control.wheel.press("left")
    control.handle(Command.STEP)
    run(control, 1.0)
    assert control.rides[0].episode.actions == [1, 1, 1, 0]
    assert control.scene(control.rides[0]).position[0].tolist() == [3 + 80.0, -4.0]


def test_another_policy_drives_on_from_the_same_state():
    choices = [("keep", KeepLane), ("right", MoveRight)]
    control = controller(choices=choices)
    run(control, 2.5)
    control.handle(Command.NEXT_POLICY)
    run(control, 1.0)
    ride = control.rides[0]
    assert ride.episode.name == "right"
    assert ride.episode.actions[:4] == [1, 1, 1, 2]
    control.handle(Command.NEXT_POLICY)
    assert ride.episode.name == "keep"


def test_a_policy_that_cannot_drive_here_says_so_and_the_present_one_stays():
    class Refuses(KeepLane):
        def bind(self, envs):
            raise UsageError("not on this road")

        def start_episodes(self, slots, seeds):
            pass

    control = controller(choices=[("keep", KeepLane), ("refuses", Refuses)])
    control.handle(Command.NEXT_POLICY)
    assert control.notice == "keep stays: not on this road"
    assert control.rides[0].episode.name == "keep"
    run(control, 1.5)
    assert control.rides[0].episode.actions[0] == 1


def test_action_values_are_shown_where_they_are_known():
    class Planner(KeepLane):
        def action_values(self, observations):
            return np.array([[1.0, 3.0, -np.inf, 2.0, 1.5]])

    control = controller(policies=(Planner,))
    shown = figures(control, control.rides[0], NAMES, {})
    assert shown.choice_title == "Action values"
    assert [c.text for c in shown.choices] == ["1.00", "3.00", "–", "2.00", "1.50"]
    assert [c.amount for c in shown.choices] == pytest.approx([0.15, 1.0, 0.0, 0.575, 0.3625])


def test_rides_side_by_side_share_seed_and_clock():
    control = controller(policies=(KeepLane, MoveRight))
    run(control, 2.0)
    first, second = (control.scene(ride) for ride in control.rides)
    assert first.position[0, 0] == pytest.approx(second.position[0, 0])
    assert second.position[0, 1] == pytest.approx(8.0)
    run(control, 3.0)  # the second has crashed after three decisions; the first goes on
    assert control.rides[1].moment(control.position).ended == "crashed"
    assert not control.at_end
    assert control.scene(control.rides[1]).position[0, 0] == 3 + 60.0
    assert ego_x(control) == pytest.approx(3 + 20 * 5.0)


def test_simulating_in_the_background_shows_the_same():
    plain, threaded = controller(max_decisions=5), controller(max_decisions=5, background=True)
    deadline = time.monotonic() + 20
    for control in (plain, threaded):
        while control.position < 5.0 and time.monotonic() < deadline:
            control.tick(1 / 60)
            time.sleep(0.0005)
    threaded.close()
    assert threaded.rides[0].episode.actions == plain.rides[0].episode.actions == [1] * 5
    assert ego_x(threaded) == ego_x(plain)


def test_an_error_of_the_simulation_arrives_at_the_window():
    control = controller(background=True)
    control.rides[0].episode.envs.step = lambda action: 1 / 0
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        for _ in range(100):
            run(control, 0.1)
    control.close()


def test_trails_follow_the_vehicles():
    control = controller()
    run(control, 3.0)
    paths = control.trails(control.rides[0])
    assert len(paths) == 2
    np.testing.assert_allclose(paths[0][0], [3.0, 0.0])
    assert (np.diff(paths[0][:, 0]) > 0).all()


def test_toggles_toggle():
    control = controller()
    for command, name in (
        (Command.HELP, "help_shown"),
        (Command.PLAN, "plan_shown"),
        (Command.TRAILS, "trails_shown"),
        (Command.SALIENCY, "saliency_shown"),
        (Command.RECORD, "recording"),
    ):
        before = getattr(control, name)
        control.handle(command)
        assert getattr(control, name) is not before
        control.handle(command)
        assert getattr(control, name) is before


def test_figures_are_those_of_the_moment():
    control = controller()
    run(control, 2.5)
    shown = figures(control, control.rides[0], NAMES, {"high_speed_reward": 0.4})
    assert shown.decision == 2
    assert shown.episode_return == 2.0
    assert shown.values == (3.0, 23.0, 43.0)
    assert shown.choice_title == "Action probabilities"
    assert [c.text for c in shown.choices] == ["10%", "60%", "10%", "10%", "10%"]
    assert [(t.label, t.value, t.harmful) for t in shown.terms] == [("high speed", 0.5, False)]


def test_an_environment_without_saved_states_says_that_it_cannot_go_back():
    class Forgetful(OneStraight):
        get_state = property()

    control = Controller([Episode(Forgetful(), KeepLane(), "keep")])
    run(control, 3.5)
    control.handle(Command.STEP_BACK)
    run(control, 1.0)
    with pytest.raises(DriveRLError, match="cannot go back"):
        control.rides[0].episode.cut(1)


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("name", ["highway-fast-v0", "intersection-v2"])
def test_driving_on_from_an_earlier_moment_is_exact(name, engine):
    envs = drive_rl.make_vec(name, 1, engine=engine, autoreset_mode=AutoresetMode.DISABLED)
    episode = Episode(envs, make_baseline("idle", name), "idle")
    episode.start(5)
    for _ in range(4):
        episode.extend()
    straight = episode.moments[-1]
    episode.cut(1)
    for _ in range(3):
        again = episode.extend()
    np.testing.assert_array_equal(again.scene.position, straight.scene.position)
    np.testing.assert_array_equal(again.scene.speed, straight.scene.speed)
    assert again.episode_return == straight.episode_return
    envs.close()


def test_the_wheel_knows_every_set_of_actions():
    lateral = Wheel.for_space(gymnasium.spaces.Discrete(3), META | {"longitudinal": False})
    lateral.press("up")
    assert lateral.action() == 1  # there is no FASTER; nothing is done
    lateral.press("left")
    assert lateral.action() == 0
    box = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    pedals = Wheel.for_space(box, {"type": "ContinuousAction"})
    pedals.press("up")
    pedals.press("right")
    np.testing.assert_allclose(pedals.action(), [1.0, 0.5])
    pedals.lift("up")
    np.testing.assert_allclose(pedals.action(), [0.0, 0.5])
    assert Wheel.for_space(gymnasium.spaces.Discrete(9), {"type": "DiscreteAction"}) is None
