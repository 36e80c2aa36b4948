"""PPO's rollouts in tensors on the training's device, instead of in host memory.

SB3 keeps them in NumPy arrays: values and log-probabilities come down from the device at every
step, and every mini-batch of every epoch goes up to it again. Here each number travels once. On
the CPU both kinds hold the same numbers and draw the same mini-batches.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples


class DeviceRolloutBuffer(RolloutBuffer):
    """SB3's RolloutBuffer of array observations; tensors are (n_steps, num_envs, ...).

    `values` and `returns` are NumPy arrays once `compute_returns_and_advantage` has been called,
    as SB3 wants them for its statistics.
    """

    observations: Any
    actions: Any
    rewards: Any
    advantages: Any
    returns: Any
    episode_starts: Any
    log_probs: Any
    values: Any

    def reset(self) -> None:
        """Empty it."""
        place = (self.buffer_size, self.n_envs)
        sample = torch.from_numpy(np.zeros(0, self.observation_space.dtype)).dtype
        # The network reads float32; what comes in float64 is narrowed once, not at every epoch.
        kind = torch.float32 if sample == torch.float64 else sample
        self.observations = torch.zeros((*place, *self.obs_shape), dtype=kind, device=self.device)
        self.actions = torch.zeros((*place, self.action_dim), device=self.device)
        for name in ("rewards", "episode_starts", "log_probs", "values"):
            setattr(self, name, torch.zeros(place, device=self.device))
        self.pos, self.full, self.generator_ready = 0, False, False
        self._flat: tuple[torch.Tensor, ...] = ()

    def add(
        self,
        obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        episode_start: NDArray[Any],
        value: torch.Tensor,
        log_prob: torch.Tensor,
    ) -> None:
        """A step of every environment."""
        step = self.pos
        self.observations[step] = torch.as_tensor(obs).reshape(self.observations[step].shape)
        self.actions[step] = torch.as_tensor(action).reshape(self.n_envs, self.action_dim)
        self.rewards[step] = torch.as_tensor(reward)
        self.episode_starts[step] = torch.as_tensor(episode_start)
        self.values[step] = value.detach().flatten()
        self.log_probs[step] = log_prob.detach().flatten()
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def compute_returns_and_advantage(
        self, last_values: torch.Tensor, dones: NDArray[np.bool_]
    ) -> None:
        """Generalised advantage estimation (Schulman et al. 2016), as SB3 computes it."""
        following = last_values.detach().flatten()
        going_on = 1.0 - torch.as_tensor(dones).to(self.device, torch.float32)
        advantages = torch.zeros_like(self.values)
        advantage = torch.zeros_like(following)
        for step in reversed(range(self.buffer_size)):
            delta = self.rewards[step] + self.gamma * following * going_on - self.values[step]
            advantage = delta + self.gamma * self.gae_lambda * going_on * advantage
            advantages[step] = advantage
            following, going_on = self.values[step], 1.0 - self.episode_starts[step]
        returns = advantages + self.values
        kept = (
            self.observations,
            self.actions,
            self.values,
            self.log_probs,
            advantages,
            returns,
        )
        # Environment by environment, as SB3 flattens its arrays.
        self._flat = tuple(each.swapaxes(0, 1).flatten(0, 1) for each in kept)
        self.advantages = advantages
        self.values, self.returns = self.values.cpu().numpy(), returns.cpu().numpy()

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Mini-batches in a new random order."""
        assert self.full, "a rollout is still under way"
        count = self.buffer_size * self.n_envs
        size = batch_size or count
        order = torch.from_numpy(np.random.permutation(count)).to(self.device)
        for start in range(0, count, size):
            chosen = order[start : start + size]
            yield RolloutBufferSamples(*(each[chosen] for each in self._flat))
