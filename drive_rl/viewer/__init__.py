"""See policies drive: in a window, or as videos and pictures without one."""

from drive_rl.viewer.watch import Watched, watch

__all__ = ["Watched", "watch"]
