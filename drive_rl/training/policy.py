"""Trained policies: loaded without running code, numpy in, numpy out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch import nn

from drive_rl.data import data_folder
from drive_rl.errors import DriveRLError, UsageError, unknown, warn
from drive_rl.presets import EnvironmentSpec, RunSpec, load_environment
from drive_rl.runs.checkpoint import (
    MANIFEST,
    Checkpoint,
    DamagedCheckpoint,
    read_checkpoint,
)
from drive_rl.runs.folder import RUN_FILE
from drive_rl.runs.tensors import choose_device, load_weights
from drive_rl.training.algorithms import build_policy
from drive_rl.training.run import Run

Observations: TypeAlias = NDArray[Any] | dict[str, NDArray[Any]]

BASELINES = ("random", "idle", "rule", "planner")

# A matrix product rounds differently for other batch sizes. With one size for all, an action
# depends on its own observation alone, and an evaluation on no number of environments. Through a
# small network 64 rows take as long as 16: calling its layers is the work.
_ROWS = 64
_ROWS_OF_IMAGES = 16


class Predicts(Protocol):
    """Whatever chooses actions."""

    def predict(self, observations: Any, deterministic: bool = True) -> Any:
        """Actions for one observation or a batch."""


class Policy:
    """A trained policy.

    Observations are given as the environment gives them: one, or a batch with the environments
    first; arrays, or dictionaries of arrays where the scene has goals.

    Attributes:
        name: how to call it in tables.
        spec: the specification of the run it comes from.
        step: environment steps it was trained for.
        run_path: the folder of that run.
        observation_space, action_space: of one environment.
    """

    def __init__(self, run: Run, checkpoint: Checkpoint, name: str) -> None:
        self.name = name
        self.spec: RunSpec = run.spec
        self.step = checkpoint.step
        self.run_path = run.path
        self.observation_space = run.observation_space
        self.action_space = run.action_space
        self._device = choose_device("cpu")
        self._network: BasePolicy = build_policy(
            run.spec, run.observation_space, run.action_space, self._device
        )
        load_weights(self._network, checkpoint.policy)
        self._network.set_training_mode(False)
        self._is_small = not any(isinstance(m, nn.Conv2d) for m in self._network.modules())
        self._rows = _ROWS if self._is_small else _ROWS_OF_IMAGES

    def __repr__(self) -> str:
        return f"<Policy {self.name}, {self.spec.agent.algo} on {self.spec.env.id}, {self.step}>"

    @property
    def network(self) -> BasePolicy:
        """The SB3 policy behind it, in evaluation mode."""
        return self._network

    def predict(self, observations: Observations, deterministic: bool = True) -> NDArray[Any]:
        """Actions for one observation (scalar or (actions,)) or for a batch ((n, ...)).

        Args:
            deterministic: the most probable action, not a sample.

        Raises:
            UsageError: observations of another shape than this policy's environment has.
        """
        batch, single = self._batched(observations)
        chosen = self._by_rows(batch, lambda rows: self._network._predict(rows, deterministic))
        actions = chosen.reshape(-1, *self.action_space.shape)  # type: ignore[misc]
        if isinstance(self.action_space, spaces.Box):
            actions = np.clip(actions, self.action_space.low, self.action_space.high)
        return np.asarray(actions[0] if single else actions)

    def action_probabilities(self, observations: Observations) -> NDArray[np.float32] | None:
        """Probability of each discrete action, (n, actions); None for continuous actions.

        A DQN policy is greedy: all probability is on the action it takes.
        """
        if not isinstance(self.action_space, spaces.Discrete):
            return None
        batch, _ = self._batched(observations)
        if isinstance(self._network, ActorCriticPolicy):
            return self._by_rows(batch, self._categorical).astype(np.float32)
        values = self.action_values(observations)
        assert values is not None
        greedy = values.argmax(axis=1)
        one_hot: NDArray[np.float32] = np.eye(values.shape[1], dtype=np.float32)[greedy]
        return one_hot

    def action_values(self, observations: Observations) -> NDArray[np.float32] | None:
        """Q-value of each action, (n, actions); None for policies without a Q-network."""
        if not isinstance(self._network, DQNPolicy):
            return None
        batch, _ = self._batched(observations)
        return self._by_rows(batch, self._network.q_net).astype(np.float32)

    def value(self, observations: Observations) -> NDArray[np.float32]:
        """Expected discounted return from each observation, (n,)."""
        batch, _ = self._batched(observations)
        if isinstance(self._network, ActorCriticPolicy):
            values = self._by_rows(batch, self._network.predict_values)
        else:
            assert isinstance(self._network, DQNPolicy)
            values = self._by_rows(batch, self._network.q_net).max(axis=1)
        return values.reshape(-1).astype(np.float32)

    def _categorical(self, observations: Any) -> torch.Tensor:
        assert isinstance(self._network, ActorCriticPolicy)
        distribution = self._network.get_distribution(observations)
        assert isinstance(distribution, CategoricalDistribution)
        return distribution.distribution.probs

    def _batched(self, observations: Observations) -> tuple[dict[str, NDArray[Any]], bool]:
        """Observations as a dictionary of batches ("" for plain arrays), and whether it was one."""
        space = self.observation_space
        members = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        given = observations if isinstance(observations, dict) else {"": observations}
        batch: dict[str, NDArray[Any]] = {}
        single = False
        for name, member in members.items():
            if name not in given:
                raise UsageError(f"policy {self.name!r} needs observations with {list(members)}")
            array = np.asarray(given[name])
            shape = member.shape or ()
            single = array.shape == shape
            if not single and array.shape[1:] != shape:
                raise UsageError(
                    f"policy {self.name!r} was trained on observations of shape {shape}, "
                    f"not {array.shape if array.ndim == len(shape) else array.shape[1:]}"
                )
            batch[name] = array.reshape(-1, *shape)
        return batch, single

    def _by_rows(self, batch: dict[str, NDArray[Any]], compute: Any) -> NDArray[Any]:
        """`compute` on chunks of a fixed number of rows, the last one padded."""
        count, size = len(next(iter(batch.values()))), self._rows
        results = []
        for start in range(0, count, size):
            chunk: dict[str, torch.Tensor] = {}
            for name, array in batch.items():
                rows = torch.zeros(
                    (size, *array.shape[1:]), dtype=torch.from_numpy(array[:0].copy()).dtype
                )
                part = array[start : start + size]
                rows[: len(part)] = torch.from_numpy(np.ascontiguousarray(part))
                chunk[name] = rows.to(self._device)
            with torch.no_grad(), _threads(1 if self._is_small else None):
                output = compute(chunk.get("", chunk))
            results.append(output.cpu().numpy()[: count - start])
        return np.concatenate(results)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads; None leaves them as they are.

    A few rows through a small network take less time than threads take to meet: on a busy machine
    of two cores, 500 episodes took 16.5 s with two threads and 2.0 s with one. And what is summed
    does not depend on the machine's number of cores.
    """
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- finding one ------------------------------------------------------------------------------


def load_policy(
    name: str | Path | Predicts,
    *,
    which: str | int = "last",
    env: str | EnvironmentSpec | None = None,
    seed: int = 0,
) -> Any:
    """A policy by name: a run folder, a checkpoint folder, a shipped one, a baseline, an object.

    Nothing that is loaded can run code: run.yaml is read by `safe_load` and validated, weights are
    safetensors, and the network is rebuilt from the specification.

    Args:
        name: `runs/...`, `runs/.../checkpoints/<step>`, `highway-fast-v0/ppo`, `random`, `idle`,
            `rule`, `planner`, or an object with `predict`, which is returned as it is.
        which: of a run: "last", "best", or a step.
        env: for baselines, the environment they are to drive in.
        seed: for baselines that draw.

    Raises:
        UsageError: nothing goes by that name.
        DamagedCheckpoint: there is no whole checkpoint.
        DriveRLError: the weights do not fit the specification.
    """
    if not isinstance(name, (str, Path)):
        if callable(getattr(name, "predict", None)):
            return name
        raise UsageError(f"{type(name).__name__} object has no predict(observations) and no name")
    path = Path(name)
    if (path / RUN_FILE).is_file():
        return policy_of_run(Run.open(path), which)
    if (path / MANIFEST).is_file():
        run = Run.open(path.resolve().parent.parent)
        return Policy(run, read_checkpoint(path, policy_only=True), _name_of(run))
    text = str(name)
    if text in BASELINES:
        if env is None:
            raise UsageError(f"baseline {text!r} needs an environment to drive in (--env)")
        from drive_rl.evaluation.baselines import make_baseline

        return make_baseline(text, load_environment(env), seed)
    shipped = shipped_policies()
    if text in shipped:
        run = Run.open(shipped[text])
        policy = policy_of_run(run, which)
        policy.name = text
        return policy
    if path.exists():
        raise UsageError(f"{path}: neither a run folder nor a checkpoint")
    raise unknown("policy", text, [*BASELINES, *shipped, *_runs_beside(path)])


def shipped_policies() -> dict[str, Path]:
    """Folders of the policies that come with drive-rl, by name `<env>/<algo>`."""
    try:
        root = data_folder("assets") / "policies"
    except FileNotFoundError:
        return {}
    return {
        file.parent.relative_to(root).as_posix(): file.parent
        for file in sorted(root.glob(f"*/*/{RUN_FILE}"))
    }


def policy_of_run(run: Run, which: str | int) -> Policy:
    """See `Run.load_policy`."""
    if which in ("last", "best"):
        if which == "best" and (best := _best_step(run)) is not None:
            try:
                place = run.checkpoints / str(best)
                return Policy(run, read_checkpoint(place, policy_only=True), _name_of(run))
            except DamagedCheckpoint as damage:
                warn(f"left out checkpoint {best}: {damage}")
        checkpoint = run.newest(policy_only=True)
        if checkpoint is None:
            raise DriveRLError(f"{run.path}: has no whole checkpoint yet")
        return Policy(run, checkpoint, _name_of(run))
    steps = [str(step) for step in run.steps()]
    if str(which) not in steps:
        raise unknown("checkpoint", str(which), ["last", "best", *steps])
    place = run.checkpoints / str(which)
    return Policy(run, read_checkpoint(place, policy_only=True), _name_of(run))


def _best_step(run: Run) -> int | None:
    try:
        return int((run.checkpoints / "best").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _name_of(run: Run) -> str:
    return f"{run.spec.agent.algo} seed {run.spec.seed}"


def _runs_beside(path: Path) -> list[str]:
    """Run folders in the folder of a mistyped path, for the hint."""
    parent = path.parent
    if not parent.is_dir() or len(path.parts) < 2:
        return []
    return [str(entry) for entry in parent.iterdir() if (entry / RUN_FILE).is_file()]
