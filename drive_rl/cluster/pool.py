"""Tasks on this machine's cores, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from drive_rl.cluster.tasks import RunTask, ShardTask, task_name
from drive_rl.errors import DriveRLError, Interrupted

ATTEMPTS = 3
"""How often a task is begun whose process dies without a word (killed, out of memory)."""

_POLL = 0.1  # s


@dataclass(frozen=True)
class Event:
    """What became of a task.

    Attributes:
        state: "running", "done", "failed", "again" (its process died, it is begun again).
        reason: why it failed or is begun again.
    """

    task: RunTask | ShardTask
    state: str
    reason: str = ""


Told = Callable[[Event | None], None]
"""Called with every event, and with None now and then while tasks run."""


class Pool(Protocol):
    """Something that does tasks."""

    def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
        """Do all tasks; returns the failed ones.

        Raises:
            Interrupted: SIGINT or SIGTERM; what was running has been saved.
        """


class LocalPool:
    """A process per task, so many at a time.

    Args:
        workers: processes at a time.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
        """See `Pool`."""
        from drive_rl.runs.interrupts import StopRequest

        waiting = [(task, 1) for task in tasks]
        running: list[_Process] = []
        failed: list[Event] = []
        with StopRequest() as stop:
            try:
                while (waiting or running) and stop.signal_number is None:
                    while waiting and len(running) < self.workers:
                        task, attempt = waiting.pop(0)
                        running.append(_Process(task, attempt, root))
                        told(Event(task, "running"))
                    ended = [process for process in running if process.ended()]
                    for process in ended:
                        running.remove(process)
                        event = process.event()
                        if event.state == "again":
                            waiting.insert(0, (process.task, process.attempt + 1))
                        if event.state == "failed":
                            failed.append(event)
                        told(event)
                    if not ended:
                        told(None)
                        time.sleep(_POLL)
            finally:
                _stop(running)
        if stop.signal_number is not None:
            raise Interrupted(
                f"stopped; {len(running) + len(waiting)} tasks are left; the same command goes on",
                stop.signal_number,
            )
        return failed


class _Process:
    """A task at work."""

    def __init__(self, task: RunTask | ShardTask, attempt: int, root: Path) -> None:
        self.task = task
        self.attempt = attempt
        self._root = root
        self._log = root / "logs" / f"{task_name(task)}.log"
        threads = "1" if isinstance(task, ShardTask) else str(task.run.num_threads or "")
        # The simulator's threads are set before numba starts, or not at all.
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), threads)
        with _opened(self._log) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "drive_rl.cluster.worker", str(root)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **(limits if threads else {})},
                # Ctrl-C is for the parent, which asks its workers in its own order.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; that is seen below
            self._process.stdin.write(task.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def event(self) -> Event:
        """What became of it."""
        code = self._process.returncode
        self._close()
        if self.task.done(self._root):
            return Event(self.task, "done")
        reason = self._reason()
        if code in (1, 2):
            return Event(self.task, "failed", reason or f"its process ended with {code}")
        said = f"its process ended with {code}" if code >= 0 else f"killed by signal {-code}"
        if self.attempt >= ATTEMPTS:
            return Event(self.task, "failed", f"{said}, {ATTEMPTS} times; see {self._log}")
        return Event(self.task, "again", said)

    def stop(self) -> None:
        """Ask it to save and stop."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Until it has."""
        self._process.wait()
        self._close()

    def kill(self) -> None:
        """At once."""
        self._process.kill()

    def _close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def _reason(self) -> str:
        """The error that it wrote last."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        marked = [line for line in lines if line.startswith("drive-rl: error: ")]
        if marked:
            return marked[-1].removeprefix("drive-rl: error: ")
        return lines[-1] if lines else ""


def _opened(path: Path) -> BinaryIO:
    """A log to append to; raises DriveRLError where it cannot be, as on a full disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise DriveRLError(f"{path}: cannot be written ({error.strerror})") from None


def _stop(running: Sequence[_Process]) -> None:
    """Ask all to save and stop, and wait; a second signal kills them."""
    for process in running:
        process.stop()
    try:
        for process in running:
            process.wait()
    except BaseException:
        for process in running:
            process.kill()
        raise


def default_workers(threads: int = 1) -> int:
    """Processes that this machine's cores hold."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(cores // threads, 1)


def check_folder(root: Path) -> None:
    """Make the folder for results.

    Raises:
        DriveRLError: it cannot be made or written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise DriveRLError(f"{root}: cannot be written ({error.strerror})") from None
