"""A frame of a road: everybody acts, everybody moves, collisions happen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from drive_rl.simulator import collisions, neighbours, regulation
from drive_rl.simulator import network as net
from drive_rl.simulator.behavior import (
    Urges,
    act_agent,
    act_vehicle,
    allocate_urges,
    work_out_urges,
)
from drive_rl.simulator.collisions import Pairs
from drive_rl.simulator.jit import bare, jit, kernel, merged
from drive_rl.simulator.neighbours import Index
from drive_rl.simulator.settings import Settings
from drive_rl.simulator.state import State, road_of
from drive_rl.simulator.tracing import record_bodies
from drive_rl.simulator.vehicles import step_vehicle


class Scratch(NamedTuple):
    """Working memory of one thread, used for one environment after the other."""

    index: Index  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    pairs: Pairs
    urges: Urges
    ahead: Any  # (max_vehicles, LOOKS, 3) f8: of the road's rules


@jit
def allocate_scratch(state):  # type: ignore[no-untyped-def]
    """Working memory for any environment of a state."""
    max_vehicles = state.vehicles.shape[1]
    return Scratch(
        neighbours.allocate_index(max_vehicles, state.objects.shape[1]),
        collisions.allocate_pairs(max_vehicles),
        allocate_urges(max_vehicles),
        np.empty((max_vehicles, regulation.LOOKS, 3)),
    )


@merged
def begin_frames(road, network, scratch):  # type: ignore[no-untyped-def]
    """Prepare the working memory for the frames of a road; again whenever its bodies change."""
    if network.shape[0].parallel:
        neighbours.start_index(scratch.index, road)
        neighbours.sort_index(scratch.index, road, network)


@merged
def act_road(road, network, settings, scratch):  # type: ignore[no-untyped-def]
    """Road.act: vehicles decide in list order, each seeing what earlier ones have decided."""
    work_out_urges(road, network, settings, scratch.urges)
    for i in range(road.environment[0].num_vehicles):
        act_vehicle(road, network, settings, scratch.index, scratch.urges, i)


@merged
def step_road(road, network, settings, scratch, rules):  # type: ignore[no-untyped-def]
    """Road.step (or RegulatedRoad.step): one frame of movement, and its collisions.

    `rules` is `settings.rules`.
    """
    dt = settings.common[0].dt
    if rules is not None:
        regulation.enforce(road, network, settings, scratch.ahead)
    for i in range(road.environment[0].num_vehicles):
        step_vehicle(road, network, road.vehicles[i], dt)
    if network.shape[0].parallel:
        neighbours.sort_index(scratch.index, road, network)
    collisions.handle_collisions(road, network, scratch.index, scratch.pairs, dt)


@kernel
def act(state, network, settings, actions, low, high):  # type: ignore[no-untyped-def]
    """Give the agents their actions and nothing more (scenes that observe before they move)."""
    for env in range(low, high):
        act_agents(road_of(state, env), network, settings, actions[env])


@bare
def act_agents(road, network, settings, actions):  # type: ignore[no-untyped-def]
    """Give each agent of a road its row of actions, (num_agents, action_size)."""
    for agent in range(actions.shape[0]):
        i = road.agents[agent]
        act_agent(road, network, settings, road.vehicles[i], road.routes[i], actions[agent])


@bare
def run_frames(road, network, settings, scratch, rules, frames, actions, trace):  # type: ignore[no-untyped-def]
    """Let frames pass; agents are given `actions`, (num_agents or 0, size), once per decision.

    `trace` is this environment's part, (1 or 0, frames, bodies, fields).

    One function for all of a frame: calling one per stage costs a tenth.
    """
    environment = road.environment[0]
    per_decision = settings.common[0].frames
    begin_frames(road, network, scratch)
    for frame in range(frames):
        if environment.steps % per_decision == 0:
            act_agents(road, network, settings, actions)
        act_road(road, network, settings, scratch)
        step_road(road, network, settings, scratch, rules)
        environment.steps += 1
        if trace.shape[0] > 0:
            record_bodies(road, trace[0, frame])


@kernel
def run(state, network, settings, frames, actions, trace, mask, low, high):  # type: ignore[no-untyped-def]
    """Let `frames` frames pass in the environments of `mask` (num_envs,) that are in [low, high).

    `actions` is (num_envs, num_agents, action_size) f8, without agents where none are there yet;
    `trace` as `tracing.allocate_trace` makes it, or without room.
    """
    scratch = allocate_scratch(state)
    for env in range(low, high):
        if mask[env]:
            seen = trace[env : env + 1]
            run_frames(
                road_of(state, env), network, settings, scratch,
                settings.rules, frames, actions[env], seen,
            )  # fmt: skip


@kernel
def pass_time(state, settings, low, high):  # type: ignore[no-untyped-def]
    """The clock of a decision: AbstractEnv.step."""
    for env in range(low, high):
        state.environments[env].time += settings.common[0].decision
        state.environments[env].decisions += 1


def simulate(
    state: State,
    network: Any,
    settings: Settings,
    actions: Any,
    trace: Any,
    mask: Any,
    low: int,
    high: int,
) -> None:
    """One decision of those environments: AbstractEnv._simulate."""
    pass_time(state, settings, low, high)
    frames = settings.common[0].frames
    run(state, network, settings, frames, actions, trace, mask, low, high)


@kernel
def finish(state, settings, terminated, truncated, done, low, high):  # type: ignore[no-untyped-def]
    """After evaluating: the registered time limit, and which episodes are over."""
    limit = settings.common[0].max_decisions
    for env in range(low, high):
        if limit > 0 and state.environments[env].decisions >= limit:
            truncated[env] = True
        done[env] = terminated[env] or truncated[env]


@kernel
def describe(state, network, speed, crashed, on_road, lane_index, low, high):  # type: ignore[no-untyped-def]
    """What info says of the first agent of each environment."""
    for env in range(low, high):
        ego = state.vehicles[env, state.agents[env, 0]]
        speed[env] = ego.speed
        crashed[env] = ego.crashed
        s, lateral = net.local_coordinates(network, ego.lane, ego.x, ego.y)
        on_road[env] = net.is_on_lane(network, ego.lane, s, lateral, 0.0)
        lane_index[env] = network.lanes[ego.lane].id
