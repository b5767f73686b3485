"""Readers of inbox streams, as a script would write one, and push itself in a thread of the test."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from meshfleet.ledger import Ledger
from meshfleet.ledger.watching import Watch
from meshfleet.server.push import Pace, Push
from meshfleet.settings import Settings
from tests.mesh.fleets import open_ledger

PATIENCE_S: Final = 10


@dataclass(frozen=True)
class Told:
    """An event as a reader got it."""

    id: str
    event: str
    data: dict[str, Any]

    @property
    def payload(self) -> str:
        """The text its sender wrote."""
        text: str = json.loads(self.data["payload"])["payload"]
        return text


@dataclass
class Reader:
    """A client that has sent its request; it reads as far as it is asked to."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    comments: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def error(self) -> str:
        """The text of a refusal."""
        told: dict[str, str] = json.loads(self.response.read())
        return told["error"]

    def next(self) -> Told:
        """The next event; comments before it are kept."""
        while True:
            block = [line.partition(": ")[::2] for line in iter(self._line, "")]
            if block and block[0][0]:
                names, (event_id, event, data) = zip(*block, strict=True)
                assert names == ("id", "event", "data")
                return Told(event_id, event, json.loads(data))
            self.comments += [value for _, value in block]

    def take(self, count: int) -> list[Told]:
        """The next few events."""
        return [self.next() for _ in range(count)]

    def payloads(self, count: int) -> list[str]:
        """What the next few events' senders wrote."""
        return [told.payload for told in self.take(count)]

    def rest(self) -> bytes:
        """What comes until the stream ends as HTTP has it; raises when it is cut off."""
        return self.response.read()

    def close(self) -> None:
        self.response.close()
        self.connection.close()

    def _line(self) -> str:
        line = self.response.readline()
        assert line.endswith(b"\n"), "the stream ended"
        return line[:-1].decode()


@contextmanager
def reading(
    url: str, last_event_id: str | None = None, *, method: str = "GET", headers: dict[str, str] | None = None
) -> Generator[Reader]:
    """Open a URL; header Host can be set too."""
    split = urlsplit(url)
    assert split.hostname
    connection = http.client.HTTPConnection(split.hostname, split.port, timeout=PATIENCE_S)
    given = headers or {}
    connection.putrequest(method, f"{split.path}?{split.query}", skip_host="Host" in given)
    for name, value in given.items():
        connection.putheader(name, value)
    if last_event_id is not None:
        connection.putheader("Last-Event-ID", last_event_id)
    connection.endheaders()
    reader = Reader(connection, connection.getresponse())
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def stuck_reader(url: str, *, buffer: int = 4096) -> Generator[socket.socket]:
    """A client that asks for a stream and then reads nothing."""
    split = urlsplit(url)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(PATIENCE_S)
        sock.connect((split.hostname, split.port))
        sock.sendall(f"GET {split.path}?{split.query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield sock


@dataclass(frozen=True)
class Pushing:
    """Push that runs in a thread of this process."""

    push: Push
    portal: BlockingPortal
    ledger: Ledger

    def subscribe(self, agent_id: str) -> str:
        """As the tool does, from a worker thread."""
        return self.portal.call(to_thread.run_sync, self.push.subscribe, agent_id)


@contextmanager
def pushing(
    ledger_file: Path, pace: Pace | None = None, *, host: str = "127.0.0.1", watch: Watch | None = None
) -> Generator[Pushing]:
    """Run push, with a ledger of its own."""
    ledger = open_ledger(ledger_file)
    settings = Settings(ledger_file, sse_host=host, sse_port=0)
    with start_blocking_portal() as portal:
        push = Push(ledger, settings, pace, watch=watch)
        running = portal.start_task_soon(push.run)
        try:
            yield Pushing(push, portal, ledger)
        finally:
            running.cancel()
            with suppress(BaseException):
                running.result(PATIENCE_S)
    ledger.close()
