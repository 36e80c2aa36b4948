"""Merges, roundabouts, exits, the two-way road and the U-turn are highway-env's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drive_rl.environments.compiled import uncovered
from drive_rl.presets import load_environment
from tests.parity.compare import assert_same_episodes

TRAFFIC = "highway_env.vehicle.behavior."
EVERYTHING = {
    "type": "Kinematics",
    "vehicles_count": 8,
    "see_behind": True,
    "observe_intentions": True,
    "normalize": False,
    "features": [
        "presence", "x", "y", "vx", "vy", "heading", "cos_h", "sin_h", "cos_d", "sin_d",
        "long_off", "lat_off", "ang_off",
    ],
}  # fmt: skip

IDS = [
    "merge-v0", "merge-v1", "merge-generic-v0", "merge-generic-v1",
    "roundabout-v0", "roundabout-v1", "roundabout-generic-v0", "roundabout-generic-v1",
    "exit-v0", "exit-v1", "two-way-v0", "u-turn-v0", "u-turn-v1",
]  # fmt: skip

LANE_RIGHT = 2
META = {"type": "DiscreteMetaAction"}
CONFIGURED: list[tuple[str, dict[str, Any]]] = [
    ("merge-v0", {"action": {"type": "ContinuousAction", "lateral": False}}),
    ("merge-v0", {"action": {"type": "DiscreteAction"}, "lane_change_reward": 0.4}),
    ("merge-v1", {"other_vehicles_type": TRAFFIC + "AggressiveVehicle", "policy_frequency": 3}),
    ("merge-generic-v0", {"lanes_count": 1, "vehicles_count": 5}),
    ("merge-generic-v0", {"lanes_count": 4, "vehicles_count": 12, "parallel_merge_length": 133.5}),
    ("roundabout-v0", {"incoming_vehicle_destination": -1, "normalize_reward": False}),
    ("roundabout-v0", {"action": {"type": "DiscreteAction"}, "on_road_reward": 0.3}),
    ("roundabout-v1", {"other_vehicles_type": TRAFFIC + "LinearVehicle"}),
    ("roundabout-generic-v0", {"roundabout_lanes": 1, "roundabout_radius": 17.5}),
    ("roundabout-generic-v1", {"roundabout_lanes": 3, "vehicles_count": 9}),
    ("exit-v0", {"action": {"type": "ContinuousAction"}, "normalize_reward": False}),
    ("exit-v0", {"lanes_count": 2, "vehicles_count": 6, "right_lane_reward": 0.2}),
    ("exit-v1", {"other_vehicles_type": TRAFFIC + "DefensiveVehicle", "vehicles_count": 8}),
    (
        "exit-v0",
        {
            "controlled_vehicles": 2,
            "action": {"type": "MultiAgentAction", "action_config": META},
            "observation": {"type": "MultiAgentObservation", "observation_config": EVERYTHING},
        },
    ),
    ("two-way-v0", {"action": META | {"target_speeds": [10, 20, 30, 40]}}),
    ("two-way-v0", {"other_vehicles_type": TRAFFIC + "LinearVehicle"}),
    ("u-turn-v0", {"action": {"type": "ContinuousAction"}}),
    ("u-turn-v1", {"policy_frequency": 5, "normalize_reward": False}),
]


@pytest.mark.parametrize("env_id", IDS)
def test_episodes_are_those_of_highway_env(env_id):
    played = assert_same_episodes(env_id, {}, seed=4, steps=30)
    assert played.resets >= 1


@pytest.mark.parametrize(("env_id", "config"), CONFIGURED)
def test_configured_episodes_are_those_of_highway_env(env_id, config):
    assert_same_episodes(env_id, {"observation": EVERYTHING} | config, seed=11, steps=20)


@pytest.mark.parametrize("env_id", ["exit-v0", "exit-v1"])
def test_leaving_the_highway_is_a_success_as_in_highway_env(env_id):
    few = {"observation": EVERYTHING, "vehicles_count": 2}
    played = assert_same_episodes(env_id, few, seed=2, steps=36, always=LANE_RIGHT)
    assert played.successes > 0


def test_quiet_driving_reaches_the_ends_that_crashes_hide():
    # Lane ends, the end of the ramp, roundabout exits and time limits
    for env_id in ("merge-generic-v0", "roundabout-v0", "exit-v0", "two-way-v0", "u-turn-v0"):
        assert_same_episodes(env_id, {"observation": EVERYTHING}, seed=1, steps=22, boldness=0.1)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_configuration_plays_the_same(data):
    env_id = data.draw(st.sampled_from(IDS))
    config: dict[str, Any] = {
        "observation": EVERYTHING,
        "neighbour_vehicles_connected_lanes": data.draw(st.booleans()),
        "simulation_frequency": data.draw(st.sampled_from([5, 10, 15])),
        "policy_frequency": data.draw(st.sampled_from([1, 2, 5])),
        "other_vehicles_type": TRAFFIC
        + data.draw(st.sampled_from(["IDMVehicle", "LinearVehicle", "AggressiveVehicle"])),
        "high_speed_reward": data.draw(st.floats(0.1, 1)),
    }
    if "generic" in env_id or "exit" in env_id:
        config["vehicles_count"] = data.draw(st.integers(0, 8))
    if uncovered(env_id, load_environment(env_id, config).full_config) is None:
        seed = data.draw(st.integers(0, 2**31))
        assert_same_episodes(env_id, config, seed, steps=12)


@pytest.mark.parametrize(
    ("env_id", "config"),
    [
        ("merge-v0", {"action": {"type": "ContinuousAction"}}),
        ("merge-v0", {"reward_speed_range": [20, 20]}),
        ("roundabout-v0", {"action": {"type": "ContinuousAction"}}),
        ("roundabout-v0", {"incoming_vehicle_destination": 3}),
        ("roundabout-generic-v0", {"roundabout_lanes": 0}),
        ("exit-v0", {"lanes_count": 1}),
        ("exit-v0", {"lanes_count": 8}),
        ("two-way-v0", {"action": {"type": "ContinuousAction"}}),
        ("two-way-v0", {"policy_frequency": 0.5}),
        ("u-turn-v0", {"action": {"type": "MultiAgentAction", "action_config": META}}),
    ],
)
def test_where_highway_env_fails_or_the_road_ends_the_compiled_engine_steps_back(env_id, config):
    config = {"observation": EVERYTHING} | config
    assert uncovered(env_id, load_environment(env_id, config).full_config)
