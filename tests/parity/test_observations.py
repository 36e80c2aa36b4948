"""Every observation type shows what highway-env shows, of the same scene.

highway-env drives; at states along the way its scene is put into the simulator, and both observe
it. So these tests judge observations alone, on the roads and traffic of every kind of scene.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import highway_env  # noqa: F401  (registers the scenes)
import numpy as np
import pytest
from highway_env.envs.common.observation import observation_factory
from highway_env.vehicle.controller import MDPVehicle
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_rl.catalogue import default_config, own_class_attributes
from drive_rl.environments import make, make_vec
from drive_rl.environments.compiled import uncovered
from drive_rl.simulator.observations import observation_of
from drive_rl.simulator.observations.kinematics import FEATURES
from tests.parity.injection import Scene, generator_state, inject

EVERYTHING = list(FEATURES)
RANGES = {
    "x": [-60, 60],
    "y": [-30, 30],
    "vx": [-20, 20],
    "heading": [-3, 3],
    "presence": [0, 2],
}
KINEMATICS: list[dict[str, Any]] = [
    {"type": "Kinematics"},
    {
        "type": "Kinematics",
        "features": EVERYTHING,
        "vehicles_count": 8,
        "see_behind": True,
        "order": "shuffled",
        "observe_intentions": True,
    },
    {
        "type": "Kinematics",
        "features": EVERYTHING,
        "vehicles_count": 12,
        "features_range": RANGES,
        "clip": False,
        "order": "as they come",
    },
    {
        "type": "Kinematics",
        "features": EVERYTHING,
        "absolute": True,
        "normalize": False,
        "include_obstacles": False,
    },
]
GRIDS: list[dict[str, Any]] = [
    {"type": "OccupancyGrid"},
    {
        "type": "OccupancyGrid",
        "features": [*EVERYTHING, "on_road", "a name of no feature"],
        "features_range": RANGES,
    },
    {
        "type": "OccupancyGrid",
        "features": [*EVERYTHING, "on_road"],
        "clip": False,
        "align_to_vehicle_axes": True,
        "grid_size": [[-18, 18], [-18, 18]],
        "grid_step": [3, 3],
    },
    {
        "type": "OccupancyGrid",
        "features": ["presence", "vx", "on_road"],
        "as_image": True,
        "align_to_vehicle_axes": True,
        "grid_size": [[-140, 160], [-120.5, 122]],
        "grid_step": [2.5, 4],
    },
]
LIDARS: list[dict[str, Any]] = [
    {"type": "LidarObservation"},
    {"type": "LidarObservation", "cells": 7, "maximum_range": 200, "normalize": False},
]
TIMES: list[dict[str, Any]] = [
    {"type": "TimeToCollision"},
    {"type": "TimeToCollision", "horizon": 16.5},
]
EXITS: list[dict[str, Any]] = [
    {"type": "ExitObservation"},
    {
        "type": "ExitObservation",
        "features": EVERYTHING,
        "vehicles_count": 9,
        "see_behind": True,
        "absolute": True,
        "clip": False,
        "order": "shuffled",
    },
]
GOALS: list[dict[str, Any]] = [
    {
        "type": "KinematicsGoal",
        "features": ["x", "y", "vx", "vy", "cos_h", "sin_h"],
        "scales": [100, 100, 5, 5, 1, 1],
    },
    {"type": "KinematicsGoal", "features": ["presence", "sin_d"], "scales": [3, 0.1]},
]
ATTRIBUTES: list[dict[str, Any]] = [
    {"type": "AttributesObservation", "attributes": ["state", "derivative", "reference_state"]},
    {
        "type": "AttributesObservation",
        "attributes": ["reference_state", "derivative", "state", "derivative"],
    },
]
SCENES = [
    "highway-fast-v0",
    "merge-v0",
    "roundabout-v0",
    "intersection-v0",
    "exit-v0",
    "u-turn-v0",
    "two-way-v0",
    "racetrack-v0",
    "parking-parked-v0",
    "lane-keeping-v0",
    "intersection-multi-agent-v0",
]


def observations_for(env: Any, env_id: str) -> list[dict[str, Any]]:
    """The observation configurations that highway-env can give on a scene."""
    configs = KINEMATICS + GRIDS + LIDARS
    if isinstance(env.vehicle, MDPVehicle):
        configs = configs + TIMES
    special = {"exit": EXITS, "parking": GOALS, "lane": ATTRIBUTES}
    return configs + special.get(env_id.split("-")[0], [])


def trajectory(env_id: str, seed: int, steps: int) -> Iterator[Any]:
    """highway-env at every state of a random drive, through the ends of episodes."""
    with warnings.catch_warnings(), own_class_attributes({}):
        warnings.simplefilter("ignore")
        env: Any = gymnasium.make(env_id, disable_env_checker=True).unwrapped
        env.reset(seed=seed)
        env.action_space.seed(seed)
        yield env
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
            yield env


def observe(scene: Scene, config: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """The simulator's raw observations of a scene, and one per agent as highway-env lays it out."""
    module = observation_of(config["type"])
    shape = module.shape(config, scene.roads, scene.settings, scene.capacity)
    dtype = module.dtype(config) if hasattr(module, "dtype") else module.DTYPE
    out = np.full((1, scene.capacity.agents, *shape), 7, dtype)
    module.observe(
        scene.state,
        scene.roads.network,
        scene.settings,
        module.options(config, scene.roads, scene.settings),
        np.ones(1, np.bool_),
        out,
        0,
        1,
    )
    if not hasattr(module, "fields"):
        return out, list(out[0])
    shaped = module.field_shape(config) if hasattr(module, "field_shape") else (-1,)
    return out, [
        {name: row[place].reshape(shaped) for name, place in module.fields(config).items()}
        for row in out[0]
    ]


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal structure, shape and type; numbers equal to the last few bits of single precision."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            assert ours[name].shape == value.shape
            np.testing.assert_allclose(ours[name], value, rtol=1e-12, atol=1e-12)
        return
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    tolerance = 1e-6 if theirs.dtype == np.float32 else 0
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def compare(env: Any, config: Mapping[str, Any]) -> None:
    """Both observe the state in which `env` is; what they draw from the stream is the same."""
    agents = len(env.controlled_vehicles)
    multi = {"type": "MultiAgentObservation", "observation_config": dict(config)}
    scene = inject(env)
    theirs = observation_factory(env, multi if agents > 1 else dict(config)).observe()
    _, ours = observe(scene, config)
    assert len(ours) == agents
    for one, other in zip(ours, theirs if agents > 1 else [theirs], strict=True):
        assert_same(one, other)
    reference_stream, stream = generator_state(env, scene)
    assert stream == reference_stream


@pytest.mark.parametrize("env_id", SCENES)
def test_every_observation_type_equals_highway_env_along_a_drive(env_id: str) -> None:
    for env in trajectory(env_id, seed=5, steps=6):
        for config in observations_for(env, env_id):
            compare(env, config)


def test_parts_of_a_tuple_observation_are_observed_and_draw_in_order() -> None:
    config = {"type": "TupleObservation", "observation_configs": [KINEMATICS[1], GRIDS[3]]}
    config["observation_configs"] += [KINEMATICS[1], LIDARS[1], TIMES[0]]
    for env in trajectory("highway-fast-v0", seed=1, steps=2):
        scene = inject(env)
        theirs = observation_factory(env, config).observe()
        out, _ = observe(scene, config)
        module = observation_of("TupleObservation")
        parts = module.parts(config, scene.roads, scene.settings)
        assert len(parts) == len(theirs)
        for part, value in zip(parts, theirs, strict=True):
            ours = out[0, 0, part.place].reshape(part.shape).astype(value.dtype)
            assert_same(ours, value)
        assert len({repr(stream) for stream in generator_state(env, scene)}) == 1


@functools.cache
def drive(env_id: str) -> Any:
    """highway-env somewhere within an episode."""
    *_, env = trajectory(env_id, seed=2, steps=3)
    return env


@given(
    env_id=st.sampled_from(["highway-fast-v0", "roundabout-v0", "racetrack-v0"]),
    features=st.lists(st.sampled_from([*EVERYTHING, "on_road"]), min_size=1, max_size=4),
    low=st.tuples(st.floats(-60, 5), st.floats(-60, 5)),
    size=st.tuples(st.floats(10, 80), st.floats(10, 80)),
    step=st.tuples(st.floats(0.7, 9), st.floats(0.7, 9)),
    flags=st.fixed_dictionaries(
        {name: st.booleans() for name in ("align_to_vehicle_axes", "clip", "as_image")}
    ),
    features_range=st.none()
    | st.dictionaries(
        st.sampled_from(EVERYTHING),
        st.tuples(st.floats(-50, -1), st.floats(1, 50)).map(list),
        max_size=4,
    ),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_occupancy_grid_equals_highway_env(
    env_id: str,
    features: list[str],
    low: tuple[float, float],
    size: tuple[float, float],
    step: tuple[float, float],
    flags: dict[str, bool],
    features_range: dict[str, list[float]] | None,
) -> None:
    config = {
        "type": "OccupancyGrid",
        "features": features,
        "grid_size": [[low[0], low[0] + size[0]], [low[1], low[1] + size[1]]],
        "grid_step": list(step),
        "features_range": features_range,
        **flags,
    }
    compare(drive(env_id), config)


@given(
    env_id=st.sampled_from(["highway-fast-v0", "roundabout-v0", "parking-parked-v0"]),
    cells=st.integers(1, 60),
    maximum_range=st.floats(1, 150),
    normalize=st.booleans(),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_lidar_equals_highway_env(
    env_id: str, cells: int, maximum_range: float, normalize: bool
) -> None:
    config = {
        "type": "LidarObservation",
        "cells": cells,
        "maximum_range": maximum_range,
        "normalize": normalize,
    }
    compare(drive(env_id), config)


def in_multi_agent(action: dict[str, Any], observation: dict[str, Any]) -> dict[str, Any]:
    """Two agents that act and observe alike."""
    return {
        "controlled_vehicles": 2,
        "action": {"type": "MultiAgentAction", "action_config": action},
        "observation": {"type": "MultiAgentObservation", "observation_config": observation},
    }


LAYOUTS: list[tuple[str, dict[str, Any]]] = [
    ("highway-fast-v0", {"observation": GRIDS[3]}),
    ("highway-fast-v0", {"observation": LIDARS[1]}),
    (
        "highway-fast-v0",
        {
            "observation": {
                "type": "TupleObservation",
                "observation_configs": [GRIDS[3], KINEMATICS[1], LIDARS[0], TIMES[1]],
            }
        },
    ),
    ("highway-fast-v0", in_multi_agent({"type": "DiscreteMetaAction"}, KINEMATICS[1])),
    ("parking-v0", in_multi_agent({"type": "ContinuousAction"}, GOALS[0])),
    ("parking-v0", {"observation": GOALS[1]}),
    ("lane-keeping-v0", {"observation": ATTRIBUTES[1]}),
    (
        "lane-keeping-v0",
        {"observation": {"type": "TupleObservation", "observation_configs": ATTRIBUTES}},
    ),
]


def types(observation: Any) -> Any:
    """The structure of an observation: names, shapes, types."""
    if isinstance(observation, dict):
        return {name: types(value) for name, value in observation.items()}
    if isinstance(observation, tuple):
        return tuple(types(value) for value in observation)
    return observation.shape, observation.dtype


@pytest.mark.parametrize(("env_id", "config"), LAYOUTS)
def test_spaces_and_structures_are_those_of_highway_env(
    env_id: str, config: dict[str, Any]
) -> None:
    compiled, reference = (make(env_id, config=config, engine=e) for e in ("compiled", "reference"))
    assert compiled.observation_space == reference.observation_space
    assert compiled.action_space == reference.action_space
    first, expected = compiled.reset(seed=3)[0], reference.reset(seed=3)[0]
    compiled.action_space.seed(3)
    for _ in range(3):
        assert compiled.observation_space.contains(first)
        assert types(first) == types(expected)
        action = compiled.action_space.sample()
        first, expected = compiled.step(action)[0], reference.step(action)[0]


@pytest.mark.parametrize(("env_id", "config"), LAYOUTS)
def test_a_vector_environment_stacks_what_single_ones_observe(
    env_id: str, config: dict[str, Any]
) -> None:
    vector = make_vec(env_id, 3, config=config, engine="compiled")
    together, _ = vector.reset(seed=8)
    assert vector.observation_space.contains(together)
    alone, _ = make(env_id, config=config, engine="compiled").reset(seed=9)
    second = gymnasium.vector.utils.iterate(vector.observation_space, together)
    for _ in range(2):
        row = next(second)
    for one, other in zip(leaves(row), leaves(alone), strict=True):
        np.testing.assert_array_equal(one, other)
    vector.close()


def leaves(observation: Any) -> list[Any]:
    """All arrays of an observation, by name or place."""
    if isinstance(observation, dict):
        return [leaf for name in sorted(observation) for leaf in leaves(observation[name])]
    if isinstance(observation, tuple):
        return [leaf for value in observation for leaf in leaves(value)]
    return [np.asarray(observation)]


@pytest.mark.parametrize(
    ("env_id", "observation", "reason"),
    [
        ("highway-v0", {"type": "Kinematics", "features": ["x", "on_road"]}, "no feature"),
        ("highway-v0", {"type": "Kinematics", "vehicles_count": 1}, "one vehicle"),
        ("highway-v0", {"type": "OccupancyGrid", "absolute": True}, "absolute"),
        ("highway-v0", EXITS[0], "exit"),
        ("highway-v0", GOALS[0], "goal"),
        ("highway-v0", ATTRIBUTES[0], "lane-keeping"),
        ("parking-v0", GOALS[0] | {"features": ["x", "heading"], "scales": [1, 1]}, "heading"),
        ("parking-v0", GOALS[0] | {"scales": [1, 1]}, "scale for each"),
        ("racetrack-v0", TIMES[0], "target speeds"),
        ("lane-keeping-v0", {"type": "AttributesObservation", "attributes": ["time"]}, "but state"),
        ("highway-v0", {"type": "TupleObservation", "observation_configs": []}, "nothing"),
        ("highway-v0", {"type": "TupleObservation", "observation_configs": [EXITS[0]]}, "exit"),
        ("highway-v0", {"type": "GrayscaleObservation"}, "observation_shape"),
    ],
)
def test_an_observation_that_is_not_covered_says_why(
    env_id: str, observation: dict[str, Any], reason: str
) -> None:
    said = uncovered(env_id, default_config(env_id) | {"observation": observation})
    assert said is not None
    assert reason in said
