"""Cameras: batched frames of the simulator's scenes, with everything in them open to variation.

`Camera` renders from a simulator's `State`; `camera_options` and `randomization` check what a user
configures. `frames.observe` is the kernel; a frame is made by `frames.render`, stage by stage:
look (light and colours of the episode), aim (matrices), ground and shadows (coverage masks),
scenery (every pixel), bodies, and the lens.
"""

from drive_rl.camera.camera import Camera
from drive_rl.camera.options import CameraOptions, camera_options
from drive_rl.camera.randomization import Randomization, randomization

__all__ = ["Camera", "CameraOptions", "Randomization", "camera_options", "randomization"]
