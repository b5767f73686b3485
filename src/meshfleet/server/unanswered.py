"""Which requests are still owed an answer; when to wait for them is left to lines.py."""

from __future__ import annotations

from collections import Counter
from typing import Final

import anyio

from meshfleet.server.envelope import RequestId

MOST_AT_ONCE: Final = 32
"""Requests of one client that are worked on at a time; it has to take an answer before there is room for more."""


class Unanswered:
    """The requests that have been taken in and neither answered nor dropped as cancelled, by their ids.

    An id may be in use twice.
    """

    def __init__(self) -> None:
        self._owed: Counter[RequestId] = Counter()
        self._count = 0
        self._changed = anyio.Event()

    def __bool__(self) -> bool:
        return self._count > 0

    @property
    def has_room(self) -> bool:
        """Whether another one may be worked on."""
        return self._count < MOST_AT_ONCE

    def add(self, request_id: RequestId) -> None:
        """Count a request that is about to be worked on."""
        self._owed[request_id] += 1
        self._count += 1

    def settle(self, request_id: RequestId) -> None:
        """Count a request as answered, or as one that nobody waits for any more."""
        # one that was acknowledged is answered a second time when its client has heard enough
        if self._owed[request_id] > 0:
            self._count -= 1
            self._owed[request_id] -= 1
        if not self._owed[request_id]:
            del self._owed[request_id]
        self.wake()

    def wake(self) -> None:
        """Make whoever waits look again."""
        self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Return when one has been settled, on `wake`, or after so many seconds."""
        self._changed = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._changed.wait()
