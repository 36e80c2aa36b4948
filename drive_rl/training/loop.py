"""The work between SB3's iterations: look, write down, save. And nothing per environment.

An iteration is a rollout and the updates after it. Between two of them the state is consistent,
and only there it is taken. PPO's rollouts can last minutes on the reference engine, so the state
at an iteration's start is kept in memory: a request to stop abandons the iteration under way and
saves that. DQN's iterations are a few steps; it is stopped and saved at their ends.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from drive_rl.environments.sb3 import SB3VecEnv
from drive_rl.errors import Diverged
from drive_rl.runs import checkpoint as checkpoints
from drive_rl.runs.checkpoint import Checkpoint
from drive_rl.runs.interrupts import StopNow, StopRequest
from drive_rl.runs.metrics import MetricsLog
from drive_rl.runs.progress import ProgressDisplay
from drive_rl.training.algorithms import follow_schedules
from drive_rl.training.curriculum import Curriculum
from drive_rl.training.run import Run
from drive_rl.training.snapshot import capture
from drive_rl.training.statistics import EpisodeWindow, logged_figures

_KEPT_CHECKPOINTS = 3  # and the best
_DQN_METRICS_LINES = 400  # at most, over a whole training
_DISPLAY_INTERVAL = 0.5  # s


class TrainingLoop(BaseCallback):
    """SB3's callback of a run: metrics, checkpoints, requests to stop.

    The best checkpoint is the one with the highest mean return over the training's last episodes
    (EpisodeWindow), looked at whenever a regular checkpoint is written; until the window is full,
    it is the newest. Checkpoints stand at the first iteration's end past each multiple of the
    interval, so that a resumed run writes them where the unbroken one would have.

    Args:
        run: whose folder is written to.
        env: the training's environment.
        curriculum: its lessons.
        log, display, stop: where figures go, and what may ask to stop.
        statistics: of the checkpoint that is resumed; empty for a new run.
    """

    def __init__(
        self,
        run: Run,
        env: SB3VecEnv,
        curriculum: Curriculum,
        log: MetricsLog,
        display: ProgressDisplay,
        stop: StopRequest,
        statistics: dict[str, Any],
    ) -> None:
        super().__init__()
        self._run = run
        self._env = env
        self._curriculum = curriculum
        self._log = log
        self._display = display
        self._stop = stop
        self._window = EpisodeWindow(env.num_envs)
        self._best: dict[str, Any] | None = None
        self._elapsed_before = 0.0
        if statistics:
            self._window.from_data(statistics["window"])
            self._best = statistics["best"]
            self._elapsed_before = float(statistics["elapsed"])
        self._snapshot: Checkpoint | None = None
        self._in_iteration = False
        self._saved_step: int | None = None
        self._looked_at = self._logged_at = 0
        self._began = self._logged_time = self._shown_time = 0.0
        # PPO's iterations are long: each has its line. DQN's are a few steps.
        steps = run.spec.agent.steps
        self._metrics_interval = max(steps // _DQN_METRICS_LINES, 1)

    @property
    def saved_step(self) -> int | None:
        """Step of the newest checkpoint that this process wrote or started from."""
        return self._saved_step

    def count_earlier_work(self, seconds: float) -> None:
        """Time that the run took before its first step."""
        self._elapsed_before += seconds

    # --- SB3's hooks --------------------------------------------------------------------------

    def _on_training_start(self) -> None:
        step = self.num_timesteps = self.model.num_timesteps
        self._looked_at = self._logged_at = step
        self._saved_step = step or None
        self._began = self._logged_time = time.monotonic()

    def _on_rollout_start(self) -> None:
        self._stop.abandonable = False
        if self._in_iteration:
            self._end_iteration()
        self._in_iteration = True
        self._change_lesson()
        follow_schedules(self.model, self._run.spec.agent)
        if isinstance(self.model, PPO) or self._stop.signal_number is not None:
            self._snapshot = self._captured()
        if self._stop.signal_number is not None:
            raise StopNow
        self._stop.abandonable = isinstance(self.model, PPO)

    def _on_step(self) -> bool:
        if self._stop.signal_number is not None and isinstance(self.model, PPO):
            raise StopNow
        dones = self.locals["dones"]
        if dones.any():
            self._window.add(self.locals["infos"], dones)
            if isinstance(self.model, PPO):
                self._bootstrap_truncated(dones)
        now = time.monotonic()
        if now - self._shown_time > _DISPLAY_INTERVAL:
            self._shown_time = now
            self._display.update(self.model.num_timesteps, self._window.figures())
        return True

    def _on_training_end(self) -> None:
        self._stop.abandonable = False
        self._end_iteration(final=True)
        self._display.update(self.model.num_timesteps, self._window.figures())

    def _bootstrap_truncated(self, dones: np.ndarray[Any, Any]) -> None:
        """Add the value of what a time limit cut off, for all environments in one forward pass.

        SB3 does this right after, one environment at a time; it finds nothing left to do.
        """
        model = self.model
        assert isinstance(model, PPO)
        infos, rewards = self.locals["infos"], self.locals["rewards"]
        cut = [i for i in np.flatnonzero(dones) if infos[i]["TimeLimit.truncated"]]
        if not cut:
            return
        last = [infos[index]["terminal_observation"] for index in cut]
        observations: Any
        if isinstance(last[0], dict):
            observations = {name: np.stack([each[name] for each in last]) for name in last[0]}
        else:
            observations = np.stack(last)
        with torch.no_grad():
            values = model.policy.predict_values(model.policy.obs_to_tensor(observations)[0])
        rewards[cut] += model.gamma * values.cpu().numpy().reshape(-1)
        for index in cut:
            infos[index]["TimeLimit.truncated"] = False

    # --- between iterations -------------------------------------------------------------------

    def _change_lesson(self) -> None:
        if not self._curriculum.go_on(self.model, self._env):
            return
        # Returns of an easier scene are no measure for those of the next one.
        self._window.forget()
        if self._best is not None:
            self._best["full"] = False

    def _end_iteration(self, final: bool = False) -> None:
        step = self.model.num_timesteps
        due = final or self._passed(self._run.spec.agent.checkpoint_interval, self._looked_at)
        write = final or isinstance(self.model, PPO)
        write = write or self._passed(self._metrics_interval, self._looked_at)
        self._check_finite(weights=due or write)
        if write and step > self._logged_at:
            self._write_metrics()
        if due and step != self._saved_step:
            self._consider_best()
            self._save(self._captured())
        self._looked_at = step

    def _passed(self, interval: int, before: int) -> bool:
        return self.model.num_timesteps // interval > before // interval

    def _check_finite(self, weights: bool) -> None:
        """Stop before numbers that mean nothing are saved or acted on.

        Raises:
            Diverged: names the update.
        """
        loss = self.model.logger.name_to_value.get("train/loss", 0.0)
        if not math.isfinite(loss):
            raise self._diverged(self.model._n_updates, f"the loss is {loss}")
        if weights and (name := self._not_finite()) is not None:
            raise self._diverged(self.model._n_updates, f"weights of {name} are not finite")

    def explain_divergence(self, error: Exception) -> None:
        """Where `error` came of numbers that are not finite, say so instead.

        Torch's distributions refuse such numbers within an update, before it can be looked at.

        Raises:
            Diverged: names the update.
        """
        name = self._not_finite()
        if name is not None or "to satisfy the constraint" in str(error):
            what = "the network's outputs" if name is None else f"weights of {name}"
            raise self._diverged(self.model._n_updates + 1, f"{what} are not finite") from error

    def _not_finite(self) -> str | None:
        """The first parameter that has a NaN or an infinity."""
        for name, value in self.model.policy.named_parameters():
            if not bool(torch.isfinite(value).all()):
                return name
        return None

    def _diverged(self, update: int, what: str) -> Diverged:
        return Diverged(
            f"update {update} (step {self.model.num_timesteps}): {what}; stopped, "
            f"{self._last_good()}; a lower agent.learning_rate may help"
        )

    def _last_good(self) -> str:
        if self._saved_step is None:
            return "before the first checkpoint"
        return f"the last good checkpoint is {self._run.checkpoints / str(self._saved_step)}"

    def _write_metrics(self) -> None:
        now = time.monotonic()
        step = self.model.num_timesteps
        steps = step - self._logged_at
        logger = self.model.logger
        self._log.write(
            step,
            {
                "time": round(self._elapsed(), 3),
                "fps": round(steps / max(now - self._logged_time, 1e-9), 1),
                "updates": self.model._n_updates,
                "episodes": self._window.total,
                **self._window.figures(),
                **logged_figures(logger.name_to_value),
            },
        )
        logger.name_to_value.clear()
        self._logged_at, self._logged_time = step, now

    def _elapsed(self) -> float:
        """Seconds of training, over all processes that worked on the run."""
        return self._elapsed_before + time.monotonic() - self._began

    # --- checkpoints --------------------------------------------------------------------------

    def save_unsaved(self) -> int:
        """Save the start of the iteration that was abandoned, if newer; returns the saved step."""
        saved = -1 if self._saved_step is None else self._saved_step
        if self._snapshot is not None and self._snapshot.step > saved:
            self._save(self._snapshot)
        return self._saved_step or 0

    def _captured(self) -> Checkpoint:
        statistics = {
            "window": self._window.to_data(),
            "best": self._best,
            "elapsed": self._elapsed(),
            "lesson": self._curriculum.lesson,
        }
        return capture(self.model, self._env, statistics)

    def _consider_best(self) -> None:
        mean = self._window.figures()["return"]
        if mean is None:
            return
        best = self._best
        if best is None or not best["full"] or (self._window.full and mean > best["return"]):
            step = self.model.num_timesteps
            self._best = {"step": step, "return": mean, "full": self._window.full}

    def _save(self, checkpoint: Checkpoint) -> None:
        folder = self._run.checkpoints
        self._log.flush()
        checkpoints.write_checkpoint(folder, checkpoint)
        self._saved_step = checkpoint.step
        checkpoints.write_text_atomically(folder / "last", f"{checkpoint.step}\n")
        keep = set(checkpoints.steps_in(folder)[-_KEPT_CHECKPOINTS:])
        best = checkpoint.state["statistics"]["best"]
        if best is not None:
            keep.add(best["step"])
            if (folder / str(best["step"])).is_dir():
                checkpoints.write_text_atomically(folder / "best", f"{best['step']}\n")
        checkpoints.prune(folder, keep)
