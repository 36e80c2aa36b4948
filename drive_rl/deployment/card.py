"""The model card: what a policy is, what it was trained on, how it scored, where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gymnasium import spaces

from drive_rl.deployment.network import ACTION, input_names, members_of
from drive_rl.errors import DriveRLError
from drive_rl.evaluation import Evaluation, read_evaluation
from drive_rl.evaluation.details import action_names
from drive_rl.evaluation.final import FINAL
from drive_rl.training.spaces import space_to_data

SCHEMA = 1

_SCORES = ("return", "episode_length", "crash_rate", "off_road_rate", "speed", "lane_changes")


def card_of(policy: Any) -> dict[str, Any]:
    """Everything that is known of a policy, as plain data for JSON.

    Args:
        policy: a `drive_rl.training.Policy`.
    """
    from drive_rl.training import Run

    run = Run.open(policy.run_path)
    config = policy.spec.env.full_config
    return {
        "schema": SCHEMA,
        "name": policy.name,
        "algorithm": policy.spec.agent.algo,
        "network": policy.spec.agent.network.model_dump(mode="json"),
        "trained": {
            "env": policy.spec.env.id,
            "base": policy.spec.env.base,
            "config": policy.spec.env.config,
            "steps": policy.step,
            "seed": policy.spec.seed,
            **{
                key: run.details[key]
                for key in ("versions", "git", "command", "created")
                if run.details.get(key) is not None
            },
        },
        "inputs": [
            {
                "name": name,
                "dtype": str(member.dtype),
                "shape": ["batch", *member.shape],
                "low": float(member.low.min()) if member.low.size else None,
                "high": float(member.high.max()) if member.high.size else None,
            }
            for name, member in _inputs(policy.observation_space)
        ],
        "output": _output(policy.action_space, policy.spec.env),
        "observation": config["observation"],
        "action": config["action"],
        "policy_frequency": config["policy_frequency"],
        "spaces": {
            "observation": space_to_data(policy.observation_space),
            "action": space_to_data(policy.action_space),
        },
        "scores": _scores(policy.run_path),
    }


def without_infinities(value: Any) -> Any:
    """A document with the numbers that JSON has no word for written as text."""
    if isinstance(value, dict):
        return {key: without_infinities(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_infinities(each) for each in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value


def _inputs(space: spaces.Space[Any]) -> list[tuple[str, spaces.Box]]:
    return list(zip(input_names(space), members_of(space), strict=True))


def _output(space: spaces.Space[Any], env: Any) -> dict[str, Any]:
    output: dict[str, Any] = {"name": ACTION}
    if isinstance(space, spaces.Discrete):
        return output | {
            "dtype": "int64",
            "shape": ["batch"],
            "actions": int(space.n),
            "names": list(action_names(env)),
        }
    if isinstance(space, spaces.MultiDiscrete):
        return output | {"dtype": "int64", "shape": ["batch", *space.shape]}
    return output | {
        "dtype": str(space.dtype),
        "shape": ["batch", *(space.shape or ())],
        "low": space.low.tolist() if isinstance(space, spaces.Box) else None,
        "high": space.high.tolist() if isinstance(space, spaces.Box) else None,
    }


def _scores(run_path: Path) -> dict[str, Any] | None:
    """The evaluation that ended the training, where there is one."""
    try:
        evaluation = read_evaluation(Path(run_path) / "evaluation" / FINAL)
    except DriveRLError:
        return None
    return {
        "env": evaluation.env,
        "episodes": evaluation.num_episodes,
        "seed": evaluation.seed,
        "policies": [_policy_scores(evaluation, k) for k in range(len(evaluation.policies))],
    }


def _policy_scores(evaluation: Evaluation, index: int) -> dict[str, Any]:
    result = evaluation.policies[index]
    return {
        "name": result.name,
        "kind": result.kind,
        "metrics": {
            name: result.metrics[name].to_json() for name in _SCORES if name in result.metrics
        },
        "crash_kinds": dict(result.extras.get("crash_kinds", {})),
    }


# --- for people -------------------------------------------------------------------------------


def markdown(card: dict[str, Any]) -> str:
    """The card as a page of Markdown."""
    trained, output = card["trained"], card["output"]
    lines = [
        f"# {card['name']}",
        "",
        f"A driving policy: {card['algorithm']} with network `{card['network']['kind']}`, trained "
        f"for {trained['steps']:,} decisions on `{trained['env']}` (seed {trained['seed']}).",
        "",
        "## What goes in, what comes out",
        "",
        "| | name | type | shape |",
        "|---|---|---|---|",
        *(
            f"| input | `{each['name']}` | {each['dtype']} | {_shape(each['shape'])} |"
            for each in card["inputs"]
        ),
        f"| output | `{output['name']}` | {output['dtype']} | {_shape(output['shape'])} |",
        "",
        "Inputs are observations as the environment gives them, batch first; scaling is part of "
        "the file. The output is the deterministic action.",
    ]
    stack = card["observation"].get("stack_size")
    if stack:
        lines += ["", f"Frames: {stack} stacked, the newest last; the caller keeps them."]
    if output.get("names"):
        named = ", ".join(f"{k} = {name}" for k, name in enumerate(output["names"]))
        lines += ["", f"Actions: {named}."]
    lines += [
        "",
        f"One decision every {1 / float(card['policy_frequency']):g} s of simulated time.",
        "",
        "## How it scored",
        "",
        *_score_lines(card),
        "",
        "## What it was trained on",
        "",
        *_trained_lines(card),
    ]
    if (check := card.get("agreement")) is not None:
        lines += [
            "",
            "## Checked",
            "",
            f"On {check['observations']:,} observations of `{trained['env']}` this file and the "
            f"network it was made from took equal actions in {check['equal_actions']:,}; the "
            f"largest difference of an output was {check['largest_difference']:.2g}.",
        ]
    if "sha256" in card:
        lines += ["", f"SHA-256 of the file: `{card['sha256']}`"]
    return "\n".join(lines) + "\n"


def _shape(shape: list[Any]) -> str:
    return "(" + ", ".join(str(size) for size in shape) + ")"


def _score_lines(card: dict[str, Any]) -> list[str]:
    scores = card["scores"]
    if scores is None:
        return ["This policy was not evaluated. Nothing is known of how it drives."]
    names = [name for name in _SCORES if name in scores["policies"][0]["metrics"]]
    lines = [
        f"{scores['episodes']:,} episodes of `{scores['env']}`, seeds from {scores['seed']}; "
        "means with 95% intervals.",
        "",
        "| | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for policy in scores["policies"]:
        cells = [_estimate(policy["metrics"].get(name)) for name in names]
        lines.append(f"| {policy['name']} | " + " | ".join(cells) + " |")
    lines += ["", "## Known failures", ""]
    kinds = scores["policies"][0]["crash_kinds"]
    if kinds:
        lines += [f"- {count} x {kind}" for kind, count in kinds.items()]
    else:
        rate = scores["policies"][0]["metrics"].get("crash_rate")
        lines += [f"No kinds of crashes were recorded; crash rate {_estimate(rate)}."]
    lines += [
        "",
        "Outside the scene above (other traffic, other sensors, other roads) nothing was measured.",
    ]
    return lines


def _trained_lines(card: dict[str, Any]) -> list[str]:
    trained = card["trained"]
    lines = [f"- scene: `{trained['env']}` (`{trained['base']}` of highway-env)"]
    if trained["config"]:
        changed = ", ".join(f"`{key}`" for key in trained["config"])
        lines.append(f"- changed from highway-env's defaults: {changed}")
    if "command" in trained:
        lines.append(f"- command: `{trained['command']}`")
    if "created" in trained:
        lines.append(f"- started: {trained['created']}")
    if "git" in trained:
        lines.append(f"- drive-rl revision: {trained['git']}")
    if "versions" in trained:
        named = ", ".join(f"{name} {version}" for name, version in trained["versions"].items())
        lines.append(f"- versions: {named}")
    return lines


def _estimate(metric: dict[str, Any] | None) -> str:
    if metric is None or metric["mean"] is None:
        return ""
    if metric["low"] is None or metric["high"] is None:
        return f"{metric['mean']:.3g}"
    return f"{metric['mean']:.3g} [{metric['low']:.3g}, {metric['high']:.3g}]"
