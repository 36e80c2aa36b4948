"""Factors of the traffic: drawn like a camera's, from the same stream, with or without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_rl.camera.factors import mixed_number, stream_of
from drive_rl.camera.randomization import TRAFFIC_NAMES, Randomization


class Traffic:
    """What varies in the traffic of a batch of environments.

    Args:
        randomization: what varies.
        num_envs: environments.
    """

    def __init__(self, randomization: Randomization, num_envs: int) -> None:
        self.randomization = randomization
        self.names = [name for name in TRAFFIC_NAMES if name in randomization.traffic]
        self.streams = np.zeros(num_envs, np.int64)
        self.episodes = np.zeros(num_envs, np.int64)
        self._drawn = np.zeros((num_envs, len(self.names)))

    def seed(self, env: int, words: Any) -> None:
        """Start an environment's stream, from the words of its freshly seeded generator."""
        self.streams[env], self.episodes[env] = stream_of(words), 0

    def position(self, env: int) -> tuple[int, int]:
        """Where an environment's stream is: the stream and the episodes drawn from it."""
        return int(self.streams[env]), int(self.episodes[env])

    def go_to(self, env: int, stream: int, episode: int) -> None:
        """Put an environment's stream somewhere: the next episode is number `episode`."""
        self.streams[env], self.episodes[env] = stream, episode

    def begin(self, env: int) -> dict[str, float]:
        """Draw the factors of an environment's next episode."""
        key = mixed_number(int(self.streams[env]) ^ mixed_number(int(self.episodes[env])))
        self.episodes[env] += 1
        drawn = self.randomization.draw_traffic(key)
        self._drawn[env] = [drawn[name] for name in self.names]
        return drawn

    def drawn(self) -> dict[str, NDArray[Any]]:
        """The factors of the present episodes, arrays (num_envs,)."""
        return {name: self._drawn[:, k].copy() for k, name in enumerate(self.names)}

    def factors(self, env: int) -> dict[str, float]:
        """The factors of an environment's present episode."""
        return dict(zip(self.names, self._drawn[env].tolist(), strict=True))

    def get_state(self, rows: Any) -> dict[str, NDArray[Any]]:
        """Streams and factors of some environments."""
        numbers = np.stack([self.streams[rows], self.episodes[rows]], axis=-1)
        return {"traffic": numbers, "traffic_drawn": self._drawn[rows].copy()}

    def set_state(self, snapshot: Mapping[str, Any], rows: Any) -> None:
        """Put streams and factors back."""
        self.streams[rows], self.episodes[rows] = np.moveaxis(snapshot["traffic"], -1, 0)
        self._drawn[rows] = snapshot["traffic_drawn"]
