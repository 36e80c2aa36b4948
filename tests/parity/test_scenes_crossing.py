"""Intersections, with one agent and with several, are highway-env's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import drive_rl
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
    "intersection-v0", "intersection-v1", "intersection-v2",
    "intersection-multi-agent-v0", "intersection-multi-agent-v1", "intersection-multi-agent-v2",
]  # fmt: skip

# Continuous agents have no route: traffic expects them to go on as they steer
STEERED = {"type": "ContinuousAction", "steering_range": [-0.4, 0.7], "clip": False}
CONFIGURED: list[tuple[str, dict[str, Any]]] = [
    ("intersection-v0", {"destination": None, "spawn_probability": 1.0, "duration": 20}),
    ("intersection-v0", {"initial_vehicle_count": 25, "simulation_frequency": 20}),
    ("intersection-v0", {"initial_vehicle_count": 1, "policy_frequency": 3}),
    ("intersection-v0", {"normalize_reward": True, "arrived_reward": 2, "on_road_reward": 0.5}),
    ("intersection-v2", {"other_vehicles_type": TRAFFIC + "DefensiveVehicle"}),
    ("intersection-v0", {"other_vehicles_type": TRAFFIC + "LinearVehicle", "destination": "o3"}),
    ("intersection-v1", {"offroad_terminal": True}),
    ("intersection-v1", {"action": STEERED, "policy_frequency": 2}),
    ("intersection-v1", {"action": STEERED | {"type": "DiscreteAction", "actions_per_axis": 4}}),
]


@pytest.mark.parametrize("env_id", IDS)
def test_episodes_are_those_of_highway_env(env_id):
    played = assert_same_episodes(env_id, {}, seed=5, steps=22)
    assert played.resets >= 1


@pytest.mark.parametrize(("env_id", "config"), CONFIGURED)
def test_configured_episodes_are_those_of_highway_env(env_id, config):
    assert_same_episodes(env_id, {"observation": EVERYTHING} | config, seed=23, steps=14)


@pytest.mark.parametrize("action", [STEERED, {"type": "DiscreteMetaAction"}])
def test_six_agents_meet_as_in_highway_env(action):
    """Two roads have two agents each, which may begin in one another, exactly in line."""
    several = {
        "controlled_vehicles": 6,
        "destination": "",
        "action": {"type": "MultiAgentAction", "action_config": action},
        "observation": {"type": "MultiAgentObservation", "observation_config": EVERYTHING},
    }
    assert_same_episodes("intersection-multi-agent-v0", several, seed=2, steps=10)


@pytest.mark.parametrize("env_id", ["intersection-multi-agent-v1", "intersection-multi-agent-v2"])
def test_single_environments_reward_and_end_each_agent_as_in_highway_env(env_id):
    compiled = drive_rl.make(env_id, engine="compiled")
    reference = drive_rl.make(env_id, engine="reference")
    compiled.reset(seed=8)
    reference.reset(seed=8)
    for _ in range(6):
        action = (2, 1)
        _, reward, terminated, truncated, _ = compiled.step(action)
        _, wanted, ended, limited, _ = reference.step(action)
        assert isinstance(reward, tuple)
        assert isinstance(terminated, tuple)
        assert reward == pytest.approx(wanted, abs=1e-6)
        assert (terminated, truncated) == (ended, limited)


def test_the_crossing_stays_clear_of_itself_for_as_long_as_nobody_crashes():
    """Standing still, an agent sees three minutes of traffic; rows must suffice and stay whole."""
    env = drive_rl.make_vec(
        "intersection-v0", 16, config={"duration": 180, "spawn_probability": 1.0}, engine="compiled"
    )
    env.reset(seed=0)
    most = 0
    for _ in range(180):
        observations, *_ = env.step(np.zeros(16, np.int64))
        assert np.isfinite(observations).all()
        most = max(most, int(env.simulator.state.environments.num_vehicles.max()))
    assert 10 < most < env.simulator.capacity.vehicles - 40


@pytest.mark.parametrize("config", [{"simulation_frequency": 1}, {"initial_vehicle_count": 2.5}])
def test_what_is_not_covered_is_named(config):
    spec = load_environment("intersection-multi-agent-v0", config)
    assert uncovered(spec.base, spec.full_config) is not None


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    env_id=st.sampled_from(IDS[:3]),
    seed=st.integers(0, 10_000),
    config=st.fixed_dictionaries(
        {},
        optional={
            "destination": st.sampled_from(["o0", "o1", "o2", "o3", None]),
            "initial_vehicle_count": st.integers(0, 20),
            "spawn_probability": st.floats(0, 1),
            "simulation_frequency": st.integers(4, 20),
            "other_vehicles_type": st.sampled_from(
                [TRAFFIC + "IDMVehicle", TRAFFIC + "AggressiveVehicle"]
            ),
        },
    ),
)
def test_any_intersection_is_that_of_highway_env(env_id, seed, config):
    assert_same_episodes(env_id, config, seed, steps=8)
