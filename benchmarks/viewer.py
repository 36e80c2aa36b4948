"""The frame budget of the viewer: how long a frame takes, of the 16.7 ms there are.

    python benchmarks/viewer.py [--env highway-v0] [--frames 300]

No window is opened; what is measured is everything but the X server's copy. The simulation is
left out: it runs in a thread of its own. Times are of the processor, not of the clock, so that what
else the machine does counts less.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

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


def frame_times(
    env_id: str, factor: float, frames: int, trails: bool = False, view: str = "off"
) -> np.ndarray:
    """Milliseconds of each frame of a drive at real time, (frames,).

    Args:
        factor: of the window's default size.
        view: the camera that is switched on.
    """
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
    controller.view = view
    screen = Screen(config, env_id, action_names(envs.single_action_space, config["action"]))
    size = [round(factor * n) for n in default_size(screen.wide, 1)]
    target = pygame.Surface(size, 0, 32)
    times = []
    for _ in range(frames):
        start = time.thread_time()
        controller.tick(1 / 60)
        screen.draw(target, controller)
        times.append(1e3 * (time.thread_time() - start))
    envs.close()
    return np.array(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    scenes = ["highway-v0", "highway-camera-v0", "roundabout-v1", "parking-v0"]
    parser.add_argument("--env", nargs="+", default=scenes)
    parser.add_argument("--frames", type=int, default=240)
    options = parser.parse_args()
    print(f"{'':18}{'window':>9}{'more':>13}{'median':>9}{'95%':>8}{'slowest':>9}   [ms]")
    for env_id in options.env:
        own = "camera" in env_id
        for name, factor in SIZES.items():
            cases: list[tuple[str, dict[str, Any]]] = [("", {})]
            if factor == 1.0:
                cases += [("trails", {"trails": True}), ("front camera", {"view": "front"})]
                cases += [("top camera", {"view": "top"})]
            if own:
                cases = [("its camera", {"view": "policy"})] + cases[1:]
            for words, case in cases:
                times = frame_times(env_id, factor, options.frames, **case)
                low, high = np.percentile(times, [50, 95])
                row = f"{env_id:18}{name:>9}{words:>13}"
                print(f"{row}{low:9.2f}{high:8.2f}{times.max():9.2f}", flush=True)


if __name__ == "__main__":
    main()
