"""The vector environment is Gymnasium's over highway-env, in each of the three reset modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from drive_rl.environments.compiled import CompiledVectorEnv
from drive_rl.environments.vector import make_reference_env
from drive_rl.presets import load_environment

COUNT = 3
CONFIG = {"vehicles_count": 8, "duration": 4}


def both(mode: AutoresetMode) -> tuple[Any, Any]:
    spec = load_environment("highway-fast-v0", CONFIG)
    make = lambda: make_reference_env(spec, reward_per_agent=False)  # noqa: E731
    reference = SyncVectorEnv([make] * COUNT, autoreset_mode=mode)
    return reference, CompiledVectorEnv(
        spec.base, COUNT, spec.full_config, num_threads=1, autoreset_mode=mode
    )


def assert_same_info(reference: dict[str, Any], compiled: dict[str, Any]) -> None:
    """Every key of highway-env's, with its mask; nested infos too."""
    for name, value in reference.items():
        if name in ("action", "_action"):  # of a reset, highway-env gives an unseeded sample
            continue
        if isinstance(value, dict):
            assert_same_info(value, compiled[name])
        elif name == "final_obs":
            for mine, theirs in zip(compiled[name], value, strict=True):
                assert (mine is None) == (theirs is None)
                if theirs is not None:
                    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
        else:
            np.testing.assert_allclose(
                np.asarray(compiled[name], np.float64),
                np.asarray(value, np.float64),
                rtol=0,
                atol=1e-6,
                err_msg=name,
            )


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_resets_come_when_and_as_gymnasium_has_them(mode):
    reference, compiled = both(mode)
    rng = np.random.default_rng(3)
    expected, info = reference.reset(seed=20)
    observations, said = compiled.reset(seed=20)
    np.testing.assert_allclose(observations, expected, rtol=0, atol=1e-6)
    assert_same_info(info, said)
    ends = 0
    for _ in range(24):
        actions = rng.integers(0, 5, COUNT)
        expected, rewards, terminated, truncated, info = reference.step(actions)
        observations, r, ended, limited, said = compiled.step(actions)
        np.testing.assert_allclose(observations, expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(r, rewards, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(ended, terminated)
        np.testing.assert_array_equal(limited, truncated)
        assert_same_info(info, said)
        over = terminated | truncated
        ends += over.sum()
        if mode == AutoresetMode.DISABLED and over.any():
            expected, info = reference.reset(options={"reset_mask": over.copy()})
            observations, said = compiled.reset(options={"reset_mask": over.copy()})
            np.testing.assert_allclose(observations, expected, rtol=0, atol=1e-6)
            assert_same_info(info, said)
    assert ends >= COUNT
