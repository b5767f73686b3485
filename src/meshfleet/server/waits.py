"""Calls that wait for something to happen in the ledger: how many may, how long, and what they tell meanwhile."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import anyio
from anyio import to_thread

from meshfleet.errors import Busy
from meshfleet.ledger import Ledger, View

T = TypeVar("T")

Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""Tells who waits for a call how far it has come: the progress, of how much, and what that means."""

LOOK_S: Final = 0.04
"""How often the ledger is looked at while somebody waits."""
PROGRESS_S: Final = 5.0
"""How often who waits is told that it does."""
MOST_AT_ONCE: Final = 16
"""Calls that may wait at a time: half of what a client may have unanswered, so that the other calls have their room."""


class Waits:
    """The waiting calls of one server."""

    def __init__(self) -> None:
        self._count = 0
        self._seq = -1
        self._looked_at = float("-inf")
        self._looking = anyio.Lock()
        self._threads = anyio.CapacityLimiter(1)
        self.is_over = False
        """Whether nobody is to wait any longer, since the client has said its last word."""

    async def look_until(
        self,
        ledger: Ledger,
        topic: str,  # noqa: ARG002 - what it is rung for comes next
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
        began = time.monotonic()
        deadline, next_report, seen = began + timeout_ms / 1000, began, -1
        async with self._one():
            while True:
                seq = await self._latest(ledger)
                if seq != seen:
                    found, seen = await to_thread.run_sync(ledger.read, query), seq
                now = time.monotonic()
                if is_enough(found) or now >= deadline or self.is_over:
                    return found
                if now >= next_report:
                    next_report = now + PROGRESS_S
                    await report(now - began, timeout_ms / 1000, words(found))
                await anyio.sleep(min(LOOK_S, deadline - now))

    def end(self) -> None:
        """Have everybody who waits be answered with what there is."""
        self.is_over = True

    @asynccontextmanager
    async def _one(self) -> AsyncGenerator[None]:
        if self._count >= MOST_AT_ONCE:
            raise Busy(f"{MOST_AT_ONCE} calls of this session wait already; wait for one of them to be answered")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def _latest(self, ledger: Ledger) -> int:
        """The number of the ledger's last transaction, as of a moment ago."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_S:
                self._seq = await to_thread.run_sync(ledger.read, lambda view: view.seq, limiter=self._threads)
                self._looked_at = time.monotonic()
        return self._seq
