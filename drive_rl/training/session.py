"""Training sessions: start a run, or resume one, up to its evaluation at the end."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from drive_rl.environments.sb3 import SB3VecEnv
from drive_rl.errors import DriveRLError, Interrupted, UsageError
from drive_rl.presets import PPOSpec, RunSpec
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.checkpoint import Checkpoint
from drive_rl.runs.folder import check_available, explained_disk
from drive_rl.runs.interrupts import StopNow, StopRequest
from drive_rl.runs.lock import RunLock
from drive_rl.runs.metrics import MetricsLog, remove_metrics
from drive_rl.runs.progress import ProgressDisplay, default_progress
from drive_rl.runs.provenance import provenance, warn_of_differences
from drive_rl.runs.tensors import choose_device, torch_threads
from drive_rl.training.algorithms import (
    build_algorithm,
    check_spaces,
    default_threads,
    follow_schedules,
)
from drive_rl.training.curriculum import Curriculum, environment_seed
from drive_rl.training.loop import TrainingLoop
from drive_rl.training.networks import resolved_network
from drive_rl.training.run import TRAINER, Run, default_path
from drive_rl.training.snapshot import restore
from drive_rl.training.starts import FROM, found_start, start_from, trained_start
from drive_rl.training.teaching import check_teachable, imitate


def train_run(
    spec: RunSpec,
    run_dir: Path | str | None = None,
    *,
    progress: ProgressDisplay | None = None,
    evaluate: bool = True,
    start: Path | str | None = None,
) -> Run:
    """Train as `spec` says, in a new run folder.

    Everything that can be wrong with the specification is found before the folder is made.

    Args:
        spec: what to train; `resolve_run` makes one.
        run_dir: the folder; None takes runs/<env>/<algo>/<time>-seed<S>.
        progress: where progress is shown; None shows it on stderr.
        evaluate: whether to evaluate the final policy, into evaluation/final/.
        start: a checkpoint folder whose weights the training begins with (see `fine_tune`); None
            takes what `agent.start` names.

    Raises:
        UsageError: a folder that is taken or cannot be made, a device that is not there, an
            algorithm that cannot learn this scene.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        DiskFull, Diverged: the last checkpoint is whole.
    """
    display = progress or default_progress()
    path = Path(run_dir) if run_dir is not None else default_path(spec)
    check_available(path)
    device = choose_device(spec.device)
    if start is None:
        start = found_start(spec)
    curriculum = Curriculum(spec)
    with _environment(curriculum) as env:
        spec = curriculum.spec = resolved(spec, env)
        check_spaces(spec.agent, spec.env.id, env.observation_space, env.action_space)
        check_teachable(spec, env.vector_env)
        curriculum.check(env)
        if start is None:
            start = trained_start(spec, path, display)
        threads = spec.num_threads or default_threads(spec.agent.network.kind)
        with torch_threads(threads):
            model = build_algorithm(spec, env, device)
            details = provenance(str(device), threads)
            if start is not None:
                details[FROM] = start_from(model, start)
            run = Run.create(path, spec, env.observation_space, env.action_space, details)
            with RunLock(run.path):
                _learn(run, model, env, curriculum, None, display)
    return evaluated(run) if evaluate else run


def resume(
    run_dir: Path | str,
    *,
    progress: ProgressDisplay | None = None,
    evaluate: bool = True,
) -> Run:
    """Continue a run where its newest whole checkpoint stands; on the CPU, bit for bit.

    A run that was stopped before its first checkpoint starts over. A finished run is left alone,
    except that a missing evaluation is made up for.

    Raises:
        UsageError: no run folder, or one of another trainer that was stopped.
        DriveRLError: another process is at work on it, or its checkpoint does not fit it.
    """
    display = progress or default_progress()
    run = Run.open(run_dir)
    if TRAINER in run.details and max(run.steps(), default=0) < run.spec.agent.steps:
        raise UsageError(
            f"{run.path}: was trained by {run.details[TRAINER]}, whose state is not kept; "
            f"`drive-rl train --from {run.path}` goes on from its weights"
        )
    with RunLock(run.path):
        checkpoint = run.newest(policy_only=TRAINER in run.details)
        if checkpoint is not None and checkpoint.step >= run.spec.agent.steps:
            display.message(f"{run.path}: finished, at step {checkpoint.step:,}")
        else:
            _continue(run, checkpoint, display)
    return evaluated(run) if evaluate else run


def _continue(run: Run, checkpoint: Checkpoint | None, display: ProgressDisplay) -> None:
    spec = run.spec
    device = choose_device(spec.device)
    warn_of_differences(run.path, run.details, str(device))
    recorded = run.details.get("torch_threads")
    threads = recorded if isinstance(recorded, int) and recorded > 0 else torch.get_num_threads()
    lesson = 0 if checkpoint is None else checkpoint.state["statistics"].get("lesson", 0)
    curriculum = Curriculum(spec, lesson)
    with _environment(curriculum) as env, torch_threads(threads):
        if (env.observation_space, env.action_space) != (run.observation_space, run.action_space):
            raise DriveRLError(
                f"{run.path}: {spec.env.id} has other observations or actions here than when the "
                "run was started"
            )
        model = build_algorithm(spec, env, device)
        if checkpoint is None:
            display.message(f"{run.path}: no checkpoint yet; starting over")
            remove_metrics(run.path)
            if FROM in run.details:
                start_from(model, run.details[FROM]["path"])
        _learn(run, model, env, curriculum, checkpoint, display)


def _learn(
    run: Run,
    model: BaseAlgorithm,
    env: SB3VecEnv,
    curriculum: Curriculum,
    checkpoint: Checkpoint | None,
    display: ProgressDisplay,
) -> None:
    """Train from the beginning or from `checkpoint` to the end."""
    agent = run.spec.agent
    checkpoints.sweep(run.checkpoints)
    if checkpoint is None:
        env.seed(environment_seed(run.spec.seed))
        statistics = {}
    else:
        statistics = restore(model, env, checkpoint)
    with explained_disk(run.path), StopRequest() as stop, contextlib.ExitStack() as closing:
        log = MetricsLog(run, model.num_timesteps)
        closing.callback(log.close)
        closing.callback(display.close)
        loop = TrainingLoop(run, env, curriculum, log, display, stop, statistics)
        display.start(
            f"{agent.algo} on {run.spec.env.id}: {env.num_envs} environments "
            f"({run.spec.engine} engine), {model.device} -> {run.path}",
            agent.steps,
            model.num_timesteps,
        )
        try:
            if checkpoint is None:
                _teach(run, model, log, loop, stop, display)
            model.learn(
                agent.steps - model.num_timesteps,
                callback=loop,
                log_interval=None,  # type: ignore[arg-type]
                reset_num_timesteps=checkpoint is None,
            )
        except KeyboardInterrupt:
            number = stop.signal_number or int(signal.SIGINT)
            raise Interrupted(_not_saved(run, loop.saved_step), number) from None
        except StopNow:
            raise _interrupted(run, loop, stop) from None
        except Exception as error:
            # Ctrl-C reaches the worker processes too, and what dies there is noticed here.
            if stop.signal_number is not None:
                raise _interrupted(run, loop, stop) from None
            loop.explain_divergence(error)
            raise
        if stop.signal_number is not None:
            # Asked for while the last checkpoint was written: do not go on to the evaluation.
            raise _interrupted(run, loop, stop)


def _teach(
    run: Run,
    model: BaseAlgorithm,
    log: MetricsLog,
    loop: TrainingLoop,
    stop: StopRequest,
    display: ProgressDisplay,
) -> None:
    """What the agent's file wants to be taught before it learns by itself."""
    agent = run.spec.agent
    if not isinstance(agent, PPOSpec) or agent.teacher is None:
        return
    assert isinstance(model, PPO)
    began = time.monotonic()

    def pause() -> None:
        if stop.signal_number is not None:
            raise KeyboardInterrupt  # nothing to save yet

    follow_schedules(model, agent)
    # Far from the seeds of training and of evaluation.
    seed = environment_seed(run.spec.seed) + 10**9
    figures = imitate(model, run.spec, seed, display.message, pause)
    loop.count_earlier_work(time.monotonic() - began)
    log.write(0, figures)


def _interrupted(run: Run, loop: TrainingLoop, stop: StopRequest) -> Interrupted:
    step = loop.save_unsaved()
    return Interrupted(
        f"stopped; saved at step {step:,}; continue with `drive-rl resume {run.path}`",
        stop.signal_number or int(signal.SIGINT),
    )


def _not_saved(run: Run, saved_step: int | None) -> str:
    where = "before the first checkpoint" if saved_step is None else f"at step {saved_step:,}"
    return f"stopped at once; saved {where}; continue with `drive-rl resume {run.path}`"


def evaluated(run: Run) -> Run:
    """Score the final policy of a training into evaluation/final/, or read what is there."""
    from drive_rl.evaluation.final import evaluate_run

    with explained_disk(run.path):
        run.evaluation = evaluate_run(run)
    return run


# --- the environment, the machine -------------------------------------------------------------


@contextlib.contextmanager
def _environment(curriculum: Curriculum) -> Iterator[SB3VecEnv]:
    agent = curriculum.spec.agent
    env = SB3VecEnv(curriculum.make_environment(), agent.bootstrap_truncated)
    try:
        yield env
    except BaseException:
        # An environment in the middle of a step, or without its workers, is not waited for.
        with contextlib.suppress(Exception):
            env.vector_env.close(terminate=True)
        raise
    else:
        env.vector_env.close()


def resolved(spec: RunSpec, env: SB3VecEnv) -> RunSpec:
    """`spec` with what "auto" stood for, so that a later version resumes the same run."""
    network = resolved_network(spec, env.observation_space)
    agent = spec.agent.model_copy(update={"network": network})
    engine = env.vector_env.engine  # type: ignore[attr-defined]
    return spec.model_copy(update={"agent": agent, "engine": engine})
