"""A curriculum: lessons in easier scenes before the one that is to be learned.

What is worth much but needs many right actions in a row is not found by chance in dense traffic.
With few vehicles it is, and then kept as they become more (Bengio et al. 2009, "Curriculum
Learning"). A lesson differs from the environment by its configuration alone, so that network and
optimiser go on as they are.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from drive_rl.environments import make_vec
from drive_rl.environments.sb3 import SB3VecEnv
from drive_rl.errors import UsageError
from drive_rl.presets import RunSpec, load_environment

SEEDS_BETWEEN = 10**6
"""From the seed of one lesson's first episode to that of the next one's."""


class Curriculum:
    """The lessons of a run, and which one is under way.

    Attributes:
        lesson: number of the one under way; after the last comes the environment itself.
    """

    def __init__(self, spec: RunSpec, lesson: int = 0) -> None:
        self.spec = spec
        self.lesson = lesson

    def make_environment(
        self, num_envs: int | None = None
    ) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        """The vector environment of the lesson under way, of the agent's `num_envs` as a rule."""
        return self._made(self.lesson, num_envs or self.spec.agent.num_envs)

    def check(self, env: SB3VecEnv) -> None:
        """See that every lesson can take the place of `env`, the first one's.

        Raises:
            UsageError: highway-env, or the engine, does not take a lesson's configuration, or its
                observations or actions are others.
        """
        for lesson in range(1, len(self.spec.agent.curriculum) + 1):
            one = self._made(lesson, 1)
            one.close()
            try:
                env.check_spaces(one)
            except UsageError as error:
                raise UsageError(f"agent.curriculum: after lesson {lesson}, {error}") from None

    def _made(self, lesson: int, num_envs: int) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        spec, lessons = self.spec, self.spec.agent.curriculum
        changes = lessons[lesson].config if lesson < len(lessons) else None
        scene = load_environment(spec.env, changes)
        return make_vec(scene, num_envs, engine=spec.engine, num_threads=spec.num_threads)

    def go_on(self, model: BaseAlgorithm, env: SB3VecEnv) -> bool:
        """Begin the lesson whose turn it is at the model's step; False if it is under way."""
        progress = model.num_timesteps / self.spec.agent.steps
        due = sum(progress >= lesson.until for lesson in self.spec.agent.curriculum)
        if due == self.lesson:
            return False
        self.lesson = due
        env.replace(self.make_environment())
        env.seed(environment_seed(self.spec.seed) + due * SEEDS_BETWEEN)
        model._last_obs = env.reset()
        model._last_episode_starts = np.ones(env.num_envs, np.bool_)
        return True


def environment_seed(seed: int) -> int:
    """Where the training's episodes start: far from the small seeds that evaluations use."""
    drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
    return 10**6 + drawn % 10**9
