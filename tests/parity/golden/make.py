"""Make the golden episodes beside this script, from highway-env in fresh processes.

    python -m tests.parity.golden.make

They say what highway-env said in the versions named in `versions.json`; the tests compare the
compiled engine with them, so that a change upstream and a change here can be told apart.

numpy's products round in one way on one processor and in another on the next, and traffic that is
stuck makes much of a last bit: an episode is golden only if it is the same all ways.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity import oracle

HERE = Path(__file__).parent
EPISODES = {  # name: (id, configuration, seed, decisions)
    "highway": ("highway-v0", {"vehicles_count": 25}, 11, 8),
    "highway_fast": ("highway-fast-v0", {}, 12, 24),
    "merge": ("merge-v0", {}, 13, 20),
    "roundabout": ("roundabout-v0", {}, 14, 16),
    "intersection": ("intersection-v0", {}, 16, 14),
    "exit": ("exit-v0", {}, 16, 12),
    "two_way": ("two-way-v0", {}, 17, 14),
    "u_turn": ("u-turn-v0", {}, 18, 14),
}
WAYS = ("Prescott", "Haswell", "SkylakeX")  # OPENBLAS_CORETYPE: none, some, all products fused
PACKAGES = ("highway-env", "gymnasium", "numpy")


def actions(env_id: str, seed: int, decisions: int) -> np.ndarray:
    """Meta-actions, drawn so that most episodes go on for a while."""
    count = 3 if env_id.startswith("intersection") else 5
    return np.random.default_rng(seed).integers(0, count, decisions)


def play(env_id: str, config: dict[str, Any], seed: int, decisions: int) -> dict[str, Any]:
    """What highway-env says of an episode.

    Raises:
        SystemExit: it says different things on different processors.
    """
    played = []
    for way in WAYS:
        os.environ["OPENBLAS_CORETYPE"] = way
        played.append(oracle.ask(env_id, config, seed, actions(env_id, seed, decisions)))
    for other in played[1:]:
        for name, values in played[0].items():
            if not np.allclose(values, other[name], rtol=0, atol=1e-9):
                raise SystemExit(f"{env_id}, seed {seed}: {name} depends on the processor")
    return played[0]


def main() -> None:
    """Play and write."""
    for name, (env_id, config, seed, decisions) in EPISODES.items():
        played = play(env_id, config, seed, decisions)
        np.savez_compressed(HERE / f"{name}.npz", **played)
        print(name, (HERE / f"{name}.npz").stat().st_size, "bytes", flush=True)
    versions = {package: version(package) for package in PACKAGES}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
