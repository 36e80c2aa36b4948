"""KinematicsGoal: the agent and its goal, for goal-conditioned agents (parking).

Equals highway-env's KinematicsGoalObservation, in double precision as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator.jit import kernel
from drive_rl.simulator.network import Map
from drive_rl.simulator.observations.kinematics import FEATURES, feature_of
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import Capacity, road_of

DTYPE = np.float64

PARTS = ("observation", "achieved_goal", "desired_goal")


class Options(NamedTuple):
    """The observation's own keys."""

    features: Any  # (n,) i8, indices in FEATURES
    scales: Any  # (n,) f8: what each feature is divided by


def _features(config: Mapping[str, Any]) -> list[str]:
    return list(config.get("features") or FEATURES[:5])


def options(config: Mapping[str, Any], roads: Map, settings: Settings) -> Options:
    """Read the keys of an observation configuration of type KinematicsGoal."""
    features = [FEATURES.index(name) for name in _features(config)]
    return Options(np.array(features, np.int64), np.array(config["scales"], np.float64))


def shape(
    config: Mapping[str, Any], roads: Map, settings: Settings, capacity: Capacity
) -> tuple[int, ...]:
    """The three parts after one another."""
    return (len(PARTS) * len(_features(config)),)


def fields(config: Mapping[str, Any]) -> dict[str, slice]:
    """Which part is which."""
    n = len(_features(config))
    return {name: slice(k * n, (k + 1) * n) for k, name in enumerate(PARTS)}


@kernel
def observe(state, network, settings, options, mask, out, low, high):  # type: ignore[no-untyped-def]
    """Fill `out` (num_envs, num_agents, 3 * features)."""
    n = options.features.shape[0]
    for env in range(low, high):
        if not mask[env]:
            continue
        road = road_of(state, env)
        for agent in range(out.shape[1]):
            ego = road.agents[agent]
            me = road.vehicles[ego]
            goal = road.objects[me.goal]
            for k in range(n):
                feature, scale = options.features[k], options.scales[k]
                reached = feature_of(network, me, road.routes[ego], feature, True) / scale
                out[env, agent, k] = out[env, agent, n + k] = reached
                wanted = feature_of(network, goal, road.routes[ego], feature, True) / scale
                out[env, agent, 2 * n + k] = wanted
