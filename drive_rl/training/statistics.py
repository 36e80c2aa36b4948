"""The figures of a policy's training: of its last episodes, and what SB3 logs."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALLEST_WINDOW = 100  # episodes
_EPISODE_FIGURES = ("return", "length", "crash_rate", "speed")

# SB3's names for what its algorithms log, and ours.
_LOGGED = {
    "train/loss": "loss",
    "train/policy_gradient_loss": "policy_loss",
    "train/value_loss": "value_loss",
    "train/entropy_loss": "entropy_loss",
    "train/approx_kl": "approx_kl",
    "train/clip_fraction": "clip_fraction",
    "train/explained_variance": "explained_variance",
    "train/std": "action_std",
    "train/learning_rate": "learning_rate",
    "rollout/exploration_rate": "exploration_rate",
}


class EpisodeWindow:
    """The last episodes of a training: 100, or one per environment where that is more.

    With many environments a shorter window would hold only those episodes that happened to end in
    the last few steps, all crashes or all not.
    """

    def __init__(self, num_envs: int) -> None:
        size = max(_SMALLEST_WINDOW, num_envs)
        self._episodes: deque[tuple[float, ...]] = deque(maxlen=size)
        self.total = 0

    @property
    def full(self) -> bool:
        """Whether as many episodes as fit have ended."""
        return len(self._episodes) == self._episodes.maxlen

    def forget(self) -> None:
        """Begin again, in another scene; episodes are counted on."""
        self._episodes.clear()

    def add(self, infos: list[dict[str, Any]], dones: NDArray[np.bool_]) -> None:
        """Take in the episodes that ended in a step."""
        for index in np.flatnonzero(dones):
            info = infos[index]
            episode = info["episode"]
            figures = (episode["r"], episode["l"], info["crashed"], info["speed_mean"])
            # Only scenes with a goal can be succeeded in.
            success = info.get("is_success", math.nan)
            self._episodes.append(tuple(float(figure) for figure in (*figures, success)))
            self.total += 1

    def figures(self) -> dict[str, float | None]:
        """Means over the window: return, length [decisions], crash_rate, speed [m/s].

        And success_rate in scenes with a goal.
        """
        if not self._episodes:
            return dict.fromkeys(_EPISODE_FIGURES)
        means = np.asarray(self._episodes, dtype=np.float64).mean(axis=0)
        *common, success = (float(mean) for mean in means)
        figures: dict[str, float | None] = dict(zip(_EPISODE_FIGURES, common, strict=True))
        return figures if math.isnan(success) else figures | {"success_rate": success}

    def to_data(self) -> dict[str, Any]:
        """The window for state.json."""
        return {"total": self.total, "episodes": [list(episode) for episode in self._episodes]}

    def from_data(self, data: dict[str, Any]) -> None:
        """Continue from `to_data`."""
        self.total = int(data["total"])
        self._episodes.clear()
        self._episodes.extend(tuple(episode) for episode in data["episodes"])


def logged_figures(values: dict[str, Any]) -> dict[str, float | int | None]:
    """What SB3's algorithm logged since the last iteration, under our names."""
    return {ours: values[theirs] for theirs, ours in _LOGGED.items() if theirs in values}
