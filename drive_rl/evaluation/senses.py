"""A scene as a policy is used to it: with the observation and the actions of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drive_rl.camera.randomization import TRAFFIC_NAMES
from drive_rl.presets import EnvironmentSpec, load_environment

_CAMERA = "CameraObservation"


def with_senses(scene: EnvironmentSpec, senses: Mapping[str, Any]) -> EnvironmentSpec:
    """The same scene, observed otherwise; its traffic stays the same.

    What varies in a camera's pictures is left out where no camera looks.

    Args:
        senses: `observation`, and `action` where that differs too.
    """
    changes = dict(senses)
    if changes.get("perception") is None and not scene.full_config.get("perception"):
        changes.pop("perception", None)
    else:
        changes.setdefault("perception", None)  # it reads frames, which the others may not be
    observation = changes["observation"]
    agents_own = observation.get("observation_config", observation)
    varies = scene.full_config.get("randomization")
    if varies and agents_own.get("type") != _CAMERA:
        changes["randomization"] = {k: v for k, v in varies.items() if k in TRAFFIC_NAMES}
    return load_environment(scene, changes)


def as_trained(scene: EnvironmentSpec, trained_in: EnvironmentSpec) -> EnvironmentSpec:
    """The scene with the observation and the actions of another environment."""
    config = trained_in.full_config
    senses = {key: config[key] for key in ("observation", "action")}
    return with_senses(scene, senses | {"perception": config.get("perception")})
