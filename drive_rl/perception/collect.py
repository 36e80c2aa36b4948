"""Frames with labels from driven episodes: `drive-rl perception collect`.

The splits differ in their seeds, and in their textures: `test` has the road surfaces that were
trained on in episodes that were not, `held_out` has the very same episodes on surfaces that
nothing was trained on, so what is lost between the two is lost to the surface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from drive_rl.environments import make_vec
from drive_rl.environments.sight import has_camera
from drive_rl.errors import UsageError, unknown
from drive_rl.evaluation.baselines import Baseline, make_baseline
from drive_rl.evaluation.rollout import IntArray, drive
from drive_rl.perception.dataset import SPLITS, Writer
from drive_rl.perception.labels import Labeller
from drive_rl.presets import EnvironmentSpec, load_environment
from drive_rl.runs.provenance import provenance

POLICIES = ("mixed", "random", "wander", "idle", "rule")
SHARES = {"train": 0.8, "validation": 0.06, "test": 0.07, "held_out": 0.07}
TEXTURES = {"train": "train", "validation": "validation", "test": "train", "held_out": "held_out"}
# Episodes of a split have seeds of their own; `test` and `held_out` share theirs
SEEDS = {"train": 0, "validation": 1, "test": 2, "held_out": 2}
_SEED_RANGE = 10**7

Say = Callable[[str], None]


class Wander(Baseline):
    """An action drawn at random, and held for a few decisions: it gets further than trembling."""

    name = "wander"
    HELD = 0.6  # chance that an action is held for another decision

    def bind(self, envs: Any) -> None:
        """Take the vector environment to drive.

        Raises:
            UsageError: its actions are not a choice among a few.
        """
        super().bind(envs)
        if not isinstance(self.action_space, spaces.Discrete):
            raise UsageError(
                f"policy 'wander' chooses among actions, and {envs.spec_env.id} has "
                f"{type(self.action_space).__name__} ones; collect with --policy random"
            )
        self._random = np.random.default_rng([0x5EED, self.seed])
        self._held = np.zeros(envs.num_envs, np.int64)

    def act(self, observations: Any, count: int) -> Any:
        assert isinstance(self.action_space, spaces.Discrete)
        drawn = self._random.integers(0, self.action_space.n, count)
        self._held = np.where(self._random.random(count) < self.HELD, self._held, drawn)
        return self._held


class Mixed(Baseline):
    """Each slot drives by one of several policies, in turn."""

    name = "mixed"

    def __init__(self, policies: Sequence[Baseline]) -> None:
        super().__init__(seed=policies[0].seed)
        self.policies = policies

    def bind(self, envs: Any) -> None:
        for policy in self.policies:
            policy.bind(envs)
        super().bind(envs)

    def start_episodes(self, slots: Any, seeds: Any) -> None:
        for policy in self.policies:
            policy.start_episodes(slots, seeds)

    def act(self, observations: Any, count: int) -> Any:
        choices = [policy.act(observations, count) for policy in self.policies]
        turn = np.arange(count) % len(choices)
        return np.choose(turn, choices)


def collecting_policy(name: str, spec: EnvironmentSpec, seed: int) -> Baseline:
    """A policy to collect with.

    Raises:
        UsageError: none of this name.
    """
    if name == "mixed":
        parts = ("wander", "rule", "random", "wander")
        return Mixed([collecting_policy(part, spec, seed + k) for k, part in enumerate(parts)])
    if name == "wander":
        return Wander(spec, seed)
    if name not in POLICIES:
        raise unknown("policy to collect with", name, POLICIES)
    return make_baseline(name, spec, seed)


def split_environment(spec: EnvironmentSpec, split: str) -> EnvironmentSpec:
    """An environment whose textures are those of a split.

    Raises:
        UsageError: an environment without a camera, or without textures to hold out.
    """
    config = spec.full_config
    if not has_camera(config):
        raise UsageError(
            f"{spec.id} has no frames: its observation is {config['observation']['type']}; take "
            "an environment with a CameraObservation, such as highway-camera-v0"
        )
    varies: Mapping[str, Any] = config.get("randomization") or {}
    if "road_texture" not in varies:
        raise UsageError(
            f"{spec.id} has one road surface, so none can be held out; give it "
            "randomization: road_texture"
        )
    changed = dict(varies)
    for surface in ("road_texture", "verge_texture"):
        if surface in varies:
            own = varies[surface]
            choice = {"bank": own} if isinstance(own, str) else dict(own)
            changed[surface] = {**choice, "split": TEXTURES[split]}
    return load_environment(spec, {"randomization": changed})


class _Recorder:
    """Keeps the newest frame and the labels of each decision, and hands over whole episodes."""

    def __init__(self, labeller: Labeller, channels: int, num_envs: int) -> None:
        self._label, self._channels = labeller, channels
        self._open: list[list[tuple[Any, Any]]] = [[] for _ in range(num_envs)]
        self.ended: list[tuple[int, NDArray[np.uint8], NDArray[Any]]] = []

    def begin(self, slots: IntArray, episodes: IntArray) -> None:
        for slot in slots:
            self._open[slot] = []

    def decided(self, slots: IntArray, episodes: IntArray, observations: Any, actions: Any) -> None:
        labels = self._label()
        for slot in slots:
            newest = np.array(observations[slot, -self._channels :])
            self._open[slot].append((newest, labels[slot]))

    def stepped(self, slots: IntArray, episodes: IntArray, infos: dict[str, Any]) -> None:
        """Nothing: a decision's frame was kept when it was taken."""

    def end(self, slots: IntArray, episodes: IntArray) -> None:
        for slot, episode in zip(slots, episodes, strict=True):
            frames, labels = zip(*self._open[slot], strict=True)
            self.ended.append((int(episode), np.stack(frames), np.stack(labels)))
            self._open[slot] = []


def collect(
    env: str | EnvironmentSpec,
    frames: int,
    out: Path,
    *,
    policy: str = "mixed",
    seed: int = 0,
    num_envs: int = 64,
    say: Say = lambda _: None,
) -> dict[str, int]:
    """Collect a data set; the same arguments give the same data.

    Args:
        frames: of all splits together, at least; whole episodes are kept.
        out: folder to make.
        policy: one of `POLICIES`.

    Returns:
        Frames by split.

    Raises:
        UsageError: an environment without frames, textures or labels; a folder that is taken.
    """
    spec = load_environment(env)
    if frames < 1:
        raise UsageError(f"frames {frames} is not at least 1")
    for split in SPLITS:
        split_environment(spec, split)  # says now what cannot be
    collecting_policy(policy, spec, seed)
    first = make_vec(split_environment(spec, "train"), 1, engine="auto")
    try:
        labeller = Labeller(first)
        num_lanes, shape = labeller.num_lanes, first.single_observation_space.shape
    finally:
        first.close()
    options = spec.full_config["observation"]
    channels = 1 if options.get("channels", "rgb") == "gray" else 3
    writer = Writer(out)
    counts = dict.fromkeys(SPLITS, 0)
    for split in SPLITS:
        writer.begin(split)
        wanted = max(1, round(SHARES[split] * frames))
        for episode_frames, labels in episodes_of(
            split_environment(spec, split), policy, split_seed(seed, split), num_envs, channels
        ):
            writer.add(episode_frames, labels)
            counts[split] += len(labels)
            if counts[split] >= wanted:
                break
        say(f"{split}: {counts[split]:,} frames")
    writer.finish(
        {
            "environment": spec.model_dump(mode="json"),
            "policy": policy,
            "seed": seed,
            "shape": list(shape or ()),
            "channels": channels,
            "num_lanes": num_lanes,
            "textures": TEXTURES,
            **{
                k: v for k, v in provenance("cpu", 1).items() if k in ("versions", "git", "command")
            },
        }
    )
    return counts


def split_seed(seed: int, split: str) -> int:
    """The seed of a split's first episode."""
    return (seed * 4 + SEEDS[split] + 1) * _SEED_RANGE


def episodes_of(
    spec: EnvironmentSpec, policy: str, seed: int, num_envs: int, channels: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Episodes without end, in the order of their seeds: newest frames and labels of each."""
    envs = make_vec(spec, num_envs, autoreset_mode=AutoresetMode.DISABLED)
    try:
        labeller = Labeller(envs)
        driver = collecting_policy(policy, spec, seed)
        while True:
            recorder = _Recorder(labeller, channels, num_envs)
            # Twice as many episodes as slots: short ones leave their slot to another
            drive(driver, envs, episodes=2 * num_envs, seed=seed, observers=(recorder,))
            for _, frames, labels in sorted(recorder.ended, key=lambda ended: ended[0]):
                yield frames, labels
            seed += 2 * num_envs
    finally:
        envs.close()
