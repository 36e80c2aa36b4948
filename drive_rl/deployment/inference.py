"""A policy at work outside of training: ONNX Runtime, the model's card, and its spaces."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from drive_rl.deployment.card import card_of, without_infinities
from drive_rl.deployment.encoders import with_encoder
from drive_rl.deployment.export import onnx_bytes, onnx_session, trained_policy
from drive_rl.deployment.network import ACTION, input_names
from drive_rl.deployment.traffic import Members
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.training.spaces import space_from_data

Outputs = dict[str, NDArray[Any]]
"""What a network said of a batch, by output name (`network.DETAILS`), batch first."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A policy that answers observations.

    Attributes:
        card: see `card_of`, as JSON can hold it.
        observation_space, action_space: of one environment.
        session: ONNX Runtime's.
        outputs: what it gives; only the action where the model is an exported file.
    """

    card: dict[str, Any]
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    session: Any
    outputs: tuple[str, ...]

    @property
    def inputs(self) -> list[str]:
        """Names of the arrays that an observation consists of."""
        return input_names(self.observation_space)

    @property
    def action_names(self) -> list[str]:
        """Of discrete actions, where they have names."""
        return list(self.card["output"].get("names") or [])

    def run(self, members: Members) -> Outputs:
        """Answer a batch."""
        answers = self.session.run(list(self.outputs), members)
        return dict(zip(self.outputs, answers, strict=True))


def load_model(source: Any, *, threads: int = 1) -> Model:
    """A model to serve or to watch.

    Args:
        source: whatever names a trained policy, or a file of `drive-rl export --format onnx`.

    Raises:
        UsageError: nothing of that name, or a baseline.
        DriveRLError: a file that is no exported policy, or a missing package.
    """
    if isinstance(source, (str, Path)) and str(source).endswith(".onnx"):
        return _from_file(Path(source), threads)
    policy = with_encoder(trained_policy(source))
    session = onnx_session(onnx_bytes(policy, details=True), threads)
    return Model(
        card=without_infinities(card_of(policy)),
        observation_space=policy.observation_space,
        action_space=policy.action_space,
        session=session,
        outputs=tuple(each.name for each in session.get_outputs()),
    )


def _from_file(path: Path, threads: int) -> Model:
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    session = onnx_session(path, threads)
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        card = json.loads(metadata["drive_rl"])
        own = [space_from_data(card["spaces"][name]) for name in ("observation", "action")]
        expected = input_names(own[0])
        card["output"], card["inputs"], card["name"]
    except (KeyError, ValueError, TypeError, DriveRLError) as error:
        raise DriveRLError(
            f"{path}: not a policy of `drive-rl export` (its metadata lacks {error})"
        ) from None
    if [each.name for each in session.get_inputs()] != expected:
        raise DriveRLError(f"{path}: its inputs are not those that its card names")
    return Model(card, own[0], own[1], session, (ACTION,))


def example(model: Model, rows: int = 1) -> Members:
    """A batch that the model accepts: zeros, or the nearest that the space holds."""
    from drive_rl.deployment.network import members_of

    return {
        name: np.broadcast_to(
            np.clip(np.zeros(member.shape, member.dtype), member.low, member.high),
            (rows, *member.shape),
        ).astype(member.dtype)
        for name, member in zip(model.inputs, members_of(model.observation_space), strict=True)
    }
