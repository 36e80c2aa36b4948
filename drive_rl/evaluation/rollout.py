"""Drive a fixed set of episodes and note what came of each.

Episode k is `reset(seed=seed + k)`. Slots of the vector environment take the next episode as soon
as their own has ended, every episode counts, and none knows how many others run beside it: the
results are the same for every number of environments.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from drive_rl.evaluation.policies import driver
from drive_rl.presets import EnvironmentSpec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LONGEST_EPISODE = 100.0
"""Seconds after which an episode ends where its scene sets no end of its own."""


@dataclasses.dataclass(frozen=True, eq=False)
class Episodes:
    """What came of each episode; one entry per episode in every array, in order of their seeds.

    Of several controlled vehicles, speed, crash, road and lane are the first one's.

    Attributes:
        seed: what the episode's environment was reset with.
        returns: sum of rewards.
        length: decisions taken.
        crashed: the ego vehicle crashed.
        off_road: it left the road; nan on scenes without roads (parking).
        speed: mean forward speed over decisions [m/s].
        lane_changes: how often the number of its lane differed from the decision before. Where
            lanes are numbered anew (entering a roundabout, leaving by an exit) that may count once.
        success: 1 or 0 where the scene knows success (parking, exit, intersection), else nan.
        duration: simulated time [s].
        distance: driven, forward or backward [m].
        progress: driven forward, less what was driven backward [m].
        terminated, truncated: how the environment ended it.
        capped: ended by `max_steps` and not by the environment.
    """

    seed: IntArray
    returns: FloatArray
    length: IntArray
    crashed: BoolArray
    off_road: FloatArray
    speed: FloatArray
    lane_changes: FloatArray
    success: FloatArray
    duration: FloatArray
    distance: FloatArray
    progress: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    capped: BoolArray

    def __len__(self) -> int:
        return len(self.seed)

    @classmethod
    def empty(cls, count: int) -> Episodes:
        """Room for `count` episodes."""
        kinds = {"IntArray": np.int64, "FloatArray": np.float64, "BoolArray": np.bool_}
        fields = dataclasses.fields(cls)
        return cls(**{f.name: np.zeros(count, kinds[str(f.type)]) for f in fields})


class Observer(Protocol):
    """Looks on while episodes are driven: what the report needs beyond the table."""

    def begin(self, slots: IntArray, episodes: IntArray) -> None:
        """These slots have just been reset to begin these episodes, both (n,)."""

    def decided(self, slots: IntArray, episodes: IntArray, observations: Any, actions: Any) -> None:
        """The policy has chosen; observations and actions of all slots, the live ones named."""

    def stepped(self, slots: IntArray, episodes: IntArray, infos: dict[str, Any]) -> None:
        """These slots have just driven one decision of these episodes, both (n,)."""

    def end(self, slots: IntArray, episodes: IntArray) -> None:
        """The episodes of these slots have just ended, both (n,)."""


def longest_episode(spec: EnvironmentSpec) -> int:
    """Decisions after which an episode is ended if the environment has not ended it itself.

    `LONGEST_EPISODE` seconds, or the scene's own `duration` where that is longer. merge has no
    end but its road's and two-way none but its registered limit: a vehicle that stands there
    would stand for ever.
    """
    config = spec.full_config
    duration = config.get("duration")
    seconds = max(float(duration) if isinstance(duration, (int, float)) else 0.0, LONGEST_EPISODE)
    return math.ceil(seconds * float(config["policy_frequency"]))


def drive(
    policy: Any,
    envs: gymnasium.vector.VectorEnv[Any, Any, Any],
    *,
    episodes: int,
    seed: int,
    max_steps: int | None = None,
    deterministic: bool = True,
    observers: tuple[Observer, ...] = (),
    progress: Callable[[int], None] | None = None,
) -> Episodes:
    """Let a policy drive `episodes` episodes.

    Args:
        policy: an object with `predict`, or a baseline.
        envs: a vector environment with autoreset disabled, of at most `episodes` environments.
        seed: episode k is reset with `seed + k`.
        max_steps: decisions after which an episode ends; None takes `longest_episode`.
        deterministic: the policy's best action, or one drawn from its distribution.
        observers: told of every decision.
        progress: called with the number of episodes that have ended.

    Raises:
        UsageError: policy and environment do not fit.
    """
    spec: EnvironmentSpec = envs.spec_env  # type: ignore[attr-defined]
    cap = max_steps if max_steps is not None else longest_episode(spec)
    period = 1.0 / float(spec.full_config["policy_frequency"])
    slots = _Slots(envs.num_envs, Episodes.empty(episodes), roads=_has_roads(spec))
    wheel = driver(policy, envs, deterministic)

    seeds = seed + np.arange(envs.num_envs)
    observations, infos = _reset(envs, seeds)
    everyone = np.arange(envs.num_envs)
    slots.begin(everyone, everyone, infos)
    wheel.start_episodes(everyone, seeds)
    for observer in observers:
        observer.begin(everyone, everyone)
    started, ended = envs.num_envs, 0

    while ended < episodes:
        actions = wheel.act(observations)
        live = np.flatnonzero(slots.episode >= 0)
        for observer in observers:
            observer.decided(live, slots.episode[live], observations, actions)
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        slots.advance(rewards, infos, period)
        for observer in observers:
            observer.stepped(live, slots.episode[live], infos)

        over = terminated | truncated
        done = live[over[live] | (slots.length[live] >= cap)]
        if len(done):
            for observer in observers:
                observer.end(done, slots.episode[done])
            slots.store(done, seed, terminated, truncated, period)
            ended += len(done)
            if progress is not None:
                progress(ended)
        if ended == episodes:
            break
        # Slots without an episode left keep stepping beside the others; nobody looks at them.
        refill = done[: episodes - started]
        slots.episode[done] = -1
        reset_mask = over | np.isin(everyone, refill)
        if not reset_mask.any():
            continue
        fresh = started + np.arange(len(refill))
        seeds[refill] = seed + fresh
        observations, infos = _reset(envs, seeds, reset_mask)
        started += len(refill)
        if len(refill):
            slots.begin(refill, fresh, infos)
            wheel.start_episodes(refill, seeds[refill])
            for observer in observers:
                observer.begin(refill, fresh)
    return slots.results


class _Slots:
    """Running sums of the episode in each slot, all (num_envs,)."""

    def __init__(self, num_envs: int, results: Episodes, *, roads: bool) -> None:
        self.results = results
        self.roads = roads
        self.episode = np.full(num_envs, -1, np.int64)  # -1: none left for this slot
        self.length = np.zeros(num_envs, np.int64)
        self.returns = np.zeros(num_envs)
        self.speed = np.zeros(num_envs)
        self.absolute_speed = np.zeros(num_envs)
        self.lane = np.full(num_envs, -1, np.int64)
        self.lane_changes = np.zeros(num_envs)
        self.crashed = np.zeros(num_envs, np.bool_)
        self.off_road = np.zeros(num_envs, np.bool_)
        self.success = np.full(num_envs, np.nan)

    def begin(self, slots: IntArray, episodes: IntArray, infos: dict[str, Any]) -> None:
        """Clear the sums of slots that begin an episode."""
        self.episode[slots] = episodes
        for sums in (self.length, self.returns, self.lane_changes):
            sums[slots] = 0
        self.speed[slots] = self.absolute_speed[slots] = 0.0
        self.crashed[slots] = self.off_road[slots] = False
        self.success[slots] = np.nan
        self.lane[slots] = self._info(infos, "lane_index", -1)[slots]

    def advance(self, rewards: FloatArray, infos: dict[str, Any], period: float) -> None:
        """Add one decision of every slot."""
        self.length += 1
        self.returns += rewards
        speed = self._info(infos, "speed", 0.0)
        self.speed += speed
        self.absolute_speed += np.abs(speed)
        self.crashed |= self._info(infos, "crashed", False)
        self.off_road |= ~self._info(infos, "on_road", True)
        lane = self._info(infos, "lane_index", -1)
        self.lane_changes += (lane != self.lane) & (lane >= 0) & (self.lane >= 0)
        self.lane = lane
        if "is_success" in infos:
            reached = _all_agents(infos["is_success"], len(self.lane))
            self.success = np.fmax(self.success, reached)
        elif "arrived_reward" in infos.get("rewards", {}):  # intersections: 1 once it is across
            arrived = np.asarray(infos["rewards"]["arrived_reward"], np.float64)
            self.success = np.fmax(self.success, (arrived >= 1.0).astype(np.float64))

    def store(
        self,
        slots: IntArray,
        seed: int,
        terminated: BoolArray,
        truncated: BoolArray,
        period: float,
    ) -> None:
        """Write the sums of slots whose episode has ended to the results."""
        into, out = self.episode[slots], self.results
        out.seed[into] = seed + into
        out.returns[into] = self.returns[slots]
        out.length[into] = self.length[slots]
        out.crashed[into] = self.crashed[slots]
        out.off_road[into] = self.off_road[slots] if self.roads else np.nan
        out.speed[into] = self.speed[slots] / self.length[slots]
        out.lane_changes[into] = self.lane_changes[slots] if self.roads else np.nan
        out.success[into] = self.success[slots]
        out.duration[into] = self.length[slots] * period
        out.distance[into] = self.absolute_speed[slots] * period
        out.progress[into] = self.speed[slots] * period
        out.terminated[into] = terminated[slots]
        out.truncated[into] = truncated[slots]
        out.capped[into] = ~(terminated[slots] | truncated[slots])

    def _info(self, infos: dict[str, Any], key: str, default: Any) -> npt.NDArray[Any]:
        """One value per slot from Gymnasium's vector layout; `default` where it says nothing."""
        values = np.full(len(self.episode), default)
        if key in infos:
            given = infos.get(f"_{key}", np.ones(len(values), np.bool_))
            values[given] = np.asarray(infos[key])[given].astype(values.dtype)
        return values


def _reset(
    envs: gymnasium.vector.VectorEnv[Any, Any, Any],
    seeds: IntArray,
    reset_mask: BoolArray | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Reset the slots of the mask, or all, each with its own seed."""
    options = None if reset_mask is None else {"reset_mask": reset_mask}
    # The base class promises only one seed for all; both of our engines take one per slot.
    return envs.reset(seed=seeds.tolist(), options=options)


def _all_agents(flags: Any, num_envs: int) -> FloatArray:
    """1.0 where a flag, or all flags of several agents, are set: (num_envs,)."""
    reached = np.zeros(num_envs)
    for slot, flag in enumerate(flags):
        reached[slot] = float(np.all(flag))
    return reached


def _has_roads(spec: EnvironmentSpec) -> bool:
    """A parking lot has lanes only where the cars end up: between them nothing is off the road."""
    return not spec.base.rpartition(":")[2].startswith("parking")
