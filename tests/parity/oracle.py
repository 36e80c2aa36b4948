"""highway-env's word on an episode: a script that plays one in a process of its own.

`IntersectionEnv` writes on the class IDMVehicle, so no other scene may have run in the process.
Reads a JSON question on standard input (id, config, seed, actions) and writes an npz to the path
that it names.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np


def play(env_id: str, config: dict[str, Any], seed: int, actions: Any) -> dict[str, Any]:
    """Play actions, resetting where an episode ends, and record everything."""
    import gymnasium
    import highway_env  # noqa: F401

    env = gymnasium.make(env_id, config=config or None)
    rows: dict[str, list[Any]] = {}

    def record(**values: Any) -> None:
        for name, value in values.items():
            rows.setdefault(name, []).append(np.asarray(value, dtype=np.float64))

    observation, _ = env.reset(seed=seed)
    record(first=observation)
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(int(action))
        record(
            observation=observation,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            speed=info["speed"],
            crashed=info["crashed"],
            rewards=[float(value) for value in info["rewards"].values()],
        )
        if terminated or truncated:
            observation, _ = env.reset()
            record(first=observation)
    return {name: np.stack(values) for name, values in rows.items()}


def ask(env_id: str, config: dict[str, Any], seed: int, actions: Any) -> dict[str, Any]:
    """`play` in a fresh process."""
    question = json.dumps([env_id, config, seed, np.asarray(actions).tolist()])
    answer = subprocess.run(
        [sys.executable, __file__],
        input=question.encode(),
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "SDL_VIDEODRIVER": "dummy"},
    ).stdout
    with np.load(io.BytesIO(answer[answer.index(b"PK\x03\x04") :])) as arrays:
        return dict(arrays)


if __name__ == "__main__":
    buffer = io.BytesIO()
    np.savez(buffer, **play(*json.load(sys.stdin)))
    sys.stdout.buffer.write(buffer.getvalue())
