"""The frame budget of the viewer: how long a frame takes, of the 16.7 ms there are.

    python benchmarks/viewer.py [--env highway-v0] [--frames 300]

No window is opened; what is measured is everything but the X server's copy. The simulation is
left out: it runs in a thread of its own.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pygame
from gymnasium.vector import AutoresetMode

import drive_rl
from drive_rl.evaluation.baselines import make_baseline
from drive_rl.presets import load_environment
from drive_rl.viewer.controller import Command, Controller
from drive_rl.viewer.episode import Episode
from drive_rl.viewer.screen import Screen, default_size
from drive_rl.viewer.wheel import action_names

SIZES = {"default": 1.0, "1080p": 1.5, "4K": 3.0}


def frame_times(env_id: str, factor: float, frames: int, trails: bool) -> np.ndarray:
    """Milliseconds of each frame of a drive at real time, (frames,)."""
    scene = load_environment(env_id)
    envs = drive_rl.make_vec(scene, 1, autoreset_mode=AutoresetMode.DISABLED)
    config = scene.full_config
    episode = Episode(envs, make_baseline("idle", scene), "idle")
    controller = Controller([episode], decisions_per_second=config["policy_frequency"])
    seconds = frames / 60
    while not episode.ended and len(episode.moments) < seconds * config["policy_frequency"] + 2:
        episode.extend()
    if trails:
        controller.handle(Command.TRAILS)
    screen = Screen(config, env_id, action_names(envs.single_action_space, config["action"]))
    size = [round(factor * n) for n in default_size(screen.wide, 1)]
    target = pygame.Surface(size, 0, 32)
    times = []
    for _ in range(frames):
        start = time.perf_counter()
        controller.tick(1 / 60)
        screen.draw(target, controller)
        times.append(1e3 * (time.perf_counter() - start))
    envs.close()
    return np.array(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", nargs="+", default=["highway-v0", "roundabout-v1", "parking-v0"])
    parser.add_argument("--frames", type=int, default=240)
    options = parser.parse_args()
    print(f"{'':16}{'window':>9}{'trails':>8}{'median':>9}{'95%':>8}{'slowest':>9}   [ms]")
    for env_id in options.env:
        for name, factor in SIZES.items():
            for trails in (False, True) if factor == 1.0 else (False,):
                times = frame_times(env_id, factor, options.frames, trails)
                low, high = np.percentile(times, [50, 95])
                row = f"{env_id:16}{name:>9}{'on' if trails else 'off':>8}"
                print(f"{row}{low:9.2f}{high:8.2f}{times.max():9.2f}", flush=True)


if __name__ == "__main__":
    main()
