"""Trainings of texture GANs: resumed they are the same, and what goes wrong is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from drive_rl.errors import Diverged, DriveRLError, UsageError
from drive_rl.runs.checkpoint import read_checkpoint
from drive_rl.runs.progress import Quiet
from drive_rl.textures import adversarial
from drive_rl.textures.prepare import Data
from drive_rl.textures.weights import Weights, load_weights, save_weights
from tests.textures.photos import make_data, tiny_spec


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return make_data(tmp_path_factory.mktemp("photos"))


def _train(data: Data, out: Path, **overrides: object) -> Path:
    spec = tiny_spec(**overrides)
    return adversarial.train(data.folder, out, spec, seed=3, device="cpu", progress=Quiet())


def _weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / str(step)).policy


def _stopped(
    data: Data, out: Path, monkeypatch: pytest.MonkeyPatch, after: int, **overrides: object
) -> None:
    """A training whose process dies in the middle of the step after `after`."""
    original = adversarial.GanRun.train_step

    def dying(run: adversarial.GanRun) -> dict[str, float]:
        if run.step == after:
            raise MemoryError
        return original(run)

    monkeypatch.setattr(adversarial.GanRun, "train_step", dying)
    with pytest.raises(MemoryError):
        _train(data, out, **overrides)
    monkeypatch.setattr(adversarial.GanRun, "train_step", original)


@pytest.mark.parametrize("norm", [False, True])
def test_a_run_that_was_killed_and_resumed_has_the_same_weights_bit_for_bit(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, norm: bool
) -> None:
    options = {"discriminator.spectral_norm": norm, "weight_decay": 0.01}
    _train(data, tmp_path / "whole", **options)
    _stopped(data, tmp_path / "killed", monkeypatch, after=3, **options)
    adversarial.resume(tmp_path / "killed", data.folder, progress=Quiet())
    whole, killed = _weights(tmp_path / "whole", 6), _weights(tmp_path / "killed", 6)
    assert whole.keys() == killed.keys()
    for name, value in whole.items():
        assert torch.equal(value, killed[name]), name
    assert (tmp_path / "killed" / "sheets" / "000006.png").is_file()


@pytest.mark.parametrize("loss", ["minimax", "wasserstein", "relativistic"])
@pytest.mark.parametrize("attention", [False, True])
def test_every_loss_trains_with_and_without_attention(
    data: Data, tmp_path: Path, loss: str, attention: bool
) -> None:
    options = {"generator.attention": attention, "discriminator.attention": attention}
    run = _train(data, tmp_path / "run", loss=loss, steps=2, **options)
    before, after = _weights(run, 0), _weights(run, 2)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    for network in ("generator", "discriminator", "average"):
        assert any(name.startswith(network) for name in changed)


def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = adversarial.discriminator_loss

    def broken(kind: str, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        loss = original(kind, real, fake)
        broken.calls += 1  # type: ignore[attr-defined]
        return loss * float("nan") if broken.calls == 4 else loss  # type: ignore[attr-defined]

    broken.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(adversarial, "discriminator_loss", broken)
    with pytest.raises(Diverged, match=r"step 4: the loss .* is nan.*checkpoints/2"):
        _train(data, tmp_path / "run")


def test_a_collapse_is_said(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Listening(Quiet):
        def message(self, text: str) -> None:
            said.append(text)

    def same(
        self: adversarial.Generator, noise: list[torch.Tensor], labels: torch.Tensor, c: object
    ) -> torch.Tensor:
        one = self.tone.bias.sum() * torch.ones(1, 3, 32, 32)
        return one.expand(len(labels), -1, -1, -1)

    monkeypatch.setattr(adversarial.Generator, "forward", same)
    spec = tiny_spec(steps=3)
    adversarial.train(data.folder, tmp_path / "run", spec, device="cpu", progress=Listening())
    assert any("collapsed?" in line for line in said)


def test_weights_start_a_run_of_other_classes_and_keep_those_that_both_have(
    data: Data, tmp_path: Path
) -> None:
    run = _train(data, tmp_path / "first", steps=2)
    weights = load_weights(run)
    assert weights.classes == ("asphalt", "mud")
    other = make_data(tmp_path / "other", photos=1, classes=("cobbles", "mud"))
    started = adversarial.train(
        other.folder, tmp_path / "second", tiny_spec(steps=2), weights=weights, device="cpu",
        progress=Quiet(),
    )  # fmt: skip
    old, new = weights.generator, _weights(started, 0)
    torch.testing.assert_close(new["generator.output.weight"], old["output.weight"])
    was, now = old["embedding.0.weight"], new["generator.embedding.0.weight"]
    columns = was.shape[1] - 4
    torch.testing.assert_close(now[:, columns - 1], was[:, columns - 1])  # mud
    mean = was[:, columns - 2 : columns].mean(dim=1)
    torch.testing.assert_close(now[:, columns - 2], mean)  # cobbles


def test_weights_survive_being_written_and_make_the_same_networks(
    data: Data, tmp_path: Path
) -> None:
    weights = load_weights(_train(data, tmp_path / "run", steps=2))
    save_weights(weights, tmp_path / "mine.safetensors")
    again = load_weights(tmp_path / "mine.safetensors")
    assert again.spec == weights.spec
    assert again.classes == weights.classes
    for name, value in weights.build_generator().state_dict().items():
        assert torch.equal(value, again.build_generator().state_dict()[name])


def test_a_checkpoint_of_another_architecture_is_told_in_one_line(
    data: Data, tmp_path: Path
) -> None:
    weights = load_weights(_train(data, tmp_path / "run", steps=2))
    wider = tiny_spec(**{"generator.widths": [8, 8, 12]})
    wrong = Weights("mine", wider, weights.classes, weights.generator, {}, {})
    with pytest.raises(DriveRLError, match=r"mine is of another architecture: .* has shape"):
        wrong.build_generator()
    with pytest.raises(DriveRLError, match="another"):
        adversarial.train(
            data.folder, tmp_path / "next", wider, weights=weights, device="cpu", progress=Quiet()
        )


def test_places_and_data_that_do_not_fit_are_refused(data: Data, tmp_path: Path) -> None:
    run = _train(data, tmp_path / "run", steps=2)
    with pytest.raises(UsageError, match="--resume continues it"):
        _train(data, run)
    with pytest.raises(UsageError, match="has crops of 32 px"):
        _train(data, tmp_path / "other", side=64)
    other = make_data(tmp_path / "photos", photos=1)
    with pytest.raises(UsageError, match="is not the data that"):
        adversarial.resume(run, other.folder, progress=Quiet())
    with pytest.raises(UsageError, match="not a run of a texture GAN"):
        load_weights(tmp_path)
    (tmp_path / "text.safetensors").write_text("weights")
    with pytest.raises(DriveRLError, match="damaged"):
        load_weights(tmp_path / "text.safetensors")


def test_the_diversity_of_real_crops_is_one(data: Data, tmp_path: Path) -> None:
    run = adversarial.GanRun(tmp_path, tiny_spec(), data, 0, torch.device("cpu"))
    rows = data.select("train")
    real = []
    for name in run.classes:
        places = [row for row in rows if data.table[row]["class"] == name]
        chosen = np.linspace(0, len(places) - 1, adversarial.SHEET_COLUMNS).astype(int)
        real.append(data.crops[[places[k] for k in chosen]].transpose(0, 3, 1, 2) / 127.5 - 1.0)
    crops = torch.from_numpy(np.stack(real).astype(np.float32)).flatten(2)
    assert run._diversity(crops) == pytest.approx(1.0, rel=1e-4)
