"""Pretraining of an encoder: in a run folder that can be stopped, resumed and verified.

    RUN/run.yaml             spec, data, versions, command
        encoder.safetensors  the encoder and its heads, as of the newest checkpoint
        checkpoints/         as those of a policy, with the same code
        metrics.jsonl        and TensorBoard's events

All that is random in a step comes of the run's seed and the step's number, so that a resumed run
needs no generator's state to be the same run, bit for bit.
"""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from drive_rl.errors import Diverged, DriveRLError, Interrupted, UsageError, warn
from drive_rl.perception.augment import augmented
from drive_rl.perception.dataset import DataSet
from drive_rl.perception.heads import Heads, affordance_loss, grid_loss
from drive_rl.perception.labels import as_tensors
from drive_rl.perception.mirror import check_mirror, mirrored_labels, mirrored_stacks
from drive_rl.perception.networks import Encoder, count_operations, count_parameters
from drive_rl.perception.objectives import contrastive_loss, make_projector, vicreg_loss
from drive_rl.perception.spec import AugmentSpec, PerceptionSpec
from drive_rl.perception.weights import (
    ENCODER_FILE,
    KIND,
    RUN_FILE,
    SCHEMA,
    Weights,
    read_run,
    save_encoder,
)
from drive_rl.presets import EnvironmentSpec, validated
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.checkpoint import Checkpoint
from drive_rl.runs.interrupts import StopRequest
from drive_rl.runs.lock import RunLock
from drive_rl.runs.metrics import MetricsLog, remove_metrics
from drive_rl.runs.progress import ProgressDisplay, default_progress
from drive_rl.runs.provenance import provenance
from drive_rl.runs.tensors import (
    choose_device,
    load_weights,
    optimizer_groups,
    optimizer_tensors,
    restore_optimizer,
)

METRICS_INTERVAL = 50  # steps
KEPT_CHECKPOINTS = 2
_DISPLAY_INTERVAL = 0.5  # s


class Learner(nn.Module):
    """All that is trained: the encoder, its heads, and the projector of self-supervision."""

    def __init__(self, spec: PerceptionSpec, data: DataSet) -> None:
        super().__init__()
        self.encoder = Encoder(spec.encoder, data.shape, data.channels)
        self.encoder.mean.copy_(torch.from_numpy(data.mean))
        self.encoder.std.copy_(torch.from_numpy(data.std))
        self.heads = Heads(spec.encoder.features, data.num_lanes)
        self.projector: nn.Module = nn.Identity()
        if spec.objective != "supervised":
            self.projector = make_projector(spec.encoder.features, spec.projector)


class PerceptionRun:
    """The networks of a run, and a step of their training.

    Attributes:
        path: the run's folder.
        step: steps taken.
        earlier_steps: of the run that this one began with.
    """

    def __init__(
        self, path: Path, spec: PerceptionSpec, data: DataSet, seed: int, device: torch.device
    ) -> None:
        self.path, self.spec, self.data, self.seed, self.device = path, spec, data, seed, device
        self.step = 0
        self.earlier_steps = 0
        if spec.mirror:
            check_mirror(validated(EnvironmentSpec, data.about["environment"], "environment"))
        self.split = data.split("train")
        self.labels = {k: torch.from_numpy(v) for k, v in as_tensors(self.split.labels).items()}
        self.rows = self._known_rows()
        # Weights are drawn from torch's own generator; whoever calls gets it back as it was
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.learner = Learner(spec, data).to(device)
            self.average = Learner(spec, data).to(device)
        self.average.load_state_dict(self.learner.state_dict())
        self.average.requires_grad_(False).eval()
        decayed = [p for p in self.learner.parameters() if p.ndim > 1]
        others = [p for p in self.learner.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=spec.learning_rate,
            weight_decay=spec.weight_decay,
        )

    def _known_rows(self) -> Any:
        """Frames of the episodes whose labels are known."""
        if self.spec.label_share >= 1.0 or self.spec.objective in ("vicreg", "contrastive"):
            return np.arange(len(self.split))
        episodes = np.unique(self.split.episodes)
        order = np.random.default_rng([self.seed, 77]).permutation(episodes)
        kept = order[: max(1, round(self.spec.label_share * len(order)))]
        return np.flatnonzero(np.isin(self.split.episodes, kept))

    # --- a step -------------------------------------------------------------------------------

    def train_step(self) -> dict[str, float]:
        """One update; returns the losses."""
        spec = self.spec
        random = np.random.default_rng([self.seed, self.step])
        chance = torch.Generator().manual_seed(int(random.integers(2**62)))
        self._set_learning_rate()
        self.learner.train()
        figures: dict[str, float] = {}
        total: Tensor | float = 0.0
        if spec.objective in ("supervised", "both"):
            rows = random.choice(self.rows, spec.batch_size)
            labels = {k: v[rows].to(self.device) for k, v in self.labels.items()}
            chosen = None
            if spec.mirror:
                chosen = (torch.rand(len(rows), generator=chance) < spec.mirror).to(self.device)
                labels = mirrored_labels(labels, chosen)
            raw = self.learner.heads(self._features(rows, spec.augment, chance, chosen))
            affordances, grids = affordance_loss(raw, labels), grid_loss(raw, labels)
            total = total + affordances + spec.grid_weight * grids
            figures |= {"affordances": float(affordances.detach()), "grids": float(grids.detach())}
        if spec.objective != "supervised":
            rows = random.integers(0, len(self.split), spec.batch_size)
            later = self._later(rows, random)
            views = [
                self.learner.projector(self._features(each, spec.view_augment, chance))
                for each in (rows, later)
            ]
            compare = contrastive_loss if spec.objective == "contrastive" else vicreg_loss
            alike = compare(*views)
            weight = spec.self_weight if spec.objective == "both" else 1.0
            total = total + weight * alike
            figures["views"] = float(alike.detach())
        assert isinstance(total, Tensor)
        if not bool(torch.isfinite(total)):
            raise Diverged(
                f"step {self.step + 1}: the loss is {float(total.detach())}; stopped; a lower "
                "learning_rate may help"
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), spec.max_grad_norm)
        self.optimizer.step()
        self._average_weights()
        self.step += 1
        return {"loss": float(total.detach()), **figures}

    def _features(
        self,
        rows: Any,
        augment: AugmentSpec,
        chance: torch.Generator,
        mirror: Tensor | None = None,
    ) -> Tensor:
        """Features of augmented stacks; of the newest frames alone, as far as they are seen.

        Args:
            mirror: which of them are mirrored, (B,); None for none.
        """
        stacks = self.split.stacks(rows, self.spec.encoder.frames)
        seen = torch.from_numpy(stacks).to(self.device)
        if mirror is not None:
            seen = mirrored_stacks(seen, mirror)
        seen = augmented(seen, augment, self.data.channels, chance)
        cuda = self.device.type == "cuda"
        # bfloat16 has the exponents of float32: no loss needs scaling
        with torch.autocast(self.device.type, torch.bfloat16, enabled=cuda):
            features: Tensor = self.learner.encoder(seen)
        return features.float()

    def _later(self, rows: Any, random: np.random.Generator) -> Any:
        """Frames of the same episodes, up to `time_shift` decisions later."""
        later = rows + random.integers(0, self.spec.time_shift + 1, len(rows))
        later = np.minimum(later, len(self.split) - 1)
        return np.where(self.split.episodes[later] == self.split.episodes[rows], later, rows)

    def _set_learning_rate(self) -> None:
        spec = self.spec
        rising = min(1.0, (self.step + 1) / spec.warmup)
        falling = 0.5 * (1.0 + math.cos(math.pi * min(self.step / spec.steps, 1.0)))
        for group in self.optimizer.param_groups:
            group["lr"] = spec.learning_rate * rising * falling

    def _average_weights(self) -> None:
        keep = min(self.spec.ema_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            state = self.learner.state_dict()
            for name, mean in self.average.state_dict().items():
                if mean.is_floating_point():
                    mean.lerp_(state[name], 1.0 - keep)
                else:
                    mean.copy_(state[name])

    def start_from(self, weights: Weights) -> None:
        """Begin with a trained encoder and its heads.

        Raises:
            DriveRLError: they are of another architecture.
        """
        for learner in (self.learner, self.average):
            for module, state in (
                (learner.encoder, weights.encoder),
                (learner.heads, weights.heads),
            ):
                load_weights(module, dict(state))
        self.earlier_steps = int(weights.made.get("steps", 0))

    # --- what comes out -----------------------------------------------------------------------

    def weights(self) -> Weights:
        """The averaged encoder and heads."""
        made = {
            "environment": self.data.about["environment"],
            "objective": self.spec.objective,
            "steps": self.earlier_steps + self.step,
            "frames": self.data.about["frames"]["train"],
            "seed": self.seed,
        }
        return Weights(
            str(self.path),
            self.spec.encoder,
            self.data.shape,
            self.data.channels,
            self.data.num_lanes,
            self.average.encoder.state_dict(),
            self.average.heads.state_dict(),
            made,
        )

    # --- checkpoints --------------------------------------------------------------------------

    def captured(self, elapsed: float) -> Checkpoint:
        """All that continues from here as if it had never stopped."""
        policy = {
            f"{name}.{key}": value.detach().clone()
            for name in ("learner", "average")
            for key, value in getattr(self, name).state_dict().items()
        }
        state = {"optimizer_groups": optimizer_groups(self.optimizer), "elapsed": elapsed}
        return Checkpoint(self.step, policy, optimizer_tensors(self.optimizer), state)

    def restore(self, checkpoint: Checkpoint) -> float:
        """Put a checkpoint back; returns the seconds of training until then.

        Raises:
            DriveRLError: it is of another architecture.
        """
        for name in ("learner", "average"):
            prefix = f"{name}."
            own = {
                k.removeprefix(prefix): v
                for k, v in checkpoint.policy.items()
                if k.startswith(prefix)
            }
            load_weights(getattr(self, name), own)
        try:
            restore_optimizer(
                self.optimizer, checkpoint.optimizer, checkpoint.state["optimizer_groups"]
            )
            elapsed = float(checkpoint.state["elapsed"])
        except (KeyError, ValueError, TypeError) as error:
            raise DriveRLError(
                f"checkpoint {checkpoint.step} does not fit this run's specification ({error})"
            ) from error
        self.step = checkpoint.step
        return elapsed


# --- a training -------------------------------------------------------------------------------


def train(
    data_folder: Path,
    out: Path,
    spec: PerceptionSpec,
    *,
    seed: int = 0,
    device: str = "auto",
    start: Weights | None = None,
    progress: ProgressDisplay | None = None,
) -> Path:
    """Train an encoder in a new run folder.

    Args:
        data_folder: of `drive-rl perception collect`.
        start: an encoder and heads to begin with; None begins anew.

    Raises:
        UsageError: data, a folder or a device that cannot be.
        DriveRLError: `start` is of another architecture than `spec` says.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        Diverged: the last checkpoint is whole.
    """
    data = DataSet(data_folder)
    torch_device = choose_device(device)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        hint = "; --resume continues it" if (out / RUN_FILE).is_file() else "; name another folder"
        raise UsageError(f"{out}: exists and is not empty{hint}")
    threads = spec.num_threads or torch.get_num_threads()
    run = PerceptionRun(out, spec, data, seed, torch_device)
    if start is not None:
        run.start_from(start)
    document = {
        "schema": SCHEMA,
        "kind": KIND,
        "spec": spec.model_dump(mode="json"),
        "seed": seed,
        "from": None if start is None else {"name": start.name, "steps": run.earlier_steps},
        "data": {"folder": str(data.folder.resolve()), "sha256": data.digest},
        **provenance(str(torch_device), threads),
    }
    try:
        (out / "checkpoints").mkdir(parents=True)
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        checkpoints.write_text_atomically(out / RUN_FILE, text)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror})") from None
    with RunLock(out):
        if start is not None:  # the seed alone would begin elsewhere
            checkpoints.write_checkpoint(out / "checkpoints", run.captured(0.0))
        _learn(run, 0.0, threads, progress or default_progress())
    return out


def resume(
    out: Path, data_folder: Path | None = None, *, progress: ProgressDisplay | None = None
) -> Path:
    """Continue a run at its newest whole checkpoint; on the CPU, bit for bit.

    Raises:
        UsageError: no run there, or other data than it was begun with.
        DriveRLError: its checkpoint is of another architecture.
    """
    document = read_run(out)
    spec = validated(PerceptionSpec, document["spec"], "spec")
    data = DataSet(data_folder or Path(document["data"]["folder"]))
    if data.digest != document["data"]["sha256"]:
        raise UsageError(f"{data.folder} is not the data that {out} was begun with")
    display = progress or default_progress()
    with RunLock(out):
        checkpoint = checkpoints.newest_whole(out / "checkpoints", warn)
        if checkpoint is not None and checkpoint.step >= spec.steps:
            display.message(f"{out}: finished, at step {checkpoint.step:,}")
            return out
        device = choose_device(str(document["device"]))
        run = PerceptionRun(out, spec, data, int(document["seed"]), device)
        run.earlier_steps = int((document.get("from") or {}).get("steps", 0))
        elapsed = 0.0
        if checkpoint is None:
            remove_metrics(out)
        else:
            elapsed = run.restore(checkpoint)
        _learn(run, elapsed, int(document["torch_threads"]), display)
    return out


def _learn(run: PerceptionRun, elapsed: float, threads: int, display: ProgressDisplay) -> None:
    spec, folder = run.spec, run.path / "checkpoints"
    checkpoints.sweep(folder)
    before, began, shown = torch.get_num_threads(), time.monotonic(), 0.0
    first = run.step
    torch.set_num_threads(threads)
    log = MetricsLog(run, run.step)

    def save() -> None:
        log.flush()
        checkpoints.write_checkpoint(folder, run.captured(elapsed + time.monotonic() - began))
        checkpoints.write_text_atomically(folder / "last", f"{run.step}\n")
        checkpoints.prune(folder, checkpoints.steps_in(folder)[-KEPT_CHECKPOINTS:])
        save_encoder(run.weights(), run.path / ENCODER_FILE)

    encoder = run.learner.encoder
    display.start(
        f"{spec.encoder.kind} encoder: {count_parameters(encoder):,} parameters, "
        f"{count_operations(encoder) / 1e6:.1f} million operations, {spec.objective}, "
        f"{len(run.split):,} frames, {run.device} -> {run.path}",
        spec.steps,
        run.step,
    )
    gathered: dict[str, list[float]] = {}
    try:
        with StopRequest() as stop:
            while run.step < spec.steps:
                figures = run.train_step()
                for name, value in figures.items():
                    gathered.setdefault(name, []).append(value)
                if run.step % METRICS_INTERVAL == 0 or run.step == spec.steps:
                    seconds = time.monotonic() - began
                    means = {name: sum(values) / len(values) for name, values in gathered.items()}
                    rate = (run.step - first) / max(seconds, 1e-9)
                    log.write(run.step, {**means, "fps": rate, "time": elapsed + seconds})
                    gathered.clear()
                if time.monotonic() - shown > _DISPLAY_INTERVAL:
                    shown = time.monotonic()
                    display.update(run.step, {"loss": figures["loss"]})
                if run.step % spec.checkpoint_interval == 0 or run.step == spec.steps:
                    save()
                if stop.signal_number is not None and run.step < spec.steps:
                    save()
                    raise Interrupted(
                        f"stopped; saved at step {run.step:,}; continue with the same command "
                        "and --resume",
                        stop.signal_number or int(signal.SIGINT),
                    )
    finally:
        log.close()
        display.close()
        torch.set_num_threads(before)
