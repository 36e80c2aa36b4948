"""The live table of all tasks: on a terminal a table that moves, elsewhere a line per event."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from drive_rl.cluster.pool import Event
from drive_rl.cluster.tasks import RunTask, ShardTask, task_name

_REFRESH = 0.5  # s between looks at the files of running tasks
_PLAIN_INTERVAL = 30.0  # s
_ROWS = 30  # shown of a long table: what runs, and what ended last


class Board:
    """Told of events, it shows how far all tasks are; used as a context manager."""

    def __init__(
        self, tasks: Sequence[RunTask | ShardTask], root: Path, stream: TextIO | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._root = root
        self._tasks = {task_name(task): task for task in tasks}
        self._state = {
            name: "done" if task.done(root) else "waiting" for name, task in self._tasks.items()
        }
        self._order: dict[str, None] = {}  # names in the order in which something happened
        self._looked = time.monotonic()
        self._live: Live | None = None
        if self._stream.isatty():
            self._live = Live(
                console=Console(file=self._stream), auto_refresh=False, transient=True
            )

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        done = self._count("done")
        self._say(f"{len(self._tasks)} tasks, {done} of them done before -> {self._root}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event | None) -> None:
        """An event, or None: time passes."""
        if event is not None:
            name = task_name(event.task)
            self._state[name] = event.state
            self._order.pop(name, None)
            self._order[name] = None
            if event.state != "running":
                tail = f": {event.reason}" if event.reason else ""
                count = f"{self._count('done')} of {len(self._tasks)}"
                self._say(f"{count}: {event.task.label}: {event.state}{tail}")
        now = time.monotonic()
        interval = _PLAIN_INTERVAL if self._live is None else _REFRESH
        if now - self._looked < interval:
            return
        self._looked = now
        if self._live is not None:
            self._live.update(self.table(), refresh=True)
        else:
            self._say_running()

    def table(self) -> Table:
        """All tasks, or the newest of many."""
        title = ", ".join(
            f"{self._count(state)} {state}"
            for state in ("running", "waiting", "done", "failed")
            if self._count(state)
        )
        table = Table(title=title, title_justify="left")
        for column in ("task", "state", "progress", "return", "crashes", "m/s"):
            table.add_column(column)
        names = [name for name in self._tasks if name not in self._order]
        shown = [*reversed(self._order), *names][:_ROWS]
        for name in shown:
            done, total, figures = self._tasks[name].progress(self._root)
            if self._state[name] == "done":
                done = total
            table.add_row(
                self._tasks[name].label,
                self._state[name],
                f"{done:,} of {total:,}",
                _number(figures.get("return"), "{:.1f}"),
                _number(figures.get("crash_rate"), "{:.0%}"),
                _number(figures.get("speed"), "{:.1f}"),
            )
        return table

    def _say_running(self) -> None:
        for name, state in self._state.items():
            if state == "running":
                done, total, _ = self._tasks[name].progress(self._root)
                self._say(f"{self._tasks[name].label}: {done:,} of {total:,}")

    def _count(self, state: str) -> int:
        return sum(each == state for each in self._state.values())

    def _say(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(f"drive-rl: {line}", file=self._stream, flush=True)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
