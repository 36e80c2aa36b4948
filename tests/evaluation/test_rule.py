"""IDM and MOBIL at the wheel: the same on both engines, and safe where they see."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from drive_rl.environments import make_vec
from drive_rl.environments.vector import ReferenceVectorEnv
from drive_rl.errors import UsageError
from drive_rl.evaluation import make_baseline
from drive_rl.evaluation.rollout import drive
from drive_rl.evaluation.rule import meta_actions
from drive_rl.presets import load_environment
from drive_rl.simulator.driver import ACCELERATION, COLUMNS, SIDE, SPEED, TARGET_SPEED

LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = range(5)
SPEEDS = np.array([20.0, 25.0, 30.0])


def made(env_id, num_envs, engine="compiled", config=None):
    if engine == "reference":
        spec = load_environment(env_id, config)
        return ReferenceVectorEnv(spec, num_envs, AutoresetMode.DISABLED)
    mode = AutoresetMode.DISABLED
    return make_vec(env_id, num_envs, engine=engine, config=config, autoreset_mode=mode)


def actions_of(envs, seed, decisions):
    """What the rule does in one environment, (decisions, ...)."""
    rule = make_baseline("rule")
    rule.bind(envs)
    observations, _ = envs.reset(seed=seed)
    taken = []
    for _ in range(decisions):
        action = rule.predict(observations)
        assert envs.action_space.contains(action)
        taken.append(np.asarray(action))
        observations, _, terminated, truncated, _ = envs.step(action)
        if terminated.any() or truncated.any():
            break
    envs.close()
    return np.stack(taken)


@pytest.mark.parametrize(
    ("env_id", "decisions", "config"),
    [
        ("highway-fast-v0", 12, None),
        ("exit-v0", 8, None),
        ("intersection-v0", 10, None),
        ("roundabout-v0", 6, None),
        ("racetrack-v0", 25, None),
        ("lane-keeping-v0", 20, None),
        ("intersection-multi-agent-v0", 6, None),
        ("highway-fast-v0", 8, {"action": {"type": "ContinuousAction"}}),
        ("highway-fast-v0", 8, {"action": {"type": "DiscreteAction", "actions_per_axis": 5}}),
    ],
)
def test_both_engines_drive_alike(env_id, decisions, config):
    ours = actions_of(made(env_id, 1, "compiled", config), 11, decisions)
    theirs = actions_of(made(env_id, 1, "reference", config), 11, decisions)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_thinking_changes_nothing():
    envs = made("highway-fast-v0", 3)
    observations, _ = envs.reset(seed=0)
    rule = make_baseline("rule")
    rule.bind(envs)
    before = [np.array(array) for array in envs.simulator.state]
    rule.predict(observations)
    for array, then in zip(envs.simulator.state, before, strict=True):
        assert (np.asarray(array) == then).all()


def test_it_does_not_crash_on_a_highway():
    driven = drive(make_baseline("rule"), made("highway-fast-v0", 30), episodes=30, seed=0)
    assert not driven.crashed.any()
    assert driven.returns.mean() > 21.0
    assert driven.lane_changes.sum() > 0


def test_it_stays_on_the_racetrack():
    config = {"other_vehicles": 0}
    envs = made("racetrack-v0", 4, config=config)
    driven = drive(make_baseline("rule"), envs, episodes=4, seed=0, max_steps=150)
    assert not driven.off_road.any()
    assert (driven.length == 150).all()


def wishes(**columns):
    row = np.zeros((1, COLUMNS))
    names = {
        "side": SIDE,
        "acceleration": ACCELERATION,
        "speed": SPEED,
        "target_speed": TARGET_SPEED,
    }
    for name, value in columns.items():
        row[0, names[name]] = value
    return row


@pytest.mark.parametrize(
    ("wanted", "action"),
    [
        (wishes(speed=25.0, target_speed=25.0), IDLE),
        (wishes(speed=25.0, target_speed=25.0, acceleration=3.0), FASTER),
        (wishes(speed=25.0, target_speed=25.0, acceleration=-6.0), SLOWER),
        (wishes(speed=30.0, target_speed=30.0, acceleration=3.0), IDLE),
        (wishes(speed=25.0, target_speed=25.0, side=-1.0), LANE_LEFT),
        (wishes(speed=25.0, target_speed=25.0, side=1.0, acceleration=-6.0), LANE_RIGHT),
    ],
)
def test_meta_actions_say_what_is_wanted(wanted, action):
    assert meta_actions(wanted, SPEEDS, 1.0)[0] == action


def test_longitudinal_and_lateral_meta_actions_have_their_own_order():
    brake = wishes(speed=25.0, target_speed=25.0, acceleration=-6.0, side=1.0)
    assert meta_actions(brake, SPEEDS, 1.0, lateral=False)[0] == 0
    assert meta_actions(-brake, SPEEDS, 1.0, longitudinal=False)[0] == LANE_LEFT


def test_a_car_park_has_no_rule():
    with pytest.raises(UsageError, match="no rule is known for parking-v0"):
        make_baseline("rule").bind(made("parking-v0", 1))
    with pytest.raises(UsageError, match="knows nothing of observations"):
        make_baseline("rule", "highway-fast-v0").predict(np.zeros((2, 5, 5), np.float32))
