"""Virtual time: a schedule of callbacks. All random values come from one seed, so that a run can be repeated."""

import heapq
import itertools
import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

import time_machine


class Clock:
    """A list of scheduled callbacks; time jumps from one to the next."""

    def __init__(self, seed: int, start: float) -> None:
        """Start at this time, in seconds since the epoch."""
        self.random = random.Random(seed)
        self.now = start
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._travel = time_machine.travel(start, tick=False)

    def __enter__(self) -> Self:
        """Switch the whole process to virtual time."""
        self._coordinates = self._travel.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._travel.stop()

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        """Call `happens` after this many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), happens))

    def run(self, seconds: float) -> None:
        """Let this many seconds pass."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, happens = heapq.heappop(self._due)
            self._coordinates.move_to(self.now)
            happens()
        self.now = end
        self._coordinates.move_to(end)
