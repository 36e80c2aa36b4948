"""How far a training is, for people: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_PLAIN_INTERVAL = 15.0  # s between plain lines

Figures = Mapping[str, float | None]


class ProgressDisplay(Protocol):
    """Told by a training what it does."""

    def start(self, label: str, total: int, done: int) -> None:
        """A training of `total` steps begins, `done` of them done before."""

    def update(self, step: int, figures: Figures) -> None:
        """It is at `step`; figures: return, crash_rate, speed [m/s], as far as known."""

    def message(self, text: str) -> None:
        """One line to show above."""

    def close(self) -> None:
        """The training has ended, one way or the other."""


class Quiet:
    """Shows nothing."""

    def start(self, label: str, total: int, done: int) -> None:
        """Nothing."""

    def update(self, step: int, figures: Figures) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class PlainLines:
    """A line every quarter of a minute, for logs."""

    def __init__(self, stream: TextIO, interval: float = _PLAIN_INTERVAL) -> None:
        self._stream = stream
        self._interval = interval
        self._total = self._first = 0
        self._began = self._said = 0.0

    def start(self, label: str, total: int, done: int) -> None:
        """Say what begins."""
        self._total, self._first = total, done
        self._began = self._said = time.monotonic()
        self.message(label)

    def update(self, step: int, figures: Figures) -> None:
        """Say how far it is, if it is time to."""
        now = time.monotonic()
        if now - self._said < self._interval:
            return
        self._said = now
        rate = (step - self._first) / max(now - self._began, 1e-9)
        left = _duration(max(self._total - step, 0) / rate) if rate > 0 else "?"
        words = [f"{step:,} of {self._total:,} steps", f"{rate:,.0f} steps/s", f"{left} left"]
        self.message(", ".join([*words, *_figure_words(figures)]))

    def message(self, text: str) -> None:
        """Print a line."""
        print(f"drive-rl: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing more to say."""


class RichBar:
    """A progress bar with steps/s, time left and the figures that matter."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            expand=True,
            refresh_per_second=4,
        )
        self._task: TaskID | None = None
        self._first = 0
        self._began = 0.0

    def start(self, label: str, total: int, done: int) -> None:
        """Show the bar."""
        self.message(label)
        self._first, self._began = done, time.monotonic()
        self._task = self._progress.add_task(
            "training", total=total, completed=done, rate="", figures=""
        )
        self._progress.start()

    def update(self, step: int, figures: Figures) -> None:
        """Move the bar."""
        if self._task is None:
            return
        rate = (step - self._first) / max(time.monotonic() - self._began, 1e-9)
        self._progress.update(
            self._task,
            completed=step,
            rate=f"{rate:,.0f} steps/s",
            figures=", ".join(_figure_words(figures)),
        )

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(f"drive-rl: {text}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()
        self._task = None


def default_progress(stream: TextIO | None = None) -> ProgressDisplay:
    """A bar where `stream` (stderr) is a terminal, plain lines elsewhere."""
    stream = stream or sys.stderr
    return RichBar(stream) if stream.isatty() else PlainLines(stream)


def _figure_words(figures: Figures) -> list[str]:
    words = []
    if (value := figures.get("return")) is not None:
        words.append(f"return {value:.1f}")
    if (value := figures.get("crash_rate")) is not None:
        words.append(f"crashes {value:.0%}")
    if (value := figures.get("speed")) is not None:
        words.append(f"{value:.1f} m/s")
    for name in ("loss", "gap", "diversity"):  # of an encoder, of a texture GAN
        if (value := figures.get(name)) is not None:
            words.append(f"{name} {value:.2f}")
    return words


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def as_json_number(value: Any) -> float | int | None:
    """A number for JSON; None for what JSON has no word for (NaN, infinities)."""
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        return None
    return int(number) if isinstance(value, int) else number
