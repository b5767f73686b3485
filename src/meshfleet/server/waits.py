"""Calls that wait for something to happen in the ledger: how many may, how long, and what they tell meanwhile."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from anyio import to_thread

from meshfleet.errors import Busy
from meshfleet.ledger import Ledger, View
from meshfleet.ledger.watching import Sight, Watch

T = TypeVar("T")

Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""Tells who waits for a call how far it has come: the progress, of how much, and what that means."""

PROGRESS_S: Final = 5.0
"""How often who waits is told that it does."""
MOST_AT_ONCE: Final = 16
"""Calls that may wait at a time: half of what a client may have unanswered, so that the other calls have their room."""


class Waits:
    """The waiting calls of one server.

    Args:
        watch: What all that waits for changes in this process shares.

    Attributes:
        watch: The same.
        is_over: Whether nobody is to wait any longer, since the client has said its last word.
    """

    def __init__(self, watch: Watch | None = None) -> None:
        self.watch: Final = watch or Watch()
        self.is_over = False
        self._count = 0

    async def look_until(
        self,
        ledger: Ledger,
        topic: str,
        query: Callable[[View], T],
        is_enough: Callable[[T], bool],
        timeout_ms: int,
        *,
        report: Report,
        words: Callable[[T], str],
    ) -> T:
        """What a query finds as soon as that is enough, or at the end of the time, or of what the client has to say.

        Args:
            ledger: What is asked, at once and then whenever something of the topic has changed.
            topic: The agent or inbox whose messages, or the fleet whose row, the answer depends on: its id.
            query: What is asked; it may refuse.
            is_enough: Tells whether the answer is what is waited for.
            timeout_ms: For how long, in ms.
            report: Is told every 5 s for how many seconds it has been waited, of how many.
            words: What it is told of what there is by then.

        Raises:
            Busy: As many calls as may wait do so already.
            MeshfleetError: What the query refuses, or the ledger can't be read.
        """
        sight, began = Sight(ledger, query), time.monotonic()
        deadline, next_report = began + timeout_ms / 1000, began
        async with self._one():
            found = await to_thread.run_sync(sight.take)
            if is_enough(found):
                return found
            with self.watch.listening(ledger.data_file, topic) as news:
                while True:
                    found, now = await to_thread.run_sync(sight.take), time.monotonic()
                    if is_enough(found) or now >= deadline or self.is_over:
                        return found
                    if now >= next_report:
                        next_report = now + PROGRESS_S
                        await report(now - began, timeout_ms / 1000, words(found))
                    await news.next(min(deadline, next_report) - time.monotonic())

    def end(self) -> None:
        """Have everybody who waits be answered with what there is."""
        self.is_over = True
        self.watch.wake()

    @asynccontextmanager
    async def _one(self) -> AsyncGenerator[None]:
        if self._count >= MOST_AT_ONCE:
            raise Busy(f"{MOST_AT_ONCE} calls of this session wait already; wait for one of them to be answered")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
