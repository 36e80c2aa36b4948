"""A policy behind a frozen encoder becomes one that sees frames: the whole way leaves drive-rl."""

from __future__ import annotations

import copy
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from drive_rl.environments import make_vec
from drive_rl.perception.options import perception_options
from drive_rl.perception.wrapper import Perception
from drive_rl.training import Policy


class FramesExtractor(BaseFeaturesExtractor):
    """Frames through an encoder and, where affordances are asked for, its heads, to a network's own
    extractor.

    Args:
        space: of stacks of frames.
        perception: the encoder.
        extractor: the network's own.
    """

    def __init__(
        self, space: Any, perception: Perception, extractor: BaseFeaturesExtractor
    ) -> None:
        super().__init__(space, extractor.features_dim)
        self.perception: nn.Module = copy.deepcopy(perception.network).cpu()
        self.extractor = extractor

    def forward(self, frames: Tensor) -> Tensor:
        """Features (batch, n) of stacks (batch, channels, height, width), scaled to 0 to 1."""
        features: Tensor = self.extractor(self.perception(255.0 * frames))
        return features


def with_encoder(policy: Policy) -> Policy:
    """A policy whose observations are frames; the same one where no encoder stands before it."""
    options = perception_options(policy.spec.env.full_config.get("perception"))
    if options is None or not options.frozen:
        return policy
    config = {k: v for k, v in policy.spec.env.config.items() if k != "perception"}
    env = policy.spec.env.model_copy(update={"config": config})
    envs = make_vec(env, 1)
    space = envs.single_observation_space
    envs.close()
    network = copy.deepcopy(policy.network)
    perception = Perception(options)
    with torch.random.fork_rng(devices=[]):
        if isinstance(network, DQNPolicy):
            for net in (network.q_net, network.q_net_target):
                net.features_extractor = FramesExtractor(space, perception, net.features_extractor)
                net.observation_space = space
        else:
            assert isinstance(network, ActorCriticPolicy)
            own = {}
            for name in ("features_extractor", "pi_features_extractor", "vf_features_extractor"):
                extractor = getattr(network, name)
                if id(extractor) not in own:  # shared ones stay shared
                    own[id(extractor)] = FramesExtractor(space, perception, extractor)
                setattr(network, name, own[id(extractor)])
    network.observation_space = space
    seeing = copy.copy(policy)
    seeing.spec = policy.spec.model_copy(update={"env": env})
    seeing.observation_space = space
    seeing._network = network.eval()
    seeing._is_small = False
    return seeing
