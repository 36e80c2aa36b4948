"""The simulator that Python sees: a batch of one scene, stepped by threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, Protocol

import numpy as np

from drive_rl.simulator import dynamics, random, tracing
from drive_rl.simulator import settings as cfg
from drive_rl.simulator.network import Map, flatten
from drive_rl.simulator.observations import observation_dtype, observation_of
from drive_rl.simulator.scenes import scene_of
from drive_rl.simulator.state import Capacity, State, allocate

CHUNK = 64  # environments that a thread takes at once, at most


class Info(NamedTuple):
    """What highway-env's info says."""

    speed: Any  # (num_envs,) f8, of the first agent [m/s]
    crashed: Any  # (num_envs,) bool, of the first agent
    on_road: Any  # (num_envs,) bool, of the first agent
    lane_index: Any  # (num_envs,) i8, the first agent's lane on its road, 0 leftmost
    rewards: Any  # (num_envs, num_rewards) f8: info["rewards"], columns `reward_names`
    agents: Any  # (num_envs, num_agents, n) f8: the scene's AGENT_INFO


class StepResult(NamedTuple):
    """What a decision of all environments gives. The arrays belong to the simulator: copy to keep.

    Where an episode is over (`done`), `observations` is the first of the next episode if the
    simulator was told to reset, and `final_observations` the last of the one that ended; its other
    rows are meaningless.
    """

    observations: Any  # (num_envs, num_observers, *shape): every agent, or the first one
    rewards: Any  # (num_envs,) f8
    terminated: Any  # (num_envs,) bool
    truncated: Any  # (num_envs,) bool
    done: Any  # (num_envs,) bool
    final_observations: Any  # like observations; of an observer, rows that can be read once
    info: Info  # at the end of the step, before a reset
    first_info: Info  # at the beginning of the episode; only where an environment was just reset


class Observer(Protocol):
    """What sees the scenes in a way of its own and keeps its own arrays: a camera.

    Rows are environments; `begin` and `observe` are called with ranges of them, from the
    simulator's threads.
    """

    @property
    def observations(self) -> Any:
        """The present observations, (num_envs, num_observers, ...)."""

    def seed(self, env: int, words: Any) -> None:
        """An environment was seeded; its generator's words."""

    def advance(self, keep: Any = None) -> Any:
        """The array for the next observations, with those of the mask `keep` carried over."""

    def begin(self, mask: Any, low: int, high: int) -> None:
        """An episode begins in each environment of the mask."""

    def observe(self, state: State, mask: Any, low: int, high: int) -> None:
        """Look at the environments of the mask."""

    def get_state(self, rows: Any) -> dict[str, Any]:
        """A snapshot of some environments."""

    def set_state(self, snapshot: Mapping[str, Any], rows: Any) -> None:
        """Put a snapshot back."""

    def copy_from(self, other: Any, source: Any, target: Any) -> None:
        """Copy environments."""


class Rows(dict[int, Any]):
    """Some rows of a large array, kept until they are read: `rows[env]` takes one."""

    def __setitem__(self, rows: Any, values: Any) -> None:
        for row, value in zip(np.atleast_1d(rows).tolist(), values, strict=True):
            super().__setitem__(row, value.copy())

    def __getitem__(self, row: int) -> Any:
        return self.pop(int(row))


class Traffic(Protocol):
    """What varies in the traffic from episode to episode."""

    def seed(self, env: int, words: Any) -> None:
        """An environment was seeded; its generator's words."""

    def begin(self, env: int) -> Mapping[str, float]:
        """An episode begins: its `politeness`, `time_headway` [s], `density`, or some of them."""

    def get_state(self, rows: Any) -> dict[str, Any]:
        """A snapshot of some environments."""

    def set_state(self, snapshot: Mapping[str, Any], rows: Any) -> None:
        """Put a snapshot back."""

    def factors(self, env: int) -> Mapping[str, float]:
        """What `begin` gave last."""


class Simulator:
    """A batch of environments of one highway-env id and configuration.

    Environments are independent: results depend neither on how many there are, nor on the place
    of one among them, nor on the number of threads.

    Args:
        env_id: one of `scenes.SCENES`.
        config: the full configuration of highway-env.
        road_network: the scene's RoadNetwork, as highway-env builds it for this configuration.
        num_envs: environments.
        num_threads: threads; None for one per usable processor.
        max_decisions: length at which episodes are truncated from outside, 0 for never.
        observer: what observes, instead of the observation that `config` names.
        traffic: what varies in the traffic. Each environment then has settings and options of its
            own, and is stepped by itself, which costs some 0.1 ms a decision.
    """

    def __init__(
        self,
        env_id: str,
        config: Mapping[str, Any],
        road_network: Any,
        num_envs: int,
        num_threads: int | None = None,
        max_decisions: int = 0,
        observer: Observer | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.env_id = env_id
        self.num_envs = num_envs
        self.num_threads = num_threads or available_processors()
        self.scene = scene_of(env_id)
        self.roads: Map = flatten(road_network)
        self.settings = cfg.settings(config, max_decisions)
        self.options = self.scene.options(env_id, config, self.roads, self.settings)
        if self.settings.common[0].regulated:
            self.settings = self.settings._replace(rules=np.zeros(1))
        self.capacity: Capacity = self.scene.capacity(config, self.roads)
        self.observer = observer
        self.traffic = traffic
        self._density = config.get("vehicles_density")
        self._own = [self._copied_settings() for _ in range(num_envs)] if traffic else []
        self.state: State = allocate(num_envs, self.capacity)
        self.reward_names = [name for name, _ in self.scene.REWARDS]
        self.agent_info_names = [name for name, _ in getattr(self.scene, "AGENT_INFO", ())]
        self.action_size = cfg.action_size(self.settings)
        agents = self.capacity.agents
        observations = (
            self._allocate_observations(config["observation"])
            if observer is None
            else observer.observations
        )
        self._actions = np.zeros((num_envs, agents, self.action_size))
        self._all = np.ones(num_envs, np.bool_)
        self._seeded = np.zeros(num_envs, np.bool_)
        self.result = StepResult(
            observations=observations,
            rewards=np.zeros(num_envs),
            terminated=np.zeros(num_envs, np.bool_),
            truncated=np.zeros(num_envs, np.bool_),
            done=np.zeros(num_envs, np.bool_),
            final_observations=Rows() if observer is not None else np.zeros_like(observations),
            info=self._allocate_info(),
            first_info=self._allocate_info(),
        )
        self._unused = (
            np.zeros(num_envs),
            np.zeros(num_envs, np.bool_),
            np.zeros(num_envs, np.bool_),
        )
        self._neutral = np.full(
            (num_envs, agents, self.action_size), cfg.neutral_action(self.settings)
        )
        self.trace: Any = tracing.NO_TRACE
        self._pool: ThreadPoolExecutor | None = None
        self._pool_owner = 0

    def _allocate_observations(self, config: Mapping[str, Any]) -> Any:
        kind = config.get("observation_config", config)
        self.observation = observation_of(kind["type"])
        self.observation_options = self.observation.options(kind, self.roads, self.settings)
        shape = self.observation.shape(kind, self.roads, self.settings, self.capacity)
        # Only a multi-agent observation is taken of every agent, otherwise of the first
        observers = self.capacity.agents if "observation_config" in config else 1
        dtype = observation_dtype(self.observation, kind)
        return np.zeros((self.num_envs, observers, *shape), dtype)

    def _copied_settings(self) -> tuple[cfg.Settings, Any]:
        """Settings and scene options that an environment has to itself."""
        settings = self.settings._replace(common=self.settings.common.copy())
        if not hasattr(self.options, "scene"):
            return settings, self.options
        return settings, self.options._replace(scene=self.options.scene.copy())

    def _settings_of(self, env: int) -> tuple[cfg.Settings, Any]:
        """Settings and scene options of the chunk that begins with an environment."""
        return self._own[env] if self._own else (self.settings, self.options)

    def _vary(self, env: int, factors: Mapping[str, float]) -> None:
        """Give an environment the factors of its episode's traffic."""
        settings, options = self._own[env]
        common = settings.common[0]
        common.politeness = factors.get("politeness", common.politeness)
        common.time_wanted = factors.get("time_headway", common.time_wanted)
        if "density" in factors and self._density is not None:
            options.scene[0].spacing = 1 / (self._density * factors["density"])

    def _allocate_info(self) -> Info:
        n, agents = self.num_envs, self.capacity.agents
        return Info(
            speed=np.zeros(n),
            crashed=np.zeros(n, np.bool_),
            on_road=np.zeros(n, np.bool_),
            lane_index=np.zeros(n, np.int64),
            rewards=np.zeros((n, len(self.reward_names))),
            agents=np.zeros((n, agents, len(self.agent_info_names))),
        )

    def seed(self, seeds: Sequence[int | None], indices: Sequence[int] | None = None) -> None:
        """Seed the streams of environments (all, or those of `indices`); None is left as it is."""
        for env, value in zip(indices or range(self.num_envs), seeds, strict=True):
            if value is not None:
                random.seed(self.state.environments, env, value)
                self._begin_stream(env)

    def _begin_stream(self, env: int) -> None:
        self._seeded[env] = True
        if self.observer is not None or self.traffic is not None:
            record = self.state.environments[env]
            words = (
                *(record.rng_high, record.rng_low),
                *(record.rng_increment_high, record.rng_increment_low),
            )
            for streams in (self.observer, self.traffic):
                if streams is not None:
                    streams.seed(env, words)

    def reset(self, mask: Any = None) -> StepResult:
        """Begin a new episode in every environment, or in those of a mask (num_envs,).

        Streams go on where they are; one that was never seeded is seeded by the system.
        """
        mask = self._all if mask is None else np.ascontiguousarray(mask, np.bool_)
        for env in np.flatnonzero(mask & ~self._seeded).tolist():
            random.set_generator(self.state.environments, env, np.random.PCG64().state)
            self._begin_stream(env)
        self._advance(~mask)
        self._each_chunk(lambda low, high: self._reset_chunk(mask, low, high))
        return self.result

    def record_frames(self, wanted: bool = True) -> None:
        """Keep every frame of each decision in `trace`, or stop doing so.

        `trace` is (num_envs, frames, bodies, fields) f8, see `tracing`; it is overwritten by the
        next step.
        """
        bodies = self.capacity.vehicles + self.capacity.objects
        frames = int(self.settings.common[0].frames)
        room = tracing.allocate_trace(self.num_envs, frames, bodies)
        self.trace = room if wanted else tracing.NO_TRACE

    def step(self, actions: Any, autoreset: bool = True) -> StepResult:
        """One decision of every environment; episodes that end begin anew if `autoreset`.

        Args:
            actions: numbers of shape (num_envs,), (num_envs, num_agents) or
                (num_envs, num_agents, action_size).
            autoreset: reset environments whose episode is over, within the step.
        """
        self._actions[...] = np.asarray(actions).reshape(self._actions.shape)
        self._advance(None)
        self._each_chunk(lambda low, high: self._step_chunk(low, high, autoreset))
        return self.result

    def _advance(self, keep: Any) -> None:
        """Where an observer has a new array for each step, take it."""
        if self.observer is not None:
            self.result = self.result._replace(observations=self.observer.advance(keep))

    def _step_chunk(self, low: int, high: int, autoreset: bool) -> None:
        """The recipe of a decision, for the environments of one chunk."""
        state, network = self.state, self.roads.network
        settings, options = self._settings_of(low)
        r = self.result
        observe_first = getattr(self.scene, "OBSERVES_FIRST", False)
        if observe_first:
            dynamics.act(state, network, settings, self._actions, low, high)
            self._observe(self._all, low, high)
        dynamics.simulate(state, network, settings, self._actions, self.trace, self._all, low, high)
        if not observe_first:
            self._observe(self._all, low, high)
        self._evaluate(self._actions, r.rewards, r.terminated, r.truncated, r.info, low, high)
        dynamics.finish(state, settings, r.terminated, r.truncated, r.done, low, high)
        if hasattr(self.scene, "after_observing"):
            self.scene.after_observing(state, network, settings, options, self._all, low, high)
        if autoreset and r.done[low:high].any():
            over = low + np.flatnonzero(r.done[low:high])
            r.final_observations[over] = r.observations[over]
            self._reset_chunk(r.done, low, high)

    def _reset_chunk(self, mask: Any, low: int, high: int) -> None:
        state, network = self.state, self.roads.network
        settings, options = self._settings_of(low)
        if self.observer is not None:
            self.observer.begin(mask, low, high)
        if self.traffic is not None and mask[low]:
            self._vary(low, self.traffic.begin(low))
        self.scene.reset(state, network, settings, options, mask, low, high)
        self._observe(mask, low, high)
        self._evaluate(self._neutral, *self._unused, self.result.first_info, low, high)

    def _observe(self, mask: Any, low: int, high: int) -> None:
        if self.observer is not None:
            self.observer.observe(self.state, mask, low, high)
            return
        self.observation.observe(
            self.state, self.roads.network, self.settings, self.observation_options, mask,
            self.result.observations, low, high,
        )  # fmt: skip

    def _evaluate(
        self,
        actions: Any,
        rewards: Any,
        terminated: Any,
        truncated: Any,
        info: Info,
        low: int,
        high: int,
    ) -> None:
        """What the scene, and highway-env's info, say of the environments as they are."""
        state, network = self.state, self.roads.network
        settings, options = self._settings_of(low)
        self.scene.evaluate(
            state, network, settings, options, actions,
            rewards, info.rewards, terminated, truncated, low, high,
        )  # fmt: skip
        dynamics.describe(
            state, network, info.speed, info.crashed, info.on_road, info.lane_index, low, high
        )
        if self.agent_info_names:
            self.scene.evaluate_agents(state, network, settings, options, info.agents, low, high)

    def _each_chunk(self, work: Callable[[int, int], None]) -> None:
        """Run `work` over ranges of environments, on the simulator's threads."""
        size = 1 if self._own else min(CHUNK, -(-self.num_envs // self.num_threads))
        starts = range(0, self.num_envs, size)
        if self.num_threads == 1 or len(starts) == 1:
            for low in starts:
                work(low, min(low + size, self.num_envs))
            return
        waiting = iter(starts)

        def drain() -> None:
            for low in waiting:  # an iterator over a range hands out each start once
                work(low, min(low + size, self.num_envs))

        jobs: list[Future[None]] = []
        try:
            for _ in range(self.num_threads - 1):
                jobs.append(self._threads().submit(drain))
            drain()
        finally:
            _settle(jobs, waiting)

    def _threads(self) -> ThreadPoolExecutor:
        """The simulator's threads; new ones after a fork, which does not carry threads over."""
        if self._pool is None or self._pool_owner != os.getpid():
            self._pool = ThreadPoolExecutor(self.num_threads - 1, "drive-rl")
            self._pool_owner = os.getpid()
        return self._pool

    def get_state(self, indices: Any = None) -> dict[str, np.ndarray[Any, Any]]:
        """A snapshot of all environments, or of some: plain arrays, safe in an npz."""
        rows = slice(None) if indices is None else np.asarray(indices)
        snapshot = {
            name: np.array(array[rows]).view(np.ndarray)
            for name, array in self.state._asdict().items()
        }
        for name in ("environments", "vehicles", "objects"):  # structured arrays as bytes
            array = np.ascontiguousarray(snapshot[name])
            snapshot[name] = array.view(np.uint8).reshape(*array.shape, array.dtype.itemsize)
        if self.observer is not None:
            snapshot |= self.observer.get_state(rows)
        if self.traffic is not None:
            snapshot |= self.traffic.get_state(rows)
        return snapshot

    def set_state(self, snapshot: Mapping[str, Any], indices: Any = None) -> None:
        """Put a snapshot of `get_state` back, into all environments or those of `indices`."""
        rows = slice(None) if indices is None else np.asarray(indices)
        for name, array in self.state._asdict().items():
            plain = np.asarray(array)
            value = np.ascontiguousarray(snapshot[name])
            if plain.dtype.names:
                value = value.view(plain.dtype)[..., 0]
            if value.shape != plain[rows].shape:
                raise ValueError(
                    f"a snapshot with {name} of shape {value.shape} does not fit a simulator "
                    f"with {plain[rows].shape}"
                )
            plain[rows] = value
        if self.observer is not None:
            self.observer.set_state(snapshot, rows)
        if self.traffic is not None:
            self.traffic.set_state(snapshot, rows)
            for env in np.arange(self.num_envs)[rows]:
                self._vary(env, self.traffic.factors(env))
        self._seeded[rows] = True

    def copy_state(self, source: Any, target: Any) -> None:
        """Copy environments over others of this simulator: `source` (rows) to `target` (rows)."""
        for array in self.state:
            plain = np.asarray(array)
            plain[target] = plain[source]
        if self.observer is not None:
            self.observer.copy_from(self.observer, source, target)
        self._seeded[target] = True

    def copy_from(self, other: Simulator, source: Any, target: Any) -> None:
        """Copy environments of another simulator of this id and configuration over some here."""
        for here, there in zip(self.state, other.state, strict=True):
            np.asarray(here)[target] = np.asarray(there)[source]
        if self.observer is not None and other.observer is not None:
            self.observer.copy_from(other.observer, source, target)
        self._seeded[target] = True

    def vehicles(self, env: int) -> dict[str, np.ndarray[Any, Any]]:
        """The vehicles of one environment for drawing and for statistics, arrays in list order."""
        return self._bodies(self.state.vehicles, env, self.state.environments[env].num_vehicles)

    def objects(self, env: int) -> dict[str, np.ndarray[Any, Any]]:
        """The obstacles and landmarks of one environment, as `vehicles`."""
        return self._bodies(self.state.objects, env, self.state.environments[env].num_objects)

    def _bodies(self, table: Any, env: int, count: int) -> dict[str, np.ndarray[Any, Any]]:
        names = (
            "x", "y", "heading", "speed", "length", "width", "crashed", "hit", "kind",
            "is_agent", "lane", "target_lane", "target_speed", "acceleration", "steering",
        )  # fmt: skip
        rows = np.asarray(table)[env, :count]
        return {name: rows[name].copy() for name in names}

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None and self._pool_owner == os.getpid():
            self._pool.shutdown()
        self._pool = None


def _settle(jobs: Sequence[Future[None]], waiting: Iterator[int]) -> None:
    """Wait until no thread is at work, whatever Ctrl-C says meanwhile, then raise what was raised.

    A thread that is left behind would go on writing into what is restored or stepped next.
    """
    interruption: KeyboardInterrupt | None = None
    while True:
        try:
            for _ in waiting:  # nothing more is begun after a failure
                pass
            wait(jobs)
            break
        except KeyboardInterrupt as error:
            interruption = error
    if interruption is not None:
        raise interruption
    for job in jobs:
        job.result()


def available_processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this platform
        return os.cpu_count() or 1
