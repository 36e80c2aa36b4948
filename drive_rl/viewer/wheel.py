"""Arrow keys as actions of the environment, for when a person drives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

ACTION_NAMES: dict[str, tuple[str, ...]] = {
    "all": ("LANE_LEFT", "IDLE", "LANE_RIGHT", "FASTER", "SLOWER"),
    "longitudinal": ("SLOWER", "IDLE", "FASTER"),
    "lateral": ("LANE_LEFT", "IDLE", "LANE_RIGHT"),
}
"""highway-env's `DiscreteMetaAction`: its sets of actions, in order."""

_META = {"up": "FASTER", "down": "SLOWER", "left": "LANE_LEFT", "right": "LANE_RIGHT"}


def action_names(space: gymnasium.Space[Any], action_config: Mapping[str, Any]) -> list[str]:
    """What each discrete action, or each dimension of a continuous one, is called.

    Args:
        space: of the actions.
        action_config: highway-env's `config["action"]`.
    """
    longitudinal = bool(action_config.get("longitudinal", True))
    lateral = bool(action_config.get("lateral", True))
    if isinstance(space, gymnasium.spaces.Discrete):
        if action_config.get("type") == "DiscreteMetaAction":
            both = "all" if longitudinal and lateral else None
            names = ACTION_NAMES[both or ("longitudinal" if longitudinal else "lateral")]
            if len(names) == space.n:
                return list(names)
        return [f"action {i}" for i in range(int(space.n))]
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        names_of_box = ["throttle"] * longitudinal + ["steering"] * lateral
        if len(names_of_box) == space.shape[0]:
            return names_of_box
        return [f"dimension {i}" for i in range(space.shape[0])]
    return []


class Wheel:
    """Which arrows are held, and what action they amount to.

    A discrete action is taken once for each press; a continuous one lasts while a key is held.
    """

    def __init__(self, space: gymnasium.Space[Any], names: list[str]) -> None:
        self.space, self.names = space, names
        self._held: set[str] = set()
        self._pressed: str | None = None

    @classmethod
    def for_space(
        cls, space: gymnasium.Space[Any], action_config: Mapping[str, Any]
    ) -> Wheel | None:
        """A wheel where arrows have a meaning, else None."""
        names = action_names(space, action_config)
        known = set(_META.values()) | {"IDLE", "throttle", "steering"}
        return cls(space, names) if names and known.issuperset(names) else None

    def press(self, arrow: str) -> None:
        """An arrow ("up", "down", "left", "right") goes down."""
        self._held.add(arrow)
        self._pressed = arrow

    def lift(self, arrow: str) -> None:
        """An arrow comes up."""
        self._held.discard(arrow)

    def release(self) -> None:
        """Hands off."""
        self._held.clear()
        self._pressed = None

    def action(self) -> Any:
        """The action for the next decision."""
        if isinstance(self.space, gymnasium.spaces.Discrete):
            wanted = _META.get(self._pressed or "", "IDLE")
            self._pressed = None
            return self.names.index(wanted if wanted in self.names else "IDLE")
        assert isinstance(self.space, gymnasium.spaces.Box)
        pushed = {
            "throttle": float("up" in self._held) - float("down" in self._held),
            # Positive steering turns towards +y, which is to the driver's right.
            "steering": 0.5 * (float("right" in self._held) - float("left" in self._held)),
        }
        amounts = np.array([pushed[name] for name in self.names], dtype=self.space.dtype)
        middle, reach = (self.space.high + self.space.low) / 2, self.space.high - self.space.low
        return (middle + amounts * reach / 2).astype(self.space.dtype)
