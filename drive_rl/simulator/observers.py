"""What the simulator asks of those who look at its scenes, and of what varies in their traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from drive_rl.simulator import stages as stage


class Observer(Protocol):
    """What sees the scenes in a way of its own and keeps its own arrays: a camera.

    Its stages are called with ranges of rows, which are environments, from the simulator's threads.
    """

    @property
    def BEGIN(self) -> stage.Stage:
        """An episode begins: called with (sight, mask, low, high)."""

    @property
    def LOOK(self) -> stage.Stage:
        """It observes: called with (state, sight, mask, observations, low, high)."""

    @property
    def observations(self) -> Any:
        """The present observations, (num_envs, num_observers, ...)."""

    def sight(self) -> Any:
        """What the stages work with, in calls of this thread within one step."""

    def seed(self, env: int, words: Any) -> None:
        """An environment was seeded; its generator's words."""

    def advance(self, keep: Any = None) -> Any:
        """The array for the next observations, with those of the mask `keep` carried over."""

    def get_state(self, rows: Any) -> dict[str, Any]:
        """A snapshot of some environments."""

    def set_state(self, snapshot: Mapping[str, Any], rows: Any) -> None:
        """Put a snapshot back."""

    def copy_from(self, other: Any, source: Any, target: Any) -> None:
        """Copy environments."""


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
