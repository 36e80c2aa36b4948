"""The simulator that Python sees: a batch of one scene, stepped by threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import numpy as np
from numba.core import config as numba_config

from drive_rl.simulator import decision, dynamics, random, tracing
from drive_rl.simulator import settings as cfg
from drive_rl.simulator import stages as stage
from drive_rl.simulator.decision import Batch
from drive_rl.simulator.network import Map, flatten
from drive_rl.simulator.observations import observation_dtype, observation_of
from drive_rl.simulator.observers import Observer, Traffic
from drive_rl.simulator.results import Info, Rows, StepResult
from drive_rl.simulator.scenes import scene_of
from drive_rl.simulator.state import Capacity, State, allocate

CHUNK = 64  # environments that a thread takes at once, at most, where stages are compiled
SHARES = 4  # it takes such a share of its part of what is left: the last to end is not long alone
_NOTHING = np.zeros((0, 0), np.uint8)  # where an array is asked for that nobody reads


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
        self._nobody = np.zeros((num_envs, 0, 1))
        self.trace: Any = tracing.NO_TRACE
        self._stages = self._table()
        # Where a stage is Python, all of a step is
        self._compiles = not numba_config.DISABLE_JIT and all(
            each is None or hasattr(each, "compile") for each in self._stages
        )
        self._addresses: Any = None
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
        self._work(mask, decision.RESET)
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
        at_once = autoreset and self._compiles and self.observer is None
        self._work(self._all, decision.STEP if at_once else decision.STEP_ONLY)
        if autoreset and not at_once:
            self._begin_anew()
        return self.result

    def observe(self) -> StepResult:
        """Look at all environments as they are: an observer with a memory takes a frame more."""
        self._advance(None)
        self._work(self._all, decision.OBSERVE)
        return self.result

    def _begin_anew(self) -> None:
        """Where an episode is over, keep its last observation, and begin another."""
        r = self.result
        if r.done.any():
            for env in np.flatnonzero(r.done).tolist():
                r.final_observations[env] = r.observations[env]
            self._work(r.done, decision.RESET)

    def _advance(self, keep: Any) -> None:
        """Where an observer has a new array for each step, take it."""
        if self.observer is not None:
            self.result = self.result._replace(observations=self.observer.advance(keep))

    def _work(self, mask: Any, what: int) -> None:
        """Run a recipe of `decision` over all environments, on the simulator's threads."""
        batch = self._batch()
        if self._compiles:
            if self._addresses is None:
                rehearse = partial(_rehearse, self._seeing(batch))
                self._addresses = stage.addresses(self._stages, rehearse)
            shares = SHARES * self.num_threads
            tickets = np.zeros(1, np.int64)
            self._on_threads(
                min(self.num_threads, self.num_envs),
                lambda: decision.work_off(
                    self._addresses, self._seeing(batch), mask, what, tickets, shares, CHUNK
                ),
            )
            return

        def work(low: int, high: int) -> None:
            own = self._seeing(batch)
            if self._own:
                settings, options = self._own[low]
                own = own._replace(settings=settings, options=options)
            if what == decision.OBSERVE:
                decision.observe(self._stages, own, mask, low, high)
            elif what != decision.RESET:
                decision.decide(self._stages, own, low, high)
            elif mask[low:high].any():
                decision.begin(self._stages, own, mask, low, high)

        self._each_share(self.num_envs, work)

    def _seeing(self, batch: Batch) -> Batch:
        """A batch as this thread's observer sees it."""
        if self.observer is None:
            return batch
        return batch._replace(sight=self.observer.sight())

    def _batch(self) -> Batch:
        r = self.result
        seen = kept = _NOTHING
        if self.observer is not None:
            r = r._replace(final_observations=_NOTHING)  # rows are kept by `_begin_anew`
        elif self._compiles:
            seen = r.observations.reshape(self.num_envs, -1)
            kept = r.final_observations.reshape(self.num_envs, -1)
        return Batch(
            state=self.state,
            network=self.roads.network,
            settings=self.settings,
            options=self.options,
            sight=None if self.observer is not None else self.observation_options,
            actions=self._actions,
            neutral=self._neutral,
            nobody=self._nobody,
            trace=self.trace,
            no_trace=tracing.NO_TRACE,
            everyone=self._all,
            unused=self._unused,
            result=r,
            seen=seen,
            kept=kept,
        )

    def _table(self) -> stage.Table:
        """The stages of this scene, and of what observes it: see `decision`."""
        scene = self.scene
        table: list[stage.Stage | None] = [None] * stage.COUNT
        if getattr(scene, "OBSERVES_FIRST", False):
            table[stage.ACT] = dynamics.act
        table[stage.PASS_TIME] = dynamics.pass_time
        table[stage.RUN] = dynamics.run
        if self.observer is None:
            table[stage.OBSERVE] = self.observation.observe
        else:
            table[stage.LOOK], table[stage.BEGIN] = self.observer.LOOK, self.observer.BEGIN
        table[stage.EVALUATE] = scene.evaluate
        table[stage.DESCRIBE] = dynamics.describe
        if self.agent_info_names:
            table[stage.EVALUATE_AGENTS] = scene.evaluate_agents
        table[stage.FINISH] = dynamics.finish
        table[stage.AFTER_OBSERVING] = getattr(scene, "after_observing", None)
        if self.traffic is not None:
            table[stage.BEGIN] = self._begin
        table[stage.POPULATE] = getattr(scene, "populate", None)
        table[stage.RESET] = scene.reset
        return table

    def _begin(self, sight: Any, mask: Any, low: int, high: int) -> None:
        """Before an environment's episode begins: a new look for the observer, other traffic."""
        if self.observer is not None:
            self.observer.BEGIN(sight, mask, low, high)
        assert self.traffic is not None
        if mask[low]:
            self._vary(low, self.traffic.begin(low))

    def _each_share(self, count: int, work: Callable[[int, int], None]) -> None:
        """Run `work` over ranges of the first `count` environments, on the simulator's threads.

        A range for each thread: the calls of Python's stages cost more than a late end.
        """
        size = 1 if self._own else max(1, -(-count // self.num_threads))
        starts = range(0, count, size)
        if self.num_threads == 1 or len(starts) == 1:
            for low in starts:
                work(low, min(low + size, count))
            return
        waiting = iter(starts)

        def drain() -> None:
            for low in waiting:  # an iterator over a range hands out each start once
                work(low, min(low + size, count))

        self._on_threads(self.num_threads, drain, waiting)

    def _on_threads(
        self, count: int, work: Callable[[], None], waiting: Iterator[int] = iter(())
    ) -> None:
        """Run `work` on this thread and on others, `count` together, until all are done.

        After a failure, nothing more of `waiting` is begun.
        """
        jobs: list[Future[None]] = []
        # A thread says that it is done before it lets go of what it did. That must not hold the
        # arrays of observations: who finds them in use allocates others.
        held = [work]
        try:
            for _ in range(count - 1):
                jobs.append(self._threads().submit(lambda: held[0]()))
            work()
        finally:
            _settle(jobs, waiting)
            held.clear()

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


def _rehearse(batch: Batch, stages: stage.Table) -> None:
    """All stages once, with what they will be called with, for no environment."""
    decision.decide(stages, batch, 0, 0)
    decision.begin(stages, batch, batch.everyone, 0, 0)


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
