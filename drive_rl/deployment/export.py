"""`drive-rl export`: a policy as one file for other programs, with its card, checked.

onnx         for ONNX Runtime and whatever else reads ONNX
torchscript  for torch without drive-rl, in Python or C++
sb3          for Stable-Baselines3's `load`; needs drive-rl installed where its networks are used
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from drive_rl.deployment.card import card_of, markdown, without_infinities
from drive_rl.deployment.encoders import with_encoder
from drive_rl.deployment.extras import needs
from drive_rl.deployment.network import (
    ACTION,
    DETAILS,
    DeployedNetwork,
    deployed,
    example_inputs,
    input_names,
)
from drive_rl.deployment.traffic import Members, as_observations, record
from drive_rl.environments import choose_engine
from drive_rl.errors import DriveRLError, UsageError, unknown
from drive_rl.evaluation.results import write_file
from drive_rl.training import Policy, load_policy

FORMATS = {"onnx": ".onnx", "torchscript": ".pt", "sb3": ".zip"}
"""Formats, and the ending of their files."""

CHECKED = 1000
"""Observations on which file and network are compared."""

TOLERANCE = 1e-5
"""Largest difference of an output, relative where outputs are larger than 1."""

_OPSET = 17  # since onnxruntime 1.12
_METADATA = "drive_rl"


@dataclasses.dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        path, card: the policy and its card.
        format: one of `FORMATS`.
        agreement: `observations`, `equal_actions`, `largest_difference`.
        profile: the reference profile, where one was made.
    """

    path: Path
    card: Path
    format: str
    agreement: dict[str, Any]
    profile: Path | None = None

    def __str__(self) -> str:
        more = "" if self.profile is None else f", {self.profile.name}"
        return (
            f"Written: {self.path}, {self.card.name}{more}; equal actions on "
            f"{self.agreement['equal_actions']:,} of {self.agreement['observations']:,} "
            f"observations, largest difference {self.agreement['largest_difference']:.2g}"
        )


def export(
    policy: str | Path | Policy,
    format: str = "onnx",
    out: str | Path | None = None,
    *,
    observations: int = CHECKED,
    seed: int = 0,
    engine: str = "auto",
    profile: bool | None = None,
    profile_decisions: int | None = None,
) -> Exported:
    """Write a policy for other programs, and its card beside it, `<out>.md`.

    The file is compared with the network it came from on observations of the policy's own
    environment, and only kept if they agree.

    Args:
        policy: a run or checkpoint folder, the name of a shipped policy, or a loaded one.
        format: "onnx", "torchscript" or "sb3".
        out: the file; None takes policy.onnx, policy.pt or policy.zip here.
        observations: how many to compare on.
        seed: of the episodes that they come from.
        engine: "auto", "compiled" or "reference", which drives these episodes.
        profile: also write the reference profile of what the policy meets and does,
            `<out>.profile.npz` (onnx only), for `serve` and `monitor`. None does so where the
            compiled engine drives; on highway-env itself it takes minutes.
        profile_decisions: of clean traffic behind it; None takes many.

    Raises:
        UsageError: an unknown format or policy, a baseline, a place that is a folder.
        DriveRLError: file and network disagree, a package is missing, the disk is full.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if observations < 1:
        raise UsageError(f"observations {observations} is not a number of at least 1")
    path = Path(out) if out is not None else Path(f"policy{FORMATS[format]}")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file, such as {path / 'policy'}.{format}")
    loaded = trained_policy(policy)
    if format != "sb3":  # SB3 builds its networks from a class: an encoder would not be in it
        loaded = with_encoder(loaded)
    if format == "onnx":
        needs("onnx", "deploy")
        needs("onnxruntime", "deploy")
    seen = record(loaded, observations, seed=seed, engine=engine).flat(observations)
    card = card_of(loaded)
    content, agreement = _WRITERS[format](loaded, card, seen)
    card |= {"agreement": agreement, "sha256": hashlib.sha256(content).hexdigest()}
    if agreement["equal_actions"] < agreement["observations"]:
        raise DriveRLError(
            f"{path}: not written, because it takes other actions than {loaded.name} on "
            f"{agreement['observations'] - agreement['equal_actions']} of "
            f"{agreement['observations']} observations (largest difference of an output: "
            f"{agreement['largest_difference']:.2g})"
        )
    page = path.with_name(path.name + ".md")
    write_file(path, content)
    write_file(page, markdown(card))
    place = None
    if profile is None:
        profile = choose_engine(loaded.spec.env, engine) == "compiled"
    if format == "onnx" and profile:
        from drive_rl.deployment.inference import load_model
        from drive_rl.deployment.profile import make_profile

        place = path.with_name(path.name + ".profile.npz")
        made = make_profile(loaded, load_model(loaded), decisions=profile_decisions, engine=engine)
        made.save(place)
    return Exported(path, page, format, agreement, place)


def trained_policy(policy: Any) -> Policy:
    """A policy that has a network, from whatever names one.

    Raises:
        UsageError: a baseline or an object of one's own: they have none.
    """
    from drive_rl.training.policy import BASELINES

    if isinstance(policy, str) and policy in BASELINES:
        raise UsageError(f"{policy!r} is a baseline and has no network; name a run")
    loaded = load_policy(policy)
    if not isinstance(loaded, Policy):
        raise UsageError(f"{type(policy).__name__} is not a policy that drive-rl trained")
    return loaded


# --- formats ----------------------------------------------------------------------------------


def onnx_bytes(
    policy: Policy, card: dict[str, Any] | None = None, *, details: bool = False
) -> bytes:
    """The policy as an ONNX model.

    Args:
        card: kept in the model's metadata, as JSON.
        details: outputs `DETAILS` instead of the action alone.
    """
    onnx = needs("onnx", "deploy")
    names = input_names(policy.observation_space)
    outputs = list(DETAILS) if details else [ACTION]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter says what it cannot follow: numbers that are constants here, by design.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            deployed(policy, details=details),
            example_inputs(policy.observation_space),
            buffer,  # type: ignore[arg-type]
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in [*names, *outputs]},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name = "drive-rl"
    if card is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = _METADATA, json.dumps(without_infinities(card), allow_nan=False)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def onnx_session(content: bytes | str | Path, threads: int = 1) -> Any:
    """ONNX Runtime on one or more cores, on the CPU.

    Raises:
        DriveRLError: not an ONNX model that ONNX Runtime can run.
    """
    runtime = needs("onnxruntime", "deploy")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = content if isinstance(content, bytes) else str(content)
    try:
        return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class below this one
        reason = " ".join(str(error).split())[:200]
        raise DriveRLError(f"not a model that ONNX Runtime runs ({reason})") from None


def _as_onnx(policy: Policy, card: dict[str, Any], seen: Members) -> tuple[bytes, dict[str, Any]]:
    content = onnx_bytes(policy, card)
    actions = onnx_session(content).run([ACTION], seen)[0]
    # The action alone can hide how far apart two networks are; the detailed twin shows it.
    scores = onnx_session(onnx_bytes(policy, details=True)).run(["scores"], seen)[0]
    return content, _agreement(policy, seen, actions, scores)


def _as_torchscript(
    policy: Policy, card: dict[str, Any], seen: Members
) -> tuple[bytes, dict[str, Any]]:
    inputs = example_inputs(policy.observation_space)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        plain: Any = torch.jit.trace(deployed(policy), inputs)  # type: ignore[no-untyped-call]
        detailed: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            deployed(policy, details=True), inputs
        )
    buffer = io.BytesIO()
    document = json.dumps(without_infinities(card), allow_nan=False)
    torch.jit.save(plain, buffer, _extra_files={_METADATA: document})
    content = buffer.getvalue()
    loaded = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in seen.values()]
    with torch.no_grad():
        actions, scores = loaded(*tensors).numpy(), detailed(*tensors)[1].numpy()
    return content, _agreement(policy, seen, actions, scores)


def _as_sb3(policy: Policy, card: dict[str, Any], seen: Members) -> tuple[bytes, dict[str, Any]]:
    model = sb3_model(policy)
    buffer = io.BytesIO()
    model.save(buffer, exclude=["replay_buffer", "rollout_buffer"])
    content = buffer.getvalue()
    loaded = type(model).load(io.BytesIO(content), device="cpu")
    batch = as_observations(policy.observation_space, seen)
    actions, _ = loaded.predict(batch, deterministic=True)
    network = DeployedNetwork(
        loaded.policy,  # type: ignore[arg-type]
        policy.observation_space,
        policy.action_space,
        details=True,
    )
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in seen.values()]
    with torch.no_grad():
        scores = network(*tensors)[1].numpy()
    return content, _agreement(policy, seen, actions, scores)


def sb3_model(policy: Policy) -> BaseAlgorithm:
    """Stable-Baselines3's PPO or DQN with this policy's weights, as `load` would give it."""
    from drive_rl.environments import make_vec
    from drive_rl.environments.sb3 import SB3VecEnv
    from drive_rl.training.algorithms import build_algorithm

    agent = policy.spec.agent.model_copy(update={"num_envs": 1})
    spec = policy.spec.model_copy(update={"agent": agent, "device": "cpu"})
    envs = make_vec(spec.env, 1, engine=spec.engine)
    try:
        model = build_algorithm(spec, SB3VecEnv(envs), torch.device("cpu"))
    finally:
        envs.close()
    model.policy.load_state_dict(policy.network.state_dict())
    model.num_timesteps = policy.step
    return model


_Writer = Callable[[Policy, dict[str, Any], Members], tuple[bytes, dict[str, Any]]]
_WRITERS: dict[str, _Writer] = {"onnx": _as_onnx, "torchscript": _as_torchscript, "sb3": _as_sb3}


# --- agreement --------------------------------------------------------------------------------


def _agreement(
    policy: Policy, seen: Members, actions: NDArray[Any], scores: NDArray[Any]
) -> dict[str, Any]:
    """How an exported network compares with `policy.predict` and its scores.

    Raises:
        DriveRLError: outputs differ by more than `TOLERANCE`.
    """
    expected = policy.predict(as_observations(policy.observation_space, seen))
    network = deployed(policy, details=True)
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in seen.values()]
    with torch.no_grad():
        own = network(*tensors)[1].numpy()
    difference = float(np.max(np.abs(own - scores) / np.maximum(np.abs(own), 1.0)))
    if not difference <= TOLERANCE:
        raise DriveRLError(
            f"not written: its outputs differ by {difference:.2g} from {policy.name}'s, "
            f"more than {TOLERANCE:g}"
        )
    if isinstance(policy.action_space, spaces.Box):
        equal = np.abs(actions - expected) <= TOLERANCE * np.maximum(np.abs(expected), 1.0)
    else:
        equal = np.asarray(actions == expected)
    rows = equal.reshape(len(equal), -1).all(axis=1)
    return {
        "observations": len(rows),
        "equal_actions": int(rows.sum()),
        "largest_difference": difference,
    }
