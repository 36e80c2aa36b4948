"""Micro-batching: while one batch is computed, the next one gathers.

Nobody waits for company: an observation that comes alone is answered alone. Under load batches
grow by themselves, up to `most_rows`, and beyond `most_waiting` observations there is no place.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from drive_rl.deployment.inference import Outputs
from drive_rl.deployment.traffic import Members

Compute = Callable[[Members], Outputs]


class Overloaded(Exception):
    """More waits than can be answered soon."""


@dataclasses.dataclass(eq=False)
class _Waiting:
    members: Members
    rows: int
    answer: asyncio.Future[Outputs]


class Batcher:
    """Answers batches from many callers by common batches, in the order they came.

    Args:
        compute: called in a thread of its own, with at most `most_rows` observations or those of
            one request.
        most_waiting: observations that may wait.
        noticed: told of the size of each batch.
    """

    def __init__(
        self,
        compute: Compute,
        *,
        most_rows: int = 64,
        most_waiting: int = 1024,
        noticed: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._compute = compute
        self._most_rows = most_rows
        self._most_waiting = most_waiting
        self._noticed = noticed
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0
        self._something = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Observations that wait."""
        return self._waiting

    def start(self) -> None:
        """Begin to answer, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._answer())

    async def close(self) -> None:
        """Stop. Callers that still wait are told."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for each in self._queue:
            each.answer.cancel()
        self._thread.shutdown(wait=True)

    async def submit(self, members: Members) -> Outputs:
        """The answers to a batch.

        Raises:
            Overloaded: there is no place for it.
        """
        rows = len(next(iter(members.values())))
        # A lone request is always let in, however large: its size has a limit of its own.
        if self._waiting and self._waiting + rows > self._most_waiting:
            raise Overloaded
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(members, rows, answer)
        self._queue.append(waiting)
        self._waiting += rows
        self._something.set()
        return await answer

    async def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._something.wait()
            batch = self._gather()
            if not batch:
                self._something.clear()
                continue
            try:
                outputs = await loop.run_in_executor(self._thread, self._compute, _joined(batch))
            except Exception as error:
                for each in batch:
                    if not each.answer.done():
                        each.answer.set_exception(error)
                continue
            self._noticed(sum(each.rows for each in batch))
            start = 0
            for each in batch:
                part = slice(start, start + each.rows)
                start += each.rows
                if not each.answer.done():
                    each.answer.set_result({name: array[part] for name, array in outputs.items()})

    def _gather(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._queue:
            if batch and rows + self._queue[0].rows > self._most_rows:
                break
            each = self._queue.popleft()
            self._waiting -= each.rows
            if each.answer.done():  # its caller has given up
                continue
            batch.append(each)
            rows += each.rows
        return batch


def _joined(batch: list[_Waiting]) -> Members:
    if len(batch) == 1:
        return batch[0].members
    names: Any = batch[0].members
    return {name: np.concatenate([each.members[name] for each in batch]) for name in names}
