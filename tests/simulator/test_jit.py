"""What the decorators promise: helpers belong to kernels, and are compiled once for all numbers."""

from __future__ import annotations

import pytest
from numba.core import config

from drive_rl.simulator.jit import bare, inlined, jit, kernel


@jit
def scaled(x, factor):
    return x * factor


@bare
def shifted(x, by):
    return x + by


@inlined
def both(x):
    return scaled(shifted(x, 1), 2) + scaled(shifted(x, 3), 4)


@kernel
def entry(x):
    return both(x)


compiled_only = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")


@compiled_only
@pytest.mark.parametrize("helper", [scaled, shifted])
def test_a_helper_called_from_python_says_that_it_belongs_to_kernels(helper):
    with pytest.raises(TypeError, match=f"{helper.__name__} is a helper of kernels"):
        helper(2, 3)
    assert entry(5) == 2 * 6 + 4 * 8
    with pytest.raises(TypeError, match=f"{helper.__name__} is a helper of kernels"):
        helper(2, 3)  # also where kernels have compiled it for these types


@compiled_only
def test_a_helper_is_compiled_once_whatever_the_literals():
    assert entry(5) == 44
    assert len(entry.overloads) == 1
    assert len(scaled.overloads) <= 1  # none where the kernel was read from disk
    assert len(shifted.overloads) <= 1
