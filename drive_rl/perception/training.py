"""Pretraining of an encoder, in a run folder as `drive_rl.runs.networks` keeps it.

RUN/encoder.safetensors   the encoder and its heads, as of the newest checkpoint
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from drive_rl.perception.augment import augmented
from drive_rl.perception.dataset import DataSet
from drive_rl.perception.heads import Heads, affordance_loss, grid_loss
from drive_rl.perception.labels import as_tensors
from drive_rl.perception.mirror import check_mirror, mirrored_labels, mirrored_stacks
from drive_rl.perception.networks import Encoder, count_operations, count_parameters
from drive_rl.perception.objectives import contrastive_loss, make_projector, vicreg_loss
from drive_rl.perception.spec import AugmentSpec, PerceptionSpec
from drive_rl.perception.weights import ENCODER_FILE, KIND, Weights, save_encoder
from drive_rl.presets import EnvironmentSpec
from drive_rl.runs.folder import check_available
from drive_rl.runs.networks import AGAIN, NetworkRun, begin, go_on, recorded_data
from drive_rl.runs.progress import ProgressDisplay
from drive_rl.runs.tensors import choose_device, load_weights
from drive_rl.specs import validated


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


class PerceptionRun(NetworkRun):
    """The networks of a run, and a step of their training.

    Attributes:
        earlier_steps: of the run that this one began with.
    """

    def __init__(
        self, path: Path, spec: PerceptionSpec, data: DataSet, seed: int, device: torch.device
    ) -> None:
        super().__init__(path, seed, device)
        self.spec, self.data = spec, data
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
        self.networks = {"learner": self.learner, "average": self.average}
        self.optimizers = {
            "learner": torch.optim.AdamW(
                groups, lr=spec.learning_rate, weight_decay=spec.weight_decay
            )
        }

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
        self.update("learner", total, spec.max_grad_norm)
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
        with self.mixed_precision():
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
        for group in self.optimizers["learner"].param_groups:
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

    def label(self) -> str:
        """What is trained, in a line."""
        encoder = self.learner.encoder
        return (
            f"{self.spec.encoder.kind} encoder: {count_parameters(encoder):,} parameters, "
            f"{count_operations(encoder) / 1e6:.1f} million operations, {self.spec.objective}, "
            f"{len(self.split):,} frames"
        )

    def saved(self) -> None:
        """The encoder as of the newest checkpoint, for those who look through it."""
        save_encoder(self.weights(), self.path / ENCODER_FILE)


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
    check_available(out, AGAIN)
    run = PerceptionRun(out, spec, data, seed, torch_device)
    if start is not None:
        run.start_from(start)
    begun = None if start is None else {"name": start.name, "steps": run.earlier_steps}
    return begin(run, KIND.name, spec, data, {"from": begun}, progress)


def resume(
    out: Path, data_folder: Path | None = None, *, progress: ProgressDisplay | None = None
) -> Path:
    """Continue a run, as `drive_rl.runs.networks.go_on` does.

    Raises:
        UsageError: no run there, or other data than it was begun with.
        DriveRLError: its checkpoint is of another architecture.
    """
    document = KIND.read_run(out)
    spec = validated(PerceptionSpec, document["spec"], "spec")
    data = DataSet(data_folder or recorded_data(out, document))

    def build(seed: int, device: torch.device) -> PerceptionRun:
        run = PerceptionRun(out, spec, data, seed, device)
        run.earlier_steps = int((document.get("from") or {}).get("steps", 0))
        return run

    return go_on(out, document, spec, data, build, progress)
