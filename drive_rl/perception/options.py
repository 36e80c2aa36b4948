"""The keys of `perception:` in an environment's configuration, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from drive_rl.errors import UsageError, unknown

OUTPUTS = ("features", "affordances")


@dataclasses.dataclass(frozen=True)
class PerceptionOptions:
    """How frames become observations.

    Attributes:
        encoder: the name of a shipped one, a file, or a run.
        frozen: frames become features before a policy sees them; otherwise a policy gets the
            frames, and its network begins as the encoder and is trained on.
        output: `features`, or `affordances`: what the encoder's heads read in them.
        device: where the encoder runs: auto, cpu, cuda or cuda:N.
    """

    encoder: str = "road"
    frozen: bool = True
    output: str = "features"
    device: str = "auto"


def perception_options(config: Mapping[str, Any] | None) -> PerceptionOptions | None:
    """Options from a configuration's `perception`; None where there is none.

    Raises:
        UsageError: an unknown key (the nearest is named), or a value that cannot be.
    """
    if config is None:
        return None
    if not isinstance(config, Mapping):
        raise UsageError(f"perception {config!r} is not a mapping, such as {{encoder: road}}")
    known = [field.name for field in dataclasses.fields(PerceptionOptions)]
    for key in config:
        if key not in known:
            raise unknown("key of perception", str(key), known)
    options = PerceptionOptions(**{str(key): value for key, value in config.items()})
    if not isinstance(options.frozen, bool):
        raise UsageError(f"perception: frozen {options.frozen!r} is not true or false")
    if options.output not in OUTPUTS:
        raise unknown("output of perception", str(options.output), OUTPUTS)
    for key in ("encoder", "device"):
        if not isinstance(getattr(options, key), str):
            raise UsageError(f"perception: {key} {getattr(options, key)!r} is not a text")
    return options
