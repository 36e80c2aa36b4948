"""`evaluate`: several policies on the same episodes, and what can be said of them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from drive_rl.environments import choose_engine
from drive_rl.errors import UsageError, unknown
from drive_rl.evaluation import policies as policies_module
from drive_rl.evaluation.baselines import Baseline, baseline_names
from drive_rl.evaluation.companion import Companion
from drive_rl.evaluation.comparison import across_seeds, against_others, share_of_the_way
from drive_rl.evaluation.details import details_of, extras_of, learning_curve, run_facts
from drive_rl.evaluation.driving import DrivingObserver
from drive_rl.evaluation.episodes import DecisionLog
from drive_rl.evaluation.metrics import columns_of, estimates
from drive_rl.evaluation.recording import make_recording_vec
from drive_rl.evaluation.results import Evaluation, PolicyResult
from drive_rl.evaluation.rollout import Episodes, drive, longest_episode
from drive_rl.evaluation.score import driving_score, fast_speed
from drive_rl.evaluation.senses import as_trained, with_senses
from drive_rl.presets import EnvironmentSpec, load_environment
from drive_rl.revision import git_revision

COMPILED_ENVS = 256
"""Environments side by side on the compiled engine: enough to feed its threads."""

SHARED = 200
"""Episodes from which on a second process for the baselines is worth its start."""

CARDS = 100
"""Crashes of a policy that a report shows, at most: all of them in as many episodes."""

_IMAGES = ("CameraObservation", "GrayscaleObservation")

Progress = Callable[[str, int, int], None]
"""Called with a policy's name, its episodes driven so far and their number."""


def evaluate(
    policy: Any,
    env_id: str | EnvironmentSpec | None = None,
    *,
    episodes: int = 100,
    seed: int = 0,
    num_envs: int | None = None,
    engine: str = "auto",
    baselines: Sequence[str] = ("random", "idle"),
    config: Mapping[str, Any] | None = None,
    deterministic: bool = True,
    max_steps: int | None = None,
    num_threads: int | None = None,
    parallel: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score policies on a fixed set of episodes, beside baselines on the same.

    The figures depend on the policies, the environment, `episodes` and `seed`, and on nothing
    else: not on `num_envs`, threads, or the order of the policies.

    Args:
        policy: a policy or a list of them: a run or checkpoint folder, the name of a shipped
            policy or of a baseline, or an object with `predict(observations)`.
        env_id: the environment, as `make` takes it; None takes the first policy's own.
        episodes: how many; episode k is `reset(seed=seed + k)`.
        num_envs: environments side by side; None chooses: many of the compiled engine, one of
            the reference.
        engine: "auto", "compiled" or "reference".
        baselines: names of baselines to drive the same episodes.
        config: highway-env configuration on top of the environment's.
        deterministic: each policy's best action; else actions drawn from its distribution.
        max_steps: decisions after which an episode ends; None takes the scene's own end, or 100
            simulated seconds where it has none (`rollout.longest_episode`).
        parallel: with `num_envs` None, let the reference engine use a worker process per core,
            and of many episodes let one drive the baselines. They are spawned, so a script then
            needs `if __name__ == "__main__":`, as it does with `num_envs` above 1.
        progress: told after every episode.

    Raises:
        UsageError: an unknown name, a count below 1, no environment, or a policy that was
            trained for other observations or actions.
    """
    for name, count in (("episodes", episodes), ("num_envs", num_envs), ("max_steps", max_steps)):
        if count is not None and (isinstance(count, bool) or count < 1 or count != int(count)):
            raise UsageError(f"{name} {count!r} is not a whole number of at least 1")
    if isinstance(seed, bool) or seed != int(seed) or seed < 0:
        raise UsageError(f"seed {seed!r} is not a whole number of at least 0")
    for name in baselines:
        if name not in baseline_names():
            raise unknown("baseline", str(name), baseline_names())

    asked = policy if isinstance(policy, (list, tuple)) else [policy]
    if not asked:
        raise UsageError("no policy to evaluate")
    asked_for = {each.name if isinstance(each, Baseline) else str(each) for each in asked}
    baselines = [name for name in baselines if name not in asked_for]
    many = bool(baselines) and parallel and episodes >= SHARED and (os.cpu_count() or 1) > 1
    with Companion(progress) if many else contextlib.nullcontext() as companion:
        loaded = [_Loaded(*policies_module.load(each), "policy", _named(each)) for each in asked]
        loaded += [_Loaded(*policies_module.load(name), "baseline", None) for name in baselines]
        scene = _scene([each.policy for each in loaded], env_id, config)
        untouched = env_id is None and config is None
        settings: dict[str, Any] = {
            "episodes": episodes,
            "seed": seed,
            "num_envs": num_envs,
            "engine": engine,
            "deterministic": deterministic,
            "max_steps": max_steps,
            "num_threads": num_threads,
            "parallel": parallel,
        }
        jobs: list[dict[str, Any]] = [
            {
                "loaded": each._replace(name=name),
                "spec": _as_seen_by(each.policy, scene, untouched),
                **settings,
            }
            for name, each in zip(_unique([each.name for each in loaded]), loaded, strict=True)
        ]
        # The reference engine has a process per core already.
        if companion is None or choose_engine(scene, engine) != "compiled":
            results = [_drive_one(**job, progress=progress) for job in jobs]
        else:
            here, there = jobs[: len(asked)], jobs[len(asked) :]
            companion.ask(_drive_one, there)
            told = _both(progress, companion)
            results = [_drive_one(**job, progress=told) for job in here] + companion.results()
    results = _with_share_of_the_way(results, seed)
    about = {
        "deterministic": deterministic,
        "max_steps": max_steps if max_steps is not None else longest_episode(scene),
        "confidence": 0.95,
        "scene": {"id": scene.id, "base": scene.base, "config": scene.config},
        "fast_speed": fast_speed(scene),
        "comparisons": against_others(results, seed),
        "across_seeds": across_seeds(results, seed=seed),
        "versions": versions(),
        "commit": git_revision(),
        "device": "cpu",
    }
    return Evaluation(scene.id, episodes, seed, tuple(results), about)


def _both(progress: Progress | None, companion: Companion) -> Progress:
    """Progress here, and what the companion has said of its own."""

    def told(name: str, done: int, total: int) -> None:
        if progress is not None:
            progress(name, done, total)
        companion.look()

    return told


class _Loaded(NamedTuple):
    """A policy to drive: its name, itself, "policy" or "baseline", how its user named it."""

    name: str
    policy: Any
    kind: str
    named: str | None


def _drive_one(
    loaded: _Loaded,
    spec: EnvironmentSpec,
    *,
    episodes: int,
    seed: int,
    num_envs: int | None,
    engine: str,
    deterministic: bool,
    max_steps: int | None,
    num_threads: int | None,
    parallel: bool,
    progress: Progress | None,
) -> PolicyResult:
    name, policy, kind, named = loaded
    chosen = choose_engine(spec, engine)
    if num_envs is None:
        # Worker processes take seconds to start; for a few episodes one environment is quicker.
        processes = min(os.cpu_count() or 1, episodes // 8 + 1) if parallel else 1
        num_envs = COMPILED_ENVS if chosen == "compiled" else processes
    num_envs = min(num_envs, episodes)
    envs = make_recording_vec(spec, num_envs, engine=chosen, num_threads=num_threads)
    frame = 1.0 / float(spec.full_config["simulation_frequency"])
    shown = CARDS if kind == "policy" else 0
    driving = DrivingObserver(num_envs, episodes, frame, keep_traces=shown)
    log = DecisionLog(num_envs, keep_crashes=shown)
    if progress is not None:
        progress(name, 0, episodes)
    try:
        driven = drive(
            policy,
            envs,
            episodes=episodes,
            seed=seed,
            max_steps=max_steps,
            deterministic=deterministic,
            observers=(driving, log),
            progress=None if progress is None else lambda done: progress(name, done, episodes),
        )
    finally:
        envs.close()
    columns = _columns(driven, driving, spec)
    extras = extras_of(driving)
    folder = getattr(policy, "run_path", named)
    curve = learning_curve(folder) if folder is not None else None
    if curve is not None:
        extras["learning_curve"] = curve
    return PolicyResult(
        name=name,
        kind=kind,
        metrics=estimates(columns, seed=seed),
        episodes=columns,
        engine=chosen,
        about=_about(policy, named),
        extras=extras,
        details=details_of(policy, spec, chosen, seed, driving, log),
    )


def _columns(
    driven: Episodes, driving: DrivingObserver, spec: EnvironmentSpec
) -> dict[str, npt.NDArray[Any]]:
    """All that is known of each episode."""
    # Distances of simulation steps are exact, and end where a crash ends the driving.
    columns = columns_of(driven) | driving.columns
    if driving.seen:
        kinds = [
            driving.crashes[k].kind if k in driving.crashes else "" for k in range(len(driven))
        ]
        columns["crash_kind"] = np.array(kinds)
    score = driving_score(columns, fast_speed(spec))
    if score is not None:
        columns["score"] = score
    return columns


def _with_share_of_the_way(results: list[PolicyResult], seed: int) -> list[PolicyResult]:
    """Say how far each is on the way from random to planner, where both have driven."""
    named = {result.name: result for result in results}
    if "random" not in named or "planner" not in named:
        return results
    bottom, top = (named[name].episodes["return"] for name in ("random", "planner"))
    return [
        dataclasses.replace(
            result,
            extras={
                **result.extras,
                "share_of_the_way": share_of_the_way(
                    result.episodes["return"], bottom, top, seed
                ).to_json(),
            },
        )
        for result in results
    ]


def _scene(
    drivers: Sequence[Any], env_id: str | EnvironmentSpec | None, config: Mapping[str, Any] | None
) -> EnvironmentSpec:
    """The environment that all policies drive in."""
    if env_id is not None:
        return load_environment(env_id, config)
    for each in drivers:
        own = _own_environment(each)
        if own is not None:
            return load_environment(own, config)
    raise UsageError("no environment to evaluate in: name one, or a policy that has its own")


def _own_environment(policy: Any) -> EnvironmentSpec | None:
    """The environment that a policy was trained in, where it knows."""
    own = getattr(getattr(policy, "spec", None), "env", None)
    return own if isinstance(own, EnvironmentSpec) else None


def _as_seen_by(policy: Any, scene: EnvironmentSpec, is_own: bool) -> EnvironmentSpec:
    """The scene with the observation and the actions that this policy was trained with.

    The traffic is the same for all: what one observes does not change it.
    """
    own = _own_environment(policy)
    if own is not None:
        if is_own and own == scene:
            return scene
        _check_actions(policy, scene, own)
        return as_trained(scene, own)
    if isinstance(policy, Baseline) and scene.full_config["observation"]["type"] in _IMAGES:
        # Baselines do not look; drawing frames for them is most of the work.
        return with_senses(scene, {"observation": {"type": "Kinematics"}})
    return scene


def _check_actions(policy: Any, scene: EnvironmentSpec, own: EnvironmentSpec) -> None:
    """Refuse a policy of meta-actions where highway-env's own vehicles do not know them."""
    trained, usual = (spec.full_config["action"]["type"] for spec in (own, scene))
    steered = scene.base.rpartition(":")[2].startswith(("racetrack", "lane-keeping"))
    if steered and trained == "DiscreteMetaAction":
        name = getattr(policy, "name", type(policy).__name__)
        raise UsageError(
            f"{name} chooses {trained}, and {scene.id} is driven with {usual}: "
            f"evaluate it where it was trained, --env {own.id}"
        )


def _named(policy: Any) -> str | None:
    """What a user typed to name a policy that was trained."""
    if isinstance(policy, (str, os.PathLike)) and policy not in baseline_names():
        return os.fspath(policy)
    folder = getattr(policy, "run_path", None)
    return None if folder is None else os.fspath(folder)


def _about(policy: Any, named: str | None) -> dict[str, Any]:
    """Where a policy comes from, as far as that is known."""
    about: dict[str, Any] = {}
    if named is not None:
        about["path"] = named
    about |= run_facts(getattr(policy, "run_path", None))
    step = getattr(policy, "step", None)
    if isinstance(step, int):
        about["step"] = step
    agent = getattr(getattr(policy, "spec", None), "agent", None)
    if agent is not None:
        about["algo"] = agent.algo
        about["trained_in"] = policy.spec.env.id
        about["training_seed"] = policy.spec.seed
    return about


def _unique(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that occur before: "ppo", "ppo (2)"."""
    unique: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in unique:
            count += 1
            candidate = f"{name} ({count})"
        unique.append(candidate)
    return unique


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("drive-rl", "highway-env", "gymnasium", "numpy", "numba"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "torch" in sys.modules:
        found["torch"] = importlib.metadata.version("torch")
    return found
