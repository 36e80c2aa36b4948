"""Episodes that can be driven again: their seeds and actions, on disk."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from drive_rl.environments import make
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation.batches import joined, take
from drive_rl.evaluation.driving import keep_first
from drive_rl.presets import EnvironmentSpec, load_environment

IntArray = npt.NDArray[np.int64]

SCHEMA = 1


class DecisionLog:
    """Notes every action, and what a policy saw last before a crash; see `rollout.Observer`.

    Attributes:
        actions: of every episode that has ended, one array or tuple per episode.
        last_seen: a batch of the last observations before the first crashes, by episode.
    """

    def __init__(self, num_envs: int, keep_crashes: int = 12, decisions: int = 6) -> None:
        self.actions: dict[int, Any] = {}
        self.last_seen: dict[int, Any] = {}
        self._keep = keep_crashes
        self._running: list[list[Any]] = [[] for _ in range(num_envs)]
        self._crashed = np.zeros(num_envs, np.bool_)
        self._batches: deque[Any] = deque(maxlen=decisions)

    def begin(self, slots: IntArray, episodes: IntArray) -> None:
        """Start afresh in these slots."""
        self._crashed[slots] = False
        for slot in slots.tolist():
            self._running[slot] = []

    def decided(self, slots: IntArray, episodes: IntArray, observations: Any, actions: Any) -> None:
        """Note the actions of these slots."""
        for slot in slots.tolist():
            self._running[slot].append(_entry(actions, slot))
        if self._keep:
            # Engines write the next observations into the same arrays.
            self._batches.append(_copied(observations))

    def stepped(self, slots: IntArray, episodes: IntArray, infos: dict[str, Any]) -> None:
        """Note who has crashed."""
        if "crashed" in infos:
            self._crashed[slots] |= np.asarray(infos["crashed"])[slots].astype(bool)

    def end(self, slots: IntArray, episodes: IntArray) -> None:
        """Keep what these slots' episodes consisted of."""
        for slot, episode in zip(slots.tolist(), episodes.tolist(), strict=True):
            taken = self._running[slot]
            self.actions[episode] = _stacked(taken)
            if self._crashed[slot] and self._keep:
                known = min(len(self._batches), len(taken))
                rows = [take(batch, np.array([slot])) for batch in list(self._batches)[-known:]]
                keep_first(self.last_seen, episode, joined(rows), self._keep)


@dataclasses.dataclass(frozen=True, eq=False)
class StoredEpisode:
    """An episode that can be driven again.

    Attributes:
        env: the environment, with the observation and actions of the policy that drove.
        engine: that it was driven on; the other one gives the same episode.
        seed: what it was reset with.
        actions: (decisions, ...); a tuple of arrays where several vehicles are controlled.
        policy: who drove.
        outcome: return, length and so on, as in episodes.csv.
    """

    env: EnvironmentSpec
    engine: str
    seed: int
    actions: Any
    policy: str = ""
    outcome: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.actions[0] if isinstance(self.actions, tuple) else self.actions)

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "schema": SCHEMA,
            "env": self.env.model_dump(mode="json"),
            "engine": self.engine,
            "seed": self.seed,
            "policy": self.policy,
            "outcome": self.outcome,
            "actions": _plain(self.actions),
        }

    def action(self, step: int, space: spaces.Space[Any]) -> Any:
        """The action of one decision, as a single environment takes it."""
        if isinstance(space, spaces.Tuple):
            return tuple(
                _cast(part[step], each)
                for part, each in zip(self.actions, space.spaces, strict=True)
            )
        return _cast(self.actions[step], space)


def read_episode(path: str | os.PathLike[str]) -> StoredEpisode:
    """An episode from its file.

    Raises:
        UsageError: no such file, or no episode in it.
    """
    file = Path(path)
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise UsageError(f"{file}: schema {document['schema']}; this version reads {SCHEMA}")
        given = EnvironmentSpec.model_validate(document["env"])
        # Validate the configuration as if a user had typed it.
        bare = given.model_copy(update={"config": {}})
        actions = document["actions"]
        if isinstance(actions, dict):
            actions = tuple(np.asarray(part) for part in actions["agents"])
        else:
            actions = np.asarray(actions)
        return StoredEpisode(
            env=load_environment(bare, given.config),
            engine=str(document["engine"]),
            seed=int(document["seed"]),
            actions=actions,
            policy=str(document["policy"]),
            outcome=dict(document["outcome"]),
        )
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UsageError(f"{file}: not a stored episode ({reason})") from None


def replay(episode: StoredEpisode, engine: str | None = None) -> tuple[float, bool, int]:
    """Drive a stored episode again.

    Args:
        engine: None takes the one it was driven on.

    Returns:
        Return, whether it crashed, decisions.

    Raises:
        DriveRLError: the environment ended the episode before its last action.
    """
    env: Any = make(episode.env, engine=engine or episode.engine)
    try:
        env.reset(seed=episode.seed)
        total, crashed = 0.0, False
        for step in range(len(episode)):
            _, reward, terminated, truncated, info = env.step(
                episode.action(step, env.action_space)
            )
            total += float(np.mean(reward))
            crashed |= bool(info["crashed"])
            over = bool(np.all(terminated)) or truncated
            if over and step + 1 < len(episode):
                raise DriveRLError(
                    f"the stored episode has {len(episode)} decisions, "
                    f"but {episode.env.id} ended it after {step + 1}"
                )
        return total, crashed, len(episode)
    finally:
        env.close()


def folder_name(policy: str) -> str:
    """A policy's name as the name of a folder, on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", policy).strip("-.")[:60] or "policy"


def _entry(actions: Any, slot: int) -> Any:
    if isinstance(actions, tuple):
        return tuple(np.asarray(part)[slot] for part in actions)
    return np.asarray(actions)[slot]


def _stacked(taken: list[Any]) -> Any:
    if taken and isinstance(taken[0], tuple):
        return tuple(np.stack(part) for part in zip(*taken, strict=True))
    return np.stack(taken) if taken else np.zeros(0)


def _copied(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: _copied(value) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_copied(value) for value in batch)
    return np.array(batch)


def _plain(actions: Any) -> Any:
    if isinstance(actions, tuple):
        return {"agents": [part.tolist() for part in actions]}
    return actions.tolist()


def _cast(action: Any, space: spaces.Space[Any]) -> Any:
    """JSON knows neither float32 nor int64."""
    if isinstance(space, spaces.Discrete):
        return int(action)
    return np.asarray(action, dtype=space.dtype).reshape(space.shape)
