"""Where tensors are: one update of each algorithm on a device that is not the CPU.

No machine that these tests run on has a GPU. Torch's `meta` device stands in for one: its tensors
have shape and device and no values, and an operation on tensors of two devices fails there as it
would on CUDA. So these tests show that nothing is left behind on the CPU; they cannot show that
CUDA's kernels give the right numbers, or how fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from drive_rl.presets import resolve_run
from drive_rl.training.algorithms import build_policy
from drive_rl.training.networks import resolve_network

ELSEWHERE = torch.device("meta")
BATCH = 8


def policy_elsewhere(algo: str, network: str) -> tuple[Any, torch.Tensor]:
    """A policy as a run on that device builds it, and a batch of observations there."""
    spec = resolve_run("highway-fast-v0", algo, overrides={"agent.network.kind": network})
    space = spaces.Box(-1.0, 1.0, (5, 7), np.float32)
    if network == "cnn":
        space = spaces.Box(0, 255, (4, 48, 48), np.uint8)
    resolved = resolve_network(spec.agent.network, space, None)
    spec = spec.model_copy(update={"agent": spec.agent.model_copy(update={"network": resolved})})
    policy = build_policy(spec, space, spaces.Discrete(5), ELSEWHERE)
    dtype = torch.uint8 if network == "cnn" else torch.float32
    return policy, torch.zeros((BATCH, *space.shape), dtype=dtype, device=ELSEWHERE)


def update(policy: Any, loss: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
    optimizer.step()
    for name, tensor in [*policy.named_parameters(), *policy.named_buffers()]:
        assert tensor.device == ELSEWHERE, name
    for moments in optimizer.state.values():
        assert moments["exp_avg"].device == ELSEWHERE


@pytest.mark.parametrize("network", ["mlp", "attention", "cnn"])
def test_an_update_of_ppo_leaves_nothing_on_the_cpu(network: str) -> None:
    policy, observations = policy_elsewhere("ppo", network)
    actions = torch.zeros(BATCH, dtype=torch.long, device=ELSEWHERE)
    given = torch.zeros(BATCH, device=ELSEWHERE)
    # Without validation: what has no values cannot be checked for being probabilities.
    torch.distributions.Distribution.set_default_validate_args(False)
    values, log_probabilities, entropy = policy.evaluate_actions(observations, actions)
    ratio = torch.exp(log_probabilities - given)
    surrogate = torch.min(ratio, ratio.clamp(0.8, 1.2)).mean()
    error = (values.flatten() - given).square().mean()
    update(policy, 0.5 * error - surrogate - 0.01 * entropy.mean())


@pytest.mark.parametrize("network", ["mlp", "attention", "cnn"])
def test_an_update_of_dqn_leaves_nothing_on_the_cpu(network: str) -> None:
    policy, observations = policy_elsewhere("dqn", network)
    with torch.no_grad():
        target = policy.q_net_target(observations).amax(dim=1, keepdim=True)
    actions = torch.zeros((BATCH, 1), dtype=torch.long, device=ELSEWHERE)
    values = torch.gather(policy.q_net(observations), dim=1, index=actions)
    update(policy, torch.nn.functional.smooth_l1_loss(values, target))


def test_the_check_notices_a_tensor_that_was_left_behind() -> None:
    policy, observations = policy_elsewhere("ppo", "attention")
    scales = policy.features_extractor._scales
    policy.features_extractor._scales = torch.ones(scales.shape)
    with pytest.raises(RuntimeError, match="device"):
        policy.predict_values(observations)
