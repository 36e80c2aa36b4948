"""Environments seen through an encoder: features, policies, and training through it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import drive_rl
from drive_rl.errors import UsageError
from drive_rl.perception.heads import Heads
from drive_rl.perception.networks import Encoder, fused
from drive_rl.perception.options import perception_options
from drive_rl.perception.spec import EncoderSpec
from drive_rl.perception.weights import Weights, save_encoder
from drive_rl.perception.wrapper import PerceptionWrapper
from drive_rl.presets import EnvironmentSpec, load_environment, resolve_run
from drive_rl.runs.progress import Quiet
from drive_rl.training.session import resume, train_run
from tests.perception.roads import tiny_environment, tiny_spec


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained encoder as a file."""
    torch.manual_seed(0)
    spec, shape = tiny_spec().encoder, (6, 40, 40)
    network, heads = Encoder(spec, shape, 3), Heads(spec.features, 4)
    path = tmp_path_factory.mktemp("encoder") / "tiny.safetensors"
    weights = Weights("", spec, shape, 3, 4, network.state_dict(), heads.state_dict(), {})
    save_encoder(weights, path)
    return str(path)


def _seen(encoder: str, **options: object) -> EnvironmentSpec:
    return load_environment(tiny_environment(), {"perception": {"encoder": encoder, **options}})


def test_features_depend_on_their_own_frames_alone(encoder: str) -> None:
    many = drive_rl.make_vec(_seen(encoder), 5)
    single = drive_rl.make(_seen(encoder))
    features, _ = many.reset(seed=7)
    assert features.shape == (5, 16)
    assert features.dtype == np.float32
    assert many.observation_space.contains(features)
    own, _ = single.reset(seed=9)
    assert np.array_equal(own, features[2])


def test_both_engines_give_the_same_features(encoder: str) -> None:
    compiled = drive_rl.make(_seen(encoder), engine="compiled")
    reference = drive_rl.make(_seen(encoder), engine="reference")
    assert np.array_equal(compiled.reset(seed=5)[0], reference.reset(seed=5)[0])
    assert np.array_equal(compiled.step(0)[0], reference.step(0)[0])


def test_last_observations_of_an_episode_are_features_too(encoder: str) -> None:
    envs = drive_rl.make_vec(_seen(encoder, output="affordances"), 2)
    envs.reset(seed=0)
    for _ in range(4):
        _, _, _, truncated, infos = envs.step(np.ones(2, np.int64))
    assert truncated.any()
    row = int(np.flatnonzero(infos["_final_obs"])[0])
    assert infos["final_obs"][row].shape == envs.single_observation_space.shape


def test_the_wrapper_and_the_configuration_are_the_same(encoder: str) -> None:
    wrapped = PerceptionWrapper(drive_rl.make_vec(tiny_environment(), 2), encoder)
    configured = drive_rl.make_vec(_seen(encoder), 2)
    assert np.array_equal(wrapped.reset(seed=3)[0], configured.reset(seed=3)[0])


@pytest.mark.parametrize("fovea", [None, (8, 16)])
def test_merging_normalisations_changes_no_feature(fovea: tuple[int, int] | None) -> None:
    spec = EncoderSpec(
        kind="resnet", frames=1, rows=(4, 24), features=8, stem=(4, 3, 1), widths=(4, 8), blocks=2,
        fovea=fovea, fovea_widths=(4, 4, 8), hidden=12, pool="flatten",
    )  # fmt: skip
    encoder = Encoder(spec, (3, 24, 24), 3)
    frames = torch.randint(0, 256, (4, 3, 24, 24), dtype=torch.uint8)
    encoder.train()(frames)  # gives the normalisations something of their own
    with torch.no_grad():
        expected = encoder.eval()(frames)
    assert torch.allclose(fused(encoder)(frames), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "nature"}, "fovea is of a resnet, not of nature"),
        ({"rows": (10, 24)}, r"fovea \[8, 16\] is not in rows \[10, 24\]"),
        ({"fovea": (16, 8)}, r"fovea must be \[first, end\]"),
    ],
)
def test_a_fovea_that_cannot_be_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        EncoderSpec.model_validate({"kind": "resnet", "fovea": (8, 16), **changes})
    small = EncoderSpec(kind="resnet", frames=1, fovea=(20, 30))
    with pytest.raises(UsageError, match="not in frames of 24 rows"):
        Encoder(small, (3, 24, 24), 3)


@pytest.mark.parametrize("kind", ["nature", "impala", "resnet"])
def test_each_architecture_reads_stacks(kind: str) -> None:
    encoder = Encoder(EncoderSpec(kind=kind, features=8, blocks=1, frames=2), (12, 84, 84), 3)
    with torch.no_grad():
        assert encoder.eval()(torch.zeros(2, 12, 84, 84, dtype=torch.uint8)).shape == (2, 8)


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        ({"width": 32}, "not 32 x 40"),
        ({"stack_size": 1}, "not stacks of 3 channels"),
        ({"channels": "gray"}, "not stacks of 2 channels"),
    ],
)
def test_other_frames_than_the_encoders_are_refused(
    encoder: str, observation: dict[str, object], reason: str
) -> None:
    spec = _seen(encoder)
    changed = {**spec.config["observation"], **observation}
    for frozen in (True, False):
        config = {"observation": changed, "perception": {"encoder": encoder, "frozen": frozen}}
        with pytest.raises(UsageError, match=reason):
            drive_rl.make_vec(spec, 1, config=config)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"encodr": "road"}, "unknown key of perception 'encodr'; did you mean 'encoder'"),
        ({"frozen": "yes"}, "frozen 'yes' is not true or false"),
        ({"output": "feature"}, "did you mean 'features'"),
        ("road", "is not a mapping"),
    ],
)
def test_a_misspelt_configuration_names_the_right_one(config: object, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        perception_options(config)  # type: ignore[arg-type]


def test_an_environment_without_frames_is_refused(encoder: str) -> None:
    with pytest.raises(UsageError, match="perception reads frames"):
        drive_rl.make_vec("highway-fast-v0", 1, config={"perception": {"encoder": encoder}})


@pytest.mark.parametrize(("algo", "frozen"), [("ppo", True), ("ppo", False), ("dqn", True)])
def test_a_policy_trains_resumes_and_drives(
    encoder: str, tmp_path: Path, algo: str, frozen: bool
) -> None:
    overrides = {"agent.num_envs": 2, "agent.batch_size": 8, "agent.checkpoint_interval": 8}
    overrides |= {"agent.n_steps": 4} if algo == "ppo" else {"agent.learning_starts": 4}
    spec = resolve_run(
        _seen(encoder, frozen=frozen), algo, steps=16, overrides=overrides, device="cpu"
    )
    run = train_run(spec, tmp_path / "run", progress=Quiet(), evaluate=False)
    assert run.spec.agent.network.kind == ("mlp" if frozen else "encoder")
    whole = run.newest().policy
    (run.checkpoints / "16").rename(tmp_path / "16")
    resumed = resume(tmp_path / "run", progress=Quiet(), evaluate=False)
    for name, value in resumed.newest().policy.items():
        assert torch.equal(value, whole[name]), name
    policy = drive_rl.load_policy(run.path)
    scores = drive_rl.evaluate(policy, episodes=2, seed=0, baselines=())
    assert scores.metrics["return"].mean > 0
