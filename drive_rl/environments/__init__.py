"""Driving environments with Gymnasium's face: single, vector, compiled and reference."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode

from drive_rl.environments.perceived import perceived, perceived_vec
from drive_rl.environments.vector import make_reference_env, make_reference_vector
from drive_rl.errors import UsageError, unknown
from drive_rl.presets import EnvironmentSpec, environment_names, load_environment

__all__ = ["choose_engine", "covered_by_compiled", "make", "make_vec", "register"]

ENGINES = ("auto", "compiled", "reference")


def make(
    env_id: str | EnvironmentSpec,
    *,
    config: Mapping[str, Any] | None = None,
    engine: str = "auto",
    render_mode: str | None = None,
) -> gymnasium.Env[Any, Any]:
    """One environment.

    Args:
        env_id: a highway-env id, a preset of envs/, a path to a YAML file, or `module:Name-v0`.
        config: highway-env's own configuration keys; they replace the defaults.
        engine: "compiled", "reference" (highway-env itself) or "auto": compiled where it covers
            the configuration, otherwise the reference, which is said once on stderr.
        render_mode: None, "human" or "rgb_array".

    Raises:
        UsageError: an unknown name or key, a value of the wrong kind, or `engine="compiled"` for
            what it does not cover.
    """
    spec = load_environment(env_id, config)
    env: gymnasium.Env[Any, Any]
    if choose_engine(spec, engine) == "compiled":
        from drive_rl.environments.compiled import CompiledEnv

        env = CompiledEnv(spec.base, spec.full_config, render_mode=render_mode)
    else:
        env = make_reference_env(spec, render_mode)
    return perceived(env, spec)


def make_vec(
    env_id: str | EnvironmentSpec,
    num_envs: int,
    *,
    config: Mapping[str, Any] | None = None,
    engine: str = "auto",
    num_threads: int | None = None,
    autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Several environments stepped together.

    Sub-environment i of `reset(seed=s)` is `reset(seed=s + i)` of the single environment,
    whatever the engine, the number of environments and the number of threads.

    Args:
        env_id, config, engine: as for `make`.
        num_envs: how many.
        num_threads: threads of the compiled engine; None takes one per core.
        autoreset_mode: what happens at an episode's end; `final_obs` and `final_info` are laid
            out as Gymnasium does it.

    Raises:
        UsageError: as `make`, and for a count below 1.
    """
    for name, count in (("num_envs", num_envs), ("num_threads", num_threads)):
        if count is not None and (not isinstance(count, int) or count < 1):
            raise UsageError(f"{name} {count!r} is not a whole number of at least 1")
    mode = AutoresetMode(autoreset_mode)
    spec = load_environment(env_id, config)
    envs: gymnasium.vector.VectorEnv[Any, Any, Any]
    if choose_engine(spec, engine) == "compiled":
        from drive_rl.environments.compiled import CompiledVectorEnv

        envs = CompiledVectorEnv(
            spec.base, num_envs, spec.full_config, num_threads=num_threads, autoreset_mode=mode
        )
        envs.spec_env = spec
    else:
        envs = make_reference_vector(spec, num_envs, mode)
    return perceived_vec(envs, spec)


def choose_engine(spec: EnvironmentSpec, engine: str) -> str:
    """ "compiled" or "reference" for a configuration; says once why "auto" falls back.

    Raises:
        UsageError: an unknown engine, or "compiled" for what it does not cover.
    """
    if engine not in ENGINES:
        raise unknown("engine", str(engine), ENGINES)
    if engine == "reference":
        return engine
    reason = covered_by_compiled(spec)
    if reason is None:
        return "compiled"
    if engine == "compiled":
        raise UsageError(f"engine 'compiled' does not cover {spec.id}: {reason}; use 'reference'")
    _say_once(f"{spec.id}: using the reference engine (highway-env itself), because {reason}")
    return "reference"


def covered_by_compiled(spec: EnvironmentSpec) -> str | None:
    """None where the compiled engine covers a configuration exactly, else why it does not."""
    if spec.max_episode_steps is not None:
        return "max_episode_steps is set"
    from drive_rl.environments.compiled import uncovered

    return uncovered(spec.base, spec.full_config)


@functools.cache
def _say_once(message: str) -> None:
    print(f"drive-rl: {message}", file=sys.stderr)


def register() -> None:
    """Register every environment with Gymnasium as `drive_rl/<id>`."""
    for name in environment_names():
        identifier = f"drive_rl/{name}"
        if identifier not in gymnasium.registry:
            gymnasium.register(
                id=identifier,
                entry_point="drive_rl.environments:make",
                vector_entry_point="drive_rl.environments:_make_vec_for_gymnasium",
                kwargs={"env_id": name},
            )


def _make_vec_for_gymnasium(
    num_envs: int, env_id: str, **kwargs: Any
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    kwargs.pop("render_mode", None)
    return make_vec(env_id, num_envs, **kwargs)
