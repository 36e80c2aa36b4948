"""A cell of the study is an arm and a seed: taught, driven, and kept as a small JSON file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.generalization.imitation import (
    AUGMENT,
    TEACHER,
    Lessons,
    driven,
    road_on,
    teach,
)
from benchmarks.generalization.surfaces import TEST_TRACKS, TEXTURES, make_bank
from drive_rl.evaluation.rollout import Episodes
from drive_rl.textures.banks import load_bank
from drive_rl.training import load_policy

RESULTS = Path(__file__).parents[1] / "results" / "generalization"

ARMS = {
    "one": "one texture",
    "augmented": "one texture, image augmentation",
    "procedural": "procedural",
    "gan": "GAN",
    "half": "half procedural, half GAN",
    "photos": "the GAN's training photos",
    "untrained": "an untrained generator",
}
OWN_EPISODES = 64  # on an arm's own surfaces: traffic of seeds 0 to 63
TEST_EPISODES = 6  # on each real surface; traffic of the same seeds, in turn
LESSONS = Lessons()


def settings(gan_steps: int) -> dict[str, Any]:
    """All that a cell's figures depend on, besides its arm and its seed."""
    return {
        "lessons": {
            **dataclasses.asdict(LESSONS),
            "encoder": LESSONS.encoder.model_dump(mode="json"),
        },
        "augment": AUGMENT.model_dump(mode="json"),
        "teacher": TEACHER,
        "textures": TEXTURES,
        "gan_steps": gan_steps,
        "test_tracks": list(TEST_TRACKS),
        "own_episodes": OWN_EPISODES,
        "test_episodes": TEST_EPISODES,
    }


def file_of(name: str, gan_steps: int) -> Path:
    """Where a cell is kept: its name, and a digest of the settings."""
    text = json.dumps(settings(gan_steps), sort_keys=True)
    return RESULTS / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"


def compute(arm: str, seed: int, work: Path, path: Path) -> dict[str, Any]:
    """Teach an arm's learner, let it drive, and keep what came of it."""
    bank = make_bank("one" if arm == "augmented" else arm, seed, work)
    began = time.monotonic()
    learner = teach(bank, seed, AUGMENT if arm == "augmented" else None, LESSONS)
    seconds = time.monotonic() - began
    result = {
        "arm": arm,
        "seed": seed,
        "seconds": round(seconds, 1),
        "own": figures(driven(learner, road_on(bank), OWN_EPISODES, 0)),
        "test": on_real_surfaces(learner, work),
    }
    _keep(path, result)
    return result


def compute_teacher(path: Path) -> dict[str, Any]:
    """What the teacher, who sees no surface, comes to in the same traffic."""
    teacher = load_policy(TEACHER)
    own = figures(driven(teacher, teacher.spec.env, OWN_EPISODES, 0))
    result = {"arm": "teacher", "own": own}
    _keep(path, result)
    return result


def on_real_surfaces(learner: Any, work: Path) -> dict[str, dict[str, float]]:
    """Figures by surface of the test."""
    bank = load_bank(work / "test")
    found = {}
    for number, row in enumerate(bank.table):
        # Other traffic on each surface, the same for every arm
        first = number * TEST_EPISODES % (OWN_EPISODES - TEST_EPISODES)
        spec = road_on(work / "test", row["class"])
        found[row["name"]] = figures(driven(learner, spec, TEST_EPISODES, first))
    return found


def figures(episodes: Episodes) -> dict[str, float]:
    """Means over episodes."""
    return {
        "return": round(float(episodes.returns.mean()), 4),
        "crash_rate": round(float(episodes.crashed.mean()), 4),
        "speed": round(float(episodes.speed.mean()), 3),
    }


def _keep(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)
