"""Which requests the SDK still owes an answer; when to wait for them is left to streams.py."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Final

import anyio
from mcp.shared.message import ServerMessageMetadata
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, RequestId

MOST_AT_ONCE: Final = 32
"""Requests of one client that are worked on at a time; it has to take an answer before there is room for more."""
_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"  # what answers a request to be told of changes


class Unanswered:
    """The requests the SDK has been handed and has neither answered nor dropped as cancelled, by their ids.

    An id may be in use twice. A request to be told of changes counts as answered when it is acknowledged: its response
    comes only when its client has heard enough.
    """

    def __init__(self) -> None:
        self._owed: Counter[RequestId] = Counter()
        self._count = 0
        self._changed = anyio.Event()

    def __bool__(self) -> bool:
        return self._count > 0

    @property
    def has_room(self) -> bool:
        """Whether the SDK may be handed another one."""
        return self._count < MOST_AT_ONCE

    def add(self, request: JSONRPCRequest) -> ServerMessageMetadata:
        """Count a request that the SDK is about to get; returns what the SDK has to be told with it."""
        self._owed[request.id] += 1
        self._count += 1
        return ServerMessageMetadata(on_request_unanswered=partial(self._drop, request.id))

    def settle(self, written: JSONRPCMessage, related: RequestId | None) -> None:
        """Count the request as answered that a message, related to one or none, answers."""
        match written:
            case JSONRPCResponse(id=request_id) | JSONRPCError(id=request_id) if request_id is not None:
                self._settle(request_id)
            case JSONRPCNotification(method=method) if method == _ACKNOWLEDGED and related is not None:
                self._settle(related)

    def wake(self) -> None:
        """Make whoever waits look again."""
        self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Return when one has been settled, on `wake`, or after so many seconds."""
        self._changed = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    def _settle(self, request_id: RequestId) -> None:
        # one that was acknowledged is answered a second time when its client has heard enough
        if self._owed[request_id] > 0:
            self._count -= 1
            self._owed[request_id] -= 1
        if not self._owed[request_id]:
            del self._owed[request_id]
        self.wake()

    async def _drop(self, request_id: RequestId) -> None:
        self._settle(request_id)
