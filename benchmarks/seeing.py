"""Policies that see, beside policies that are told: on one scene, on the same held-out episodes.

    python -m benchmarks.seeing [--rows frozen,told] [--episodes 500] [--write]

Each row is trained once with the settings of agents/*.yaml for the steps that stand here, goes on
where it was stopped, and is kept as JSON under benchmarks/results/seeing/.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.written import write_between
from drive_rl.evaluation import evaluate
from drive_rl.perception.weights import DEFAULT, load_encoder
from drive_rl.presets import RunSpec, load_environment, resolve_run
from drive_rl.runs.progress import default_progress
from drive_rl.training import Run, resume
from drive_rl.training.session import train_run

RESULTS = Path(__file__).parent / "results" / "seeing"
RUNS = Path("runs/seeing")
SCENE = "highway-perception-v0"  # highway-v0's traffic, seen by highway-camera-v0's camera
TRAFFIC = "highway-v0"  # the same scene for who is told, or looks at nothing
SEED = 0  # of the episodes; training's begin at a million
AS_BEHIND_AN_ENCODER = {"agent.network": {"kind": "mlp", "hidden": [128, 128]}}
UNFROZEN = {"env.config.perception": {"encoder": "road", "frozen": False}}
# Frames in rollouts and replay, and an encoder that is trained on and should not be lost at once
SMALL = {"agent.num_envs": 32, "agent.n_steps": 64, "agent.batch_size": 512}
SMALL_REPLAY = {"agent.num_envs": 8, "agent.buffer_size": 20_000, "agent.batch_size": 64}
GENTLY = {"agent.learning_rate": {"start": 3.0e-4, "end": 1.0e-5, "kind": "linear"}}


@dataclasses.dataclass(frozen=True)
class Row:
    """A policy of the table."""

    text: str
    env: str
    algo: str
    steps: int
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def spec(self) -> RunSpec:
        """All settings."""
        return resolve_run(self.env, self.algo, steps=self.steps, overrides=self.changes)

    def file(self, name: str, episodes: int) -> Path:
        """Where its figures are kept: name, and a digest of the settings and of the encoder."""
        tree = self.spec().model_dump(mode="json", exclude={"engine", "device", "num_threads"})
        # A setting that is added to agents later, and not set, makes no other cell
        agent = tree["agent"].items()
        tree["agent"] = {key: value for key, value in agent if value not in (None, [])}
        eyes = load_encoder(DEFAULT).made if "perception" in tree["env"]["config"] else None
        text = json.dumps([tree, episodes, SEED, eyes], sort_keys=True)
        return RESULTS / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"


TOLD = {"agent.observation": {"type": "Kinematics"}, **AS_BEHIND_AN_ENCODER}
ROWS = {
    "told": Row("PPO, Kinematics", TRAFFIC, "ppo", 150_000, TOLD),
    "frozen": Row("PPO, frozen encoder", SCENE, "ppo", 150_000),
    "careful": Row("PPO, frozen encoder, longer (ppo-careful)", SCENE, "ppo-careful", 400_000),
    "fine-tuned": Row(
        "PPO, encoder trained on", SCENE, "ppo", 150_000, {**UNFROZEN, **SMALL, **GENTLY}
    ),
    "end-to-end": Row("PPO, end to end (NatureCNN)", "highway-camera-v0", "ppo", 20_000),
    "dqn-told": Row("DQN, Kinematics", TRAFFIC, "dqn", 50_000, TOLD),
    "dqn-frozen": Row("DQN, frozen encoder", SCENE, "dqn", 50_000),
    "dqn-fine-tuned": Row(
        "DQN, encoder trained on", SCENE, "dqn", 40_000, {**UNFROZEN, **SMALL_REPLAY}
    ),
    "dqn-end-to-end": Row("DQN, end to end (NatureCNN)", "highway-camera-v0", "dqn", 10_000),
}


class Slower:
    """Always the meta-action SLOWER: what a policy reaches that looks at nothing."""

    def predict(self, observations: Any, deterministic: bool = True) -> NDArray[np.int64]:
        """An action for each observation of a batch."""
        return np.full(len(observations), 4)  # highway-env's DiscreteMetaAction.ACTIONS_ALL


def main() -> None:
    """Train and score what is missing; write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    for name in options.rows.split(","):
        if name not in ROWS:
            raise SystemExit(f"benchmarks.seeing: row {name!r}: one of {', '.join(ROWS)}")
        compute(name, options.episodes, options.runs)
    if options.write:
        write(options.episodes)


def compute(name: str, episodes: int, runs: Path) -> None:
    """Train a row, or go on with it, and score it."""
    row = ROWS[name]
    file = row.file(name, episodes)
    if file.is_file():
        return
    folder = runs / file.stem
    if (folder / "run.yaml").is_file():
        run = resume(folder, evaluate=False)
    else:
        run = train_run(row.spec(), folder, progress=default_progress(), evaluate=False)
    last = Run.open(folder).metrics()[-1]
    scored = evaluate(run.load_policy(), None, episodes=episodes, seed=SEED, baselines=())
    result = {
        "row": name,
        "steps": last["step"],
        "seconds": last["time"],
        "threads": torch.get_num_threads(),
        "metrics": {key: each.to_json() for key, each in scored.metrics.items()},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{row.text}: return {scored.metrics['return'].mean:.2f}", flush=True)


def write(episodes: int) -> None:
    """The table in docs/perception.md, of the rows that are there."""
    lines = [
        "",
        f"Written by `python -m benchmarks.seeing --write`: {load_environment(SCENE).base}'s "
        f"traffic, {episodes} episodes of the same seeds for all, one training each.",
        "",
        "| policy | steps | training time | return | of Kinematics | crashes | speed [m/s] |",
        "|---|---|---|---|---|---|---|",
    ]
    found = {
        name: json.loads(row.file(name, episodes).read_text(encoding="utf-8"))
        for name, row in ROWS.items()
        if row.file(name, episodes).is_file()
    }
    scored = evaluate(Slower(), TRAFFIC, episodes=episodes, seed=SEED, baselines=())
    metrics = {key: each.to_json() for key, each in scored.metrics.items()}
    texts = {"blind": "always SLOWER", **{name: row.text for name, row in ROWS.items()}}
    rows = {"blind": {"steps": 0, "seconds": 0.0, "metrics": metrics}, **found}
    for name, result in rows.items():
        metrics = result["metrics"]
        told = found.get("dqn-told" if name.startswith("dqn") else "told")
        share = ""
        if told is not None and not name.endswith("told"):
            share = f"{metrics['return']['mean'] / told['metrics']['return']['mean']:.0%}"
        lines.append(
            f"| {texts[name]} | {result['steps']:,} | {result['seconds'] / 60:.1f} min | "
            f"{_figure(metrics['return'], 2)} | {share} | {_share(metrics['crash_rate'])} | "
            f"{_figure(metrics['speed'], 1)} |"
        )
    lines.append("")
    print("\n".join(lines))
    print(f"Written: {write_between('perception.md', 'policies', lines)}")


def _figure(estimate: dict[str, float], digits: int) -> str:
    low, high = f"{estimate['low']:.{digits}f}", f"{estimate['high']:.{digits}f}"
    return f"{estimate['mean']:.{digits}f} [{low}, {high}]"


def _share(estimate: dict[str, float]) -> str:
    return f"{estimate['mean']:.1%} [{estimate['low']:.1%}, {estimate['high']:.1%}]"


if __name__ == "__main__":
    main()
