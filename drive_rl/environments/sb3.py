"""A Gymnasium vector environment as a Stable-Baselines3 VecEnv.

SB3 wants same-step automatic resets with `terminal_observation`, and a list with a dictionary per
environment. Filling those dictionaries costs more than simulating: so they stay empty, and the
same empty ones, except where an episode has ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from drive_rl.errors import UsageError


class SB3VecEnv(VecEnv):
    """Adapts `drive_rl.make_vec(..., autoreset_mode=SAME_STEP)` to SB3.

    At an episode's end its info holds `terminal_observation`, `TimeLimit.truncated`, `episode`
    ({"r": return, "l": length, "t": seconds}), `crashed`, `speed_mean` [m/s] and, where the scene
    has it, `is_success`.

    Args:
        vector_env: a vector environment of drive-rl with SAME_STEP resets.
        bootstrap_truncated: whether a time limit cuts an episode off, so that what would have
            come after it is valued. False: it ends it (`TimeLimit.truncated` is never True).

    Raises:
        UsageError: spaces that SB3 has no networks for (several agents).
    """

    def __init__(
        self,
        vector_env: gymnasium.vector.VectorEnv[Any, Any, Any],
        bootstrap_truncated: bool = True,
    ) -> None:
        observations, actions = (
            vector_env.single_observation_space,
            vector_env.single_action_space,
        )
        if isinstance(actions, gymnasium.spaces.Tuple) or isinstance(
            observations, gymnasium.spaces.Tuple
        ):
            raise UsageError(
                "several agents (Tuple spaces) cannot be trained with Stable-Baselines3; "
                "take a scene with one agent, such as intersection-v0"
            )
        if vector_env.metadata.get("autoreset_mode") != AutoresetMode.SAME_STEP:
            raise UsageError("SB3VecEnv needs autoreset_mode=AutoresetMode.SAME_STEP")
        super().__init__(vector_env.num_envs, observations, actions)
        self.vector_env = vector_env
        self.bootstrap_truncated = bootstrap_truncated
        self.render_mode = None
        self._actions: Any = None
        self._empty_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, dtype=np.int64)
        self._speed_sum = np.zeros(self.num_envs)
        self._start_time = time.time()

    def replace(self, vector_env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        """Go on with another vector environment of as many, and close this; `reset` comes next.

        Raises:
            UsageError: as `check_spaces`.
        """
        self.check_spaces(vector_env)
        self.vector_env.close()
        self.vector_env = vector_env

    def check_spaces(self, vector_env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        """See that another vector environment looks the same to an agent.

        Raises:
            UsageError: its observations or actions differ.
        """
        ours = self.observation_space, self.action_space
        theirs = vector_env.single_observation_space, vector_env.single_action_space
        for what, own, other in zip(("observations", "actions"), ours, theirs, strict=True):
            if own != other:
                raise UsageError(f"another environment's {what} are {other}, not {own} as here")

    def reset(self) -> Any:
        """Reset all; with the seed of `seed()` where one was given."""
        seed = self._seeds[0]
        observations, _ = self.vector_env.reset(seed=seed)
        self._reset_seeds()
        self._return[:] = 0
        self._length[:] = 0
        self._speed_sum[:] = 0
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step all environments; an ended episode's successor is already reset."""
        observations, rewards, terminated, truncated, info = self.vector_env.step(self._actions)
        dones = terminated | truncated
        self._return += rewards
        self._length += 1
        infos = self._empty_infos
        if not dones.any():
            self._speed_sum += info["speed"]
            return observations, rewards.astype(np.float32), dones, infos

        # At an episode's end the top-level info is the reset's; the last step's is in final_info.
        final_info = info["final_info"]
        cut_off = truncated & ~terminated & self.bootstrap_truncated
        self._speed_sum += np.where(dones, final_info["speed"], info["speed"])
        infos = list(infos)
        for index in np.flatnonzero(dones):
            length = int(self._length[index])
            infos[index] = {
                "terminal_observation": info["final_obs"][index],
                "TimeLimit.truncated": bool(cut_off[index]),
                "episode": {
                    "r": float(self._return[index]),
                    "l": length,
                    "t": round(time.time() - self._start_time, 6),
                },
                "crashed": bool(final_info["crashed"][index]),
                "speed_mean": float(self._speed_sum[index]) / length,
            }
            if "is_success" in final_info:
                infos[index]["is_success"] = bool(final_info["is_success"][index])
        self._return[dones] = 0
        self._length[dones] = 0
        self._speed_sum[dones] = 0
        return observations, rewards.astype(np.float32), dones, infos

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The vector environment's exact state and the running sums of the open episodes."""
        state = {f"env/{name}": array for name, array in self.vector_env.get_state().items()}  # type: ignore[attr-defined]
        state |= {
            "episode/return": self._return.copy(),
            "episode/length": self._length.copy(),
            "episode/speed_sum": self._speed_sum.copy(),
        }
        return state

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Go to a state of `get_state`."""
        self.vector_env.set_state(  # type: ignore[attr-defined]
            {name[4:]: array for name, array in state.items() if name.startswith("env/")}
        )
        self._return = state["episode/return"].copy()
        self._length = state["episode/length"].copy()
        self._speed_sum = state["episode/speed_sum"].copy()

    def close(self) -> None:
        """Close the vector environment."""
        self.vector_env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector environment, once per environment asked for."""
        if attr_name == "render_mode":
            return [None] * len(self._indices(indices))
        return [getattr(self.vector_env, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the vector environment."""
        setattr(self.vector_env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the sub-environments, where the engine has such (the reference)."""
        results: Sequence[Any] = self.vector_env.call(method_name, *method_args, **method_kwargs)  # type: ignore[attr-defined]
        return [results[index] for index in self._indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No wrapper of SB3's stands between."""
        return [False] * len(self._indices(indices))

    def get_images(self) -> Sequence[None]:
        """No pictures; `drive-rl watch` draws them."""
        return [None] * self.num_envs

    def _indices(self, indices: int | Iterable[int] | None) -> list[int]:
        if indices is None:
            return list(range(self.num_envs))
        return [indices] if isinstance(indices, int) else list(indices)
