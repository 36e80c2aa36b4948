"""What `drive-rl envs`, `agents` and `doctor` show."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from drive_rl.presets import agent_names, environment_names, load_agent, load_environment
from drive_rl.specs import read_yaml

_PACKAGES = (
    "drive-rl",
    "highway-env",
    "gymnasium",
    "stable-baselines3",
    "torch",
    "numpy",
    "numba",
    "pygame-ce",
)


_ACTION_WORDS = {
    "DiscreteMetaAction": "discrete",
    "DiscreteAction": "discrete",
    "ContinuousAction": "continuous",
    "MultiAgentAction": "several",
}


def environments() -> list[dict[str, Any]]:
    """One entry per environment: id, actions, observation, engine of `auto`, description."""
    from drive_rl.environments import covered_by_compiled

    rows = []
    for name in environment_names():
        spec = load_environment(name)
        config = spec.full_config
        rows.append(
            {
                "id": name,
                "actions": config["action"]["type"],
                "observation": config["observation"]["type"],
                "engine": "compiled" if covered_by_compiled(spec) is None else "reference",
                "description": spec.description,
            }
        )
    return rows


def environment(name: str) -> dict[str, Any]:
    """An environment's spec and its whole highway-env configuration."""
    spec = load_environment(name)
    return {
        "id": spec.id,
        "base": spec.base,
        "description": spec.description,
        "max_episode_steps": spec.max_episode_steps,
        "config": _plain(spec.full_config),
    }


def agents() -> list[dict[str, Any]]:
    """One entry per agent."""
    from drive_rl.data import data_folder

    return [
        {
            "agent": name,
            "description": read_yaml(data_folder("agents") / f"{name}.yaml").get("description", ""),
        }
        for name in agent_names()
    ]


def agent(name: str, env: str) -> dict[str, Any]:
    """An agent's settings for an environment."""
    return load_agent(name, load_environment(env).id).model_dump(mode="json")


def diagnosis() -> tuple[dict[str, Any], bool]:
    """Facts about this installation, and whether all that training needs is in order."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    problems = [f"{package} is not installed" for package, v in versions.items() if v is None]
    try:
        importlib.metadata.version("pygame")
        problems.append("pygame is installed beside pygame-ce; uninstall both, install pygame-ce")
    except importlib.metadata.PackageNotFoundError:
        pass
    document = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": versions,
        "devices": _devices(problems),
        "display": _display(),
        "runs_folder": _writable(Path("runs"), problems),
        "problems": problems,
    }
    return document, not problems


def _devices(problems: list[str]) -> list[str]:
    try:
        import torch
    except ImportError as error:
        problems.append(f"torch cannot be imported: {error}")
        return []
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda:{i} ({name})" for i, name in enumerate(names))]


def _display() -> str:
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return "none: use `drive-rl watch --headless --record FILE.mp4`"
    return "available"


def _writable(folder: Path, problems: list[str]) -> str:
    place = folder if folder.is_dir() else Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=place):
            return f"{folder.resolve()} (writable)"
    except OSError as error:
        problems.append(f"{place} cannot be written: {error.strerror}")
        return f"{folder.resolve()} (not writable)"


def print_environments(rows: Sequence[Mapping[str, Any]]) -> None:
    """The environments as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "actions", "engine", "description"):
        table.add_column(column, no_wrap=column != "description")
    for row in rows:
        kind = _ACTION_WORDS.get(row["actions"], row["actions"])
        table.add_row(row["id"], kind, row["engine"], row["description"])
    Console().print(table)


def print_agents(rows: Sequence[Mapping[str, Any]]) -> None:
    """The agents as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("agent", "description"):
        table.add_column(column)
    for row in rows:
        table.add_row(row["agent"], row["description"])
    Console().print(table)


def print_benchmark(rows: Iterable[Mapping[str, Any]]) -> None:
    """The benchmark's rows, each as soon as it is measured."""
    print("decisions/s      threads     drive-rl   highway-env     times faster", flush=True)
    for row in rows:
        if "uncovered" in row:
            print(f"{row['env']}: only highway-env plays it: {row['uncovered']}", flush=True)
            continue
        print(
            f"{row['env']:18} {row['threads']:5} {row['compiled']:12,.0f} "
            f"{row['highway_env']:13,.1f} {row['over_highway_env']:16,.0f}",
            flush=True,
        )


def print_diagnosis(document: Mapping[str, Any]) -> None:
    """The diagnosis as YAML, and its verdict."""
    print_mapping({key: value for key, value in document.items() if key != "problems"})
    for problem in document["problems"]:
        print(f"problem: {problem}")
    if not document["problems"]:
        print("all in order")


def print_mapping(document: Mapping[str, Any]) -> None:
    """A mapping as YAML: the form in which it can be edited."""
    print(yaml.safe_dump(_plain(document), sort_keys=False, allow_unicode=True).rstrip())


def _plain(value: Any) -> Any:
    """Tuples and NumPy values as lists and numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value
