"""Small, quick runs on highway-env itself: two other vehicles, four decisions an episode."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drive_rl.errors import DriveRLError
from drive_rl.presets import RunSpec, load_environment, resolve_run
from drive_rl.runs.progress import Quiet
from drive_rl.training import Run, resume, train_run

CONFIG = {"vehicles_count": 2, "lanes_count": 2, "duration": 4, "simulation_frequency": 5}

SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {
        "agent.n_steps": 16,
        "agent.batch_size": 16,
        "agent.n_epochs": 2,
        "agent.ent_coef": {"start": 0.01, "end": 0.0},
    },
    "dqn": {
        "agent.learning_starts": 16,
        "agent.batch_size": 16,
        "agent.train_freq": 2,
        "agent.gradient_steps": 1,
        "agent.buffer_size": 60,  # smaller than the training: it wraps round
        "agent.target_update_interval": 20,
    },
}
COMMON = {
    "agent.network": {"kind": "auto", "hidden": [32, 32]},
    # Discounts that change, so that a resumed run has to find the right one again.
    "agent.gamma": {"start": 0.6, "end": 0.9, "until": 0.8},
    # And a lesson that is over before half of it.
    "agent.curriculum": [{"until": 0.4, "config": {"duration": 3}}],
    "agent.checkpoint_interval": 30,
    "agent.evaluation_episodes": 2,
}


def small_spec(
    algo: str = "ppo",
    *,
    env: str = "highway-fast-v0",
    config: dict[str, Any] | None = None,
    steps: int = 96,
    num_envs: int = 1,
    seed: int = 0,
    **overrides: Any,
) -> RunSpec:
    """A run of seconds. `overrides` are agent settings."""
    agent = {f"agent.{name}": value for name, value in overrides.items()}
    return resolve_run(
        load_environment(env, CONFIG if config is None else config),
        algo,
        steps=steps,
        num_envs=num_envs,
        seed=seed,
        device="cpu",
        engine="reference",
        num_threads=1,
        overrides={**SETTINGS[algo], **COMMON, **agent},
    )


def weights(run: Run) -> dict[str, bytes]:
    """The last checkpoint's weights and moments, byte for byte."""
    checkpoint = run.newest()
    assert checkpoint is not None
    tensors = {**checkpoint.policy, **{f"opt/{k}": v for k, v in checkpoint.optimizer.items()}}
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


# Where there is one, a server that has imported torch once forks the processes that train.
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_CONTEXT: Any = multiprocessing.get_context(_METHOD)


def _train(spec: str | None, run: Path, said: Path) -> None:
    """Train as RunSpec JSON says, or resume, with stderr in a file."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT, 0o600), 2)
    if hasattr(os, "setsid"):
        os.setsid()
    try:
        if spec is None:
            resume(run, progress=Quiet(), evaluate=False)
        else:
            train_run(RunSpec.model_validate_json(spec), run, progress=Quiet(), evaluate=False)
    except DriveRLError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


class TrainingProcess:
    """A training (of a spec), or a resumption (None), in a process of its own; to be killed."""

    def __init__(self, spec: RunSpec | None, run: Path, said: Path) -> None:
        self.run, self._said = run, said
        _CONTEXT.set_forkserver_preload(["drive_rl.training"])
        document = None if spec is None else spec.model_dump_json()
        self._process = _CONTEXT.Process(target=_train, args=(document, run, said))
        self._process.start()

    def wait_until(self, condition: Callable[[], bool], timeout: float = 90) -> None:
        """Wait until something has happened, or the process has ended."""
        deadline = time.monotonic() + timeout
        while not condition() and self._process.is_alive():
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.002)

    def kill_all(self) -> None:
        """SIGKILL, to it and to its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()

    def send(self, number: int) -> None:
        """A signal to the process alone."""
        os.kill(self._process.pid, number)

    def finish(self, timeout: float = 90) -> tuple[int, str]:
        """Exit code and what it said on stderr."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode, self._said.read_text()
