"""highway-v0 and highway-fast-v0 are highway-env's, from the first reset through later ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive_rl.environments.compiled import CompiledVectorEnv
from drive_rl.presets import load_environment
from tests.parity import oracle
from tests.parity.compare import assert_same_episodes

TOLERANCE = 1e-6

CASES = [
    ("highway-fast-v0", {}, 0, 40),
    ("highway-fast-v0", {"lanes_count": 2, "vehicles_density": 1.7}, 3, 30),
    (
        "highway-fast-v0",
        {
            "observation": {
                "type": "Kinematics",
                "vehicles_count": 8,
                "features": ["presence", "x", "vy", "cos_h", "heading", "lat_off", "ang_off"],
                "see_behind": True,
                "absolute": True,
                "order": "shuffled",
                "clip": False,
            },
        },
        7,
        30,
    ),
    ("highway-fast-v0", {"action": {"type": "DiscreteMetaAction", "lateral": False}}, 5, 25),
    ("highway-v0", {"vehicles_count": 30}, 1, 12),
]


@pytest.mark.parametrize(("env_id", "config", "seed", "steps"), CASES)
def test_episodes_are_those_of_highway_env(env_id, config, seed, steps):
    spec = load_environment(env_id, config)
    # Environment 1 of several is seeded with seed: slots and threads must not matter
    env = CompiledVectorEnv(spec.base, 3, spec.full_config, num_threads=2)
    count = env.single_action_space.n
    actions = np.random.default_rng(seed).integers(0, count, steps)
    expected = oracle.ask(env_id, config, seed, actions)

    first, _ = env.reset(seed=[100, seed, 200])
    np.testing.assert_allclose(first[1], expected["first"][0], atol=TOLERANCE)
    resets = 1
    for k, action in enumerate(actions):
        observations, rewards, terminated, truncated, info = env.step(np.full(3, action))
        over = terminated[1] or truncated[1]
        last = info["final_obs"][1] if over else observations[1]
        said = info["final_info"] if over else info
        np.testing.assert_allclose(last, expected["observation"][k], atol=TOLERANCE)
        assert rewards[1] == pytest.approx(expected["reward"][k], abs=TOLERANCE)
        assert bool(terminated[1]) == bool(expected["terminated"][k])
        assert bool(truncated[1]) == bool(expected["truncated"][k])
        assert bool(said["crashed"][1]) == bool(expected["crashed"][k])
        assert said["speed"][1] == pytest.approx(expected["speed"][k], abs=TOLERANCE)
        terms = [said["rewards"][name][1] for name, _ in env.simulator.scene.REWARDS]
        np.testing.assert_allclose(terms, expected["rewards"][k], atol=TOLERANCE)
        if over:
            np.testing.assert_allclose(observations[1], expected["first"][resets], atol=TOLERANCE)
            resets += 1
    assert resets == len(expected["first"])


@given(data=st.data())
def test_any_highway_plays_the_same(data):
    draw = data.draw
    config = {
        "lanes_count": draw(st.integers(1, 6)),
        "vehicles_count": draw(st.integers(0, 14)),
        "vehicles_density": draw(st.sampled_from([0.7, 1, 1.5, 2.5])),
        "controlled_vehicles": 1,
        "initial_lane_id": draw(st.sampled_from([None, 0])),
        "ego_spacing": draw(st.sampled_from([0.5, 2, 3])),
        "duration": draw(st.sampled_from([3, 8])),
        "collision_reward": draw(st.sampled_from([-1, -2.5])),
        "right_lane_reward": draw(st.sampled_from([0, 0.1, 0.4])),
        "high_speed_reward": draw(st.sampled_from([0.4, 1])),
        "reward_speed_range": draw(st.sampled_from([[20, 30], [10, 25]])),
        "normalize_reward": draw(st.booleans()),
        "offroad_terminal": draw(st.booleans()),
        "simulation_frequency": draw(st.sampled_from([5, 10])),
        "policy_frequency": draw(st.sampled_from([1, 2])),
        "other_vehicles_type": "highway_env.vehicle.behavior."
        + draw(st.sampled_from(["IDMVehicle", "AggressiveVehicle", "DefensiveVehicle"])),
        "action": draw(
            st.sampled_from(
                [
                    {"type": "DiscreteMetaAction"},
                    {"type": "DiscreteMetaAction", "target_speeds": [15, 22, 29, 36]},
                    {"type": "ContinuousAction"},
                    {"type": "DiscreteAction"},
                ]
            )
        ),
    }
    env_id = draw(st.sampled_from(["highway-v0", "highway-fast-v0"]))
    boldness = draw(st.sampled_from([1.0, 0.3]))
    assert_same_episodes(env_id, config, draw(st.integers(0, 10**6)), 10, boldness)
