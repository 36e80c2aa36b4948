"""Scenes: how each is populated, rewarded and ended. One module per scene.

A scene module has

`REWARDS`: the names of `info["rewards"]`, in highway-env's order, each with the type (float, bool
    or int) that highway-env gives it.
`Options`: a NamedTuple of arrays: the scene's own configuration keys as one record
    (`scene: recarray (1,)` of the module's `OPTIONS_DTYPE`), lane rows that it refers to by name,
    path tables (`Map.paths`), target speeds of its own...
`capacity(config, roads) -> Capacity`: room for one environment (rows for the most vehicles,
    objects, route steps and agents that it can ever hold).
`options(env_id, config, roads, settings) -> Options`: read the keys. `roads` is the
    `network.Map`. A scene that changes the driver models (intersection) changes the record
    `settings.common[0]` here.
`reset(state, network, settings, options, mask, low, high)`: a `kernel`. For each environment in
    `[low, high)` with `mask[env]`: `road = road_of(state, env)`, then `begin(road)`, then populate
    with `vehicles.append_vehicle` and friends, drawing from `random` in highway-env's order.
`populate`, as `reset` (optional): what is there before the agents are, where the traffic has
    `settings.common[0].warm_up` frames for itself first; `reset` then goes on with the same road.
`evaluate(state, network, settings, options, actions, reward, terms, terminated, truncated, low,
    high)`: a `kernel`. What highway-env's `_reward`, `_rewards`, `_is_terminated` and
    `_is_truncated` say of each environment: `reward` is (num_envs,), `terms` (num_envs,
    len(REWARDS)) f8, the last two
    (num_envs,) bool; `actions` (num_envs, num_agents, action_size) f8.
`after_observing(state, network, settings, options, mask, low, high)` (optional): a `kernel`, what
    happens at the end of highway-env's `step`, after observing (intersection: clear and spawn),
    in each environment with `mask[env]`, before a finished episode is reset.
`AGENT_INFO` and `evaluate_agents(state, network, settings, options, out, low, high)` (optional):
    names and types of what highway-env's `_info` says of each agent, and a `kernel` that writes it
    to `out`, (num_envs, num_agents, len(AGENT_INFO)) f8.
`OBSERVES_FIRST` (optional): True where a step observes after acting and before moving.

Everything else (frames, decisions, collisions, observing, auto-reset) is the engine's. Kernels are
compiled by signature, so values, counts and sizes never cause a recompilation: keep options in
records and arrays, not in tuples of Python numbers.

To add one: write the module, then name it in `SCENES` with the ids that it serves.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# highway-env's id -> module
SCENES = {
    "highway-v0": "highway",
    "highway-fast-v0": "highway",
    "merge-v0": "merge",
    "merge-v1": "merge",
    "merge-generic-v0": "merge_generic",
    "merge-generic-v1": "merge_generic",
    "exit-v0": "exit",
    "exit-v1": "exit",
    "two-way-v0": "two_way",
    "u-turn-v0": "u_turn",
    "u-turn-v1": "u_turn",
    "roundabout-v0": "roundabout",
    "roundabout-v1": "roundabout",
    "roundabout-generic-v0": "roundabout_generic",
    "roundabout-generic-v1": "roundabout_generic",
    "intersection-v0": "intersection",
    "intersection-v1": "intersection",
    "intersection-v2": "intersection",
    "intersection-multi-agent-v0": "intersection",
    "intersection-multi-agent-v1": "intersection",
    "intersection-multi-agent-v2": "intersection",
    "racetrack-v0": "racetrack",
    "racetrack-v1": "racetrack",
    "racetrack-large-v0": "racetrack",
    "racetrack-large-v1": "racetrack",
    "racetrack-oval-v0": "racetrack",
    "racetrack-oval-v1": "racetrack",
    "parking-v0": "parking",
    "parking-ActionRepeat-v0": "parking",
    "parking-parked-v0": "parking",
    "lane-keeping-v0": "lane_keeping",
}


def scene_of(env_id: str) -> Any:
    """The module of the scene that highway-env registers under this id."""
    return import_module(f"{__name__}.{SCENES[env_id]}")
