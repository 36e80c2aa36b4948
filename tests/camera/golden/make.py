"""Make highway-env's own grey pictures beside this script, each scene's in a fresh process.

    python -m tests.camera.golden.make

The processes use SDL's offscreen driver, so no screen is needed (under the dummy driver
highway-env draws nothing). Every registered scene is played under random actions; what highway-env
observed is kept in `grayscale.npz`, with the actions.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
DECISIONS = 6
PACKAGES = ("highway-env", "pygame-ce", "numpy")
SCALINGS = (None, 1.75, 9.0)  # the scene's own, a far and a near view: by turns


def observation_of(env_id: str, number: int) -> dict[str, Any]:
    """The observation of a scene, the `number`-th."""
    own: dict[str, Any] = {
        "type": "GrayscaleObservation",
        "observation_shape": (96, 72),
        "stack_size": 2,
        "weights": [0.2989, 0.5870, 0.1140],
    }
    if SCALINGS[number % 3] is not None:
        own["scaling"] = SCALINGS[number % 3]
    if number % 2:
        own["centering_position"] = [0.4, 0.6]
    if "multi-agent" in env_id:
        return {"type": "MultiAgentObservation", "observation_config": own}
    return own


def play(env_id: str, number: int) -> dict[str, Any]:
    """Pictures (decisions + 1, agents, stack, width, height) and actions of a scene's episodes."""
    import gymnasium
    import highway_env  # noqa: F401

    env = gymnasium.make(env_id, disable_env_checker=True)
    env.unwrapped.configure({"observation": observation_of(env_id, number)})
    rng = np.random.default_rng(number)

    def draw(space: Any) -> Any:
        if hasattr(space, "spaces"):
            return tuple(draw(each) for each in space.spaces)
        if hasattr(space, "n"):
            return int(rng.integers(space.n))
        return rng.uniform(-1, 1, space.shape).astype(np.float32)

    def agents(observation: Any) -> Any:
        return np.stack(observation if isinstance(observation, tuple) else [observation])

    pictures = [agents(env.reset(seed=number)[0])]
    actions, ends = [], []
    for _ in range(DECISIONS):
        actions.append(draw(env.action_space))
        observation, _, terminated, truncated, _ = env.step(actions[-1])
        ends.append(bool(np.any(terminated)) or bool(truncated))
        if ends[-1]:
            observation, _ = env.reset()
        pictures.append(agents(observation))
    return {"pictures": np.stack(pictures), "actions": np.array(actions), "ends": np.array(ends)}


def ask(env_id: str, number: int) -> dict[str, Any]:
    """`play` in a fresh process."""
    answer = subprocess.run(
        [sys.executable, __file__, env_id, str(number)],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "SDL_VIDEODRIVER": "offscreen"},
    ).stdout
    with np.load(io.BytesIO(answer[answer.index(b"PK\x03\x04") :])) as arrays:
        return dict(arrays)


def main() -> None:
    """Play and write."""
    from drive_rl.catalogue import scene_ids

    arrays: dict[str, Any] = {}
    for number, env_id in enumerate(scene_ids()):
        for name, value in ask(env_id, number).items():
            arrays[f"{env_id}/{name}"] = value
    np.savez_compressed(HERE / "grayscale.npz", **arrays)
    print(len(arrays) // 3, "scenes,", (HERE / "grayscale.npz").stat().st_size, "bytes")
    versions = {package: version(package) for package in PACKAGES}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        buffer = io.BytesIO()
        np.savez(buffer, **play(sys.argv[1], int(sys.argv[2])))
        sys.stdout.buffer.write(buffer.getvalue())
