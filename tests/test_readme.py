"""The README's commands, as a user would type them, with fewer steps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Command

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
# What makes them quick: a short training on a scene with few vehicles.
QUICK = ("--steps", "256", "--num-envs", "8", "--set", "agent.evaluation_episodes=3")
QUICK_SETTINGS = {
    "ppo": ("agent.n_steps=16", "agent.batch_size=64"),
    "dqn": ("agent.learning_starts=64", "agent.batch_size=32"),
}
FEW_VEHICLES = ("env.config.vehicles_count=5", "env.config.duration=6")
VERBS = ("train", "resume", "watch", "evaluate", "report", "envs", "agents", "doctor", "benchmark")


def commands() -> list[list[str]]:
    """Every `drive-rl ...` of the README, in blocks and in the table; the same line once."""
    joined = README.replace("\\\n", " ")
    found = re.findall(r"`(drive-rl [^`]+)`|(?:^|&& )(drive-rl [^\n`]+)$", joined, re.MULTILINE)
    lines = [line.split() for line in dict.fromkeys(a or b for a, b in found)]
    return [words for words in lines if words[1] in VERBS]


def test_the_readme_has_the_two_lines_that_everything_starts_with() -> None:
    assert (
        "\npip install -c constraints.txt -e . && drive-rl train --env highway-v0 --algo ppo\n"
        in README
    )
    assert '\npip install -c constraints.txt -e ".[test]" && pytest\n' in README


def test_the_readmes_commands_work_in_order(drive_rl_command: Command, tmp_path: Path) -> None:
    found = commands()
    assert len(found) >= 8
    run: str | None = None
    seen = set()
    for words in found:
        arguments = words[1:]
        verb = arguments[0]
        if verb == "train":
            if "--steps" in arguments:
                at = arguments.index("--steps")
                del arguments[at : at + 2]
            algo = arguments[arguments.index("--algo") + 1]
            arguments += [*QUICK, *QUICK_SETTINGS[algo], *FEW_VEHICLES]
        if "RUN" in arguments:
            assert run is not None, "a RUN is used before it is made"
            arguments = [run if each == "RUN" else each for each in arguments]
        if verb == "watch":
            if "--headless" not in arguments:
                arguments.append("--headless")
            arguments += ["--steps", "2"]
        if verb == "evaluate" and "--episodes" in arguments:
            arguments[arguments.index("--episodes") + 1] = "3"
        elif verb in ("evaluate", "report"):
            arguments += ["--episodes", "2"]
        elif verb == "benchmark":
            arguments += ["--env", "highway-fast-v0", "--rounds", "1", "--seconds", "0.1"]
        done = drive_rl_command(*arguments, cwd=tmp_path, timeout=600)
        assert done.returncode == 0, (arguments, done.stderr)
        seen.add(verb)
        if verb == "train":
            run = re.search(r"drive-rl watch (\S+)", done.stdout).group(1)  # type: ignore[union-attr]
            assert (tmp_path / run / "run.yaml").is_file()
            assert "return" in done.stdout
    assert {"train", "resume", "watch", "evaluate", "envs", "agents", "doctor"} <= seen
    assert (tmp_path / "drive.mp4").stat().st_size > 1000


def test_the_readmes_python_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)  # type: ignore[union-attr]
    for before, after in (
        ("steps=200_000", "steps=256, num_envs=8, overrides=['agent.evaluation_episodes=2']"),
        ("episodes=100", "episodes=4"),
        ('make_vec("highway-v0", 256)', 'make_vec("highway-v0", 4)'),
    ):
        assert before in code
        code = code.replace(before, after)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["scores"].metrics["return"].mean > 0  # type: ignore[attr-defined]
