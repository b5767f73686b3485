"""Push: an HTTP server inside the MCP server whose event streams tell what arrives in an inbox.

Nothing listens until the first `subscribe_inbox`, and an agent's own server has no push at all. What a connection gets
is left to push_stream.py, HTTP to push_http.py, and which events there are to push_feed.py.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

import anyio
from anyio.abc import SocketAttribute

from meshfleet.errors import Unavailable
from meshfleet.ledger import Ledger
from meshfleet.ledger.watching import Watch
from meshfleet.mesh.lifecycle import require_agent
from meshfleet.mesh.texts import shown
from meshfleet.model import ORCHESTRATOR
from meshfleet.settings import Settings

if TYPE_CHECKING:
    from anyio.abc import SocketListener, SocketStream, TaskGroup

    from meshfleet.server.push_stream import Streams

log = logging.getLogger(__name__)

COMMENT_INTERVAL_S: Final = 30.0
STALL_S: Final = 10.0
_TOKEN_BYTES: Final = 32
_ANY_PORT: Final = 0
_AFTER_TROUBLE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient push is, in seconds.

    Attributes:
        comment_s: Between two comments on a stream.
        stall_s: How long a reader may take nothing before it is dropped.
    """

    comment_s: float = COMMENT_INTERVAL_S
    stall_s: float = STALL_S


@dataclass(frozen=True, slots=True)
class Address:
    """Where push listens, and what it is called there.

    Attributes:
        ip: The IP address it is bound to.
        port: The port.
        name: What the settings call it.
    """

    ip: str
    port: int
    name: str

    @property
    def on_every_interface(self) -> bool:
        """Whether it listens on all addresses of this machine."""
        return ip_address(self.ip).is_unspecified

    @property
    def url(self) -> str:
        """Where a client on this machine finds it."""
        ip = self.ip
        if self.on_every_interface:
            ip = "::1" if ":" in ip else "127.0.0.1"
        # an address of one interface names it behind a percent sign
        return f"http://[{ip.replace('%', '%25')}]:{self.port}" if ":" in ip else f"http://{ip}:{self.port}"

    @property
    def names(self) -> frozenset[str]:
        """What may stand in a request's Host header, beside an address of the loopback."""
        return frozenset({"localhost", self.ip, self.name.lower()})


class Push:
    """Streams of inboxes over HTTP, for as long as `run` runs.

    Args:
        ledger: Where the messages are.
        settings: Where to listen.
        pace: How patient to be.
        watch: What tells of changes of the ledger; by default one of its own.
    """

    def __init__(
        self, ledger: Ledger, settings: Settings, pace: Pace | None = None, *, watch: Watch | None = None
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._pace = pace or Pace()
        self._watch = watch or Watch()
        self._tokens: dict[str, str] = {}
        self._open: set[SocketListener | SocketStream] = set()
        self._one_at_a_time = anyio.Lock()
        self._address: Address | None = None
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """Serve until cancelled; then every stream ends."""
        try:
            async with anyio.create_task_group() as self._tasks:
                await anyio.sleep_forever()
        finally:
            self._tasks = None
            # who was cancelled before its first step could not close what it was given
            with anyio.CancelScope(shield=True):
                for left in list(self._open):
                    await left.aclose()

    def subscribe(self, agent_id: str) -> str:
        """The URL of an inbox's stream, from a worker thread of the loop `run` runs on; the first one starts to listen.

        Raises:
            NotFound: There is no such agent.
            Unavailable: It is not possible to listen.
        """
        # loaded here, in the worker thread: the loop has the protocol to serve meanwhile
        from meshfleet.server.push_stream import Streams

        if agent_id != ORCHESTRATOR:
            self._ledger.read(lambda view: require_agent(view, agent_id))
        address = anyio.from_thread.run(self._listening, Streams)
        token = self._tokens.setdefault(agent_id, token_urlsafe(_TOKEN_BYTES))
        return f"{address.url}/inbox/{quote(agent_id, safe='')}/stream?token={token}"

    async def _listening(self, streams_of: type[Streams]) -> Address:
        async with self._one_at_a_time:
            if self._tasks is None:
                raise Unavailable("this server is about to end; ask another one")
            if self._address is None:
                self._address = await self._listen(self._tasks, streams_of)
                log.info("inbox streams are at %s", self._address.url)
            return self._address

    async def _listen(self, tasks: TaskGroup, streams_of: type[Streams]) -> Address:
        listener = await self._bind()
        self._open.add(listener)
        bound = listener.extra(SocketAttribute.local_address)  # noqa: S610  # Django has one of this name
        ip, port = cast("tuple[str, int]", bound)
        address = Address(ip, port, self._settings.sse_host)
        streams = streams_of(self._ledger, address, self._tokens, self._pace, self._watch)
        tasks.start_soon(self._accept, listener, streams, tasks)
        return address

    async def _bind(self) -> SocketListener:
        host, port = self._settings.sse_host, self._settings.sse_port
        ips: list[str] = []
        trouble: Exception = OSError("it has no address")
        try:
            found = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            ips = [str(sockaddr[0]) for *_, sockaddr in found]
        except (OSError, ValueError) as error:
            trouble = error
        for ip, one in [(ip, port) for ip in ips] + [(ip, _ANY_PORT) for ip in ips]:
            try:
                listeners = await anyio.create_tcp_listener(local_host=ip, local_port=one)
            except OSError as error:
                log.info("can't listen on port %d of %s: %s", one, ip, error)
                trouble = error
            else:
                return cast("SocketListener", listeners.listeners[0])
        raise Unavailable(
            f"MESHFLEET_SSE_HOST is {shown(host)}, where it is not possible to listen ({trouble}); unset it to listen "
            "on 127.0.0.1"
        )

    async def _accept(self, listener: SocketListener, streams: Streams, tasks: TaskGroup) -> None:
        while True:
            try:
                connection = await listener.accept()
            except OSError as error:
                log.warning("could not take a connection to an inbox stream: %s", error)
                await anyio.sleep(_AFTER_TROUBLE_S)
                continue
            self._open.add(connection)
            tasks.start_soon(self._serve, connection, streams)

    async def _serve(self, connection: SocketStream, streams: Streams) -> None:
        try:
            await streams.serve(connection)
        except Exception:
            # whatever is wrong with one connection, the MCP server goes on
            log.exception("a connection to an inbox stream failed")
        finally:
            with anyio.CancelScope(shield=True):
                await connection.aclose()
            self._open.discard(connection)
