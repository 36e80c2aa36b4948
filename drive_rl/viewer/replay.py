"""Stored episodes: seed and actions, which drive the same episode again, exactly."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation.episodes import StoredEpisode, read_episode
from drive_rl.presets import EnvironmentSpec, load_environment


@dataclasses.dataclass(frozen=True)
class Replay:
    """An episode as stored.

    Attributes:
        scene: the environment.
        seed: it was reset with.
        actions: one per decision.
        name: who drove.
    """

    scene: EnvironmentSpec
    seed: int
    actions: tuple[Any, ...]
    name: str

    def policy(self) -> ReplayPolicy:
        """A policy that does what was done."""
        return ReplayPolicy(self)


class ReplayPolicy:
    """Takes the stored actions one after the other; observations do not matter to it."""

    def __init__(self, replay: Replay) -> None:
        self.name = replay.name
        self._actions = replay.actions
        self._next = 0

    def bind(self, envs: Any) -> None:
        """A replay knows its environment already."""

    def start_episodes(self, slots: Any, seeds: Any) -> None:
        """Begin at the first action."""
        self._next = 0

    def predict(self, observations: Any, deterministic: bool = True) -> Any:
        """The next stored action, as a batch of one; the last one again past the end."""
        action = self._actions[min(self._next, len(self._actions) - 1)]
        self._next += 1
        if isinstance(action, tuple):
            return tuple(np.asarray(part)[None] for part in action)
        return np.asarray(action)[None]


def read_replay(path: Path, env_id: str | EnvironmentSpec | None = None) -> Replay:
    """Read an episode that `evaluate` stored, or one written by hand.

    By hand it is `{"env": id, "config": {...}, "seed": s, "actions": [...]}`.

    Args:
        path: of the file.
        env_id: replaces the environment that the file names.

    Raises:
        DriveRLError: the file cannot be read.
        UsageError: it is no episode file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DriveRLError(f"cannot read episode {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"episode {str(path)!r} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"episode {str(path)!r} is not a JSON object")
    if "schema" in content:
        return _stored(read_episode(path), env_id)
    missing = [key for key in ("env", "seed", "actions") if key not in content]
    if missing:
        raise UsageError(f"episode {str(path)!r} has no {' and no '.join(map(repr, missing))}")
    seed, actions = content["seed"], content["actions"]
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"episode {str(path)!r}: seed {seed!r} is not a whole number from 0 on")
    if not isinstance(actions, list) or not actions:
        raise UsageError(f"episode {str(path)!r}: actions is not a list with actions")
    config = content.get("config") or {}
    if not isinstance(config, dict):
        raise UsageError(f"episode {str(path)!r}: config is not an object")
    scene = load_environment(env_id or str(content["env"]), config)
    name = str(content.get("policy", path.stem))
    try:
        taken = tuple(_action(action) for action in actions)
    except (TypeError, ValueError) as error:
        raise UsageError(f"episode {str(path)!r}: not an action: {error}") from error
    return Replay(scene, seed, taken, name)


def _stored(episode: StoredEpisode, env_id: str | EnvironmentSpec | None) -> Replay:
    scene = episode.env if env_id is None else load_environment(env_id)
    taken = episode.actions
    actions = tuple(zip(*taken, strict=True)) if isinstance(taken, tuple) else tuple(taken)
    return Replay(scene, episode.seed, actions, episode.policy or "replay")


def _action(stored: Any) -> Any:
    if isinstance(stored, int) and not isinstance(stored, bool):
        return stored
    if isinstance(stored, list) and stored and all(isinstance(x, list) for x in stored):
        return tuple(_action(part) for part in stored)
    return np.array(stored, dtype=np.float32)
