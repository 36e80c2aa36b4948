"""Ctrl-C and SIGTERM as a request to save and stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopNow(BaseException):
    """Raised inside work that may be abandoned, since a snapshot of its start exists.

    Not an Exception, so that no library's `except Exception` swallows it.
    """


class StopRequest:
    """While entered, the first SIGINT or SIGTERM asks to stop; the second one insists.

    Where the work has said `abandonable = True`, the first signal raises StopNow at once: a
    rollout on a slow engine is not waited for. Elsewhere it is noted in `signal_number`, to be
    looked at when the state is consistent. A second signal raises KeyboardInterrupt.

    Attributes:
        signal_number: the signal that asked to stop, or None.
        abandonable: whether the work under way can be thrown away.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.abandonable = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        # Python lets only the main thread handle signals; elsewhere the caller's handling holds.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
        if self.abandonable:
            self.abandonable = False
            raise StopNow
