"""Racetracks, car parks and lane keeping, which are steered, are highway-env's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drive_rl.environments.compiled import uncovered
from drive_rl.presets import load_environment
from tests.parity.compare import assert_same_episodes

IDS = [
    "racetrack-v0", "racetrack-v1", "racetrack-large-v0", "racetrack-large-v1",
    "racetrack-oval-v0", "racetrack-oval-v1",
    "parking-v0", "parking-ActionRepeat-v0", "parking-parked-v0", "lane-keeping-v0",
]  # fmt: skip

VEHICLES = {
    "type": "Kinematics",
    "vehicles_count": 6,
    "see_behind": True,
    "normalize": False,
    "features": ["presence", "x", "y", "vx", "vy", "cos_h", "sin_h"],
}
GOAL = {
    "type": "KinematicsGoal",
    "features": ["x", "y", "vx", "vy", "cos_h", "sin_h"],
    "scales": [100, 100, 5, 5, 1, 1],
    "normalize": False,
}
WHEEL = {"type": "ContinuousAction", "longitudinal": False}
PEDALS = {"type": "ContinuousAction", "speed_range": [-2.0, 12.5], "acceleration_range": [-3, 4.1]}
GRID = {"type": "DiscreteAction", "actions_per_axis": 4}
SLIP = {"type": "ContinuousAction", "dynamical": True, "steering_range": [-0.3, 0.5]}


def agents(count: int, action: dict[str, Any], observation: dict[str, Any]) -> dict[str, Any]:
    """What several agents need."""
    return {
        "controlled_vehicles": count,
        "action": {"type": "MultiAgentAction", "action_config": action},
        "observation": {"type": "MultiAgentObservation", "observation_config": observation},
    }


CONFIGURED: list[tuple[str, dict[str, Any]]] = [
    ("racetrack-v0", {"observation": VEHICLES, "action": PEDALS, "other_vehicles": 9}),
    ("racetrack-v1", {"observation": VEHICLES, "action": SLIP, "terminate_off_road": False}),
    ("racetrack-v0", {"observation": VEHICLES, "action": GRID, "on_road_reward": 0.25}),
    ("racetrack-large-v0", {"observation": VEHICLES, "speed_limit": 17.5, "other_vehicles": 12}),
    ("racetrack-oval-v0", {"observation": VEHICLES, "no_lanes": 5, "block_lane": True}),
    ("racetrack-oval-v1", {"observation": VEHICLES, "length": 140.5, "force_decision": True}),
    ("racetrack-v0", {"duration": 3, "other_vehicles": 0, "collision_reward": -2.5}),
    ("racetrack-v1", agents(3, WHEEL, VEHICLES)),
    ("parking-v0", {"action": PEDALS, "add_walls": False, "duration": 6}),
    ("parking-v0", {"action": SLIP, "reward_weights": [1, 1, 0.5, 0.5, 0, 0.1]}),
    ("parking-v0", {"action": GRID, "observation": VEHICLES, "vehicles_count": 28}),
    ("parking-parked-v0", agents(4, PEDALS, GOAL) | {"collision_reward": -1.5}),
    ("parking-v0", agents(2, PEDALS, GOAL) | {"observation": GOAL}),
    ("lane-keeping-v0", {"state_noise": 0.3, "simulation_frequency": 20}),
    ("lane-keeping-v0", {"action": SLIP | {"type": "DiscreteAction"}, "derivative_noise": 0}),
    ("lane-keeping-v0", {"observation": VEHICLES, "action": PEDALS | {"dynamical": True}}),
]


@pytest.mark.parametrize("boldness", [0.1, 1.0])
@pytest.mark.parametrize("env_id", IDS)
def test_episodes_are_those_of_highway_env(env_id, boldness):
    assert_same_episodes(env_id, {}, seed=4, steps=40, boldness=boldness)


@pytest.mark.parametrize(("env_id", "config"), CONFIGURED)
def test_configured_episodes_are_those_of_highway_env(env_id, config):
    assert_same_episodes(env_id, config, seed=31, steps=30)


def test_lane_keeping_goes_on_to_its_second_lane_and_ends_at_its_registered_limit():
    played = assert_same_episodes("lane-keeping-v0", {}, seed=1, steps=420, boldness=0.05)
    assert (played.resets, played.truncated) == (2, 2)


def test_reaching_the_goal_is_a_success_as_in_highway_env():
    near = {"success_goal_reward": 0.55, "vehicles_count": 6}
    played = [assert_same_episodes("parking-v0", near, seed, steps=40) for seed in range(2)]
    assert sum(each.successes for each in played) > 0


def test_walls_stop_vehicles_as_in_highway_env():
    fast = {"action": {"type": "ContinuousAction", "acceleration_range": [3, 5]}}
    played = assert_same_episodes("parking-v0", fast, seed=6, steps=60)
    assert played.crashes > 0


@pytest.mark.parametrize(
    ("env_id", "config"),
    [
        ("racetrack-oval-v0", {"length": 0}),
        ("racetrack-oval-v0", {"no_lanes": 0}),
        ("racetrack-v0", {"action": {"type": "DiscreteMetaAction"}}),
        ("lane-keeping-v0", {"action": {"type": "DiscreteMetaAction"}}),
        ("lane-keeping-v0", {"action": PEDALS, "observation": VEHICLES}),
        ("parking-v0", {"reward_weights": [1, 1]}),
        ("parking-v0", agents(8, PEDALS, GOAL)),
    ],
)
def test_what_is_not_covered_is_named(env_id, config):
    spec = load_environment(env_id, config)
    assert uncovered(spec.base, spec.full_config) is not None


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    env_id=st.sampled_from(IDS[:6]),
    seed=st.integers(0, 10_000),
    action=st.sampled_from([WHEEL, PEDALS, GRID, SLIP]),
    config=st.fixed_dictionaries(
        {},
        optional={
            "other_vehicles": st.integers(0, 10),
            "terminate_off_road": st.booleans(),
            "lane_centering_cost": st.floats(0, 9),
            "action_reward": st.floats(-1, 0),
        },
    ),
)
def test_any_racetrack_is_that_of_highway_env(env_id, seed, action, config):
    config = config | {"action": action, "observation": VEHICLES}
    assert_same_episodes(env_id, config, seed, steps=15)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    env_id=st.sampled_from(IDS[6:9]),
    seed=st.integers(0, 10_000),
    action=st.sampled_from([PEDALS, GRID, SLIP]),
    config=st.fixed_dictionaries(
        {},
        optional={
            "vehicles_count": st.integers(0, 30),
            "add_walls": st.booleans(),
            "success_goal_reward": st.floats(0.05, 1.0),
        },
    ),
)
def test_any_car_park_is_that_of_highway_env(env_id, seed, action, config):
    assert_same_episodes(env_id, config | {"action": action}, seed, steps=15)
