"""The simulator's random streams are numpy's, draw for draw."""

from __future__ import annotations

import numpy as np
import pytest

from drive_rl.simulator import random
from drive_rl.simulator import state as st
from drive_rl.simulator.jit import kernel

UNIFORM, NORMAL, FEW, MANY, PAIR = range(5)


@kernel
def draw(environments, what, out):
    env = environments[0]
    for k in range(out.shape[0]):
        if what == UNIFORM:
            out[k] = random.uniform(env, 3.5, 4.5)
        elif what == NORMAL:
            out[k] = random.standard_normal(env)
        elif what == FEW:
            out[k] = random.integers(env, 4)
        elif what == MANY:
            out[k] = random.integers(env, 3_000_000_000)
        else:
            first, second = random.choice_pair(env, 4)
            out[k] = 10 * first + second


@kernel
def shuffle(environments, rows):
    random.shuffle_rows(environments[0], rows)


@kernel
def weigh(environments, cumulated, out):
    for k in range(out.shape[0]):
        out[k] = random.choice_weighted(environments[0], cumulated)


@pytest.mark.parametrize("seed", [0, 12345])
def test_draws_of_all_kinds_in_turn_equal_numpys(seed):
    environments = st.allocate(1, st.Capacity(1)).environments
    random.seed(environments, 0, seed)
    rng = np.random.default_rng(seed)

    def pair():
        first, second = rng.choice(range(4), size=2, replace=False)
        return 10 * first + second

    numpys = {
        UNIFORM: lambda: rng.uniform(3.5, 4.5),
        NORMAL: rng.normal,
        FEW: lambda: rng.choice([0, 1, 2, 3]),
        MANY: lambda: rng.integers(3_000_000_000),
        PAIR: pair,
    }
    for what in (FEW, UNIFORM, MANY, PAIR, FEW, NORMAL):
        out = np.zeros(999)  # odd, so that half draws are left over
        draw(environments, what, out)
        np.testing.assert_array_equal(out, [numpys[what]() for _ in out])
    many = np.zeros(200_000)  # reaches the ziggurat's edges and tail
    draw(environments, NORMAL, many)
    np.testing.assert_array_equal(many, rng.standard_normal(len(many)))
    ours = np.arange(40.0).reshape(10, 4)
    theirs = ours.copy()
    for _ in range(20):
        shuffle(environments, ours[1:])
        rng.shuffle(theirs[1:])
    np.testing.assert_array_equal(ours, theirs)
    weights = np.arange(6) / 15
    cumulated = weights.cumsum()
    out = np.zeros(500)
    weigh(environments, cumulated / cumulated[-1], out)
    expected = [rng.choice(np.arange(6), size=1, p=weights)[0] for _ in out]
    np.testing.assert_array_equal(out, expected)
    assert random.get_generator(environments, 0) == rng.bit_generator.state
