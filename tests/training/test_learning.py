"""PPO and DQN as built from a specification."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from drive_rl.errors import Diverged, UsageError
from drive_rl.presets import NetworkSpec, Schedule
from drive_rl.runs.progress import Quiet
from drive_rl.training import train_run
from drive_rl.training.algorithms import (
    BatchedDQN,
    ProgressSchedule,
    build_algorithm,
    build_policy,
    follow_schedules,
)
from drive_rl.training.loop import TrainingLoop
from drive_rl.training.networks import policy_arguments, resolve_network
from tests.training.runs import small_spec

IMAGE = {
    "type": "GrayscaleObservation",
    "observation_shape": (48, 48),
    "stack_size": 2,
    "weights": [0.2989, 0.5870, 0.1140],
    "scaling": 1.75,
}

TABLE = spaces.Box(-math.inf, math.inf, (5, 5), np.float32)


class Made(VecEnv):
    """Environments without a world, whose episodes are all cut off after three decisions."""

    def __init__(self, num_envs: int, action_space: spaces.Space[Any] = spaces.Discrete(5)) -> None:
        super().__init__(num_envs, TABLE, action_space)
        self.generator = np.random.default_rng(0)
        self.time = 0

    def reset(self) -> Any:
        return self._observe()

    def _observe(self) -> Any:
        return self.generator.standard_normal((self.num_envs, 5, 5)).astype(np.float32)

    def step_async(self, actions: Any) -> None:
        self.time += 1

    def step_wait(self) -> Any:
        dones = np.full(self.num_envs, self.time % 3 == 0)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            infos = [
                {
                    "terminal_observation": observation,
                    "TimeLimit.truncated": index % 2 == 0,
                    "episode": {"r": 3.0, "l": 3, "t": 0.0},
                    "crashed": False,
                    "speed_mean": 25.0,
                }
                for index, observation in enumerate(self._observe())
            ]
        return self._observe(), np.ones(self.num_envs, np.float32), dones, infos

    def close(self) -> None: ...
    def get_attr(self, attr_name: str, indices: Any = None) -> Any:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...
    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> Any:
        return [False] * self.num_envs


def train_small(tmp_path: Path, *args: Any, **kwargs: Any) -> Any:
    spec = small_spec(*args, **kwargs)
    return train_run(spec, tmp_path / "run", progress=Quiet(), evaluate=False)


def test_ppo_learns_on_goals_with_continuous_actions(tmp_path: Path) -> None:
    run = train_small(tmp_path, "ppo", env="parking-v0", config={}, steps=32)
    assert isinstance(run.observation_space, spaces.Dict)
    policy = run.load_policy()
    observations = run.observation_space.sample()
    action = policy.predict(observations)
    assert run.action_space.contains(action)
    assert policy.action_probabilities(observations) is None
    batch = {name: np.stack([value] * 3) for name, value in observations.items()}
    assert policy.predict(batch).shape == (3, 2)
    assert policy.value(batch).shape == (3,)
    assert run.metrics()[-1]["step"] == 32


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_images_are_read_by_a_convolutional_network(algo: str, tmp_path: Path) -> None:
    more = {"learning_starts": 8} if algo == "dqn" else {}
    run = train_small(tmp_path, algo, steps=16, observation=IMAGE, **more)
    assert run.spec.agent.network.kind == "cnn"
    assert run.observation_space.shape == (2, 48, 48)
    action = run.load_policy().predict(run.observation_space.sample())
    assert run.action_space.contains(int(action))


def test_each_observation_has_its_network() -> None:
    auto = NetworkSpec()
    image = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert resolve_network(auto, image, "GrayscaleObservation").kind == "cnn"
    assert resolve_network(auto, TABLE, "Kinematics").kind == "attention"
    assert resolve_network(auto, TABLE, "ExitObservation").kind == "attention"
    assert resolve_network(auto, TABLE, "LidarObservation").kind == "mlp"
    goals = spaces.Dict({"observation": TABLE})
    assert resolve_network(auto, goals, "KinematicsGoal").kind == "mlp"


def test_a_network_that_cannot_read_the_observation_says_so() -> None:
    small = spaces.Box(0, 255, (4, 20, 20), np.uint8)
    for observations in (TABLE, small):
        with pytest.raises(UsageError, match="network 'cnn'"):
            policy_arguments(NetworkSpec(kind="cnn"), observations)
    with pytest.raises(UsageError, match="network 'attention'"):
        policy_arguments(NetworkSpec(kind="attention"), spaces.Box(0, 1, (3, 4, 5)))


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_the_optimiser_is_adamw_with_the_weight_decay_asked_for(algo: str) -> None:
    spec = small_spec(algo, weight_decay=0.25)
    spec = spec.model_copy(
        update={"agent": spec.agent.model_copy(update={"network": NetworkSpec(kind="mlp")})}
    )
    model = build_algorithm(spec, Made(2), torch.device("cpu"))
    optimizer = model.policy.optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["weight_decay"] == 0.25


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_schedules_go_from_start_to_end_and_stay_there(kind: Any) -> None:
    schedule = ProgressSchedule(Schedule(start=1.0, end=0.1, kind=kind))
    assert schedule(1.0) == pytest.approx(1.0)
    assert schedule(0.5) == pytest.approx(0.55)
    assert schedule(0.0) == pytest.approx(0.1)
    assert schedule(-0.3) == pytest.approx(0.1)


def test_a_schedule_may_reach_its_end_before_the_training_does() -> None:
    schedule = ProgressSchedule(Schedule(start=1.0, end=0.0, until=0.5))
    assert schedule(0.75) == pytest.approx(0.5)
    assert schedule(0.5) == schedule(0.25) == 0.0


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_discount_and_entropy_bonus_follow_their_schedules(algo: str) -> None:
    spec = small_spec(algo, gamma={"start": 0.5, "end": 0.9}, network={"kind": "mlp"})
    model = build_algorithm(spec, Made(2), torch.device("cpu"))
    assert isinstance(model, (PPO, BatchedDQN))
    for done, gamma in ((0.0, 0.5), (0.5, 0.7), (1.0, 0.9)):
        model.num_timesteps = round(done * spec.agent.steps)
        follow_schedules(model, spec.agent)
        assert model.gamma == pytest.approx(gamma)
        if isinstance(model, PPO):
            assert model.rollout_buffer.gamma == model.gamma
            assert model.ent_coef == pytest.approx(0.01 * (1.0 - done))


def test_a_discount_above_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"agent\.gamma\.end 1\.5"):
        small_spec("ppo", gamma={"start": 0.5, "end": 1.5})


def test_a_run_shorter_than_a_rollout_takes_no_more_steps_than_asked_for(tmp_path: Path) -> None:
    run = train_small(tmp_path, "ppo", steps=10, n_steps=512)
    assert run.steps() == [10]


def test_environments_explore_each_for_themselves() -> None:
    spec = small_spec("dqn", learning_starts=0)
    network = NetworkSpec(kind="mlp")
    spec = spec.model_copy(update={"agent": spec.agent.model_copy(update={"network": network})})
    model = build_algorithm(spec, Made(1000), torch.device("cpu"))
    assert isinstance(model, BatchedDQN)
    model._last_obs = model.env.reset()
    model.exploration_rate = 0.5
    actions, _ = model._sample_action(learning_starts=0, n_envs=1000)
    greedy, _ = model.policy.predict(model._last_obs, deterministic=True)
    # Half explores, and a fifth of that takes the greedy action by chance.
    assert 0.5 < np.mean(actions == greedy) < 0.7


def test_what_a_time_limit_cut_off_is_valued_as_sb3_values_it() -> None:
    """All at once, or one by one in SB3's own loop: the same rollout."""
    spec = small_spec("ppo")
    network = NetworkSpec(kind="mlp", hidden=[32])
    spec = spec.model_copy(update={"agent": spec.agent.model_copy(update={"network": network})})

    class Ours(TrainingLoop):
        def __init__(self) -> None:
            super(TrainingLoop, self).__init__()

        def _on_training_start(self) -> None: ...
        def _on_rollout_start(self) -> None: ...
        def _on_training_end(self) -> None: ...
        def _on_step(self) -> bool:
            self._bootstrap_truncated(self.locals["dones"])
            return True

    buffers = []
    for callback in (None, Ours()):
        model = build_algorithm(spec, Made(8), torch.device("cpu"))
        assert isinstance(model, PPO)
        model.learn(1, callback=callback)
        buffers.append(model.rollout_buffer)
    np.testing.assert_allclose(*(np.asarray(each.rewards) for each in buffers), rtol=1e-5)
    assert np.any(np.asarray(buffers[0].rewards) != 1.0)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_numbers_that_are_not_finite_stop_the_run_and_name_the_update(
    algo: str, tmp_path: Path
) -> None:
    with pytest.raises(Diverged, match=r"update \d+ \(step \d+\).*finite|loss is") as caught:
        train_small(tmp_path, algo, learning_rate=1e30)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PPO.train

    def poisoned(self: PPO) -> None:
        original(self)
        if self.num_timesteps == 64:
            with torch.no_grad():
                next(iter(self.policy.parameters()))[0] = math.nan

    monkeypatch.setattr(PPO, "train", poisoned)
    with pytest.raises(Diverged, match=r"step 64.*weights of .*checkpoints/32"):
        train_small(tmp_path, "ppo")
    from drive_rl.training import Run

    kept = Run.open(tmp_path / "run").newest()
    assert kept is not None
    assert kept.step == 32
    assert all(bool(torch.isfinite(value).all()) for value in kept.policy.values())


def test_loading_weights_costs_no_random_numbers() -> None:
    spec = small_spec("ppo")
    network = NetworkSpec(kind="mlp")
    spec = spec.model_copy(update={"agent": spec.agent.model_copy(update={"network": network})})
    before = torch.get_rng_state()
    build_policy(spec, TABLE, spaces.Discrete(5), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
