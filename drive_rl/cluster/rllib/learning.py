"""The network that Stable-Baselines3's PPO would train, under RLlib's names for its parts."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.learner import GeneralAdvantageEstimation
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from drive_rl.presets import PPOSpec, RunSpec, Schedule
from drive_rl.training.algorithms import ProgressSchedule, build_policy

PREFIX = "policy."
"""Before each parameter's name in what RLlib calls the module's weights."""


class PolicyModule(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]
    """An SB3 policy as RLlib's module; `model_config` holds the run's specification as JSON."""

    def setup(self) -> None:
        """Build the network, the same one everywhere: its seed is the run's."""
        spec = RunSpec.model_validate_json(self.model_config["spec"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            policy = build_policy(
                spec, self.observation_space, self.action_space, torch.device("cpu")
            )
        assert isinstance(policy, ActorCriticPolicy)
        # What stands in its optimiser's place is none.
        del policy.optimizer
        self.policy = policy

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        features = self.policy.extract_features(
            batch[Columns.OBS], self.policy.pi_features_extractor
        )
        assert isinstance(features, Tensor)
        scores: Tensor = self.policy.action_net(self.policy.mlp_extractor.forward_actor(features))
        if isinstance(self.action_space, spaces.Box):
            # RLlib's Gaussian reads means and logarithms of deviations side by side.
            scores = torch.cat([scores, self.policy.log_std.expand_as(scores)], dim=-1)
        return {Columns.ACTION_DIST_INPUTS: scores}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Expected discounted returns, (batch,)."""
        values: Tensor = self.policy.predict_values(batch[Columns.OBS])
        return values.squeeze(-1)


class Learner(PPOTorchLearner):  # type: ignore[misc]
    """RLlib's PPO with SB3's optimiser, and a discount that may follow a schedule."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW, as `training.algorithms` gives it to SB3."""
        agent = self._agent()
        parameters = self.get_parameters(self._module[module_id])
        optimizer = torch.optim.AdamW(parameters, weight_decay=agent.weight_decay, eps=1e-5)
        self.register_optimizer(
            module_id=module_id,
            optimizer=optimizer,
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Also set the next iteration's discount."""
        super().after_gradient_based_update(timesteps=timesteps)
        agent = self._agent()
        if not isinstance(agent.gamma, Schedule):
            return
        done = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0) / agent.steps
        for piece in self._learner_connector.connectors:
            if isinstance(piece, GeneralAdvantageEstimation):
                piece.gamma = ProgressSchedule(agent.gamma)(1.0 - done)

    def _agent(self) -> PPOSpec:
        agent = RunSpec.model_validate_json(self.config.env_config["spec"]).agent
        assert isinstance(agent, PPOSpec)
        return agent
