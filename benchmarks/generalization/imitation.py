"""A policy that drives from frames, taught by one that knows where the vehicles are.

DAgger (Ross et al. 2011): the learner drives, the teacher says in each state what it would have
done, and the learner is fitted to all that was said so far. The same simulator runs twice with the
same seeds and actions, once seen by the camera and once by the teacher's observation.

Reinforcement learning from frames takes hours a policy on a processor; this takes a minute, and
asks the same question: what becomes of a driver's eyes on other roads.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor, nn

from drive_rl.environments import make_vec
from drive_rl.evaluation.rollout import Episodes, drive
from drive_rl.perception.augment import augmented
from drive_rl.perception.networks import Encoder
from drive_rl.perception.spec import AugmentSpec, EncoderSpec
from drive_rl.presets import EnvironmentSpec, load_environment
from drive_rl.training import load_policy

TEACHER = "highway-v0/ppo"
CAMERA = {
    "type": "CameraObservation",
    "view": "front",
    "width": 84,
    "height": 84,
    "channels": "rgb",
    "stack_size": 2,
    "field_of_view": 80,
    "position": [0.4, 0.0, 1.7],
    "pitch": -7,
}
"""As highway-camera-v0's, with two frames."""

AUGMENT = AugmentSpec(shift=4, crop=0.1, color=0.4, convolution=0.2)
CHANNELS = 3
ENCODER = EncoderSpec(
    kind="resnet",
    frames=2,
    rows=(28, 84),
    features=128,
    stem=(16, 5, 4),
    widths=(32, 48),
    blocks=1,
    pool="flatten",
)
"""Small: a learner is taught in about a minute."""
TRAINING_SEED = 3_000_000  # of a learner's episodes; those of the test begin at 0


@dataclasses.dataclass(frozen=True)
class Lessons:
    """How long a learner is taught; alike for all arms.

    Attributes:
        rounds: of driving and fitting; the teacher drives the first.
        num_envs, decisions: environments, and decisions in each of them, a round.
        steps, batch_size: of the optimiser, a round.
    """

    rounds: int = 8
    num_envs: int = 64
    decisions: int = 20
    steps: int = 100
    batch_size: int = 128
    learning_rate: float = 1.5e-3
    encoder: EncoderSpec = ENCODER


class Learner(nn.Module):
    """An encoder and a layer of actions.

    Attributes:
        observation_space, action_space: what it drives from and by.
    """

    def __init__(self, spec: EncoderSpec, envs: Any) -> None:
        super().__init__()
        self.observation_space: spaces.Box = envs.single_observation_space
        self.action_space: spaces.Discrete = envs.single_action_space
        self.encoder = Encoder(spec, self.observation_space.shape, CHANNELS)
        self.actions = nn.Linear(spec.features, int(self.action_space.n))

    def forward(self, stacks: Tensor) -> Tensor:
        """Logits (B, actions) of stacks (B, 2 * 3, H, W)."""
        logits: Tensor = self.actions(self.encoder(stacks))
        return logits

    def predict(self, observations: Any, deterministic: bool = True) -> NDArray[np.int64]:
        """The likeliest actions, (n,)."""
        self.eval()
        with torch.inference_mode():
            logits = self(torch.from_numpy(np.ascontiguousarray(observations)))
        return np.asarray(logits.argmax(dim=1).numpy())


def road_on(bank: Path, tile: str | None = None) -> EnvironmentSpec:
    """highway-v0 seen by the camera, on the surfaces of a bank or on one of them.

    Nothing else varies: arms differ in surfaces alone.
    """
    texture: dict[str, Any] = {"bank": str(bank)}
    if tile is not None:
        texture["classes"] = [tile]
    varied = {"road_texture": texture}
    return load_environment("highway-v0", {"observation": CAMERA, "randomization": varied})


def teach(bank: Path, seed: int, augment: AugmentSpec | None, lessons: Lessons) -> Learner:
    """A learner that has driven on the surfaces of a bank.

    Args:
        seed: of the learner's weights, batches and episodes.
        augment: how frames are changed before they are learned from, or not at all.
    """
    teacher = load_policy(TEACHER)
    seen = make_vec(road_on(bank), lessons.num_envs, engine="compiled")
    known = make_vec(teacher.spec.env, lessons.num_envs, engine="compiled")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = Learner(lessons.encoder, seen)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=lessons.learning_rate, weight_decay=0.02)
    first = TRAINING_SEED + 100_000 * seed
    frames, _ = seen.reset(seed=first)
    states, _ = known.reset(seed=first)
    heard_frames: list[NDArray[np.uint8]] = []
    heard: list[NDArray[np.float32]] = []
    random = np.random.default_rng([seed, 11])
    chance = torch.Generator().manual_seed(seed)
    for number in range(lessons.rounds):
        for _ in range(lessons.decisions):
            said = teacher.action_probabilities(states)
            heard_frames.append(np.array(frames))
            heard.append(np.asarray(said, np.float32))
            actions = said.argmax(axis=1) if number == 0 else learner.predict(frames)
            frames, rewards, *_ = seen.step(actions)
            states, same, *_ = known.step(actions)
            assert np.array_equal(rewards, same), "the two views have come apart"
        _fit(learner, optimizer, heard_frames, heard, augment, lessons, number, random, chance)
    seen.close()
    known.close()
    return learner.eval()


def _fit(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    frames: list[NDArray[np.uint8]],
    said: list[NDArray[np.float32]],
    augment: AugmentSpec | None,
    lessons: Lessons,
    number: int,
    random: np.random.Generator,
    chance: torch.Generator,
) -> None:
    """The steps of a round, on all that was said so far; each decision is an entry."""
    if number == 0:  # what pixels are like is measured once
        pixels = np.stack(frames).reshape(-1, *frames[0].shape[1:])[:, -CHANNELS:]
        learner.encoder.mean.copy_(torch.from_numpy(pixels.mean(axis=(0, 2, 3))))
        learner.encoder.std.copy_(torch.from_numpy(pixels.std(axis=(0, 2, 3))))
    targets = np.stack(said)  # (decisions, num_envs, actions)
    learner.train()
    for step in range(lessons.steps):
        part = (number * lessons.steps + step) / (lessons.rounds * lessons.steps)
        rising, falling = min(1.0, 20 * part + 0.05), 0.5 + 0.5 * math.cos(math.pi * part)
        optimizer.param_groups[0]["lr"] = lessons.learning_rate * rising * falling
        decisions = random.integers(0, len(frames), lessons.batch_size)
        slots = random.integers(0, lessons.num_envs, lessons.batch_size)
        stacks = torch.from_numpy(
            np.stack([frames[d][s] for d, s in zip(decisions, slots, strict=True)])
        )
        if augment is not None:
            stacks = augmented(stacks, augment, CHANNELS, chance)
        logits = learner(stacks)
        loss = F.cross_entropy(logits, torch.from_numpy(targets[decisions, slots]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()


def driven(policy: Any, spec: EnvironmentSpec, episodes: int, seed: int) -> Episodes:
    """What comes of a policy's episodes, `seed` and following."""
    envs = make_vec(spec, min(episodes, 32), autoreset_mode=AutoresetMode.DISABLED)
    try:
        return drive(policy, envs, episodes=episodes, seed=seed)
    finally:
        envs.close()
