"""What a step of the simulator gives."""

from __future__ import annotations

from typing import Any, NamedTuple


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


class Rows(dict[int, Any]):
    """Some rows of a large array, kept until they are read: `rows[env]` takes one."""

    def __setitem__(self, row: int, value: Any) -> None:
        super().__setitem__(row, value.copy())

    def __getitem__(self, row: int) -> Any:
        return self.pop(int(row))
