"""`drive-rl sweep`: hyperparameters by Optuna; the best ones as an agent that `train` takes.

Trials go in rounds. A round's trials are drawn knowing all former rounds and nothing else, then
each is trained with its first seed, judged, and trained with the next seed unless it is below the
median there. So the outcome depends on the seed of the sweep, and on no number of workers, on no
order in which they finish, and on no interruption.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from drive_rl.cluster.board import Board
from drive_rl.cluster.grid import TasksFailed, folder_lock
from drive_rl.cluster.pool import Event, LocalPool, Pool, check_folder, default_workers
from drive_rl.cluster.tasks import RunTask
from drive_rl.deployment.extras import needs
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation import read_evaluation
from drive_rl.evaluation.final import FINAL
from drive_rl.evaluation.results import write_file
from drive_rl.presets import RunSpec, resolve_run

JOURNAL = "journal.log"
BEST = "best.yaml"
ROUND = 4
"""Trials that are drawn together: more are known of less, fewer leave workers idle."""

_STUDY = "sweep"
_STARTUP = 8  # random trials before the model is asked, and before any is pruned

Choice = tuple[str, tuple[Any, ...]]

SPACES: dict[str, dict[str, Choice]] = {
    "ppo": {
        "learning_rate": ("log", (1e-4, 3e-3)),
        "gamma": ("one of", (0.8, 0.9, 0.95, 0.98, 0.99)),
        "gae_lambda": ("one of", (0.8, 0.9, 0.95, 0.98)),
        "ent_coef": ("one of", (0.0, 0.001, 0.005, 0.01)),
        "n_epochs": ("one of", (2, 4, 8)),
        "clip_range": ("one of", (0.1, 0.2, 0.3)),
    },
    "dqn": {
        "learning_rate": ("log", (1e-4, 3e-3)),
        "gamma": ("one of", (0.8, 0.9, 0.95, 0.98, 0.99)),
        "batch_size": ("one of", (64, 128, 256)),
        "target_update_interval": ("one of", (250, 1000, 4000)),
        "exploration_fraction": ("one of", (0.1, 0.3, 0.5)),
        "train_freq": ("one of", (1, 2, 4)),
    },
}
"""What is varied, by algorithm: agent settings, and between or among what."""


def sweep(
    env: str,
    algo: str,
    out: str | Path,
    *,
    trials: int = 100,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int | None = None,
    num_envs: int | None = None,
    engine: str = "auto",
    overrides: Sequence[str] = (),
    seed: int = 0,
    workers: int | None = None,
    threads: int = 1,
    together: int = ROUND,
    pool: Pool | None = None,
) -> dict[str, Any]:
    """Look for better hyperparameters; the same command again goes on.

    Args:
        env, algo, steps, num_envs, engine, overrides: as for `drive_rl.train`; what `overrides`
            sets is not varied.
        out: the folder: journal.log (Optuna's), runs/, best.yaml, trials.csv.
        trials: how many in all, those of former commands included.
        seeds: that each trial is trained with, one after the other.
        seed: of the sweep.
        workers, threads, pool: as for `grid`.
        together: trials in a round. Part of what decides the outcome, as `seed` is.

    Returns:
        The best trial: `number`, `value` (mean return over its seeds), `params`, `agent` (the
        YAML file), and `trials`, `pruned`.

    Raises:
        UsageError: an unknown name, no trials, or a folder of another sweep.
        DriveRLError: Optuna is missing, or the journal is damaged.
        TasksFailed: some runs failed; the sweep goes on with the same command.
        Interrupted: what ran has been saved.
    """
    if trials < 1:
        raise UsageError(f"trials {trials} is not a number of at least 1")
    if together < 1:
        raise UsageError(f"round {together} is not a number of at least 1")
    if not seeds:
        raise UsageError("a trial needs at least one seed")
    optuna = needs("optuna", "sweep")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fixed: dict[str, Any] = {
        "steps": steps,
        "num_envs": num_envs,
        "engine": engine,
        "num_threads": threads,
    }

    def spec_of(params: dict[str, Any], run_seed: int) -> RunSpec:
        changes = [f"agent.{name}={json.dumps(value)}" for name, value in params.items()]
        spec = resolve_run(
            env, algo, device="cpu", seed=run_seed, overrides=[*changes, *overrides], **fixed
        )
        return spec

    plain = spec_of({}, seeds[0])
    space = _space(plain.agent.algo, overrides)
    root = Path(out)
    check_folder(root)
    pool = pool or LocalPool(workers or default_workers(threads))
    with folder_lock(root), _read_journal(root):
        study = _study(optuna, root, seed, _identity(plain, seeds, space, seed, together))
        while (begun := _begun(study)) or len(study.get_trials(deepcopy=False)) < trials:
            if not begun:
                count = min(together, trials - len(study.get_trials(deepcopy=False)))
                begun = _draw(optuna, study, space, count, seed)
            _finish_round(optuna, study, begun, seeds, spec_of, pool, root)
        return _conclude(optuna, study, root, plain)


# --- a round ----------------------------------------------------------------------------------


def _draw(optuna: Any, study: Any, space: dict[str, Choice], count: int, seed: int) -> list[Any]:
    """Ask for a round's trials. Each has a sampler seeded by its number: a resumed sweep draws
    what an unbroken one would."""
    asked = []
    for _ in range(count):
        number = len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(
            seed=(seed * 1_000_003 + number) % 2**32, n_startup_trials=_STARTUP
        )
        trial = study.ask()
        for name, (kind, values) in space.items():
            if kind == "log":
                trial.suggest_float(name, values[0], values[1], log=True)
            else:
                trial.suggest_categorical(name, list(values))
        trial.set_user_attr("drawn", True)
        asked.append(trial)
    return asked


def _begun(study: Any) -> list[Any]:
    """Trials of a round that was not finished, as they were drawn."""
    import optuna

    running = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state == optuna.trial.TrialState.RUNNING
    ]
    for trial in running:
        if not trial.user_attrs.get("drawn"):  # killed between its first and its last draw
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    kept = [trial for trial in running if trial.user_attrs.get("drawn")]
    return [optuna.trial.Trial(study, trial._trial_id) for trial in kept]


def _finish_round(
    optuna: Any,
    study: Any,
    trials: list[Any],
    seeds: Sequence[int],
    spec_of: Callable[[dict[str, Any], int], RunSpec],
    pool: Pool,
    root: Path,
) -> None:
    state = optuna.trial.TrialState
    alive = list(trials)
    returns: dict[int, list[float]] = {trial.number: [] for trial in trials}
    for place, run_seed in enumerate(seeds):
        tasks = {
            trial.number: RunTask(algo=f"trial{trial.number}", run=spec_of(trial.params, run_seed))
            for trial in alive
        }
        _do(list(tasks.values()), pool, root)
        for trial in alive:
            folder = root / tasks[trial.number].folder / "evaluation" / FINAL
            value = read_evaluation(folder).metrics["return"].mean
            returns[trial.number].append(value if math.isfinite(value) else -1e9)
            mean = sum(returns[trial.number]) / len(returns[trial.number])
            if place not in study._storage.get_trial(trial._trial_id).intermediate_values:
                trial.report(mean, place)
        if place + 1 < len(seeds):
            # Former rounds are the measure; this one's own trials are judged all alike.
            survivors = [trial for trial in alive if not trial.should_prune()]
            for trial in alive:
                if trial not in survivors:
                    study.tell(trial, state=state.PRUNED)
            alive = survivors
    for trial in alive:
        study.tell(trial, sum(returns[trial.number]) / len(returns[trial.number]))


def _do(tasks: list[RunTask], pool: Pool, root: Path) -> None:
    with Board(tasks, root) as board:
        failed: list[Event] = pool.run([t for t in tasks if not t.done(root)], root, board)
    if failed:
        raise TasksFailed(
            f"{len(failed)} runs failed, the first ({failed[0].task.label}) because: "
            f"{failed[0].reason}; the same command goes on"
        )


# --- the study --------------------------------------------------------------------------------


def _space(algo: str, overrides: Sequence[str]) -> dict[str, Choice]:
    """What is varied, without what the user has set."""
    given = {text.partition("=")[0].strip() for text in overrides}
    return {name: each for name, each in SPACES[algo].items() if f"agent.{name}" not in given}


def _study(optuna: Any, root: Path, seed: int, identity: str) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(str(root / JOURNAL))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name=_STUDY,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=0),
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    before = study.user_attrs.get("identity")
    if before is None:
        study.set_user_attr("identity", identity)
    elif before != identity:
        raise UsageError(f"{root}: is the folder of another sweep; name another one")
    return study


def _identity(
    plain: RunSpec, seeds: Sequence[int], space: dict[str, Choice], seed: int, together: int
) -> str:
    document = [plain.model_dump(mode="json"), list(seeds), sorted(space), seed, together]
    return json.dumps(document, sort_keys=True)


@contextlib.contextmanager
def _read_journal(root: Path) -> Iterator[None]:
    """A damaged journal as one clear line.

    Raises:
        DriveRLError: names the file and the line.
    """
    path = root / JOURNAL
    if path.is_file():
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                json.loads(line)
            except ValueError:
                if number == len(lines):  # the entry that a killed sweep was writing
                    path.write_bytes(b"".join(each + b"\n" for each in lines[:-1]))
                    break
                raise DriveRLError(
                    f"{path}, line {number}: damaged; remove that line or the file and give the "
                    "command again: finished runs are kept"
                ) from None
    yield


# --- the outcome ------------------------------------------------------------------------------


def _conclude(optuna: Any, study: Any, root: Path, plain: RunSpec) -> dict[str, Any]:
    state = optuna.trial.TrialState
    done = study.get_trials(deepcopy=False)
    _write_table(root, done)
    best = study.best_trial
    path = root / BEST
    settings = plain.agent.model_dump(mode="json", exclude={"algo"})
    document = {
        "algo": plain.agent.algo,
        "description": (
            f"Best of {len(done)} trials on {plain.env.id}: mean return {best.value:.4g}"
        ),
        "default": {**settings, **best.params},
    }
    write_file(path, yaml.safe_dump(document, sort_keys=False))
    return {
        "number": best.number,
        "value": best.value,
        "params": dict(best.params),
        "agent": str(path),
        "trials": len(done),
        "pruned": sum(trial.state == state.PRUNED for trial in done),
    }


def _write_table(root: Path, trials: Sequence[Any]) -> None:
    import csv
    import io

    names = sorted({name for trial in trials for name in trial.params})
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["trial", "state", "return", "seeds", *names])
    for trial in trials:
        reported = trial.intermediate_values
        value = trial.value if trial.value is not None else reported.get(max(reported, default=0))
        params = [trial.params.get(name, "") for name in names]
        lines.writerow([trial.number, trial.state.name.lower(), value, len(reported), *params])
    write_file(root / "trials.csv", text.getvalue())
