"""What the compiled engine covers, as tables: `python -m drive_rl.environments.coverage`.

The command prints docs/coverage.md. Nothing is written there by hand: every entry is what
`uncovered` says of a configuration, and the tests play each covered one beside highway-env.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from drive_rl.catalogue import default_config, scene_ids
from drive_rl.environments.compiled import uncovered

Config = dict[str, Any]

_TRAFFIC = "highway_env.vehicle.behavior."

ACTIONS: dict[str, Config] = {
    "DiscreteMetaAction": {"type": "DiscreteMetaAction"},
    "DiscreteAction": {"type": "DiscreteAction", "actions_per_axis": 4},
    "ContinuousAction": {"type": "ContinuousAction"},
    "one axis": {"type": "ContinuousAction", "longitudinal": False},
    "tyre slip": {"type": "ContinuousAction", "longitudinal": False, "dynamical": True},
}
TRAFFIC = ("IDMVehicle", "LinearVehicle", "AggressiveVehicle", "DefensiveVehicle")
OBSERVATIONS: dict[str, Config] = {
    "Kinematics": {
        "type": "Kinematics",
        "vehicles_count": 7,
        "features": ["presence", "x", "y", "vx", "vy", "cos_h", "sin_h", "cos_d", "long_off"],
        "see_behind": True,
        "order": "shuffled",
    },
    "OccupancyGrid": {
        "type": "OccupancyGrid",
        "features": ["presence", "vx", "heading", "on_road"],
        "grid_size": [[-20, 40], [-12.5, 12.5]],
        "grid_step": [4, 2.5],
        "align_to_vehicle_axes": True,
        "as_image": True,
    },
    "LidarObservation": {"type": "LidarObservation", "cells": 24, "maximum_range": 70},
    "TimeToCollision": {"type": "TimeToCollision", "horizon": 8},
    "ExitObservation": {"type": "ExitObservation", "vehicles_count": 9},
    "KinematicsGoal": {
        "type": "KinematicsGoal",
        "features": ["x", "y", "vx", "vy", "cos_h", "sin_h"],
        "scales": [100, 100, 5, 5, 1, 1],
    },
    "AttributesObservation": {
        "type": "AttributesObservation",
        "attributes": ["reference_state", "derivative", "state"],
    },
    "TupleObservation": {
        "type": "TupleObservation",
        "observation_configs": [
            {"type": "LidarObservation"},
            {"type": "Kinematics", "order": "shuffled"},
        ],
    },
    "GrayscaleObservation": {
        "type": "GrayscaleObservation",
        "observation_shape": [84, 84],
        "stack_size": 4,
        "weights": [0.3, 0.6, 0.1],
    },
}

# A value of each key that differs from every scene's default
KEYS: Config = {
    "action_reward": -0.55,
    "add_walls": False,
    "after_merge_length": 160,
    "arrived_reward": 1.5,
    "before_merge_length": 140,
    "block_lane": True,
    "collision_reward": -1.7,
    "controlled_vehicles": 2,
    "converge_merge_length": 90,
    "derivative_noise": 0.02,
    "destination": "o3",
    "duration": 3,
    "ego_spacing": 1.2,
    "force_decision": True,
    "goal_reward": 1.3,
    "high_speed_reward": 0.35,
    "incoming_vehicle_destination": 1,
    "initial_lane_id": 1,
    "initial_vehicle_count": 6,
    "lane_centering_cost": 3,
    "lane_centering_reward": 0.9,
    "lane_change_reward": -0.15,
    "lanes_count": 5,
    "left_lane_constraint": 0.7,
    "left_lane_reward": 0.33,
    "length": 130,
    "merging_speed_reward": -0.4,
    "no_lanes": 2,
    "normalize_reward": None,  # the other one
    "offroad_terminal": True,
    "other_vehicles": 3,
    "parallel_merge_length": 95,
    "policy_frequency": 3,
    "reward_speed_range": [5, 22],
    "reward_weights": [1, 0.5, 0.1, 0, 0.1, 0.02],
    "right_lane_reward": 0.25,
    "roundabout_lanes": 3,
    "roundabout_radius": 25,
    "simulation_frequency": 12,
    "spawn_probability": 0.9,
    "speed_limit": 12.5,
    "state_noise": 0.02,
    "steering_range": 0.6,
    "success_goal_reward": 0.3,
    "terminate_off_road": False,
    "vehicles_count": 8,
    "vehicles_density": 1.3,
    "neighbour_vehicles_connected_lanes": None,
}
DRAWING = (
    "centering_position",
    "offscreen_rendering",
    "real_time_rendering",
    "render_agent",
    "scaling",
    "screen_height",
    "screen_width",
    "show_trajectories",
)
# Known limits within what is covered otherwise: a configuration each, whose reason is shown
LIMITS: tuple[tuple[str, Config], ...] = (
    ("highway-v0", {"manual_control": True}),
    ("highway-v0", {"other_vehicles_type": "highway_env.vehicle.controller.ControlledVehicle"}),
    ("highway-v0", {"policy_frequency": 20}),
    ("highway-v0", {"action": {"type": "DiscreteMetaAction", "target_speeds": [25]}}),
    ("highway-v0", {"action": {"type": "DiscreteAction", "actions_per_axis": 1}}),
    ("highway-v0", {"observation": {"type": "Kinematics", "vehicles_count": 1}}),
    ("highway-v0", {"observation": {"type": "Kinematics", "features": ["x", "x"]}}),
    ("highway-v0", {"observation": {"type": "OccupancyGrid", "absolute": True}}),
    (
        "highway-v0",
        {"action": {"type": "ContinuousAction"}, "observation": {"type": "TimeToCollision"}},
    ),
    ("highway-v0", {"controlled_vehicles": 2}),
    ("merge-v0", {"reward_speed_range": [20, 20]}),
    ("exit-v0", {"lanes_count": 1}),
    ("exit-v0", {"lanes_count": 8}),
    ("racetrack-oval-v0", {"no_lanes": 0}),
    ("parking-v0", {"reward_weights": [1, 1]}),
    ("lane-keeping-v0", {"observation": {"type": "AttributesObservation", "attributes": ["time"]}}),
)


class Entry(NamedTuple):
    """A configuration of a scene, and why it is not covered (None if it is)."""

    env_id: str
    axis: str
    option: str
    config: Config
    reason: str | None


def entries(env_id: str) -> Iterator[Entry]:
    """Every entry of the tables for a scene."""
    default = default_config(env_id)
    for axis, option, config in _options(default):
        yield Entry(env_id, axis, option, config, uncovered(env_id, default | config))


def _options(default: Config) -> Iterator[tuple[str, str, Config]]:
    yield "default", "default", {}
    for name, action in ACTIONS.items():
        config = {"action": _for_agents(default["action"], "action_config", action)}
        if default["observation"]["type"] in ("TimeToCollision", "AttributesObservation"):
            config["observation"] = OBSERVATIONS["Kinematics"]  # those look at certain vehicles
        yield "action", name, config
    for name in TRAFFIC:
        yield "traffic", name, {"other_vehicles_type": _TRAFFIC + name}
    for name, observation in OBSERVATIONS.items():
        wrapped = _for_agents(default["observation"], "observation_config", observation)
        yield "observation", name, {"observation": wrapped}
    if "controlled_vehicles" in default:
        yield "agents", "several agents", several_agents(default)
    for key, value in KEYS.items():
        if key in default and key != "controlled_vehicles":
            yield "key", key, {key: not default[key] if value is None else value}


def several_agents(default: Mapping[str, Any], count: int = 3) -> Config:
    """What a configuration needs for several agents, each with the scene's own senses."""
    action, observation = default["action"], default["observation"]
    return {
        "controlled_vehicles": count,
        "action": {
            "type": "MultiAgentAction",
            "action_config": action.get("action_config", action),
        },
        "observation": {
            "type": "MultiAgentObservation",
            "observation_config": observation.get("observation_config", observation),
        },
    }


def _for_agents(default: Config, key: str, own: Config) -> Config:
    """One agent's action or observation, for all agents where the scene has several."""
    return {"type": default["type"], key: own} if key in default else own


def document() -> str:
    """docs/coverage.md."""
    ids = scene_ids()
    found = [entry for env_id in ids for entry in entries(env_id)]
    reasons = list(dict.fromkeys(entry.reason for entry in found if entry.reason))
    marks = {(e.env_id, e.axis, e.option): _mark(e.reason, reasons) for e in found}

    def table(title: str, columns: list[tuple[str, str]]) -> list[str]:
        names = [option for _, option in columns]
        lines = [f"| {title} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for env_id in ids:
            cells = [marks.get((env_id, *column), "") for column in columns]
            lines.append(f"| `{env_id}` | {' | '.join(cells)} |")
        return [*lines, ""]

    keys = []
    for key in sorted(KEYS):
        column = [marks[i, "key", key] for i in ids if (i, "key", key) in marks]
        if column:
            notes = sorted({mark for mark in column if mark != "yes"})
            keys.append(f"| `{key}` | {len(column)} | {', '.join(notes) or 'yes'} |")
    limits = []
    for env_id, config in LIMITS:
        reason = uncovered(env_id, default_config(env_id) | config)
        limits.append(f"| `{env_id}` | `{config}` | {reason} |")
    parts = [
        _INTRODUCTION.format(count=len(ids)).splitlines(),
        table(
            "actions and traffic",
            [("default", "default"), *(("action", name) for name in ACTIONS)]
            + [("agents", "several agents"), *(("traffic", name) for name in TRAFFIC)],
        ),
        table("observations", [("observation", name) for name in OBSERVATIONS]),
        ["Reasons:", ""],
        [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)],
        _KEYS.format(drawing=", ".join(f"`{key}`" for key in DRAWING)).splitlines(),
        ["| key | scenes that have it | covered |", "|---|---|---|", *keys, ""],
        _LIMITS.splitlines(),
        ["| scene | configuration | reason |", "|---|---|---|", *limits],
        _ROUNDING.splitlines(),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _mark(reason: str | None, reasons: list[str]) -> str:
    return f"no ({reasons.index(reason) + 1})" if reason else "yes"


_INTRODUCTION = """\
# What the compiled engine covers

Written by `python -m drive_rl.environments.coverage > docs/coverage.md`; do not edit.

"yes": the compiled engine plays the same episodes as highway-env, from the seed through the resets
after the first end, with the same rewards, ends and infos. `tests/parity/test_coverage.py` plays
each such entry of all {count} scenes beside highway-env. "no": `engine="auto"` takes the reference
engine and says why, `engine="compiled"` is an error. The number is the reason, listed below; most
are things that highway-env itself cannot do there.

Each column changes one thing of the scene's default configuration. "one axis" is a
ContinuousAction for the wheel alone, "tyre slip" the same with `dynamical: true`. "several agents"
are three, with MultiAgentAction and MultiAgentObservation.

"""

_KEYS = """
## Keys

One other value of each key is played; what else holds of its values is under the limits.
Keys for drawing change nothing in an episode: {drawing}.

"""

_LIMITS = """
## Limits

What is not covered in any scene, or not with some values. Each of these is tested to fall back.

"""

_ROUNDING = """

## The last bit

highway-env's own trajectories differ between processors in the last bit: numpy's dot products
round as its BLAS chooses for the processor, and where there is AVX-512, its tan, arctan, arcsin
and arctan2 are not the C library's. Such a bit stays a bit, except where a motion is unstable:
vehicles that are stuck at an intersection, or swerve in curves as LinearVehicle,
AggressiveVehicle and DefensiveVehicle do, make 1e-6 of it within seconds. So the compiled engine
finds out how products round here and does the same, and on regulated roads it calls numpy's own
functions of angles; elsewhere they are the C library's. With `NPY_DISABLE_CPU_FEATURES="X86_V4
AVX512_ICL AVX512_SPR"` in the environment, numpy takes those as well. The tests are run so, and
with `OPENBLAS_CORETYPE=Haswell`, so that they go one way on every processor.
"""


if __name__ == "__main__":
    print(document(), end="")
