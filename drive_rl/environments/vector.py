"""The reference engine several times over: in this process, or spread over one process per core.

Worker processes are spawned, never forked: a fork with threads alive (torch, numba, pygame)
copies locks that nobody will release.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from drive_rl.catalogue import scene_class, scene_spec
from drive_rl.environments.reference import ReferenceEnv, ReferenceGoalEnv
from drive_rl.presets import EnvironmentSpec

State = dict[str, NDArray[Any]]
Wrap = Callable[["gymnasium.Env[Any, Any]"], "gymnasium.Env[Any, Any]"]


def make_reference_env(
    spec: EnvironmentSpec, render_mode: str | None = None, reward_per_agent: bool = True
) -> gymnasium.Env[Any, Any]:
    """A ReferenceEnv with the time limit that highway-env registers for its id."""
    cls = ReferenceGoalEnv if hasattr(scene_class(spec.base), "compute_reward") else ReferenceEnv
    env: gymnasium.Env[Any, Any] = cls(spec, render_mode, reward_per_agent)
    limit = scene_spec(spec.base).max_episode_steps
    return _TimeLimit(env, limit) if limit else env


def _of(state: State, index: int) -> State:
    """A sub-environment's own arrays."""
    prefix = f"{index}/"
    return {key[len(prefix) :]: array for key, array in state.items() if key.startswith(prefix)}


def _make_wrapped(spec: EnvironmentSpec, wrap: Wrap | None) -> gymnasium.Env[Any, Any]:
    env = make_reference_env(spec, reward_per_agent=False)
    return wrap(env) if wrap is not None else env


class _TimeLimit(gymnasium.wrappers.TimeLimit):
    """Gymnasium's TimeLimit, whose count is part of the state."""

    def get_state(self) -> State:
        return self.unwrapped.get_state()  # type: ignore[attr-defined, no-any-return]

    def set_state(self, state: State) -> None:
        self.unwrapped.set_state(state)  # type: ignore[attr-defined]
        self._elapsed_steps: Any = len(state["actions"])


class ReferenceVectorEnv(SyncVectorEnv):
    """Reference environments stepped one after the other in this process.

    Args:
        spec, num_envs, autoreset_mode: as for `make_vec`.
        wrap: put around every sub-environment; a function that can be sent to a process.
    """

    engine = "reference"

    def __init__(
        self,
        spec: EnvironmentSpec,
        num_envs: int,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        wrap: Wrap | None = None,
    ) -> None:
        self.spec_env = spec
        super().__init__(
            [partial(_make_wrapped, spec, wrap)] * num_envs, autoreset_mode=autoreset_mode
        )

    def get_state(self) -> State:
        """The exact state of every sub-environment, as arrays without objects.

        Sub-environment i's arrays are named `i/rng`, `i/actions`...; `ended` (num_envs,) says
        whose episode is over and waits for a reset.
        """
        state = {"ended": self._autoreset_envs.copy()}
        for index, env in enumerate(self.envs):
            own = env.get_wrapper_attr("get_state")()
            state |= {f"{index}/{name}": array for name, array in own.items()}
        return state

    def set_state(self, state: State) -> None:
        """Go to a state of `get_state`; the next step continues exactly from there."""
        for index, env in enumerate(self.envs):
            own = _of(state, index)
            env.get_wrapper_attr("set_state")(own)
        self._autoreset_envs = np.array(state["ended"], dtype=np.bool_)


class ReferenceProcessVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """Reference environments spread over worker processes.

    Each worker holds a ReferenceVectorEnv over a slice of the sub-environments, so the results
    are those of one process, whatever the number of workers. A script that makes one needs
    `if __name__ == "__main__":` around its work, as always when processes are spawned.

    Args:
        spec, num_envs, autoreset_mode, wrap: as for ReferenceVectorEnv.
        num_workers: processes; None takes one per core, and never more than environments.
    """

    engine = "reference"

    def __init__(
        self,
        spec: EnvironmentSpec,
        num_envs: int,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        num_workers: int | None = None,
        wrap: Wrap | None = None,
    ) -> None:
        self.spec_env = spec
        self.num_envs = num_envs
        example = _make_wrapped(spec, wrap)
        self.single_observation_space = example.observation_space
        self.single_action_space = example.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(
            example.observation_space, num_envs
        )
        self.action_space = gymnasium.vector.utils.batch_space(example.action_space, num_envs)
        self.metadata = {**example.metadata, "autoreset_mode": autoreset_mode}
        example.close()

        workers = min(num_envs, num_workers or os.cpu_count() or 1)
        bounds = np.linspace(0, num_envs, workers + 1).astype(int)
        self._slices = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        self._processes = []
        for part in self._slices:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work,
                args=(theirs, spec, part.stop - part.start, autoreset_mode, wrap),
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all, or those of `options["reset_mask"]`."""
        if seed is None:
            seeds: list[int | None] = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + index for index in range(self.num_envs)]
        else:
            seeds = list(seed)
            if len(seeds) != self.num_envs:
                raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments")
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=np.bool_))
        results = self._ask(
            "reset",
            [
                (seeds[part], mask[part] if "reset_mask" in (options or {}) else None)
                for part in self._slices
            ],
        )
        observations, infos = zip(*results, strict=True)
        return self._joined(observations), self._joined_infos(infos)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One decision of every sub-environment."""
        results = self._ask("step", [_rows(actions, part) for part in self._slices])
        observations, rewards, terminated, truncated, infos = zip(*results, strict=True)
        return (
            self._joined(observations),
            np.concatenate(rewards),
            np.concatenate(terminated),
            np.concatenate(truncated),
            self._joined_infos(infos),
        )

    def get_state(self) -> State:
        """As ReferenceVectorEnv.get_state, over all workers."""
        state: State = {}
        ended = []
        for part, own in zip(self._slices, self._ask("get_state"), strict=True):
            ended.append(own.pop("ended"))
            for key, array in own.items():
                index, name = key.split("/")
                state[f"{int(index) + part.start}/{name}"] = array
        return {"ended": np.concatenate(ended), **state}

    def set_state(self, state: State) -> None:
        """As ReferenceVectorEnv.set_state, over all workers."""
        parts = []
        for part in self._slices:
            own = {"ended": state["ended"][part]}
            for index in range(part.start, part.stop):
                for name, array in _of(state, index).items():
                    own[f"{index - part.start}/{name}"] = array
            parts.append(own)
        self._ask("set_state", parts)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of, or get an attribute from, every sub-environment."""
        parts = self._ask("call", [(name, args, kwargs)] * len(self._pipes))
        return tuple(result for part in parts for result in part)

    def close_extras(self, terminate: bool = False, **kwargs: Any) -> None:
        """End the workers; with `terminate`, without waiting for the step they are at."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            if terminate:
                process.terminate()
            # The worker may have gone already; its end of the pipe went with it.
            elif process.is_alive():
                with contextlib.suppress(OSError):
                    pipe.send(("close", None))
            pipe.close()
        for process in self._processes:
            process.join()

    def _ask(self, command: str, arguments: list[Any] | None = None) -> list[Any]:
        """Send a command to every worker and collect the answers, in order."""
        each = arguments if arguments is not None else [None] * len(self._pipes)
        for pipe, argument in zip(self._pipes, each, strict=True):
            pipe.send((command, argument))
        answers = []
        failure: BaseException | None = None
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            try:
                succeeded, answer = pipe.recv()
            except EOFError:
                process.join()
                raise RuntimeError(
                    f"a worker process of {self.spec_env.id} ended (code {process.exitcode}) "
                    f"during {command}"
                ) from None
            if not succeeded:
                failure = failure or answer
            answers.append(answer)
        if failure is not None:
            raise failure
        return answers

    def _joined(self, parts: tuple[Any, ...]) -> Any:
        """Observations of all workers as one batch."""
        first = parts[0]
        if isinstance(first, dict):
            return {key: self._joined(tuple(part[key] for part in parts)) for key in first}
        if isinstance(first, tuple):
            return tuple(self._joined(each) for each in zip(*parts, strict=True))
        return np.concatenate(parts)

    def _joined_infos(self, infos: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        """Infos of all workers in Gymnasium's layout; zeros where a worker lacks a key."""
        joined: dict[str, Any] = {}
        for key in dict.fromkeys(key for info in infos for key in info):
            example = next(info[key] for info in infos if key in info)
            if isinstance(example, dict):
                joined[key] = self._joined_infos(tuple(info.get(key, {}) for info in infos))
                continue
            parts = [
                info[key] if key in info else _nothing(example, part.stop - part.start)
                for info, part in zip(infos, self._slices, strict=True)
            ]
            joined[key] = np.concatenate(parts)
        return joined


def make_reference_vector(
    spec: EnvironmentSpec,
    num_envs: int,
    autoreset_mode: AutoresetMode,
    wrap: Wrap | None = None,
) -> ReferenceVectorEnv | ReferenceProcessVectorEnv:
    """Several reference environments: in processes where there is more than one."""
    # A daemonic process may have no children of its own.
    if num_envs == 1 or multiprocessing.current_process().daemon:
        return ReferenceVectorEnv(spec, num_envs, autoreset_mode, wrap)
    return ReferenceProcessVectorEnv(spec, num_envs, autoreset_mode, wrap=wrap)


def _work(
    pipe: Any,
    spec: EnvironmentSpec,
    num_envs: int,
    autoreset_mode: AutoresetMode,
    wrap: Wrap | None,
) -> None:
    """A worker's life: do as told until told to close, or until the parent is gone."""
    import signal

    # Ctrl-C reaches all processes of the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    envs: ReferenceVectorEnv | None = None
    while True:
        try:
            command, argument = pipe.recv()
        except (EOFError, OSError):
            return
        if command == "close":
            return
        try:
            if envs is None:
                envs = ReferenceVectorEnv(spec, num_envs, autoreset_mode, wrap)
            answer = (True, _do(envs, command, argument))
        except Exception as error:
            answer = (False, error)
        try:
            pipe.send(answer)
        except OSError:
            return
        except Exception as error:  # an exception of a user's scene that cannot be sent
            pipe.send((False, RuntimeError(f"{answer[1]!r} ({error})")))


def _do(envs: ReferenceVectorEnv, command: str, argument: Any) -> Any:
    if command == "step":
        return envs.step(argument)
    if command == "reset":
        seeds, mask = argument
        if mask is None:
            return envs.reset(seed=seeds)
        if not mask.any():
            return envs._observations, {}
        return envs.reset(seed=seeds, options={"reset_mask": mask})
    if command == "get_state":
        return envs.get_state()
    if command == "set_state":
        return envs.set_state(argument)
    name, args, kwargs = argument
    return envs.call(name, *args, **kwargs)


def _rows(actions: Any, part: slice) -> Any:
    """A worker's share of a batch of actions."""
    if isinstance(actions, tuple):
        return tuple(_rows(each, part) for each in actions)
    return np.asarray(actions)[part]


def _nothing(example: NDArray[Any], count: int) -> NDArray[Any]:
    """What Gymnasium puts where a sub-environment has no such info."""
    shape = (count, *example.shape[1:])
    if example.dtype == object:
        return np.full(shape, None, dtype=object)
    return np.zeros(shape, dtype=example.dtype)
