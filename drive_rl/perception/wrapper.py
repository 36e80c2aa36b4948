"""Frames in, features out: wrappers that look through a trained encoder.

    envs = PerceptionWrapper(drive_rl.make_vec("highway-camera-v0", 64), "road")

`perception: {encoder: road}` in an environment's configuration does the same.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import nn

from drive_rl.errors import UsageError
from drive_rl.perception.heads import affordance_count
from drive_rl.perception.networks import fused
from drive_rl.perception.options import PerceptionOptions
from drive_rl.perception.weights import load_encoder
from drive_rl.runs.tensors import choose_device

# Convolutions round differently for other batch sizes. With one size for all, features depend on
# their own frames alone, and results on no number of environments.
ROWS = 32


class Perception:
    """A frozen encoder: stacks of frames to features.

    Args:
        options: which encoder, what comes out, and where it runs.

    Raises:
        UsageError: no such encoder, or no such device.
    """

    def __init__(self, options: PerceptionOptions) -> None:
        self.options = options
        weights = load_encoder(options.encoder)
        self._device = choose_device(options.device)
        self._encoder = fused(weights.build_encoder()).to(self._device)
        heads = weights.build_heads().requires_grad_(False).to(self._device)
        # From stacks of 0 to 255, (B, channels, H, W), to what a policy sees, (B, size)
        self.network: nn.Module = self._encoder
        if options.output == "affordances":
            self.network = nn.Sequential(self._encoder, heads.affordances)
        if options.output == "affordances":
            self.size = affordance_count(weights.num_lanes)
        else:
            self.size = weights.spec.features
        self.space = spaces.Box(-np.inf, np.inf, (self.size,), np.float32)

    def check(self, space: spaces.Space[Any]) -> None:
        """Can it read these observations?

        Raises:
            UsageError: they are no frames, or of another size or number of channels.
        """
        if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
            raise UsageError(f"perception reads frames of one agent (uint8, 3 axes), not {space}")
        self._encoder.check(space.shape)

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, size) of stacks (n, channels, height, width)."""
        frames = np.asarray(frames)
        if frames.ndim != 4:
            raise UsageError(f"frames of shape {frames.shape} are no batch of stacks")
        self._encoder.check(frames.shape[1:])
        result = np.empty((len(frames), self.size), np.float32)
        # Only what the encoder looks at is copied
        seen = frames[:, -self._encoder.depth :]
        chunk = torch.zeros((ROWS, *seen.shape[1:]), dtype=torch.uint8)
        with torch.inference_mode():
            for start in range(0, len(frames), ROWS):
                part = seen[start : start + ROWS]
                chunk[: len(part)] = torch.from_numpy(np.ascontiguousarray(part))
                out = self.network(chunk.to(self._device))
                result[start : start + len(part)] = out[: len(part)].cpu().numpy()
        return result


class _Looking:
    """What both wrappers are: an environment within, seen through a trained encoder.

    Args:
        env: gives stacks of frames.
        encoder: the name of a shipped encoder, a file, or a run.
        output: "features", or "affordances".
        device: where the encoder runs.

    Raises:
        UsageError: no such encoder or device, or frames that the encoder does not read.
    """

    env: Any

    def __init__(
        self, env: Any, encoder: str = "road", output: str = "features", device: str = "auto"
    ) -> None:
        super().__init__(env)  # type: ignore[call-arg]
        self.perception = Perception(PerceptionOptions(encoder, True, output, device))
        vector = isinstance(env, gymnasium.vector.VectorEnv)
        self.perception.check(env.single_observation_space if vector else env.observation_space)
        space: spaces.Space[Any] = self.perception.space
        if vector:
            self.single_observation_space = space
            space = batch_space(space, env.num_envs)
        self.observation_space = space

    def __getattr__(self, name: str) -> Any:
        """Everything else, such as `scene` or `get_state`, is of the environment within."""
        if name.startswith("__") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)


class PerceptionWrapper(_Looking, gymnasium.vector.VectorWrapper):
    """A vector environment whose observations are an encoder's features."""

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As of the environment within."""
        frames, infos = self.env.reset(seed=seed, options=options)
        return self.perception(frames), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As of the environment within; `final_obs` are features too."""
        frames, rewards, terminated, truncated, infos = self.env.step(actions)
        if "final_obs" in infos:
            rows = np.flatnonzero(infos["_final_obs"])
            features = self.perception(np.stack([infos["final_obs"][row] for row in rows]))
            final = np.full(self.num_envs, None, dtype=object)
            for row, each in zip(rows, features, strict=True):
                final[row] = each
            infos["final_obs"] = final
        return self.perception(frames), rewards, terminated, truncated, infos


class PerceptionObservation(_Looking, gymnasium.Wrapper[Any, Any, Any, Any]):
    """As PerceptionWrapper, for a single environment."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As of the environment within."""
        frames, info = self.env.reset(seed=seed, options=options)
        return self.perception(frames[None])[0], info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As of the environment within."""
        frames, reward, terminated, truncated, info = self.env.step(action)
        return self.perception(frames[None])[0], reward, terminated, truncated, info


def check_unfrozen(options: PerceptionOptions, space: spaces.Space[Any]) -> None:
    """Can a policy's network that begins as this encoder read these observations?

    Raises:
        UsageError: no such encoder, or no frames that it reads.
    """
    Perception(options).check(space)
