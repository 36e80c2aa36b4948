"""Trainings learn, resume to the same bits, and what they make is loaded and scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from drive_rl.errors import DriveRLError, UsageError
from drive_rl.perception import training
from drive_rl.perception.augment import augmented
from drive_rl.perception.dataset import DataSet
from drive_rl.perception.evaluate import evaluate_encoder
from drive_rl.perception.labels import as_tensors
from drive_rl.perception.mirror import check_mirror, mirrored_labels
from drive_rl.perception.probe import FIGURES, probe_encoders
from drive_rl.perception.report import write_report
from drive_rl.perception.spec import AugmentSpec
from drive_rl.perception.weights import load_encoder, save_encoder
from drive_rl.presets import load_environment
from drive_rl.runs.checkpoint import read_checkpoint
from drive_rl.runs.progress import Quiet
from tests.perception.roads import make_data, tiny_environment, tiny_spec


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_data(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def run(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _trained(data, tmp_path_factory.mktemp("runs") / "run", objective="both", mirror=0.5)


def _trained(data: DataSet, out: Path, **changes: object) -> Path:
    spec = tiny_spec(**changes)
    return training.train(data.folder, out, spec, seed=3, device="cpu", progress=Quiet())


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / "4").policy


def test_a_killed_training_resumes_to_the_same_weights(
    data: DataSet, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = training.PerceptionRun.train_step

    def dying(self: training.PerceptionRun) -> dict[str, float]:
        if self.step == 3:
            raise RuntimeError("killed")
        return original(self)

    monkeypatch.setattr(training.PerceptionRun, "train_step", dying)
    with pytest.raises(RuntimeError, match="killed"):
        _trained(data, tmp_path / "run", objective="both", mirror=0.5)
    monkeypatch.undo()
    training.resume(tmp_path / "run", progress=Quiet())
    resumed = _weights(tmp_path / "run")
    for name, value in _weights(run).items():
        assert torch.equal(value, resumed[name]), name


def test_what_is_mirrored_twice_is_as_it_was_and_once_is_the_other_way_round(data: DataSet) -> None:
    split = data.split("train")
    labels = {k: torch.from_numpy(v) for k, v in as_tensors(split.labels[:20]).items()}
    chosen = torch.arange(20) % 2 == 0
    once = mirrored_labels(labels, chosen)
    twice = mirrored_labels(once, chosen)
    for name, value in labels.items():
        assert torch.equal(twice[name], value), name
        assert torch.equal(once[name][~chosen], value[~chosen]), name
    own = once["offsets"].gather(1, once["lane"][:, None])[:, 0]
    assert torch.allclose(own, once["lateral_offset"])
    assert torch.equal(once["lateral_offset"][chosen], -labels["lateral_offset"][chosen])
    ahead = once["gap_ahead"].gather(1, once["lane"][:, None])[:, 0]
    assert torch.equal(ahead, labels["front_gap"])  # one's own lane is one's own lane
    assert not torch.equal(once["drivable"][chosen], labels["drivable"][chosen])


def test_a_camera_beside_the_middle_has_no_mirror(tmp_path: Path) -> None:
    spec = tiny_environment()
    beside = {**spec.config["observation"], "position": [0.4, 0.5, 1.7]}
    check_mirror(spec)
    with pytest.raises(UsageError, match="beside the vehicle's middle"):
        check_mirror(load_environment(spec, {"observation": beside}))


@pytest.mark.parametrize("objective", ["supervised", "vicreg", "contrastive"])
def test_each_objective_falls_as_it_is_learned(
    data: DataSet, tmp_path: Path, objective: str
) -> None:
    spec = tiny_spec(objective=objective, steps=16, learning_rate=1e-2, batch_size=16)
    run = training.PerceptionRun(tmp_path, spec, data, 0, torch.device("cpu"))
    losses = [run.train_step()["loss"] for _ in range(16)]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_a_run_is_not_overwritten_and_other_data_is_refused(
    data: DataSet, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--resume continues it"):
        _trained(data, run)
    other = make_data(tmp_path / "other", frames=60)
    with pytest.raises(UsageError, match="is not the data"):
        training.resume(run, other.folder, progress=Quiet())


def test_a_training_from_another_begins_with_its_weights(
    data: DataSet, run: Path, tmp_path: Path
) -> None:
    before = load_encoder(run)
    spec = tiny_spec(learning_rate=1e-9)
    begun = training.train(
        data.folder, tmp_path / "begun", spec, start=before, device="cpu", progress=Quiet()
    )
    after = load_encoder(begun)
    assert after.made["steps"] == before.made["steps"] + 4
    for name, value in before.encoder.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.allclose(value, after.encoder[name], atol=1e-4), name
    wider = tiny_spec(encoder={**spec.encoder.model_dump(), "features": 24})
    with pytest.raises(DriveRLError, match="has shape"):
        training.train(data.folder, tmp_path / "other", wider, start=before, device="cpu")
    assert not (tmp_path / "other").exists()


def test_a_shift_repeats_the_border_and_moves_whole_pixels() -> None:
    stacks = torch.arange(2 * 3 * 6 * 7, dtype=torch.uint8).view(2, 3, 6, 7)
    spec = AugmentSpec(shift=2, crop=0.0, color=0.0, convolution=0.0)
    moved = augmented(stacks, spec, 3, torch.Generator().manual_seed(4))
    padded = torch.nn.functional.pad(stacks.float(), (2, 2, 2, 2), "replicate")
    for one, whole in zip(moved, padded, strict=True):
        places = [whole[:, y : y + 6, x : x + 7] for y in range(5) for x in range(5)]
        assert sum(torch.equal(one, place) for place in places) == 1


def test_an_exported_encoder_is_the_runs(run: Path, tmp_path: Path) -> None:
    save_encoder(load_encoder(run), tmp_path / "encoder.safetensors")
    own, exported = load_encoder(run), load_encoder(tmp_path / "encoder.safetensors")
    assert exported.spec == own.spec
    assert exported.shape == own.shape
    for name, value in own.encoder.items():
        assert torch.equal(value, exported.encoder[name])


def test_a_name_or_file_that_is_no_encoder_says_so(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown encoder 'raod'"):
        load_encoder("raod")
    with pytest.raises(UsageError, match="not a run of perception"):
        load_encoder(tmp_path)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((run / "encoder.safetensors").read_bytes()[:100])
    with pytest.raises(DriveRLError, match="damaged"):
        load_encoder(damaged)


def test_an_evaluation_scores_both_splits_and_shows_mistakes(run: Path, tmp_path: Path) -> None:
    scores = evaluate_encoder(run, tiny_environment(), frames=40, seed=1, num_envs=4)
    document = json.loads(json.dumps(scores.document, allow_nan=False))
    assert document["schema"] == 1
    wanted = {"lane_f1", "car_ahead_f1", "lateral_offset_mae", "front_gap_relative_error"}
    for split in ("test", "held_out"):
        assert wanted <= set(document[split])
        assert scores.lanes[split].sum() == scores.cars[split].sum() == 40
    again = evaluate_encoder(run, tiny_environment(), frames=40, seed=1, num_envs=4)
    assert again.document == scores.document
    write_report(scores, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page


def test_frames_of_another_size_are_refused(run: Path) -> None:
    larger = tiny_environment(observation={"type": "CameraObservation", "width": 48, "height": 48})
    with pytest.raises(UsageError, match="reads frames of 40 x 40 pixels, not 48 x 48"):
        evaluate_encoder(run, larger, frames=10)


def test_probes_stand_beside_a_random_encoder_and_one_from_scratch(
    data: DataSet, run: Path
) -> None:
    rows = probe_encoders(data.folder, [str(run)], [0.5], steps=4)
    assert [row["encoder"] for row in rows] == [str(run), "random", "from scratch"]
    assert all(name in row for row in rows for name in FIGURES)
    with pytest.raises(UsageError, match="share 2 is not"):
        probe_encoders(data.folder, [str(run)], [2.0])
