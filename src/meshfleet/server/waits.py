"""Calls that wait for something to happen in the ledger: one look for all of them, and none holds up the others."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio import to_thread

from meshfleet.errors import Busy
from meshfleet.ledger import Ledger

LOOK_S: Final = 0.04
"""How often the ledger is looked at while somebody waits."""
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

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Be one of those that wait.

        Raises:
            Busy: There are as many as may be.
        """
        if self._count >= MOST_AT_ONCE:
            raise Busy(f"{MOST_AT_ONCE} calls of this session wait already; wait for one of them to be answered")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def seq(self, ledger: Ledger) -> int:
        """The number of the ledger's last transaction, as of a moment ago."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_S:
                self._seq = await to_thread.run_sync(ledger.read, lambda view: view.seq, limiter=self._threads)
                self._looked_at = time.monotonic()
        return self._seq

    def end(self) -> None:
        """Have everybody who waits be answered with what there is."""
        self.is_over = True
