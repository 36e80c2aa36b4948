"""The scoreboard: how well every kind of policy drives every scene, made by one command.

    python -m benchmarks.scoreboard [--scenes A,B] [--methods ppo,dqn] [--seeds 0..2] [--ship]

Each cell is trained with the settings of agents/*.yaml as they stand, scored on held-out episodes
(training draws other seeds), and kept as a small JSON file under benchmarks/results/scoreboard/,
named by the hash of its settings: the same command again computes only what is missing, and a
changed setting makes a new cell. docs/scoreboard.md is written from these files and never by hand.
With --ship, each method's best seed on each scene becomes a reference policy in assets/policies/.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.written import markdown, write_between
from drive_rl.errors import DriveRLError, Interrupted
from drive_rl.evaluation import evaluate
from drive_rl.presets import load_environment, resolve_run

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "scoreboard"
PAGE = ROOT / "docs" / "scoreboard.md"
RUNS = ROOT / "runs" / "scoreboard"
POLICIES = ROOT / "assets" / "policies"

SCENES = (
    "highway-fast-v0",
    "highway-v0",
    "merge-v0",
    "roundabout-v0",
    "intersection-v0",
    "exit-v0",
    "two-way-v0",
    "u-turn-v0",
    "racetrack-v0",
    "parking-v0",
)
BASELINES = ("random", "idle", "rule", "planner")
LEARNERS = ("dqn-upstream", "ppo-upstream", "dqn", "ppo", "ppo-long", "ppo-careful", "ppo-teacher")
# highway-env has scripts that train these, with the settings of agents/*-upstream.yaml.
SCRIPTS = {
    "dqn-upstream": ("highway-fast-v0",),
    "ppo-upstream": ("highway-fast-v0", "racetrack-v0"),
}
DISCRETE = ("dqn", "ppo-teacher")  # which have no use for continuous actions
EPISODES = 500
# The planner simulates ten thousand decisions for each of its own. It drives as many episodes as
# the others where a hundred leave its return too uncertain to measure a learner's way by.
PLANNER_EPISODES = 100
PLANNER_DRIVES_ALL = ("intersection-v0", "u-turn-v0")
SEED = 0  # of the evaluation's first episode; training's seeds start at a million
LATER_SETTINGS = {  # of networks
    "closing": False,
    "layers": 0,
    "precision": "auto",
    "encoder": None,
}
LATER_AGENT_SETTINGS: dict[str, Any] = {
    "start": None,
    "curriculum": [],
    "bootstrap_truncated": True,
}
LATER_IMITATION_SETTINGS = {"width": None, "width_each": None}
SHOWN = {  # metrics, and the heads of their columns
    "return": "return",
    "crash_rate": "crashes",
    "off_road_rate": "off the road",
    "speed": "speed [m/s]",
    "success_rate": "success",
}
LEAVES = 0.05  # share of episodes that leave the road, from which on a scene's page tells it
ALWAYS = ("return", "crash_rate", "speed")  # the others where a scene has them


@dataclasses.dataclass(frozen=True)
class Cell:
    """One policy on one scene: what is trained or named, and where its score is kept."""

    scene: str
    method: str
    seed: int | None

    @property
    def episodes(self) -> int:
        if self.method == "planner" and self.scene not in PLANNER_DRIVES_ALL:
            return PLANNER_EPISODES
        return EPISODES

    def settings(self) -> dict[str, Any]:
        """Everything that the score depends on."""
        if self.method in BASELINES:
            learned = None
        else:
            learned = resolve_run(self.scene, self.method, seed=self.seed or 0).model_dump(
                mode="json", exclude={"engine", "device", "num_threads"}
            )
            # Settings that were added since cells were computed, as they were before.
            agent = learned["agent"]
            for group, later in (
                (agent["network"], LATER_SETTINGS),
                (agent, LATER_AGENT_SETTINGS),
                (agent.get("imitation", {}), LATER_IMITATION_SETTINGS),
            ):
                for name, before in later.items():
                    if group.get(name, ...) == before:
                        del group[name]
        return {
            "method": self.method,
            "scene": load_environment(self.scene).full_config,
            "learned": learned,
            "episodes": self.episodes,
            "evaluation_seed": SEED,
        }

    @property
    def name(self) -> str:
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True, default=str).encode())
        seed = "" if self.seed is None else f"-seed{self.seed}"
        return f"{self.method}{seed}-{digest.hexdigest()[:10]}"

    @property
    def file(self) -> Path:
        return RESULTS / self.scene / f"{self.name}.json"

    def read(self) -> dict[str, Any] | None:
        """The stored score, or None where it is missing."""
        if not self.file.is_file():
            return None
        document: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return document


def compute(cell: Cell, threads: int | None = None) -> None:
    """Train (going on where a run was stopped) and score one cell."""
    from drive_rl.training import Run, resume, train

    steps = seconds = None
    policy: Any = cell.method
    if cell.method not in BASELINES:
        folder = RUNS / cell.scene / cell.name
        if (folder / "run.yaml").is_file():
            run = resume(folder, evaluate=False)
        else:
            run = train(
                cell.scene,
                cell.method,
                seed=cell.seed or 0,
                num_threads=threads,
                run=folder,
                evaluate=False,
            )
        last = Run.open(folder).metrics()[-1]
        steps, seconds = last["step"], last["time"]
        policy = run.load_policy()
    scored = evaluate(
        policy,
        # A learner sees the scene through its own observation; the scene itself is the same.
        None if cell.method not in BASELINES else cell.scene,
        episodes=cell.episodes,
        seed=SEED,
        baselines=(),
    )
    result = {
        "scene": cell.scene,
        "method": cell.method,
        "seed": cell.seed,
        "episodes": cell.episodes,
        "steps": steps,
        "seconds": seconds,
        "engine": scored.policies[0].engine,
        "metrics": {name: each.to_json() for name, each in scored.metrics.items()},
    }
    cell.file.parent.mkdir(parents=True, exist_ok=True)
    cell.file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def cells(scenes: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Baselines first, then learners; seed by seed, so that a stopped run leaves whole seeds."""
    wanted = [Cell(s, m, None) for s in scenes for m in methods if m in BASELINES]
    for seed in seeds:
        wanted += [Cell(s, m, seed) for s in scenes for m in methods if m not in BASELINES]
    return [cell for cell in wanted if _possible(cell)]


def _possible(cell: Cell) -> bool:
    """A method that cannot learn or drive a scene has no row there."""
    if cell.scene not in SCRIPTS.get(cell.method, (cell.scene,)):
        return False
    try:
        action = load_environment(cell.scene).full_config["action"]["type"]
        if cell.method in DISCRETE and action == "ContinuousAction":
            return False
        cell.settings()
    except DriveRLError:
        return False
    return True


def write_page() -> None:
    """docs/scoreboard.md, from what is stored for the settings as they stand."""
    lines = [
        "# Scoreboard",
        "",
        "Written by `python -m benchmarks.scoreboard`; not by hand.",
        "",
        f"Each row: mean over the same {EPISODES} held-out episodes (the first {PLANNER_EPISODES} "
        f"for the planner, but on {' and '.join(PLANNER_DRIVES_ALL)}), seeds 0 and up, on "
        "highway-env's default reward, traffic and duration. For learners, the mean over training "
        "seeds, and the return of the worst seed. *Way*: share of the way from random to planner, "
        "in return. highway-env's return hides crashes, so return, crash rate and speed are given "
        "together. In brackets, the 95% interval: over episodes for one seed, the range of the "
        "seeds' means for several. Training time is wall-clock, on a machine that was busy with "
        "other work. `ppo-long` trains longer; `ppo-careful`, and `ppo-long` on intersection-v0, "
        "go on from the policy that the agent's file names, whose steps and time are not counted "
        "again. `dqn-upstream` and `ppo-upstream` are trained with the settings of highway-env's "
        "own scripts, on the same simulator.",
        "",
        "The planner knows the future, but only ten decisions of it: on exit-v0 it sees the exit "
        "too late to change five lanes, and a policy can have more than 100% of its way. As a "
        "teacher it is paid there for keeping right (agents/ppo-teacher.yaml), and takes the exit.",
        "",
        "For parking-v0 the best published figure that was found is 90% of success in training, "
        "after 20,000 steps of TQC with hindsight (highway-env's issue 188, of 2021). Since then "
        "highway-env 1.8 has put walls around the lot, and the same recipe does not learn there "
        "(its issues 457 and 473). For racetrack-v0 no figure was found: highway-env's script "
        "stands for it.",
        "",
    ]
    scenes = {scene: rows for scene in SCENES if (rows := _rows(scene))}
    for scene, rows in scenes.items():
        lines += [f"## {scene}", ""]
        metrics = [name for name in SHOWN if name in ALWAYS or any(name in row for row in rows)]
        header = ["policy", "seeds", *(SHOWN[name] for name in metrics)]
        table = [[*header, "worst return", "way", "steps", "training time"]]
        for row in rows:
            figures = [row.get(name, "") for name in metrics]
            after = [row[key] for key in ("worst", "way", "steps", "time")]
            table.append([row["policy"], row["seeds"], *figures, *after])
        lines += [*markdown(table), ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    readme = write_between("../README.md", "scoreboard", ["", *markdown(_summary(scenes)), ""])
    print(f"written: {PAGE}, {readme}", file=sys.stderr)


def _summary(scenes: Mapping[str, list[dict[str, Any]]]) -> list[list[str]]:
    """The README's table: of each scene one policy, and what highway-env's scripts train."""
    from drive_rl.training import shipped_policies

    shipped = shipped_policies()
    metrics = [name for name in SHOWN if name != "speed"]
    table = [["scene", "policy", *(SHOWN[name] for name in metrics), "way", "trained in"]]
    for scene, rows in scenes.items():
        ours = [row for row in rows if f"{scene}/{row['policy']}" in shipped]
        if not ours:
            continue
        # Of those that ship, the safest whose return is within a hundredth of the best
        best = max(row["mean"] for row in ours)
        good = [row for row in ours if row["mean"] >= best - 0.01 * abs(best)]
        shown = [row for row in rows if row["policy"] in SCRIPTS]
        for row in [*shown, min(good, key=lambda row: row["crashes"])]:
            name = f"`{scene}/{row['policy']}`"
            if row["policy"] in SCRIPTS:
                name = f"highway-env's script ({row['policy'].split('-')[0].upper()})"
            figures = [row.get(key, "").split(" [")[0] for key in metrics]
            table.append([scene, name, *figures, row["way"], row["time"]])
    return table


def _rows(scene: str) -> list[dict[str, Any]]:
    stored: dict[str, list[dict[str, Any]]] = {}
    for method in (*BASELINES, *LEARNERS):
        seeds: Sequence[int | None] = [None] if method in BASELINES else range(10)
        found = [
            result
            for seed in seeds
            if _possible(cell := Cell(scene, method, seed)) and (result := cell.read()) is not None
        ]
        if found:
            stored[method] = found
    anchors: dict[str, float] = {
        name: stored[name][0]["metrics"]["return"]["mean"]
        for name in ("random", "planner")
        if name in stored
    }
    rows = [_row(method, results, anchors) for method, results in stored.items()]
    if all(row["leaves"] < LEAVES for row in rows):
        for row in rows:
            row.pop("off_road_rate", None)
    return rows


def _row(
    method: str, results: list[dict[str, Any]], anchors: Mapping[str, float]
) -> dict[str, Any]:
    returns = [result["metrics"]["return"]["mean"] for result in results]
    mean = statistics.fmean(returns)
    way = ""
    if len(anchors) == 2 and anchors["planner"] != anchors["random"]:
        way = f"{(mean - anchors['random']) / (anchors['planner'] - anchors['random']):.0%}"
    learned = results[0]["steps"] is not None
    row = {
        "policy": method,
        "mean": mean,
        "crashes": statistics.fmean(each["metrics"]["crash_rate"]["mean"] for each in results),
        "leaves": statistics.fmean(
            each["metrics"]["off_road_rate"]["mean"] or 0.0 for each in results
        ),
        "seeds": str(len(results)) if learned else "",
        "worst": f"{min(returns):.2f}" if learned else "",
        "way": way,
        "steps": f"{results[0]['steps']:,}" if learned else "",
        "time": _minutes([result["seconds"] for result in results]) if learned else "",
    }
    for name in SHOWN:
        if name in results[0]["metrics"]:
            row[name] = _figure(name, [result["metrics"][name] for result in results])
    return row


def _figure(name: str, estimates: list[dict[str, float]]) -> str:
    means = [each["mean"] for each in estimates if each["mean"] is not None]
    if not means:
        return ""
    low, high = (
        (estimates[0]["low"], estimates[0]["high"]) if len(means) == 1 else (min(means), max(means))
    )
    mean = statistics.fmean(means)
    if name.endswith("_rate"):
        return f"{mean:.1%} [{low:.1%}, {high:.1%}]"
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _minutes(seconds: list[float]) -> str:
    return f"{statistics.fmean(seconds) / 60:.1f} min"


def ship_best(scenes: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Each learner's best seed (by return) on each scene, into assets/policies/<scene>/<method>."""
    from drive_rl.training import Run
    from drive_rl.training.shipping import ship

    for scene in scenes:
        for method in methods:
            scored = [
                (result["metrics"]["return"]["mean"], cell)
                for cell in cells([scene], [method], seeds)
                if cell.method not in BASELINES
                and (result := cell.read()) is not None
                and (RUNS / scene / cell.name / "run.yaml").is_file()
            ]
            if not scored:
                continue
            score, best = max(scored, key=lambda each: each[0])
            size = ship(Run.open(RUNS / scene / best.name), POLICIES / scene / method)
            print(f"shipped: {scene}/{method}, return {score:.2f}, {size:,} bytes", file=sys.stderr)
    total = sum(file.stat().st_size for file in POLICIES.rglob("*") if file.is_file())
    print(f"{POLICIES}: {total:,} bytes", file=sys.stderr)


def _numbers(text: str) -> list[int]:
    """`0..2` or `0,1,2`."""
    if ".." in text:
        first, last = text.split("..")
        return list(range(int(first), int(last) + 1))
    return [int(each) for each in text.split(",")]


def main() -> None:
    """Compute what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--methods", default=",".join((*BASELINES, *LEARNERS)))
    parser.add_argument("--seeds", default="0", help="such as 0..2 or 0,3")
    parser.add_argument("--threads", type=int, help="of each training; default: it chooses")
    parser.add_argument("--only-report", action="store_true", help="compute nothing")
    parser.add_argument("--ship", action="store_true", help="make reference policies of the best")
    arguments = parser.parse_args()
    wanted = cells(
        arguments.scenes.split(","), arguments.methods.split(","), _numbers(arguments.seeds)
    )
    missing = [] if arguments.only_report else [cell for cell in wanted if cell.read() is None]
    for number, cell in enumerate(missing, 1):
        print(f"[{number}/{len(missing)}] {cell.scene} {cell.name}", file=sys.stderr, flush=True)
        try:
            compute(cell, arguments.threads)
        except Interrupted:
            raise  # the next cell is not what Ctrl-C asks for
        except DriveRLError as error:
            print(f"  failed: {error}", file=sys.stderr)
        write_page()
    if arguments.ship:
        ship_best(
            arguments.scenes.split(","), arguments.methods.split(","), _numbers(arguments.seeds)
        )
    write_page()  # the README names what ships


if __name__ == "__main__":
    main()
