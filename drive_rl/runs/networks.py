"""Trainings of networks that are no policies: an encoder's, a texture GAN's.

A subclass of NetworkRun says what its networks are and what a step is; `begin` and `go_on` do the
rest, in a run folder that can be stopped, resumed and verified:

    RUN/run.yaml        kind, spec, data, versions, command
        checkpoints/    as those of a policy, with the same code
        metrics.jsonl   and TensorBoard's events

All that is random in a step comes of the run's seed and the step's number, so that a resumed run
needs no generator's state to be the same run, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from drive_rl.errors import Diverged, DriveRLError, Interrupted, UsageError, warn
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.checkpoint import Checkpoint
from drive_rl.runs.folder import CHECKPOINTS, explained_disk, last_good, make_folder, not_a_run
from drive_rl.runs.interrupts import StopRequest
from drive_rl.runs.lock import RunLock
from drive_rl.runs.metrics import MetricsLog, remove_metrics
from drive_rl.runs.progress import ProgressDisplay, default_progress
from drive_rl.runs.provenance import provenance, warn_of_differences
from drive_rl.runs.tensors import (
    below,
    choose_device,
    load_weights,
    optimizer_groups,
    optimizer_tensors,
    restore_optimizer,
    torch_threads,
)
from drive_rl.specs import TrainingSpec

AGAIN = "--resume"
METRICS_INTERVAL = 50  # steps
KEPT_CHECKPOINTS = 2
_DISPLAY_INTERVAL = 0.5  # s


class Examples(Protocol):
    """What is learned from."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    @property
    def digest(self) -> str:
        """SHA-256 of what is in it."""


class NetworkRun:
    """The networks of a run, and a step of their training.

    Attributes:
        path: the run's folder.
        step: steps taken.
        networks: all that a checkpoint keeps, by name.
        optimizers: by the name of the network that they change. One alone keeps its moments
            without a name.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def __init__(self, path: Path, seed: int, device: torch.device) -> None:
        self.path, self.seed, self.device = path, seed, device
        self.step = 0

    def train_step(self) -> dict[str, float]:
        """One step; returns its figures."""
        raise NotImplementedError

    def label(self) -> str:
        """What is trained, in a line."""
        raise NotImplementedError

    def look(self, figures: Mapping[str, float], log: MetricsLog, display: ProgressDisplay) -> None:
        """Look at what has become of it, after a step."""

    def shown(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Of a step's figures the two or three that matter."""
        return {"loss": figures["loss"]}

    def saved(self) -> None:
        """Do what else is due when a checkpoint has been written."""

    def update(self, name: str, loss: Tensor, max_grad_norm: float | None = None) -> None:
        """One step down a loss by the optimiser of that name.

        Raises:
            Diverged: the loss is not a finite number.
        """
        if not bool(torch.isfinite(loss)):
            raise Diverged(
                f"step {self.step + 1}: the loss of the {name} is {float(loss.detach())}; stopped, "
                f"{last_good(self.path)}; a lower learning_rate may help"
            )
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.networks[name].parameters(), max_grad_norm)
        optimizer.step()

    def mixed_precision(self) -> torch.autocast:
        """bfloat16 on CUDA, whose exponents are those of float32: no loss needs scaling."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    # --- checkpoints --------------------------------------------------------------------------

    def captured(self, elapsed: float) -> Checkpoint:
        """All that continues from here as if it had never stopped."""
        weights = {
            f"{name}.{key}": value.detach().clone()
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        moments = {
            self._prefix(name) + key: value
            for name, optimizer in self.optimizers.items()
            for key, value in optimizer_tensors(optimizer).items()
        }
        groups: Any = {name: optimizer_groups(each) for name, each in self.optimizers.items()}
        if len(groups) == 1:
            (groups,) = groups.values()
        return Checkpoint(
            self.step, weights, moments, {"optimizer_groups": groups, "elapsed": elapsed}
        )

    def restore(self, checkpoint: Checkpoint) -> float:
        """Put a checkpoint back; returns the seconds of training until then.

        Raises:
            DriveRLError: it is of another architecture.
        """
        for name, network in self.networks.items():
            load_weights(network, below(f"{name}.", checkpoint.policy))
        try:
            groups = checkpoint.state["optimizer_groups"]
            for name, optimizer in self.optimizers.items():
                moments = below(self._prefix(name), checkpoint.optimizer)
                own = groups if len(self.optimizers) == 1 else groups[name]
                restore_optimizer(optimizer, moments, own)
            elapsed = float(checkpoint.state["elapsed"])
        except (KeyError, ValueError, TypeError) as error:
            raise DriveRLError(
                f"checkpoint {checkpoint.step} does not fit this run's specification ({error})"
            ) from error
        self.step = checkpoint.step
        return elapsed

    def _prefix(self, name: str) -> str:
        return "" if len(self.optimizers) == 1 else f"{name}."


# --- a training -------------------------------------------------------------------------------


def begin(
    run: NetworkRun,
    kind: str,
    spec: TrainingSpec,
    data: Examples,
    details: Mapping[str, Any],
    progress: ProgressDisplay | None = None,
) -> Path:
    """Train in a new run folder.

    Args:
        run: as it begins.
        kind: of run, for run.yaml.
        details: what else run.yaml is to say. `from` names the weights that it begins with.

    Raises:
        UsageError: the folder is taken or cannot be made.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        Diverged, DiskFull: the last checkpoint is whole.
    """
    threads = spec.num_threads or torch.get_num_threads()
    document = {
        "kind": kind,
        "spec": spec.model_dump(mode="json"),
        "seed": run.seed,
        "data": {"folder": str(data.folder.resolve()), "sha256": data.digest},
        **details,
        **provenance(str(run.device), threads),
    }
    make_folder(run.path, document, AGAIN)
    with RunLock(run.path):
        # With weights to begin with, the seed alone would begin elsewhere
        checkpoints.write_checkpoint(run.path / CHECKPOINTS, run.captured(0.0))
        _learn(run, spec, 0.0, threads, progress or default_progress())
    return run.path


def recorded_data(path: Path, document: Mapping[str, Any]) -> Path:
    """Where the data lay that a run was begun with.

    Args:
        path: the run's folder.
        document: what its run.yaml says.
    """
    try:
        return Path(document["data"]["folder"])
    except (KeyError, TypeError) as error:
        raise not_a_run(path, error) from None


def go_on(
    path: Path,
    document: Mapping[str, Any],
    spec: TrainingSpec,
    data: Examples,
    build: Callable[[int, torch.device], NetworkRun],
    progress: ProgressDisplay | None = None,
) -> Path:
    """Continue a run at its newest whole checkpoint; on the CPU, bit for bit.

    Args:
        path: the run's folder.
        document: what its run.yaml says.
        build: the run as it began, from a seed and a device.

    Raises:
        UsageError: other data than it was begun with.
        DriveRLError: no whole checkpoint, or one of another architecture.
    """
    try:
        seed, threads = int(document["seed"]), int(document["torch_threads"])
        device, digest = str(document["device"]), document["data"]["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise not_a_run(path, error) from None
    if data.digest != digest:
        raise UsageError(f"{data.folder} is not the data that {path} was begun with")
    display = progress or default_progress()
    with RunLock(path):
        checkpoint = checkpoints.newest_whole(path / CHECKPOINTS, warn)
        if checkpoint is not None and checkpoint.step >= spec.steps:
            display.message(f"{path}: finished, at step {checkpoint.step:,}")
            return path
        if checkpoint is None and document.get("from") is not None:
            raise DriveRLError(f"{path}: no whole checkpoint to resume from")
        run = build(seed, choose_device(device))
        warn_of_differences(path, document, str(run.device))
        elapsed = 0.0
        if checkpoint is None:
            display.message(f"{path}: no checkpoint yet; starting over")
        else:
            elapsed = run.restore(checkpoint)
        if run.step == 0:
            remove_metrics(path)
        _learn(run, spec, elapsed, threads, display)
    return path


def _learn(
    run: NetworkRun, spec: TrainingSpec, elapsed: float, threads: int, display: ProgressDisplay
) -> None:
    """Train to the end; `elapsed` are the seconds of the processes before this one."""
    folder = run.path / CHECKPOINTS
    checkpoints.sweep(folder)
    began, shown, first = time.monotonic(), 0.0, run.step
    gathered: dict[str, list[float]] = {}
    log = MetricsLog(run, run.step)

    def save() -> None:
        log.flush()
        checkpoints.write_checkpoint(folder, run.captured(elapsed + time.monotonic() - began))
        checkpoints.write_text_atomically(folder / "last", f"{run.step}\n")
        checkpoints.prune(folder, checkpoints.steps_in(folder)[-KEPT_CHECKPOINTS:])
        run.saved()

    display.start(f"{run.label()}, {run.device} -> {run.path}", spec.steps, run.step)
    try:
        with explained_disk(run.path, AGAIN), torch_threads(threads), StopRequest() as stop:
            while run.step < spec.steps:
                figures = run.train_step()
                at_end = run.step == spec.steps
                for name, value in figures.items():
                    gathered.setdefault(name, []).append(value)
                if run.step % METRICS_INTERVAL == 0 or at_end:
                    seconds = time.monotonic() - began
                    means = {name: sum(values) / len(values) for name, values in gathered.items()}
                    rate = (run.step - first) / max(seconds, 1e-9)
                    log.write(run.step, {**means, "fps": rate, "time": elapsed + seconds})
                    gathered.clear()
                run.look(figures, log, display)
                if time.monotonic() - shown > _DISPLAY_INTERVAL:
                    shown = time.monotonic()
                    display.update(run.step, run.shown(figures))
                if run.step % spec.checkpoint_interval == 0 or at_end:
                    save()
                if stop.signal_number is not None and not at_end:
                    save()
                    raise Interrupted(
                        f"stopped; saved at step {run.step:,}; continue with the same command "
                        f"and {AGAIN}",
                        stop.signal_number,
                    )
    finally:
        log.close()
        display.close()
