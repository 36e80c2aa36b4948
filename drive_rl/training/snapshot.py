"""The whole state of a training, taken from SB3's objects and put back into them.

What SB3's own `save` leaves out is what makes a resumed run the same run: the generators, the
environments in the middle of their episodes, the last observation, the replay buffer.
"""

from __future__ import annotations

import base64
import random
from typing import Any, Protocol

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer

from drive_rl.errors import DriveRLError
from drive_rl.runs.checkpoint import Arrays, Checkpoint
from drive_rl.runs.tensors import (
    load_weights,
    optimizer_groups,
    optimizer_tensors,
    restore_optimizer,
)

_COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining")
_DQN_COUNTERS = ("_n_calls", "exploration_rate")
_OBSERVATION = "last_observation"
_STARTS = "last_episode_starts"
_REPLAY_ARRAYS = ("actions", "rewards", "dones", "timeouts")
_REPLAY_OBSERVATIONS = ("observations", "next_observations")


class Resumable(Protocol):
    """A vector environment whose state can be saved and restored."""

    def get_state(self) -> Arrays:
        """The state as arrays without objects."""

    def set_state(self, state: Arrays) -> None:
        """Continue from a state of `get_state`."""


def capture(model: BaseAlgorithm, env: Resumable, statistics: dict[str, Any]) -> Checkpoint:
    """A copy of the training's state, which training on does not change.

    Only the replay buffer is not copied (it can have gigabytes): write it before the next step.

    Args:
        statistics: what else is to be in state.json.
    """
    state: dict[str, Any] = {
        "counters": {name: getattr(model, name) for name in _counters(model)},
        "random": _random_states(model),
        "optimizer_groups": optimizer_groups(model.policy.optimizer),
        "statistics": statistics,
    }
    environment = {f"environment/{k}": np.array(v) for k, v in env.get_state().items()}
    environment |= _observation_arrays(model)
    replay: Arrays = {}
    if isinstance(model, DQN):
        assert model.replay_buffer is not None
        replay = _replay_arrays(model.replay_buffer)
        state["replay"] = {"pos": model.replay_buffer.pos, "full": model.replay_buffer.full}
    policy = {name: value.clone() for name, value in model.policy.state_dict().items()}
    optimizer = optimizer_tensors(model.policy.optimizer)
    return Checkpoint(model.num_timesteps, policy, optimizer, state, environment, replay)


def restore(model: BaseAlgorithm, env: Resumable, checkpoint: Checkpoint) -> dict[str, Any]:
    """Put a checkpoint into a freshly built model and environment; returns its statistics.

    Raises:
        DriveRLError: the checkpoint is of another environment, network or algorithm.
    """
    state = checkpoint.state
    load_weights(model.policy, checkpoint.policy)
    try:
        for name in _counters(model):
            setattr(model, name, state["counters"][name])
        restore_optimizer(model.policy.optimizer, checkpoint.optimizer, state["optimizer_groups"])
        _restore_observation(model, checkpoint.environment)
        if isinstance(model, DQN):
            assert model.replay_buffer is not None
            _restore_replay(model.replay_buffer, checkpoint.replay, state["replay"])
        env.set_state(_without_prefix("environment/", checkpoint.environment))
        # Last: building and restoring environments may draw random numbers.
        _restore_random_states(model, state["random"])
        statistics: dict[str, Any] = state["statistics"]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DriveRLError(
            f"checkpoint {checkpoint.step} does not fit this run's specification ({error})"
        ) from error
    return statistics


def _counters(model: BaseAlgorithm) -> tuple[str, ...]:
    return _COUNTERS + _DQN_COUNTERS if isinstance(model, DQN) else _COUNTERS


# --- generators -------------------------------------------------------------------------------


def _random_states(model: BaseAlgorithm) -> dict[str, Any]:
    version, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    key = numpy_state["state"]["key"].tolist()
    states: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": {**numpy_state, "state": {"key": key, "pos": int(numpy_state["state"]["pos"])}},
        "torch": _bytes_as_text(torch.get_rng_state()),
        # Big integers, which JSON keeps exactly in Python.
        "actions": model.action_space.np_random.bit_generator.state,
    }
    if model.device.type == "cuda":
        states["cuda"] = _bytes_as_text(torch.cuda.get_rng_state(model.device))
    return states


def _restore_random_states(model: BaseAlgorithm, states: dict[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    numpy_state = states["numpy"]
    key = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state({**numpy_state, "state": {**numpy_state["state"], "key": key}})
    torch.set_rng_state(_bytes_from_text(states["torch"]))
    model.action_space.np_random.bit_generator.state = states["actions"]
    if model.device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(_bytes_from_text(states["cuda"]), model.device)


def _bytes_as_text(tensor: torch.Tensor) -> str:
    return base64.b64encode(tensor.numpy().tobytes()).decode()


def _bytes_from_text(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


# --- the last observation ---------------------------------------------------------------------


def _observation_arrays(model: BaseAlgorithm) -> Arrays:
    last = model._last_obs
    assert last is not None
    assert model._last_episode_starts is not None
    arrays = {_STARTS: np.array(model._last_episode_starts)}
    if isinstance(last, dict):
        return arrays | {f"{_OBSERVATION}/{key}": np.array(value) for key, value in last.items()}
    return arrays | {_OBSERVATION: np.array(last)}


def _restore_observation(model: BaseAlgorithm, arrays: Arrays) -> None:
    model._last_episode_starts = arrays[_STARTS]
    if _OBSERVATION in arrays:
        model._last_obs = arrays[_OBSERVATION]
    else:
        members = _without_prefix(f"{_OBSERVATION}/", arrays)
        # In the space's own order, which is that of the network's inputs.
        model._last_obs = {key: members[key] for key in model.observation_space.spaces}  # type: ignore[attr-defined]


def _without_prefix(prefix: str, arrays: Arrays) -> Arrays:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


# --- replay buffer ----------------------------------------------------------------------------


def _replay_arrays(buffer: ReplayBuffer) -> Arrays:
    filled = buffer.size()
    arrays = {name: getattr(buffer, name)[:filled] for name in _REPLAY_ARRAYS}
    for name in _REPLAY_OBSERVATIONS:
        stored = getattr(buffer, name)
        if isinstance(stored, dict):
            arrays |= {f"{name}/{key}": array[:filled] for key, array in stored.items()}
        else:
            arrays[name] = stored[:filled]
    return arrays


def _restore_replay(buffer: ReplayBuffer, arrays: Arrays, place: dict[str, Any]) -> None:
    for name, array in arrays.items():
        attribute, _, key = name.partition("/")
        stored = getattr(buffer, attribute)
        target = stored[key] if key else stored
        target[: len(array)] = array
    buffer.pos, buffer.full = int(place["pos"]), bool(place["full"])
