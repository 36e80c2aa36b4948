"""The package as others get it: wheel and sdist, installed elsewhere, run outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return out


def test_the_wheel_installs_one_import_name_and_carries_the_presets(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name.split("/")[0]}
    assert tops == {"drive_rl"}
    assert "drive_rl/py.typed" in names
    for folder in ("envs", "agents"):
        for file in (ROOT / folder).glob("*.yaml"):
            assert f"drive_rl/data/{folder}/{file.name}" in names


def test_the_sdist_carries_what_the_wheel_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for name in ("pyproject.toml", "LICENSE", "README.md", "constraints.txt"):
        assert name in names
    assert "envs/highway-v0.yaml" in names
    assert "agents/ppo.yaml" in names
    assert "drive_rl/cli.py" in names
    assert not [name for name in names if name.startswith("runs/")]


def test_the_installed_wheel_trains_from_a_folder_outside_the_checkout(
    built: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False)  # this one's pip can install there
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    (wheel,) = built.glob("*.whl")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install"),
            *("-q", "--no-deps", "--no-index", str(wheel)),
        ],
        check=True,
        capture_output=True,
    )
    # The dependencies are those of this environment, by path: installing gigabytes again would
    # test pip. A path in a .pth file adds the packages, and not this checkout's own .pth beside.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    outside = tmp_path / "somewhere"
    outside.mkdir()
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    where = subprocess.run(
        [python, "-c", "import drive_rl; print(drive_rl.__file__)"],
        cwd=outside,
        env=clean,
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(environment) in where.stdout

    program = python.with_name("drive-rl.exe" if os.name == "nt" else "drive-rl")
    trained = subprocess.run(
        [
            program,
            *("train", "--env", "highway-fast-v0", "--algo", "ppo", "--run", "run"),
            *("--steps", "64", "--num-envs", "2", "--set", "agent.n_steps=16"),
            *("agent.batch_size=32", "agent.evaluation_episodes=2"),
            *("env.config.vehicles_count=3", "env.config.duration=5"),
        ],
        cwd=outside,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert trained.returncode == 0, trained.stderr
    assert (outside / "run" / "checkpoints" / "64" / "policy.safetensors").is_file()
    assert "drive-rl watch run" in trained.stdout
