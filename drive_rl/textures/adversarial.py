"""Training of a texture GAN, in a run folder as `drive_rl.runs.networks` keeps it.

RUN/sheets/        sample sheets: a row per class, then the controls
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drive_rl.errors import UsageError, warn
from drive_rl.runs.folder import check_available
from drive_rl.runs.metrics import MetricsLog
from drive_rl.runs.networks import AGAIN, NetworkRun, begin, go_on, recorded_data
from drive_rl.runs.progress import ProgressDisplay
from drive_rl.runs.tensors import choose_device
from drive_rl.specs import validated
from drive_rl.textures.augment import Compositor, diff_augment, toned, turned
from drive_rl.textures.losses import discriminator_loss, generator_loss, gradient_penalty
from drive_rl.textures.networks import Discriminator, Generator, count_parameters
from drive_rl.textures.prepare import Data, load_data
from drive_rl.textures.sampling import contact_sheet, to_pixels
from drive_rl.textures.spec import CONTROLS, GanSpec
from drive_rl.textures.weights import KIND, Weights, adapt

SHEET_COLUMNS = 8
COLLAPSED = 0.15  # diversity, as a share of that of real crops, below which samples are too alike


class GanRun(NetworkRun):
    """The networks of a run, and a step of their training."""

    def __init__(
        self, path: Path, spec: GanSpec, data: Data, seed: int, device: torch.device
    ) -> None:
        super().__init__(path, seed, device)
        self.spec = spec
        self._diversity_seen: float | None = None
        self.classes = tuple(data.classes_of("train"))
        rows = data.select("train")
        self._crops = torch.from_numpy(data.crops[rows]).permute(0, 3, 1, 2)  # uint8 (N, 3, S, S)
        labels = [self.classes.index(data.table[row]["class"]) for row in rows]
        self._labels = torch.tensor(labels)
        self._places = [torch.nonzero(self._labels == c)[:, 0] for c in range(len(self.classes))]
        self._composited = Compositor(spec.side)
        # Weights are drawn from torch's own generator; whoever calls gets it back as it was
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            count = len(self.classes)
            self.generator = Generator(spec.generator, count).to(device)
            self.average = Generator(spec.generator, count).to(device)
            self.discriminator = Discriminator(spec.discriminator, count).to(device)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False)
        self.networks = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
        }
        self.optimizers = {
            name: torch.optim.AdamW(
                network.parameters(),
                lr=spec.learning_rate,
                betas=spec.betas,
                weight_decay=spec.weight_decay,
            )
            for name, network in self.networks.items()
            if name != "average"
        }

    # --- a step -------------------------------------------------------------------------------

    def train_step(self) -> dict[str, float]:
        """One update of the discriminator and one of the generator, on the same fakes.

        Returns:
            The losses, and the gap between the discriminator's mean scores of real and fake.
        """
        spec = self.spec
        random = torch.Generator().manual_seed(_mixed(self.seed, 0, self.step))
        self._set_learning_rate()
        count = spec.early_batch_size if 2 * self.step < spec.steps else spec.batch_size
        real, labels, controls = self._draw_real(count, random)
        noise = [part.to(self.device) for part in self.generator.draw(count, spec.side, random)]
        with self.mixed_precision():
            fake = self.generator(noise, labels, controls)  # (B, 3, S, S)

        def score(x: Tensor) -> Tensor:
            scores: Tensor = self.discriminator(x, labels, controls)
            return scores

        # The discriminator
        real_seen = diff_augment(real, spec.augment, random)
        fake_seen = diff_augment(fake.detach().float(), spec.augment, random)
        with self.mixed_precision():
            real_score, fake_score = score(real_seen).float(), score(fake_seen).float()
        loss = discriminator_loss(spec.loss, real_score, fake_score)
        penalty = loss.new_zeros(())
        if self.step % spec.penalty_interval == 0 and spec.penalty and spec.loss != "minimax":
            penalty = gradient_penalty(spec.loss, score, real_seen, fake_seen, random)
        total = loss + spec.penalty * spec.penalty_interval * penalty
        self.update("discriminator", total)

        # The generator. The real scores are from before the update just made: recomputing them
        # would cost a forward pass for a number that hardly differs and has no gradient here
        self.discriminator.requires_grad_(False)
        seen = diff_augment(fake.float(), spec.augment, random)
        with self.mixed_precision():
            fooled = score(seen).float()
        cost = generator_loss(spec.loss, real_score.detach(), fooled)
        self.update("generator", cost)
        self.discriminator.requires_grad_(True)
        self._average_weights()
        self.step += 1
        figures = {
            "loss": float(loss.detach()),
            "generator_loss": float(cost.detach()),
            "gap": float((real_score - fake_score).detach().mean()),
        }
        if float(penalty.detach()):
            figures["penalty"] = float(penalty.detach())
        return figures

    def _draw_real(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Real crops of -1 to 1 with their labels and controls; each class as often."""
        labels = torch.randint(len(self.classes), (count,), generator=random)
        shares = torch.rand(count, generator=random)
        chosen = [
            self._places[c][int(s * len(self._places[c]))]
            for c, s in zip(labels.tolist(), shares.tolist(), strict=True)
        ]
        crops = self._crops[torch.stack(chosen)].float() / 255.0
        crops = toned(turned(crops, random), self.spec.tone, random)
        controls = self._composited.draw(count, self.spec.control_share, random)
        # Composited at all only where asked for: the others stay photographs
        crops = torch.where(
            controls.any(dim=1)[:, None, None, None],
            self._composited(crops, controls, random),
            crops,
        )
        device = self.device
        return (crops * 2.0 - 1.0).to(device), labels.to(device), controls.to(device)

    def _set_learning_rate(self) -> None:
        spec = self.spec
        share = 0.5 * (1.0 + math.cos(math.pi * min(self.step / spec.steps, 1.0)))
        rate = spec.final_learning_rate + share * (spec.learning_rate - spec.final_learning_rate)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _average_weights(self) -> None:
        halflife = min(self.spec.ema_halflife, (self.step + 1) / 20.0)
        keep = 0.5 ** (1.0 / max(halflife, 1e-8))
        with torch.no_grad():
            for mean, value in zip(
                self.average.parameters(), self.generator.parameters(), strict=True
            ):
                mean.lerp_(value, 1.0 - keep)

    # --- looking at it ------------------------------------------------------------------------

    def sheet(self) -> tuple[np.ndarray[Any, Any], float]:
        """A sheet of the averaged generator's tiles, and the diversity of the other one's.

        Returns:
            uint8 (height, width, 3): a row per class, then a row per control rising from 0 to 1;
            and the mean difference between two tiles of a class, as a share of that of real crops.
        """
        count, side = len(self.classes), self.spec.side
        random = torch.Generator().manual_seed(_mixed(self.seed, 1, 0))
        labels = torch.arange(count).repeat_interleave(SHEET_COLUMNS)
        controls = torch.zeros(len(labels), len(CONTROLS))
        rising = torch.linspace(0, 1, SHEET_COLUMNS)
        for number in range(len(CONTROLS)):
            row = torch.zeros(SHEET_COLUMNS, len(CONTROLS))
            row[:, number] = rising
            controls = torch.cat([controls, row])
            labels = torch.cat([labels, torch.full((SHEET_COLUMNS,), number % count)])
        noise = [part.to(self.device) for part in self.generator.draw(len(labels), side, random)]
        # One and the same surface along the row of a control
        first = count * SHEET_COLUMNS
        for part in noise:
            for number in range(len(CONTROLS)):
                start = first + number * SHEET_COLUMNS
                part[start : start + SHEET_COLUMNS] = part[start]
        labels, controls = labels.to(self.device), controls.to(self.device)
        with torch.no_grad():
            shown = self.average(noise, labels, controls)
            plain = [part[:first] for part in noise]
            now = self.generator(plain, labels[:first], controls[:first])
        sheet = contact_sheet(to_pixels(shown), SHEET_COLUMNS)
        return sheet, self._diversity(now.float().cpu().reshape(count, SHEET_COLUMNS, -1))

    def _diversity(self, fakes: Tensor) -> float:
        real = []
        for places in self._places:
            chosen = places[torch.linspace(0, len(places) - 1, SHEET_COLUMNS).long()]
            real.append(self._crops[chosen].float().flatten(1) / 127.5 - 1.0)
        return float((_difference(fakes) / _difference(torch.stack(real)).clamp_min(1e-3)).mean())

    def look(self, figures: Mapping[str, float], log: MetricsLog, display: ProgressDisplay) -> None:
        """Now and then write a sample sheet, and say so if the samples are too alike."""
        from PIL import Image

        if self.step % self.spec.sheet_interval and self.step != self.spec.steps:
            return
        sheet, diversity = self.sheet()
        folder = self.path / "sheets"
        folder.mkdir(exist_ok=True)
        Image.fromarray(sheet).save(folder / f"{self.step:06d}.png")
        log.picture("samples", sheet, self.step)
        log.write(self.step, {"diversity": diversity})
        if diversity < COLLAPSED:
            display.message(
                f"step {self.step:,}: collapsed? tiles of a class differ {diversity:.0%} as much "
                "as real ones do; a higher penalty or another loss may help"
            )
        self._diversity_seen = diversity

    def shown(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The discriminator's lead, and how different the last sheet's tiles were."""
        seen = self._diversity_seen
        return {"gap": figures["gap"]} | ({} if seen is None else {"diversity": seen})

    def label(self) -> str:
        """What is trained, in a line."""
        return (
            f"texture GAN of {', '.join(self.classes)}: {count_parameters(self.generator):,} and "
            f"{count_parameters(self.discriminator):,} parameters, {self.spec.loss} loss"
        )

    def start_from(self, weights: Weights) -> None:
        """Begin with trained weights, of these classes or of others."""
        adapt(self.generator, weights.generator, weights.classes, self.classes)
        adapt(self.discriminator, weights.discriminator, weights.classes, self.classes)
        self.average.load_state_dict(self.generator.state_dict())


# --- a training -------------------------------------------------------------------------------


def train(
    data_folder: Path,
    out: Path,
    spec: GanSpec,
    *,
    seed: int = 0,
    device: str = "auto",
    weights: Weights | None = None,
    progress: ProgressDisplay | None = None,
) -> Path:
    """Train a texture GAN in a new run folder.

    Args:
        data_folder: of `drive-rl textures prepare`.
        weights: to start from; None starts anew.

    Raises:
        UsageError: data, a folder or a device that cannot be.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        Diverged: the last checkpoint is whole.
    """
    data = load_data(data_folder)
    _check_data(data, spec)
    torch_device = choose_device(device)
    check_available(out, AGAIN)
    run = GanRun(out, spec, data, seed, torch_device)
    if weights is not None:
        run.start_from(weights)
    details = {
        "classes": list(run.classes),
        "sources": _sources(data, weights),
        "from": None if weights is None else weights.name,
    }
    return begin(run, KIND.name, spec, data, details, progress)


def resume(
    out: Path, data_folder: Path | None = None, *, progress: ProgressDisplay | None = None
) -> Path:
    """Continue a run, as `drive_rl.runs.networks.go_on` does.

    Raises:
        UsageError: no run there, or other data than it was begun with.
        DriveRLError: no whole checkpoint, or one of another architecture.
    """
    document = KIND.read_run(out)
    spec = validated(GanSpec, document["spec"], "spec")
    data = load_data(data_folder or recorded_data(out, document))
    _check_data(data, spec)

    def build(seed: int, device: torch.device) -> GanRun:
        return GanRun(out, spec, data, seed, device)

    return go_on(out, document, spec, data, build, progress)


def _check_data(data: Data, spec: GanSpec) -> None:
    if data.crops.shape[1] != spec.side:
        raise UsageError(
            f"{data.folder} has crops of {data.crops.shape[1]} px, these settings are for "
            f"{spec.side}; prepare it with --side {spec.side} or --set side={data.crops.shape[1]}"
        )
    if not len(data.select("train")):
        raise UsageError(f"{data.folder} has no crop in split train")
    missing = set(data.classes) - set(data.classes_of("train"))
    if missing:
        warn(f"class {min(missing)} has no crop to learn from; it is left out")
    sources = {data.table[row]["source"] for row in data.select("train")}
    if len(sources) == 1:
        warn(
            f"{data.folder} has one photo to learn from ({next(iter(sources))}): tiles will be "
            "variations of it, and no score can tell learning from copying it"
        )


def _sources(data: Data, weights: Weights | None) -> list[dict[str, str]]:
    """Origins and licences of what was learned from, now and before by the weights begun with."""
    keys = ("origin", "class", "licence")
    rows = {tuple(data.table[row][key] for key in keys) for row in data.select("train")}
    before = [] if weights is None else weights.made.get("sources") or []
    rows |= {tuple(str(source.get(key, "unknown")) for key in keys) for source in before}
    return [dict(zip(keys, row, strict=True)) for row in sorted(rows)]


def _difference(pictures: Tensor) -> Tensor:
    """Mean absolute difference between two of each class, (classes,), of (classes, n, values)."""
    count = pictures.shape[1]
    pairs = torch.triu_indices(count, count, 1)
    return (pictures[:, pairs[0]] - pictures[:, pairs[1]]).abs().mean(dim=(1, 2))


def _mixed(seed: int, kind: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, kind, step]).generate_state(1, np.uint64)[0] >> 1)
