"""A second process that drives baselines, while the first imports torch and drives a policy."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from drive_rl.errors import DriveRLError

Work = Callable[..., Any]
"""Called with a job's arguments and `progress(name, done, total)`; importable by its name."""


class Companion:
    """Does jobs in order, beside this process; a context manager, at whose end it is gone.

    It is started at once, to import what it needs, and told later what to do.
    """

    def __init__(self, progress: Callable[[str, int, int], None] | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._progress = progress
        self._results: list[Any] = []
        self._expected = 0

    def __enter__(self) -> Companion:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join()

    def ask(self, work: Work, jobs: Sequence[dict[str, Any]]) -> None:
        """Have `work(**job, progress=...)` done for each job."""
        self._expected = len(jobs)
        self._connection.send((work, list(jobs)))

    def look(self) -> None:
        """Tell what progress there has been meanwhile."""
        while self._connection.poll():
            self._receive()

    def results(self) -> list[Any]:
        """What came of each job; waits for the last.

        Raises:
            DriveRLError: a job failed, or the process has been killed.
        """
        while len(self._results) < self._expected:
            self._receive()
        return self._results

    def _receive(self) -> None:
        try:
            kind, content = self._connection.recv()
        except (EOFError, OSError):
            raise DriveRLError("the process that drives baselines has been killed") from None
        if kind == "error":
            raise content
        if kind == "result":
            self._results.append(content)
        elif self._progress is not None:
            self._progress(*content)


def _serve(connection: Connection) -> None:
    """Work off one list of jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process says when it is over
    import drive_rl.evaluation.protocol  # noqa: F401  (takes a second, which would be waited for)

    with contextlib.suppress(EOFError, OSError):  # the first process has gone
        work, jobs = connection.recv()
        for job in jobs:
            try:
                result = work(**job, progress=lambda *told: connection.send(("progress", told)))
            except DriveRLError as error:
                connection.send(("error", error))
                return
            except Exception as error:
                connection.send(("error", DriveRLError(f"{type(error).__name__}: {error}")))
                return
            connection.send(("result", result))
