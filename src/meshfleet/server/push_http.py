"""One HTTP request on one connection, and its answer; what may be asked for is push.py's.

h11 reads and writes the protocol, anyio the bytes. uvicorn would do both, but it gives no hold on a connection whose
reader has stopped reading, and brings signal handlers, loggers and a clock of its own into a process that has some.
"""

from __future__ import annotations

import json
import logging
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import h11
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from anyio.abc import SocketStream

log = logging.getLogger(__name__)

GONE: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
"""What is raised when the client has left."""
_HEAD_S: Final = 5.0  # for a request to arrive in whole
_LINGER_S: Final = 1.0  # for a refused client to stop sending, or its kernel would drop the answer
_LAST_WORD_S: Final = 0.2
_SLICE_BYTES: Final = 65_536
_MOST_FIELDS: Final = 16
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # closing does not linger, for 0 s

Headers = list[tuple[str, str]]


class Refused(Exception):
    """A request that gets an error for an answer.

    Attributes:
        status: The HTTP status.
        headers: What the answer carries beside its text.
    """

    def __init__(self, status: int, text: str, headers: Headers | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or []


class TooSlow(Exception):
    """The reader took nothing for too long."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for.

    Attributes:
        method: GET and the like.
        path: The parts of the path, unquoted.
        query: The fields behind the question mark.
        headers: Every value of each header, by its lower-case name.
    """

    method: str
    path: tuple[str, ...]
    query: dict[str, list[str]]
    headers: dict[str, list[str]]

    def header(self, name: str) -> str:
        """The value of a header; empty when it is missing."""
        return ",".join(self.headers.get(name, []))

    def require_own_names(self, allowed: Iterable[str], *, any_address: bool) -> None:
        """Let nobody through whom a web page of another site sent, be it by a name that was made to lead here.

        Args:
            allowed: The names and addresses this server goes by.
            any_address: Whether it may be called by any IP address, since it listens on all of them.

        Raises:
            Refused: Host is not ours, or Origin is another site than Host.
        """
        host = self.header("host")
        name = _host_name(host)
        if name is None or not (name in allowed or _is_own_address(name, any_address=any_address)):
            raise Refused(403, f"Host is {host[:80]!r}, which is no name of this server; use the stream_url as it is")
        for origin in self.headers.get("origin", []):
            if origin.lower() != f"http://{host.lower()}":
                raise Refused(403, f"Origin is {origin[:80]!r}; pages of other sites get nothing from here")


class Exchange:
    """A connection, on which one request is answered.

    Args:
        stream: The connection.
        stall_s: How long the client may take nothing, in seconds.
    """

    def __init__(self, stream: SocketStream, stall_s: float) -> None:
        self._stream = stream
        self._stall_s = stall_s
        self._wire = h11.Connection(h11.SERVER)
        self._wants_body = True
        self._sending = False

    async def request(self) -> Request:
        """The request, once its head has arrived.

        Raises:
            Refused: It is no HTTP, or takes too long to arrive.
        """
        with anyio.move_on_after(_HEAD_S):
            try:
                while (event := self._wire.next_event()) is h11.NEED_DATA:
                    self._wire.receive_data(await self._stream.receive())
            except h11.RemoteProtocolError as error:
                raise Refused(error.error_status_hint, f"this is no request: {error}") from None
            if not isinstance(event, h11.Request):
                raise anyio.EndOfStream
            self._wants_body = event.method != b"HEAD"
            return _request_in(event)
        raise Refused(408, f"no request arrived within {_HEAD_S:.0f} s")

    async def answer(self, status: int, body: dict[str, str], headers: Headers | None = None) -> None:
        """Answer with a JSON object, and with nothing more; who asked for the head alone gets no more than that."""
        content = json.dumps(body).encode()
        more = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), *(headers or [])]
        head = self._head(status, more)
        data = self._wire.send(h11.Data(data=content)) if self._wants_body else None
        await self._send(head + (data or b""))
        await self.end()
        with anyio.move_on_after(_LINGER_S), suppress(*GONE):
            await self._stream.send_eof()
            while True:
                await self._stream.receive()

    async def begin(self, headers: Headers) -> None:
        """Begin an answer that goes on."""
        await self._send(self._head(200, headers))

    async def send(self, data: bytes) -> None:
        """Send more of the answer.

        Raises:
            TooSlow: The client took nothing for too long.
        """
        await self._send(self._wire.send(h11.Data(data=data)) or b"")

    async def end(self) -> None:
        """Say that the answer is complete; of a client that still has to take what came before, let go."""
        if self._sending:
            self._forget_unsent()
        if self._sending or self._wire.our_state is not h11.SEND_BODY:
            return
        with anyio.move_on_after(_LAST_WORD_S, shield=True), suppress(*GONE):
            await self._stream.send(self._wire.send(h11.EndOfMessage()) or b"")

    async def until_gone(self) -> None:
        """Return when the client has left; what else it says is not listened to."""
        with suppress(*GONE):
            while True:
                await self._stream.receive()

    def _head(self, status: int, headers: Headers) -> bytes:
        always = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), ("Connection", "close")]
        return self._wire.send(h11.Response(status_code=status, headers=always + headers)) or b""

    async def _send(self, data: bytes) -> None:
        self._sending = True
        for start in range(0, len(data), _SLICE_BYTES):
            with anyio.move_on_after(self._stall_s) as patience:
                await self._stream.send(data[start : start + _SLICE_BYTES])
            if patience.cancelled_caught:
                raise TooSlow
        self._sending = False

    def _forget_unsent(self) -> None:
        """Have the kernel throw away what the client has not taken, or it would keep it as long as the client lives."""
        connection = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610  # Django has one of this name
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


def _request_in(event: h11.Request) -> Request:
    headers: dict[str, list[str]] = {}
    for name, value in event.headers:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    path, _, query = event.target.decode("latin-1").partition("?")
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Refused(400, f"the query has more than {_MOST_FIELDS} fields") from None
    parts = tuple(unquote(part) for part in path.split("/"))
    return Request(event.method.decode("latin-1"), parts, fields, headers)


def _host_name(host: str) -> str | None:
    """The name or address in a Host header; None when it is none."""
    try:
        split = urlsplit(f"//{host}")
        is_plain = split.netloc == host and "@" not in host and (split.port is None or split.port > 0)
    except ValueError:
        return None
    return split.hostname if is_plain else None


def _is_own_address(name: str, *, any_address: bool) -> bool:
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return any_address or address.is_loopback
