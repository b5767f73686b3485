"""The MCP SDK's messages over stdin and stdout, or any descriptors; what a line says is left to envelope.py.

The SDK's `stdio_server` drops what it can't parse unanswered, loses requests that are in flight at the end of
input, and passes every line through two threads. Here the SDK reads and writes the descriptors directly.
O_NONBLOCK is never set: the flag would belong to every process that shares the terminal or the pipe.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.lowlevel
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCRequest

from meshfleet.errors import Unavailable
from meshfleet.server.envelope import MOST_LINE_BYTES, NotAMessage, line_of, message_in
from meshfleet.server.unanswered import Unanswered

GRACE_S: Final = 10.0
"""How long after the end of input the answers to requests already read are waited for."""
_LAST_LINE_S: Final = 1.0  # for the rest of a line whose sender was cancelled
_LOOK_S: Final = 0.25  # a reader that leaves during the grace wakes nobody; this often it is looked for
_READ_BYTES: Final = 65_536
_FILE_BYTES: Final = 1_048_576
_READER_LEFT: Final = frozenset({errno.EPIPE, errno.ECONNRESET})
_STDIN, _STDOUT, _STDERR = range(3)

logger = logging.getLogger(__name__)
_claim: Final = threading.Lock()


@asynccontextmanager
async def stdio_streams() -> AsyncGenerator[tuple[MessageReader, MessageWriter]]:
    """Serve the wire from private duplicates of stdin and stdout, as what `Server.run` of the SDK takes.

    Meanwhile fd 0 is the null device and fd 1 is stderr, so that no print and no child process reaches the
    wire; both are restored on exit. Raises RuntimeError if this process serves its stdio already, Unavailable
    if it was started with one of them closed.
    """
    with _claimed_stdio() as (fd_in, fd_out):
        async with message_streams(fd_in, fd_out) as streams:
            yield streams


@asynccontextmanager
async def message_streams(fd_in: int, fd_out: int) -> AsyncGenerator[tuple[MessageReader, MessageWriter]]:
    """Speak the protocol over two descriptors of any kind, or one twice; they stay the caller's to close."""
    unanswered = Unanswered()
    writer = MessageWriter(fd_out, unanswered)
    async with writer, MessageReader(fd_in, writer, unanswered) as reader:
        yield reader, writer


@contextmanager
def _claimed_stdio() -> Generator[tuple[int, int]]:
    if not _claim.acquire(blocking=False):
        raise RuntimeError("stdin and stdout are served already; leave the other stdio_streams() first")
    with ExitStack() as undo:
        undo.callback(_claim.release)
        _require_stdio()
        wire_in = os.dup(_STDIN)
        undo.callback(os.close, wire_in)
        wire_out = os.dup(_STDOUT)
        undo.callback(os.close, wire_out)
        null = os.open(os.devnull, os.O_RDWR)
        undo.callback(os.close, null)
        os.dup2(null, _STDIN)
        undo.callback(os.dup2, wire_in, _STDIN)
        os.dup2(null if sys.__stderr__ is None else _STDERR, _STDOUT)
        undo.callback(os.dup2, wire_out, _STDOUT)
        undo.callback(_flush_stdout)  # what was printed before or meanwhile is no protocol either
        yield wire_in, wire_out


def _require_stdio() -> None:
    # a descriptor that was closed at the start may belong to the event loop by now: only Python still knows
    for name, stream in (("stdin", sys.__stdin__), ("stdout", sys.__stdout__)):
        if stream is None:
            raise Unavailable(f"{name} is closed; start the server with both stdin and stdout connected to its client")


def _flush_stdout() -> None:
    with suppress(OSError, ValueError, AttributeError):  # gone, closed, or None
        sys.stdout.flush()


class _Closable:
    """The asynchronous `with` that the SDK's stream protocols ask for."""

    async def aclose(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class MessageWriter(_Closable):
    """The SDK's write stream: each message goes straight to the descriptor, whole and in order.

    Attributes:
        lost: the reader of the other end has gone; every send raises BrokenResourceError from then on.
        on_lost: called when a write finds that out.
        is_forsaken: says whether the client has ended its input; if it then takes nothing for `GRACE_S`, it has gone.
    """

    def __init__(self, fd: int, unanswered: Unanswered) -> None:
        self._fd = fd
        self._unanswered = unanswered
        self._turn = anyio.Lock(fast_acquire=True)
        self._unsent = memoryview(b"")
        self._closed = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        # a pipe that polls writable takes this much without blocking, more may block; a file always takes all
        self._most = _FILE_BYTES if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        self.lost = False
        self.on_lost: Callable[[], None] = unanswered.wake
        self.is_forsaken: Callable[[], bool] = lambda: False

    async def send(self, item: SessionMessage, /) -> None:
        """Return when the message's line is written; raises BrokenResourceError, ClosedResourceError.

        The rest of a line whose sender is cancelled goes out before the next one.
        """
        await self.send_line(line_of(item.message))
        told = item.metadata
        self._unanswered.settle(
            item.message, told.related_request_id if isinstance(told, ServerMessageMetadata) else None
        )

    async def send_line(self, line: bytes) -> None:
        """Write one line, its newline included; raises as `send` does."""
        if self._closed:
            raise anyio.ClosedResourceError
        async with self._turn:
            await self._flush()
            self._unsent = memoryview(line)
            await self._flush()

    async def aclose(self) -> None:
        """Refuse further messages; the rest of an interrupted line still goes out if a second is enough."""
        self._closed = True
        if self._unsent and not self.lost:
            with anyio.move_on_after(_LAST_LINE_S, shield=True), suppress(anyio.BrokenResourceError):
                async with self._turn:
                    await self._flush()

    def look_for_reader(self) -> None:
        """Set `lost` if nobody can read the other end any more."""
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in self._poll.poll(0)):
            self.lost = True

    async def _flush(self) -> None:
        while self._unsent or self.lost:
            if self.lost:
                raise anyio.BrokenResourceError
            if not self._poll.poll(0):
                await self._wait_for_reader()
                continue
            try:
                written = os.write(self._fd, self._unsent[: self._most])
            except OSError as error:
                self._lose_reader(error)
            else:
                self._unsent = self._unsent[written:]

    async def _wait_for_reader(self) -> None:
        patience = GRACE_S
        while patience > 0:
            with anyio.move_on_after(_LOOK_S):
                await anyio.wait_writable(self._fd)
                return
            if self.is_forsaken():
                patience -= _LOOK_S
        logger.info("the client has ended its input and takes no more answers; the server ends")
        self._lose()

    def _lose_reader(self, error: OSError) -> None:
        if error.errno not in _READER_LEFT:
            logger.error("stdout takes no more answers (%s); the server ends", error)
        self._lose()

    def _lose(self) -> None:
        self.lost = True
        self.on_lost()


class MessageReader(_Closable):
    """The SDK's read stream: valid messages only, since it answers the other lines itself.

    It reads on when the SDK asks for the next message and not before, and hands out no request while too many are
    unanswered: what a client that reads nothing is owed would pile up. At the end of input it first waits for the
    answers still owed (`GRACE_S` at most): the SDK cancels what is in flight as soon as the stream ends.
    """

    def __init__(self, fd: int, writer: MessageWriter, unanswered: Unanswered) -> None:
        self._fd = fd
        self._writer = writer
        writer.on_lost = self._wake
        writer.is_forsaken = self._input_is_over
        self._unanswered = unanswered
        self.on_input_end: Callable[[], None] = lambda: None
        self._lines: deque[bytes] = deque()
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._ended = False
        self._closed = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    async def receive(self) -> SessionMessage:
        """Return the next message; raises EndOfStream, ClosedResourceError."""
        while not self._closed:
            line = await self._next_line()
            if line is None:
                await self._see_answers_out()
                raise anyio.EndOfStream
            if not line.strip():
                continue
            try:
                message = message_in(line)
            except NotAMessage as refused:
                with suppress(anyio.BrokenResourceError):
                    await self._writer.send_line(line_of(refused.answer))
                continue
            if not isinstance(message, JSONRPCRequest):
                return SessionMessage(message)
            await self._wait_for_room()
            if not self._writer.lost:
                return SessionMessage(message, self._unanswered.add(message))
        raise anyio.ClosedResourceError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Read no more; whoever waits in `receive` gets ClosedResourceError."""
        self._closed = True
        anyio.notify_closing(self._fd)

    async def _next_line(self) -> bytes | None:
        while not self._lines and not self._ended and not self._writer.lost:
            await self._read()
        return self._lines.popleft() if self._lines and not self._writer.lost else None

    async def _read(self) -> None:
        # what epoll refuses (a file, the null device) always polls readable and never gets to wait_readable
        if not self._poll.poll(0):
            await self._wait_for_input()
            return
        try:
            chunk = os.read(self._fd, _READ_BYTES)
        except OSError:  # a terminal that hung up, a socket that was reset, a directory
            chunk = b""
        self._ended = not chunk
        first, *others = (chunk or b"\n").split(b"\n")
        if self._partial_bytes <= MOST_LINE_BYTES:  # of what is too long already, no more is kept
            self._partial.append(first)
            self._partial_bytes += len(first)
        if others:
            self._lines.append(b"".join(self._partial))
            self._lines.extend(others[:-1])
            self._partial = others[-1:]
            self._partial_bytes = len(others[-1])
        await anyio.lowlevel.checkpoint()  # an endless file of blank lines would hold the loop for ever

    async def _wait_for_input(self) -> None:
        try:
            await anyio.wait_readable(self._fd)
        except anyio.ClosedResourceError:
            if self._closed:
                raise

    async def _wait_for_room(self) -> None:
        while not (self._unanswered.has_room or self._writer.lost or self._closed):
            await self._unanswered.wait(_LOOK_S)
            self._writer.look_for_reader()

    def _input_is_over(self) -> bool:
        return self._ended or any(events & select.POLLHUP for _, events in self._poll.poll(0))

    def _wake(self) -> None:
        anyio.notify_closing(self._fd)
        self._unanswered.wake()

    async def _see_answers_out(self) -> None:
        self.on_input_end()
        with anyio.move_on_after(GRACE_S):
            while self._unanswered and not self._writer.lost:
                await self._unanswered.wait(_LOOK_S)
                self._writer.look_for_reader()
