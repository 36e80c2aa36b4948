"""An exported policy is the policy."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drive_rl.deployment.export import export as export_policy
from drive_rl.deployment.export import onnx_session
from drive_rl.deployment.traffic import as_observations, record
from drive_rl.environments import make_vec
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.evaluation import evaluate
from drive_rl.training import load_policy
from tests.deployment.policies import SENSES, untrained_run

pytest.importorskip("onnx", reason="needs the extra 'deploy'")
pytest.importorskip("onnxruntime", reason="needs the extra 'deploy'")

# Profiles have tests of their own.
export = functools.partial(export_policy, profile=False)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_onnx_and_torch_agree_on_a_thousand_real_observations(tmp_path: Path, algo: str) -> None:
    run = untrained_run(tmp_path / "run", algo=algo)
    exported = export(run.path, "onnx", tmp_path / "policy.onnx")
    assert exported.agreement["observations"] == 1000
    assert exported.agreement["equal_actions"] == 1000
    assert exported.agreement["largest_difference"] <= 1e-5
    # And once more, from the file, on other episodes, one observation at a time.
    policy = run.load_policy()
    session = onnx_session(exported.path)
    seen = record(policy, 50, seed=100).flat(50)
    expected = policy.predict(as_observations(policy.observation_space, seen))
    for k in range(50):
        one = {name: array[k : k + 1] for name, array in seen.items()}
        assert session.run(["action"], one)[0].tolist() == [expected[k]]
    assert len(set(expected.tolist())) > 1


@pytest.mark.parametrize("senses", SENSES)
def test_every_kind_of_observation_can_be_exported(tmp_path: Path, senses: str) -> None:
    run = untrained_run(tmp_path / "run", senses)
    exported = export(run.path, "onnx", tmp_path / "policy.onnx", observations=100)
    session = onnx_session(exported.path)
    policy = run.load_policy()
    seen = record(policy, 32, seed=9).flat()
    assert [each.name for each in session.get_inputs()] == list(seen)
    assert [each.name for each in session.get_outputs()] == ["action"]
    assert "observation" in seen
    actions = session.run(None, seen)[0]
    expected = policy.predict(as_observations(policy.observation_space, seen))
    assert actions.shape == expected.shape
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)
    if expected.dtype.kind == "f":
        assert np.ptp(expected) > 0


def test_torchscript_runs_without_drive_rl(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    policy = run.load_policy()
    exported = export(run.path, "torchscript", tmp_path / "policy.pt", observations=64)
    seen = record(policy, 64, seed=5).flat(64)["observation"]
    np.save(tmp_path / "seen.npy", seen)
    code = (
        "import sys; sys.modules['drive_rl'] = sys.modules['stable_baselines3'] = None\n"
        "import numpy, torch\n"
        f"policy = torch.jit.load({str(exported.path)!r})\n"
        f"print(policy(torch.from_numpy(numpy.load({str(tmp_path / 'seen.npy')!r}))).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == policy.predict(seen).tolist()


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_stable_baselines3_loads_its_format(tmp_path: Path, algo: str) -> None:
    import stable_baselines3

    run = untrained_run(tmp_path / "run", algo=algo)
    exported = export(run.path, "sb3", tmp_path / "policy.zip", observations=64)
    loaded: Any = getattr(stable_baselines3, algo.upper()).load(exported.path, device="cpu")
    policy = run.load_policy()
    seen = record(policy, 64, seed=5).flat(64)["observation"]
    assert loaded.predict(seen, deterministic=True)[0].tolist() == policy.predict(seen).tolist()
    assert loaded.num_timesteps == 32


def test_the_script_of_the_docs_drives_with_onnxruntime_alone(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    exported = export(run.path, "onnx", tmp_path / "policy.onnx", observations=16)
    script = ROOT / "docs" / "drive_with_onnx.py"
    assert len(script.read_text().split('"""')[2].strip().splitlines()) <= 22
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'drive_rl', 'stable_baselines3'): sys.modules[name] = None\n"
        f"sys.argv = ['drive', {str(exported.path)!r}, '3']\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    own = evaluate(run.path, episodes=1, seed=3, baselines=(), engine="reference")
    expected = own.metrics["return"].mean
    assert done.stdout.strip().splitlines()[-1].startswith(f"return {expected:.6f}, crashed ")


def test_the_card_says_what_is_known_and_travels_in_the_file(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    evaluate(run.path, episodes=2, baselines=("idle",)).write(run.path / "evaluation" / "final")
    exported = export(run.path, "onnx", tmp_path / "policy.onnx", observations=16)
    page = exported.card.read_text()
    for words in ("highway-fast-v0", "left, 1 = idle", "crash rate", "Known failures", "SHA-256"):
        assert words in page
    metadata = onnx_session(exported.path).get_modelmeta().custom_metadata_map
    card = json.loads(metadata["drive_rl"])
    assert card["inputs"][0]["shape"] == ["batch", *run.observation_space.shape]  # type: ignore[misc]
    assert card["scores"]["policies"][0]["metrics"]["return"]["mean"] is not None
    assert [each["name"] for each in card["scores"]["policies"]][1] == "idle"


def test_a_policy_that_was_not_evaluated_says_so(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    exported = export(run.path, "torchscript", tmp_path / "policy.pt", observations=8)
    assert "was not evaluated" in exported.card.read_text()


def test_exporting_leaves_the_policy_as_it_was(tmp_path: Path) -> None:
    policy = untrained_run(tmp_path / "run").load_policy()
    before = {name: value.clone() for name, value in policy.network.state_dict().items()}
    random_state = torch.get_rng_state()
    export(policy, "onnx", tmp_path / "policy.onnx", observations=8)
    assert all(torch.equal(before[k], v) for k, v in policy.network.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())


def test_the_same_policy_gives_the_same_file(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    files = [tmp_path / f"{k}.onnx" for k in range(2)]
    for file in files:
        export(run.path, "onnx", file, observations=8)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_file_that_disagrees_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from drive_rl.deployment import export as module

    run = untrained_run(tmp_path / "run")
    other = untrained_run(tmp_path / "other", seed=1).load_policy()
    true_bytes = module.onnx_bytes

    def of_another(policy: Any, card: Any = None, *, details: bool = False) -> bytes:
        return true_bytes(other, card, details=details)

    monkeypatch.setattr(module, "onnx_bytes", of_another)
    with pytest.raises(DriveRLError, match="not written"):
        export(run.path, "onnx", tmp_path / "policy.onnx", observations=16)
    assert not (tmp_path / "policy.onnx").exists()


@pytest.mark.parametrize(
    ("policy", "format", "out", "words"),
    [
        ("random", "onnx", "p.onnx", "has no network"),
        ("RUN", "onxx", "p.onnx", "did you mean 'onnx'"),
        ("RUN", "onnx", ".", "is a folder"),
        ("nowhere", "onnx", "p.onnx", "unknown policy 'nowhere'"),
    ],
)
def test_wrong_use_is_named(tmp_path: Path, policy: str, format: str, out: str, words: str) -> None:
    name = str(untrained_run(tmp_path / "run").path) if policy == "RUN" else policy
    with pytest.raises(UsageError, match=words):
        export(name, format, tmp_path / out)
    assert not list(tmp_path.glob("p.*"))


def test_onnx_is_read_as_data_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(DriveRLError, match="not a model"):
        onnx_session(io.BytesIO(b"nonsense").getvalue())


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_policy_behind_an_encoder_leaves_with_it(tmp_path: Path, format: str) -> None:
    policy = load_policy("highway-perception-v0/ppo")
    written = export(policy, format, tmp_path / "policy", observations=32)
    assert written.agreement["equal_actions"] == 32
    env = policy.spec.env
    frames_env = env.model_copy(
        update={"config": {k: v for k, v in env.config.items() if k != "perception"}}
    )
    behind, within = make_vec(env, 2), make_vec(frames_env, 2)
    features, _ = behind.reset(seed=5)
    frames, _ = within.reset(seed=5)
    if format == "onnx":
        session = onnx_session(written.path)
        actions = session.run(["action"], {"observation": np.asarray(frames)})[0]
    else:
        loaded = torch.jit.load(written.path)
        actions = loaded(torch.from_numpy(np.array(frames))).numpy()
    assert frames.dtype == np.uint8
    assert np.array_equal(actions, policy.predict(features))
    behind.close()
    within.close()
