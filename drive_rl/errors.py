"""The errors a user can meet: one line with the value, why it is wrong, the nearest right one."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable


class DriveRLError(Exception):
    """Work that failed: a full disk, a damaged checkpoint, a diverged run."""

    exit_code = 1


class UsageError(DriveRLError, ValueError):
    """Input that cannot be right: an unknown name, a value out of range."""

    exit_code = 2


class Interrupted(DriveRLError):
    """The user or the system asked the work to stop; its state has been saved.

    Attributes:
        signal_number: SIGINT (2) or SIGTERM (15); the exit code is 128 more.
    """

    def __init__(self, message: str, signal_number: int = 2) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class Diverged(DriveRLError):
    """A loss or a weight is no longer a finite number."""


def nearest(value: str, known: Iterable[str]) -> str | None:
    """The entry of `known` that `value` most resembles, or None where nothing is close."""
    candidates = list(known)
    lowered = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(value.lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[close[0]] if close else None


def unknown(kind: str, value: str, known: Iterable[str]) -> UsageError:
    """A UsageError for a name that is not one of `known`; names the closest, or lists them all.

    Example: unknown environment 'higway-v0'; did you mean 'highway-v0'?
    """
    candidates = list(known)
    close = nearest(value, candidates)
    if close is not None:
        hint = f"did you mean {close!r}?"
    else:
        hint = "known: " + ", ".join(sorted(candidates))
    return UsageError(f"unknown {kind} {value!r}; {hint}")


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"drive-rl: {message}", file=sys.stderr, flush=True)
