"""A policy as one function of tensors: observations in, deterministic actions out.

What leaves drive-rl is the whole way from what the environment gives to what it takes: the cast
and the scaling of images, the encoder, the layers, the choice, the clipping to the bounds.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from drive_rl.errors import DriveRLError

ACTION = "action"
OBSERVATION = "observation"
DETAILS = (ACTION, "scores", "value", "features")
"""Outputs of a network with details, in order."""


class DeployedNetwork(nn.Module):
    """SB3's policy without SB3's machinery, for exporters.

    Inputs are batches of the members of the observation space, in the space's order and types.
    The output is the action: int64 (batch,) of discrete actions, int64 (batch, parts) of several,
    float32 (batch, actions) of continuous ones, clipped to their bounds.

    Args:
        details: also give `scores` (Q-values, logits, or the means of continuous actions, before
            clipping), `value` (batch,), the expected discounted return, and `features`
            (batch, n), what the encoder made of the observation.

    Raises:
        DriveRLError: a kind of policy or action that has no such form.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        policy: ActorCriticPolicy | DQNPolicy,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        details: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(policy, (ActorCriticPolicy, DQNPolicy)):
            raise DriveRLError(f"a {type(policy).__name__} cannot be exported")
        if not isinstance(action_space, (spaces.Discrete, spaces.MultiDiscrete, spaces.Box)):
            raise DriveRLError(f"actions of kind {type(action_space).__name__} cannot be exported")
        # A copy: exporting must not change a policy that somebody drives with.
        self.policy = copy.deepcopy(policy).cpu().eval()
        self.observation_space = observation_space
        self.action_space = action_space
        self.details = details
        if isinstance(action_space, spaces.Box):
            self.register_buffer("low", torch.as_tensor(action_space.low.copy()))
            self.register_buffer("high", torch.as_tensor(action_space.high.copy()))

    def forward(self, *members: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The action, or all of `DETAILS`."""
        space = self.observation_space
        observations: Any = members[0]
        if isinstance(space, spaces.Dict):
            observations = dict(zip(space.spaces, members, strict=True))
        ready = preprocess_obs(observations, space)
        if isinstance(self.policy, DQNPolicy):
            features = self.policy.q_net.features_extractor(ready)
            scores = self.policy.q_net.q_net(features)
            value = scores.max(dim=1).values
        else:
            features = self.policy.pi_features_extractor(ready)
            scores = self.policy.action_net(self.policy.mlp_extractor.forward_actor(features))
            seen = features
            if self.details and not self.policy.share_features_extractor:
                seen = self.policy.vf_features_extractor(ready)
            value = self.policy.value_net(self.policy.mlp_extractor.forward_critic(seen))[:, 0]
        action = self._choose(scores)
        return (action, scores, value, features) if self.details else action

    def _choose(self, scores: Tensor) -> Tensor:
        if isinstance(self.action_space, spaces.Discrete):
            # SB3 knows no other start than 0, and neither does `Policy.predict`.
            return scores.argmax(dim=1)
        if isinstance(self.action_space, spaces.MultiDiscrete):
            parts = torch.split(scores, self.action_space.nvec.tolist(), dim=1)
            return torch.stack([part.argmax(dim=1) for part in parts], dim=1)
        return torch.clamp(scores, self.low, self.high)


def deployed(policy: Any, *, details: bool = False) -> DeployedNetwork:
    """The network of a `drive_rl.training.Policy`; raises as `DeployedNetwork`."""
    return DeployedNetwork(
        policy.network, policy.observation_space, policy.action_space, details=details
    )


def input_names(space: spaces.Space[Any]) -> list[str]:
    """`observation`, or the members of a dictionary by their own names."""
    return list(space.spaces) if isinstance(space, spaces.Dict) else [OBSERVATION]


def members_of(space: spaces.Space[Any]) -> list[spaces.Box]:
    """The arrays that an observation consists of, in the order of `input_names`.

    Raises:
        DriveRLError: something else than arrays.
    """
    members = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    for member in members:
        if not isinstance(member, spaces.Box):
            raise DriveRLError(f"observations of kind {type(member).__name__} cannot be exported")
    return members  # type: ignore[return-value]


def example_inputs(space: spaces.Space[Any], rows: int = 2) -> tuple[Tensor, ...]:
    """Zeros as an exporter wants them: a batch of each member, in the space's own type."""
    return tuple(
        torch.zeros((rows, *member.shape), dtype=torch.from_numpy(member.low[:0].copy()).dtype)
        for member in members_of(space)
    )
