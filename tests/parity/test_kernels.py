"""Kernels say what their slow twins say, on traffic drawn at random, ties included."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive_rl.environments.compiled import road_network
from drive_rl.presets import load_environment
from drive_rl.simulator import behavior, collisions, powers
from drive_rl.simulator import neighbours as near
from drive_rl.simulator import state as simulator_state
from drive_rl.simulator.dynamics import allocate_scratch
from drive_rl.simulator.jit import kernel
from drive_rl.simulator.network import flatten
from drive_rl.simulator.settings import settings
from drive_rl.simulator.state import road_of
from drive_rl.simulator.vehicles import DIAGONAL
from tests.parity import naive

LANES = 3
SEEDS = st.integers(0, 2**32 - 1)


@kernel
def ask(state, network, settings, next_to, accelerations, changes):
    """Neighbours (n, lanes, 2), accelerations behind one another (n, n + 1), changes (n, lanes)."""
    scratch = allocate_scratch(state)
    road = road_of(state, 0)
    near.start_index(scratch.index, road)
    near.sort_index(scratch.index, road, network)
    behavior.work_out_urges(road, network, settings, scratch.urges)
    for i in range(next_to.shape[0]):
        for front in range(-1, next_to.shape[0]):
            accelerations[i, front + 1] = behavior.follow_seldom(
                road, network, settings, scratch.urges, i, i, front
            )
        front, _ = near.neighbours(road, network, settings, scratch.index, i, road.vehicles[i].lane)
        own = accelerations[i, front + 1]
        for lane in range(next_to.shape[1]):
            next_to[i, lane] = near.neighbours(road, network, settings, scratch.index, i, lane)
            changes[i, lane] = behavior.mobil(
                road, network, settings, scratch.index, scratch.urges, i, lane, own
            )


@kernel
def meet(bodies, out):
    for k in range(out.shape[0]):
        now, _, _, _ = collisions.intersect(bodies[2 * k], bodies[2 * k + 1], 0.0)
        out[k] = now


@kernel
def power(x, delta, out):
    for k in range(out.shape[0]):
        out[k] = powers.exp(delta[k] * powers.log(x[k]))


@functools.cache
def road() -> Any:
    spec = load_environment("highway-fast-v0", {"lanes_count": LANES})
    return flatten(road_network(spec.base, spec.full_config)), spec.full_config


def traffic(seed: int, count: int) -> Any:
    """Random vehicles on and beside three lanes; positions on a grid, so that some are level."""
    rng = np.random.default_rng(seed)
    state = simulator_state.allocate(1, simulator_state.Capacity(count))
    vehicles = np.asarray(state.vehicles)[0]
    vehicles["kind"] = simulator_state.IDM
    vehicles["x"] = rng.integers(0, 30, count) * 4.0
    vehicles["y"] = np.where(
        rng.random(count) < 0.7, rng.integers(0, 3, count) * 4.0, rng.uniform(-4, 12, count)
    )
    vehicles["heading"] = np.where(rng.random(count) < 0.5, 0.0, rng.uniform(-0.4, 0.4, count))
    vehicles["cos"], vehicles["sin"] = np.cos(vehicles["heading"]), np.sin(vehicles["heading"])
    vehicles["speed"] = rng.uniform(-2, 40, count)
    vehicles["target_speed"] = np.where(rng.random(count) < 0.1, 0.0, rng.uniform(0, 35, count))
    vehicles["delta"] = rng.uniform(3.5, 4.5, count)
    vehicles["lane"] = vehicles["target_lane"] = np.clip(np.rint(vehicles["y"] / 4), 0, 2)
    vehicles["length"], vehicles["width"], vehicles["diameter"] = 5.0, 2.0, DIAGONAL
    vehicles["route_length"] = simulator_state.NO_ROUTE
    state.environments[0].num_vehicles = count
    names = vehicles.dtype.names
    rows = [dict(zip(names, row, strict=True)) for row in vehicles.tolist()]
    return state, rows


@pytest.mark.parametrize("politeness", [0.0, 0.5])
@given(seed=SEEDS)
def test_neighbours_accelerations_and_lane_changes_are_the_twins(politeness, seed):
    roads, config = road()
    chosen = settings(config)
    chosen.common[0].politeness = politeness
    count = 9
    state, rows = traffic(seed, count)
    next_to = np.zeros((count, LANES, 2), np.int64)
    accelerations, changes = np.zeros((count, count + 1)), np.zeros((count, LANES), np.bool_)
    ask(state, roads.network, chosen, next_to, accelerations, changes)
    lanes = roads.network.lanes
    ys, width = lanes.y.tolist(), float(lanes.width[0])
    length, limit = float(lanes.length[0]), float(lanes.speed_limit[0])
    for i in range(count):
        for front in range(-1, count):
            expected = naive.idm(rows, i, i, front, limit)
            assert accelerations[i, front + 1] == pytest.approx(expected, rel=1e-12, abs=1e-12)
        for lane in range(LANES):
            found = tuple(next_to[i, lane].tolist())
            assert found == naive.neighbours(rows, i, ys[lane], width, length)
            assert changes[i, lane] == naive.mobil(
                rows, i, ys, rows[i]["lane"], lane, width, length, limit, politeness
            )


@given(seed=SEEDS)
def test_rectangles_meet_as_their_twins_do(seed):
    rng = np.random.default_rng(seed)
    bodies = np.zeros(60, simulator_state.VEHICLE_DTYPE)
    bodies["x"], bodies["y"] = rng.uniform(-4, 4, (2, 60))
    bodies["heading"] = np.where(rng.random(60) < 0.3, 0.0, rng.uniform(-7, 7, 60))
    bodies["cos"], bodies["sin"] = np.cos(bodies["heading"]), np.sin(bodies["heading"])
    bodies["length"], bodies["width"] = rng.uniform(1, 6, (2, 60))
    found = np.zeros(30, np.bool_)
    meet(bodies.view(np.recarray), found)
    rows = [dict(zip(bodies.dtype.names, row, strict=True)) for row in bodies.tolist()]
    pairs = zip(rows[::2], rows[1::2], strict=True)
    assert found.tolist() == [naive.overlap(a, b) for a, b in pairs]


def test_powers_are_the_c_librarys_to_the_last_digits():
    rng = np.random.default_rng(0)
    x, delta = rng.uniform(0, 2, 20_000), rng.uniform(3.5, 4.5, 20_000)
    x[:3], delta[:3] = (0.0, 1.0, 1e-200), 4.0
    found = np.zeros(len(x))
    power(x, delta, found)
    expected = x**delta
    assert found[0] == 0.0
    assert found[1] == 1.0  # so that whoever drives at the speed wanted keeps it
    assert np.abs(found - expected)[x <= 1].max() < 3e-16
    assert (np.abs(found - expected)[x > 1] / expected[x > 1]).max() < 3e-15
