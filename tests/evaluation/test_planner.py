"""The planner foresees exactly, changes nothing, and drives like somebody who knows."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from drive_rl.environments import make_vec
from drive_rl.errors import UsageError
from drive_rl.evaluation import make_baseline
from drive_rl.evaluation.beam import Found
from drive_rl.evaluation.effort import Effort
from drive_rl.evaluation.planner import Planner
from drive_rl.evaluation.rollout import drive
from drive_rl.simulator.futures import ENDED, FAILED, GOING_ON, Futures

BRIEF = Effort(horizon=4, width=6, width_each=1, rounds=(12, 8), elites=3, hold=2)


def made(env_id, num_envs, **kwargs):
    return make_vec(
        env_id, num_envs, engine="compiled", autoreset_mode=AutoresetMode.DISABLED, **kwargs
    )


@pytest.mark.parametrize("env_id", ["highway-fast-v0", "intersection-v0"])
def test_futures_are_what_then_happens(env_id):
    envs = made(env_id, 3)
    envs.reset(seed=5)
    actions = np.random.default_rng(0).integers(3, size=(3, 6))
    futures = Futures(envs.simulator, envs.config, 8)
    foreseen = futures.drive(np.arange(3), actions[:, :, None, None].astype(float))
    going = np.ones(3, bool)
    for t in range(6):
        _, rewards, terminated, truncated, _ = envs.step(actions[:, t])
        assert (foreseen.rewards[going, t] == rewards[going]).all()
        assert (foreseen.length[going] >= t + 1).all()
        over = terminated | truncated
        assert (foreseen.ending[going & over] != GOING_ON).all()
        going &= ~over
        if over.any():
            envs.reset(options={"reset_mask": over})
    assert (foreseen.ending[going] == GOING_ON).all()


def test_branches_add_up_to_a_drive():
    envs = made("highway-fast-v0", 2)
    envs.reset(seed=1)
    futures = Futures(envs.simulator, envs.config, 4)
    whole = futures.drive(np.arange(2), np.full((2, 3, 1, 1), 3.0)).rewards
    futures.start(np.arange(2))
    for t in range(3):
        rewards, _ = futures.branch(np.arange(2), np.full((2, 1, 1), 3.0))
        assert (rewards == whole[:, t]).all()


@pytest.mark.parametrize("env_id", ["highway-fast-v0", "intersection-v0", "racetrack-v0"])
def test_thinking_changes_nothing(env_id):
    envs, untouched = made(env_id, 2), made(env_id, 2)
    observations, _ = envs.reset(seed=3)
    untouched.reset(seed=3)
    planner = Planner(effort=BRIEF)
    planner.bind(envs)
    for _ in range(4):
        actions = planner.predict(observations)
        assert envs.action_space.contains(actions)
        observations, rewards, *_ = envs.step(actions)
        there, their_rewards, *_ = untouched.step(actions)
        assert (observations == there).all()
        assert (rewards == their_rewards).all()
    ours, theirs = envs.simulator.state.environments, untouched.simulator.state.environments
    assert (ours == theirs).all()  # their random streams too


@pytest.mark.parametrize("env_id", ["highway-fast-v0", "racetrack-v0"])
def test_plans_depend_neither_on_slots_nor_on_threads(env_id):
    def returns(num_envs, num_threads):
        envs = made(env_id, num_envs, num_threads=num_threads)
        planner = Planner(effort=BRIEF)
        return drive(planner, envs, episodes=3, seed=7, max_steps=5).returns

    alone = returns(1, 1)
    assert (returns(3, 1) == alone).all()
    assert (returns(2, 2) == alone).all()


def test_values_name_the_action_taken_and_know_every_action():
    envs = made("highway-fast-v0", 4)
    observations, _ = envs.reset(seed=0)
    planner = Planner(effort=BRIEF)
    planner.bind(envs)
    for _ in range(3):
        actions = planner.predict(observations)
        values = planner.action_values(observations)
        assert values.shape == (4, 5)
        assert np.isfinite(values).all()
        assert (values[np.arange(4), actions] == values.max(axis=1)).all()
        observations = envs.step(actions)[0]


def test_the_more_drives_it_keeps_of_each_action_the_better_it_values_them_all():
    values = {}
    for each in (2, 8, 64):
        envs = made("u-turn-v0", 16)
        envs.reset(seed=3)
        planner = Planner(seed=3, effort=Effort(horizon=6, width=4, width_each=each))
        planner.bind(envs)
        values[each] = planner.action_values()
    missed = {each: np.abs(values[64] - values[each]).mean() for each in (2, 8)}
    assert missed[8] < 0.5 * missed[2]
    assert missed[2] > 0.01


def test_what_comes_to_the_same_has_the_same_value():
    envs = made("highway-v0", 1, config={"vehicles_count": 0, "initial_lane_id": 3})
    observations, _ = envs.reset(seed=0)
    planner = Planner(effort=BRIEF)
    planner.bind(envs)
    values = planner.action_values(observations)[0]
    assert values[1] == values[2]  # the rightmost lane: LANE_RIGHT is IDLE
    assert values[3] == values.max()  # and FASTER is best on an empty road
    assert values[4] < values[1]


def test_continuous_actions_have_no_values_to_list():
    envs = made("racetrack-v0", 1)
    envs.reset(seed=0)
    planner = Planner(effort=BRIEF)
    planner.bind(envs)
    assert planner.action_values() is None


def test_a_crash_costs_what_the_episode_could_have_brought():
    found = Found(1, 3)
    nobody = np.zeros(3, np.int64)
    for length in (1, 2):
        found.note(
            nobody,
            np.arange(3),
            np.array([0.5, 0.9, 1.0]) * length,
            np.array([0.5, 0.9, 1.0]),
            np.array([GOING_ON, GOING_ON if length == 1 else ENDED, FAILED]),
            length,
        )
    going, ended, failed = found.values(horizon=4, left=np.array([20.0]))[0]
    assert going == 1.0
    assert ended == pytest.approx(4 * 0.9)
    assert failed < 2.0 - 15.0


def test_it_drives_fast_and_far_among_traffic():
    driven = drive(make_baseline("planner"), made("highway-fast-v0", 4), episodes=4, seed=0)
    assert not driven.crashed.any()
    assert driven.returns.mean() > 28.5


def test_several_agents_are_planned_for_together():
    def mean_return(policy):
        envs = made("intersection-multi-agent-v0", 4)
        return drive(policy, envs, episodes=4, seed=0).returns.mean()

    assert mean_return(Planner(effort=BRIEF)) > mean_return(make_baseline("idle")) + 1.0


def test_a_crash_of_any_agent_is_foreseen_as_one():
    n = 64
    envs = made("intersection-multi-agent-v0", n)
    simulator = envs.simulator
    envs.reset(seed=0)
    futures = Futures(simulator, envs.config, n)
    foreseen = futures.drive(np.arange(n), np.full((n, 8, 2, 1), 2.0))
    over, only_the_second = np.zeros(n, bool), 0
    for _ in range(8):
        done = simulator.step(np.full((n, 2), 2.0), autoreset=False).done
        agents = np.take_along_axis(
            np.asarray(simulator.state.vehicles), np.asarray(simulator.state.agents), axis=1
        )
        crashed, fresh = agents["crashed"], done & ~over
        assert ((foreseen.ending == FAILED) == crashed.any(axis=1))[fresh].all()
        only_the_second += (fresh & ~crashed[:, 0] & crashed[:, 1]).sum()
        over |= done
    assert only_the_second


def test_it_says_what_it_needs():
    envs = make_vec("highway-fast-v0", 1, engine="reference")
    with pytest.raises(UsageError, match="needs the compiled engine"):
        make_baseline("planner").bind(envs)
    envs.close()
    crowd = made("intersection-multi-agent-v0", 1, config={"controlled_vehicles": 5})
    with pytest.raises(UsageError, match="5 agents have 243 of them, more than 125"):
        make_baseline("planner").bind(crowd)
    with pytest.raises(UsageError, match="plans for environments"):
        make_baseline("planner", "highway-fast-v0").predict(np.zeros((2, 5, 5), np.float32))
