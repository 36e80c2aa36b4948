"""drive-rl: train, watch and score driving policies on highway-env's scenes.

The public names; everything else is reached through its room (see docs/design.md).
Importing this registers every environment with Gymnasium as `drive_rl/<id>`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

from drive_rl.environments import make, make_vec, register

if TYPE_CHECKING:
    from drive_rl.evaluation import Evaluation, evaluate
    from drive_rl.training import Run, load_policy, train

__version__ = "0.1.0"
__all__ = [
    "Evaluation",
    "Run",
    "__version__",
    "evaluate",
    "load_policy",
    "make",
    "make_vec",
    "train",
]

register()

# Torch takes seconds to import, and someone who only wants an environment does not need it.
_LAZY = {
    "train": "drive_rl.training",
    "Run": "drive_rl.training",
    "load_policy": "drive_rl.training",
    "evaluate": "drive_rl.evaluation",
    "Evaluation": "drive_rl.evaluation",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'drive_rl' has no attribute {name!r}")
