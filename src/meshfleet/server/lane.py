"""Where calls take effect one after another: at once where that is quick, in a thread where it may take a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import anyio
from anyio import to_thread

T = TypeVar("T")

QUICK_S: Final = 0.005
"""What took no longer the last time is done on the spot the next time: a thread costs more than most calls do."""


class Lane:
    """Keeps calls in the order they came, and the event loop free of those that take long."""

    def __init__(self) -> None:
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._in_line = 0
        self._quick: set[str] = set()

    def is_clear(self, kind: str) -> bool:
        """Whether a call of this kind may be done on the spot: nobody is before it, and the last one was quick."""
        return self._in_line == 0 and kind in self._quick

    def at_once(self, kind: str, work: Callable[[], T]) -> T:
        """Do it on the spot; for a lane that is clear."""
        began = time.perf_counter()
        try:
            return work()
        finally:
            if time.perf_counter() - began <= QUICK_S:
                self._quick.add(kind)
            else:
                self._quick.discard(kind)

    async def in_line(self, kind: str, work: Callable[[], T]) -> T:
        """Do it in a thread when it is its turn."""
        self._in_line += 1
        try:
            return await to_thread.run_sync(self.at_once, kind, work, limiter=self._one_at_a_time)
        finally:
            self._in_line -= 1
