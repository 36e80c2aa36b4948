"""Environments that a configuration wants seen through an encoder (`perception: {...}`).

Torch is imported only where there is one.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from drive_rl.perception.options import perception_options
from drive_rl.presets import EnvironmentSpec


def perceived(env: gymnasium.Env[Any, Any], spec: EnvironmentSpec) -> gymnasium.Env[Any, Any]:
    """An environment's frames as features, where its configuration wants that.

    Raises:
        UsageError: no such encoder, or frames that it does not read.
    """
    options = perception_options(spec.full_config.get("perception"))
    if options is None:
        return env
    from drive_rl.perception.wrapper import PerceptionObservation, check_unfrozen

    if not options.frozen:
        check_unfrozen(options, env.observation_space)
        return env
    return PerceptionObservation(env, options.encoder, options.output, options.device)


def perceived_vec(
    envs: gymnasium.vector.VectorEnv[Any, Any, Any], spec: EnvironmentSpec
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """As `perceived`, of a vector environment."""
    options = perception_options(spec.full_config.get("perception"))
    if options is None:
        return envs
    from drive_rl.perception.wrapper import PerceptionWrapper, check_unfrozen

    if not options.frozen:
        check_unfrozen(options, envs.single_observation_space)
        return envs
    return PerceptionWrapper(envs, options.encoder, options.output, options.device)
