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
from stable_baselines3.common.buffers import RolloutBuffer

from drive_rl.perception.spec import EncoderSpec
from drive_rl.presets import resolve_run
from drive_rl.training.algorithms import build_policy
from drive_rl.training.networks import ImageEncoder, resolve_network
from drive_rl.training.rollouts import DeviceRolloutBuffer

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


def test_a_rollout_is_kept_where_the_network_is() -> None:
    rows = spaces.Box(-1.0, 1.0, (5, 7), np.float32)
    buffer = DeviceRolloutBuffer(3, rows, spaces.Discrete(5), device=ELSEWHERE, n_envs=2)
    given = torch.zeros(2, device=ELSEWHERE)
    for _ in range(3):
        buffer.add(np.ones((2, 5, 7), np.float32), np.ones(2), np.ones(2), np.ones(2), given, given)
    for name in ("observations", "actions", "rewards", "episode_starts", "values", "log_probs"):
        assert getattr(buffer, name).device == ELSEWHERE, name


@pytest.mark.parametrize("actions", [spaces.Discrete(5), spaces.Box(-1.0, 1.0, (2,))])
def test_rollouts_are_those_of_sb3(actions: spaces.Space[Any]) -> None:
    """The same returns, the same advantages, the same mini-batches, bit for bit."""
    rows = spaces.Box(-1.0, 1.0, (5, 7), np.float64)
    steps, num_envs = 6, 4
    batches = []
    for kind in (RolloutBuffer, DeviceRolloutBuffer):
        generator = np.random.default_rng(0)
        buffer = kind(
            steps, rows, actions, device="cpu", gamma=0.9, gae_lambda=0.8, n_envs=num_envs
        )
        for _ in range(steps):
            size = (num_envs, *actions.shape)  # type: ignore[misc]
            action = (
                generator.integers(5, size=size) if not actions.shape else generator.random(size)
            )
            numbers = generator.random((4, num_envs)).astype(np.float32)
            starts = (numbers[3] < 0.3).astype(np.float32)
            buffer.add(
                generator.random((num_envs, 5, 7)),
                action,
                numbers[0],
                starts,
                torch.from_numpy(numbers[1]),
                torch.from_numpy(numbers[2]),
            )
        last = torch.from_numpy(generator.random(num_envs).astype(np.float32))
        buffer.compute_returns_and_advantage(last, generator.random(num_envs) < 0.5)
        np.random.seed(1)
        batches.append([batch for _ in range(2) for batch in buffer.get(10)])
    assert len(batches[0]) == len(batches[1])
    for theirs, ours in zip(*batches, strict=True):
        for name, one, other in zip(theirs._fields, theirs, ours, strict=True):
            assert torch.equal(one.float(), other.float()), name


def test_mixed_precision_rounds_and_gives_single_precision() -> None:
    space = spaces.Box(0, 255, (4, 48, 48), np.uint8)
    torch.manual_seed(0)
    nature = EncoderSpec(kind="nature", frames=1, features=32)
    full = ImageEncoder(space, nature, precision="auto")
    mixed = ImageEncoder(space, nature, precision="mixed")
    mixed.load_state_dict(full.state_dict())
    pictures = torch.rand(2, 4, 48, 48)
    exact, rounded = full(pictures), mixed(pictures)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02)
    rounded.sum().backward()
    assert all(each.grad.dtype == torch.float32 for each in mixed.parameters())
