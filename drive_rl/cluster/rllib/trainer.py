"""The training by RLlib: its iterations, what is written down of them, and requests to stop.

What is kept is the policy, at the same places as any run's. The states of many processes at once
are not, so a stopped training cannot go on bit for bit: `drive-rl train --from RUN` begins a new
one with its weights.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from pathlib import Path
from typing import Any

import torch

from drive_rl.cluster.ray_pool import LOCAL, check_nodes, connected
from drive_rl.cluster.rllib.config import Layout, check_trainable, layout_of, rllib_config
from drive_rl.deployment.extras import needs
from drive_rl.environments import make_vec
from drive_rl.environments.sb3 import SB3VecEnv
from drive_rl.errors import Diverged, DriveRLError, Interrupted
from drive_rl.presets import RunSpec
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.checkpoint import Checkpoint
from drive_rl.runs.folder import check_available, explained_disk
from drive_rl.runs.interrupts import StopRequest
from drive_rl.runs.lock import RunLock
from drive_rl.runs.metrics import MetricsLog
from drive_rl.runs.progress import ProgressDisplay, default_progress
from drive_rl.runs.provenance import provenance
from drive_rl.runs.tensors import choose_device, torch_threads
from drive_rl.training.algorithms import check_spaces, default_threads
from drive_rl.training.curriculum import environment_seed
from drive_rl.training.run import TRAINER, Run, default_path
from drive_rl.training.session import evaluated, resolved

_KEPT_CHECKPOINTS = 3  # and the best

# RLlib's names for what its learner says, and ours.
_LOGGED = {
    "total_loss": "loss",
    "policy_loss": "policy_loss",
    "vf_loss": "value_loss",
    "entropy": "entropy",
    "vf_explained_var": "explained_variance",
    "default_optimizer_learning_rate": "learning_rate",
}


def train_rllib(
    spec: RunSpec,
    run_dir: Path | str | None = None,
    *,
    ray: str = LOCAL,
    workers: int | None = None,
    progress: ProgressDisplay | None = None,
    evaluate: bool = True,
) -> Run:
    """Train as `spec` says, with rollouts all over a Ray cluster, in a new run folder.

    Args:
        spec: what to train; `resolve_run` makes one. Its algorithm is PPO.
        run_dir: the folder; None takes runs/<env>/<algo>/<time>-seed<S>.
        ray: "local" for a cluster that is started here, or the address of one that runs.
        workers: processes that drive; None takes a core for each but one.
        progress: where progress is shown; None shows it on stderr.
        evaluate: whether to evaluate the final policy, into evaluation/final/.

    Raises:
        UsageError: as `train_run`, and where RLlib's PPO cannot do what the agent's file asks.
        DriveRLError: RLlib is missing, no cluster answers, or its nodes differ from this one.
        Interrupted: SIGINT or SIGTERM; the policy as it was then is saved.
    """
    display = progress or default_progress()
    agent = check_trainable(spec)
    path = Path(run_dir) if run_dir is not None else default_path(spec)
    check_available(path)
    device = choose_device(spec.device)
    vector_env = make_vec(spec.env, 1, engine=spec.engine, num_threads=1)
    with contextlib.closing(SB3VecEnv(vector_env)) as env:
        spec = resolved(spec, env)
        observations, actions = env.observation_space, env.action_space
    check_spaces(spec.agent, spec.env.id, observations, actions)
    # Ray's C++ part talks of what RLlib does with it, on everybody's terminal.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with connected(ray, workers=workers, extra="rllib") as cluster:
        needs("ray.rllib.algorithms.ppo", "rllib")
        check_nodes(cluster)
        layout = layout_of(agent, int(cluster.cluster_resources().get("CPU", 1)), workers)
        threads = spec.num_threads or default_threads(spec.agent.network.kind)
        details = {
            **provenance(str(device), threads),
            TRAINER: "rllib",
            "ray": {"version": cluster.__version__, "workers": layout.workers},
        }
        run = Run.create(path, spec, observations, actions, details)
        seed = environment_seed(spec.seed)
        config = rllib_config(spec, layout, observations, actions, seed, int(device.type == "cuda"))
        with RunLock(run.path), explained_disk(run.path), torch_threads(threads):
            algorithm = _built(config)
            try:
                _Training(run, algorithm, layout, display).run()
            finally:
                algorithm.stop()
    return evaluated(run) if evaluate else run


class _Training:
    """Iterations until the agent's steps are done."""

    def __init__(self, run: Run, algorithm: Any, layout: Layout, display: ProgressDisplay) -> None:
        self._run = run
        self._algorithm = algorithm
        self._layout = layout
        self._display = display
        self._best: tuple[int, float] | None = None
        self._step = 0
        self._restarts = 0

    def run(self) -> None:
        """Train."""
        spec, agent, layout = self._run.spec, self._run.spec.agent, self._layout
        log = MetricsLog(self._run, 0)
        began = time.monotonic()
        self._display.start(
            f"ppo on {spec.env.id}: {layout.workers} workers of {layout.envs} environments "
            f"({spec.engine} engine), by RLlib -> {self._run.path}",
            agent.steps,
            0,
        )
        try:
            with StopRequest() as stop:
                while self._step < agent.steps and stop.signal_number is None:
                    before, started = self._step, time.monotonic()
                    result = self._algorithm.train()
                    self._step = int(result["num_env_steps_sampled_lifetime"])
                    figures = _figures(result)
                    took = max(time.monotonic() - started, 1e-9)
                    log.write(
                        self._step,
                        {
                            "time": round(time.monotonic() - began, 3),
                            "fps": round((self._step - before) / took, 1),
                            **figures,
                        },
                    )
                    self._display.update(min(self._step, agent.steps), figures)
                    self._tell_of_restarts(result)
                    interval = agent.checkpoint_interval
                    if self._step // interval > before // interval or self._step >= agent.steps:
                        log.flush()
                        self._save(figures["return"])
            if stop.signal_number is not None:
                if self._step:
                    self._save(None)
                raise Interrupted(
                    f"stopped at step {self._step:,} with the policy saved; "
                    f"`drive-rl train --from {self._run.path}` goes on from its weights",
                    stop.signal_number,
                )
        finally:
            log.close()
            self._display.close()

    def _tell_of_restarts(self, result: dict[str, Any]) -> None:
        """One line where a worker has died: RLlib begins it again, and the others went on."""
        count = int(result.get("fault_tolerance", {}).get("num_remote_worker_restarts", 0))
        if count > self._restarts:
            self._restarts = count
            self._display.message(f"a worker died and was begun again ({count} in all)")

    def _save(self, mean_return: float | None) -> None:
        """Write the policy down; the best is the one with the highest mean return."""
        folder = self._run.checkpoints
        if self._step in checkpoints.steps_in(folder):
            return
        weights = weights_of(self._algorithm)
        for name, value in weights.items():
            if not bool(torch.isfinite(value).all()):
                raise Diverged(
                    f"step {self._step}: weights of {name} are not finite; stopped; "
                    "a lower agent.learning_rate may help"
                )
        checkpoints.write_checkpoint(folder, Checkpoint(self._step, weights), policy_only=True)
        checkpoints.write_text_atomically(folder / "last", f"{self._step}\n")
        if mean_return is not None and (self._best is None or mean_return > self._best[1]):
            self._best = (self._step, mean_return)
            checkpoints.write_text_atomically(folder / "best", f"{self._step}\n")
        keep = set(checkpoints.steps_in(folder)[-_KEPT_CHECKPOINTS:])
        checkpoints.prune(folder, keep | ({self._best[0]} if self._best else set()))


def weights_of(algorithm: Any) -> dict[str, torch.Tensor]:
    """The learner's weights, by the names that SB3's policy has for them."""
    from ray.rllib.core import DEFAULT_MODULE_ID

    from drive_rl.cluster.rllib.learning import PREFIX

    weights = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
    return {
        name.removeprefix(PREFIX): torch.as_tensor(value).clone()
        for name, value in weights.items()
        if name.startswith(PREFIX)
    }


def _figures(result: dict[str, Any]) -> dict[str, float | None]:
    """RLlib's result under our names; nothing where no episode has ended yet."""
    rollouts = result.get("env_runners", {})
    learner = result.get("learners", {}).get("default_policy", {})
    named = {
        "return": rollouts.get("episode_return_mean"),
        "length": rollouts.get("episode_len_mean"),
        "crash_rate": rollouts.get("crash_rate"),
        "speed": rollouts.get("speed"),
        **{ours: learner.get(theirs) for theirs, ours in _LOGGED.items()},
    }
    return {name: _finite(value) for name, value in named.items()}


def _finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def _built(config: Any) -> Any:
    """RLlib's algorithm; its constructor's many kinds of errors as one line."""
    import logging

    # What it says of workers that die is a traceback; `_tell_of_restarts` says it in a line.
    logging.getLogger("ray.rllib").setLevel(logging.CRITICAL)
    try:
        return config.build_algo()
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise DriveRLError(
            f"RLlib could not begin: {type(error).__name__}: {lines[-1] if lines else error}"
        ) from error
