"""A tiny environment and data set, and settings that train in a moment."""

from __future__ import annotations

from pathlib import Path

from drive_rl.perception.collect import collect
from drive_rl.perception.dataset import DataSet
from drive_rl.perception.spec import PerceptionSpec
from drive_rl.presets import EnvironmentSpec, load_environment

SIDE = 40


def tiny_environment(**changes: object) -> EnvironmentSpec:
    """highway-camera-v0 with small frames, few vehicles and short episodes."""
    spec = load_environment("highway-camera-v0")
    observation = {**spec.config["observation"], "width": SIDE, "height": SIDE, "stack_size": 2}
    config = {"observation": observation, "vehicles_count": 8, "duration": 4}
    return load_environment(spec, config | changes)


def make_data(folder: Path, frames: int = 150) -> DataSet:
    """A data set of a few episodes in every split."""
    collect(tiny_environment(), frames, folder, policy="wander", num_envs=4)
    return DataSet(folder)


def tiny_spec(**changes: object) -> PerceptionSpec:
    """A network and a training that take no time."""
    encoder = {
        "kind": "resnet", "frames": 2, "rows": [12, 40], "features": 16, "stem": [4, 5, 2],
        "widths": [4, 8], "blocks": 1, "pool": "flatten",
    }  # fmt: skip
    content = {
        "encoder": encoder, "objective": "supervised", "steps": 4, "batch_size": 8, "warmup": 2,
        "checkpoint_interval": 2, "projector": 16, "num_threads": 1,
    }  # fmt: skip
    return PerceptionSpec.model_validate(content | changes)
