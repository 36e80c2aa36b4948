"""Stacks of frames in memory that is allocated once and handed out without a copy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


class Stacks:
    """Arrays of one shape that take turns.

    A step writes the next stack into an array that nobody outside looks at. What a user keeps is
    therefore never overwritten: an array that is still in someone's hands is left to them, and
    another takes its place. As a rule two take turns.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._arrays: list[Any] = [np.zeros(shape, np.uint8)]
        self._free = self._references(0)
        self.current = self._arrays[0]
        self.previous = self.current

    def _references(self, index: int) -> int:
        return sys.getrefcount(self._arrays[index])

    def advance(self, keep: Any = None) -> Any:
        """Make the present stacks the previous ones, and give the array for the next.

        Rows of the mask `keep` are carried over.
        """
        self._take_turns()
        if keep is not None and keep.any():
            self.current[keep] = self.previous[keep]
        return self.current

    def _take_turns(self) -> None:
        self.previous = self.current
        for index in range(len(self._arrays)):
            if self._arrays[index] is not self.previous and self._references(index) <= self._free:
                self.current = self._arrays[index]
                return
        if len(self._arrays) > 2:
            # Let go of what others keep: it is theirs, and freed when they let go
            self._arrays = [self.previous]
        self._arrays.append(np.zeros(self._shape, np.uint8))
        self.current = self._arrays[-1]
