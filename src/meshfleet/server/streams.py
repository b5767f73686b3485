"""The SDK's messages: what lines.py reads and writes, as the streams that `Server.run` of the SDK takes."""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol, Self

import anyio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)
from pydantic_core import PydanticSerializationError

from meshfleet.server.envelope import Message, Reply, RequestId
from meshfleet.server.lines import Closable, LineWriter
from meshfleet.server.unanswered import Unanswered

_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"  # what answers a request to be told of changes


class Source(Protocol):
    """Where messages come from."""

    @property
    def unanswered(self) -> Unanswered:
        """The requests that came and are still to be answered."""

    async def receive(self) -> Message:
        """Return the next message; raises EndOfStream, ClosedResourceError."""

    async def aclose(self) -> None:
        """Read no more."""


class MessageReader(Closable):
    """The SDK's read stream."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def receive(self) -> SessionMessage:
        """Return the next message; raises EndOfStream, ClosedResourceError."""
        message = await self._source.receive()
        if isinstance(message, Reply):
            return SessionMessage(message.content)
        method, params = message.method, message.params
        if message.id is None:
            return SessionMessage(JSONRPCNotification(jsonrpc="2.0", method=method, params=params))
        request = JSONRPCRequest(jsonrpc="2.0", id=message.id, method=method, params=params)
        return SessionMessage(request, ServerMessageMetadata(on_request_unanswered=partial(self._drop, message.id)))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Read no more; whoever waits in `receive` gets ClosedResourceError."""
        await self._source.aclose()

    async def _drop(self, request_id: RequestId) -> None:
        self._source.unanswered.settle(request_id)


class MessageWriter(Closable):
    """The SDK's write stream.

    Args:
        lines: Where its lines go.
        unheard: The id of the first request, whose answer goes nowhere.
    """

    def __init__(self, lines: LineWriter, unheard: RequestId | None = None) -> None:
        self._lines = lines
        self._unheard = unheard

    async def send(self, item: SessionMessage, /) -> None:
        """Return when the message's line is written; raises BrokenResourceError, ClosedResourceError.

        The rest of a line whose sender is cancelled goes out before the next one.
        """
        line, answered = line_of(item.message), _answered_by(item)
        if answered is not None and answered == self._unheard:
            self._unheard = None  # a client's own request may have the same
            return
        await (self._lines.send_line(line) if answered is None else self._lines.answer(answered, line))

    async def aclose(self) -> None:
        """Refuse further messages; the rest of an interrupted line still goes out if a second is enough."""
        await self._lines.aclose()


def _answered_by(item: SessionMessage) -> RequestId | None:
    """The request that a message answers; one to be told of changes is answered when it is acknowledged.

    Its response comes only when its client has heard enough.
    """
    match item.message:
        case JSONRPCResponse(id=request_id) | JSONRPCError(id=request_id):
            return request_id
        case JSONRPCNotification(method=method) if method == _ACKNOWLEDGED:
            told = item.metadata
            return told.related_request_id if isinstance(told, ServerMessageMetadata) else None
    return None


def line_of(message: JSONRPCMessage) -> bytes:
    r"""Return a message as a line with its "\n"; raises PydanticSerializationError if its result is no JSON.

    An error always becomes a line: nothing would tell the caller of one that didn't.
    """
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except PydanticSerializationError:
        if not isinstance(message, JSONRPCError):
            raise
        text = message.error.message.encode("utf-8", "backslashreplace").decode()
        writable = ErrorData(code=message.error.code or INTERNAL_ERROR, message=text)
        return line_of(JSONRPCError(jsonrpc="2.0", id=message.id, error=writable))
