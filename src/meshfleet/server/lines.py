"""JSON-RPC messages over stdin and stdout, or any descriptors; what a line says is left to envelope.py.

The SDK's `stdio_server` drops what it can't parse unanswered, loses requests that are in flight at the end of
input, and passes every line through two threads. Here the descriptors are read and written directly, and what is no
message is answered at once. O_NONBLOCK is never set: the flag would belong to every process that shares the terminal
or the pipe.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import stat
import struct
import termios
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.lowlevel

from meshfleet.server.envelope import MOST_LINE_BYTES, Call, Message, NotAMessage, RequestId, message_in
from meshfleet.server.unanswered import Unanswered

GRACE_S: Final = 10.0
"""How long after the end of input the answers to requests already read are waited for."""
_LAST_LINE_S: Final = 1.0  # for the rest of a line whose sender was cancelled
_LOOK_S: Final = 0.25  # a reader that leaves during the grace wakes nobody; this often it is looked for
_LINGER_S: Final = 0.000_15  # about what a client takes to ask on
_READ_BYTES: Final = 65_536
_FILE_BYTES: Final = 1_048_576
_PIPE_SIZE: Final[int | None] = getattr(fcntl, "F_GETPIPE_SZ", None)
_READER_LEFT: Final = frozenset({errno.EPIPE, errno.ECONNRESET})

logger = logging.getLogger(__name__)


@asynccontextmanager
async def line_streams(
    fd_in: int, fd_out: int, already_read: bytes = b""
) -> AsyncGenerator[tuple[LineReader, LineWriter]]:
    """Speak the protocol over two descriptors of any kind, or one twice; they stay the caller's to close.

    Args:
        fd_in: What is read.
        fd_out: What is written.
        already_read: What somebody has read of it and left to be answered.
    """
    writer = LineWriter(fd_out, Unanswered())
    async with writer, LineReader(fd_in, writer, already_read) as reader:
        yield reader, writer


class Closable:
    """The asynchronous `with` that the SDK's stream protocols ask for."""

    async def aclose(self) -> None:
        """Take part in nothing more."""
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


class LineWriter(Closable):
    """Writes lines straight to the descriptor, whole and in order.

    Attributes:
        unanswered: The requests whose answers are still to be written.
        lost: The reader of the other end has gone; every write raises BrokenResourceError from then on.
        on_lost: Called when a write finds that out.
        is_forsaken: Says whether the client has ended its input; if it then takes nothing for `GRACE_S`, it has gone.
    """

    def __init__(self, fd: int, unanswered: Unanswered) -> None:
        self._fd = fd
        self.unanswered: Final = unanswered
        self._turn = anyio.Lock(fast_acquire=True)
        self._unsent = memoryview(b"")
        self._closed = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        # a pipe that polls writable takes this much without blocking, more may block; a file always takes all
        kind = os.fstat(fd).st_mode
        self._most = _FILE_BYTES if stat.S_ISREG(kind) else select.PIPE_BUF
        # and an empty one as much as it holds, where the system tells
        self._pipe = fcntl.fcntl(fd, _PIPE_SIZE) if stat.S_ISFIFO(kind) and _PIPE_SIZE is not None else 0
        self.lost = False
        self.on_lost: Callable[[], None] = unanswered.wake
        self.is_forsaken: Callable[[], bool] = lambda: False

    def takes(self, line: bytes) -> bool:
        """Whether a line written now has to wait for nobody."""
        return not self._unsent and not self._turn.locked() and len(line) <= self._room()

    async def answer(self, request_id: RequestId, line: bytes) -> None:
        """Write the line that answers a request; raises as `send_line` does."""
        await self.send_line(line)
        self.unanswered.settle(request_id)

    async def send_line(self, line: bytes) -> None:
        """Return when a line, its newline included, is written; raises BrokenResourceError, ClosedResourceError.

        The rest of a line whose sender is cancelled goes out before the next one.
        """
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
            room = self._room()
            if not room:
                await self._wait_for_reader()
                continue
            try:
                written = os.write(self._fd, self._unsent[:room])
            except OSError as error:
                self._lose_reader(error)
            else:
                self._unsent = self._unsent[written:]

    def _room(self) -> int:
        """How many bytes can be written now without waiting for somebody to read."""
        if not self._poll.poll(0):
            return 0
        return self._pipe if self._pipe and not _unread(self._fd) else self._most

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


class LineReader(Closable):
    """Reads messages: valid ones only, since it answers the other lines itself.

    It reads on when it is asked for the next message and not before, and hands out no request while too many are
    unanswered: what a client that reads nothing is owed would pile up. At the end of input it first waits for the
    answers still owed (`GRACE_S` at most): who asks for messages cancels what is in flight as soon as they end.

    Attributes:
        unanswered: The requests it has handed out that are still to be answered.
        on_input_end: Called when the client has said its last word.
    """

    def __init__(self, fd: int, writer: LineWriter, already_read: bytes = b"") -> None:
        self._fd = fd
        self._writer = writer
        writer.on_lost = self._wake
        writer.is_forsaken = self._input_is_over
        self.unanswered: Final = writer.unanswered
        self.on_input_end: Callable[[], None] = lambda: None
        self._lines: deque[bytes] = deque()
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._ended = False
        self._closed = False
        self._handed_out = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        if already_read:
            self._take(already_read)

    async def receive(self) -> Message:
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
                    await self._writer.send_line(refused.answer)
                continue
            if not isinstance(message, Call) or message.id is None:
                return message
            await self._wait_for_room()
            if not self._writer.lost:
                self.unanswered.add(message.id)
                self._handed_out = True
                return message
        raise anyio.ClosedResourceError

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
        if not self._has_input():
            await self._wait_for_input()
            return
        try:
            chunk = os.read(self._fd, _READ_BYTES)
        except OSError:  # a terminal that hung up, a socket that was reset, a directory
            chunk = b""
        self._ended = not chunk
        self._take(chunk or b"\n")
        await anyio.lowlevel.checkpoint()  # an endless file of blank lines would hold the loop for ever

    def _take(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        if self._partial_bytes <= MOST_LINE_BYTES:  # of what is too long already, no more is kept
            self._partial.append(first)
            self._partial_bytes += len(first)
        if others:
            self._lines.append(b"".join(self._partial))
            self._lines.extend(others[:-1])
            self._partial = others[-1:]
            self._partial_bytes = len(others[-1])

    def _has_input(self) -> bool:
        if self._poll.poll(0):
            return True
        # who was just answered mostly asks on before this thread could go to sleep and be woken
        until = time.perf_counter() + _LINGER_S if self._handed_out and not self.unanswered else 0.0
        self._handed_out = False
        while time.perf_counter() < until:
            if self._poll.poll(0):
                return True
        return False

    async def _wait_for_input(self) -> None:
        try:
            await anyio.wait_readable(self._fd)
        except anyio.ClosedResourceError:
            if self._closed:
                raise

    async def _wait_for_room(self) -> None:
        while not (self.unanswered.has_room or self._writer.lost or self._closed):
            await self.unanswered.wait(_LOOK_S)
            self._writer.look_for_reader()

    def _input_is_over(self) -> bool:
        return self._ended or any(events & select.POLLHUP for _, events in self._poll.poll(0))

    def _wake(self) -> None:
        anyio.notify_closing(self._fd)
        self.unanswered.wake()

    async def _see_answers_out(self) -> None:
        self.on_input_end()
        with anyio.move_on_after(GRACE_S):
            while self.unanswered and not self._writer.lost:
                await self.unanswered.wait(_LOOK_S)
                self._writer.look_for_reader()


def _unread(fd: int) -> int:
    """The bytes in a pipe that nobody has read yet."""
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))
    return int(count)
