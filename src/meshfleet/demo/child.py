"""A program that is spoken to in lines, and that ends, with all it started, when nobody speaks to it any more."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

#: Seconds a program has to end by itself once its input is closed, and again once it is told to.
PATIENCE_S: Final = 2.0
#: What a line may have of bytes; the server's own are far shorter.
MOST_LINE_BYTES: Final = 64 * 1024 * 1024
#: What every program gets to see unless it is told otherwise.
_INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")


class Gone(Exception):
    """The program takes no more lines, or says none."""


class Child:
    """A program that runs, and what is said to it and by it."""

    def __init__(self, to: ByteSendStream, by: ByteReceiveStream) -> None:
        self._to = to
        self._by = BufferedByteReceiveStream(by)

    async def send(self, line: bytes) -> None:
        """Write a line, its newline included; raises Gone."""
        try:
            await self._to.send(line)
        except (anyio.BrokenResourceError, OSError):
            raise Gone("it has ended") from None

    async def receive_line(self) -> bytes:
        """Return the next line without its newline; raises Gone."""
        try:
            return await self._by.receive_until(b"\n", MOST_LINE_BYTES)
        except anyio.IncompleteRead:
            raise Gone("it has ended") from None
        except anyio.DelimiterNotFound:
            raise Gone(f"it says a line of more than {MOST_LINE_BYTES} bytes") from None


@asynccontextmanager
async def running(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path, stderr: IO[bytes]
) -> AsyncGenerator[Child]:
    """Run a program in a process group of its own, where no Ctrl-C of a terminal reaches it.

    Args:
        command: What starts it.
        environment: All it gets to see, but for HOME, PATH and the like where they are not in it.
        cwd: Where it works.
        stderr: The file its stderr goes to.

    Raises:
        OSError: It can't be started.
        ValueError: Its command, or its environment, is none that any program can be started with.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    process = await anyio.open_process(
        command, env={**inherited, **environment}, cwd=cwd, stderr=stderr, start_new_session=True
    )
    to, by = cast("ByteSendStream", process.stdin), cast("ByteReceiveStream", process.stdout)
    try:
        yield Child(to, by)
    finally:
        with anyio.CancelScope(shield=True):
            await to.aclose()
            async with anyio.create_task_group() as tasks:
                # what still has something to say can't end before somebody reads it
                tasks.start_soon(_hear_out, by)
                await _end(process)
                tasks.cancel_scope.cancel()
            await process.aclose()


async def _hear_out(by: ByteReceiveStream) -> None:
    async for _ in by:
        pass


async def _end(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with anyio.move_on_after(PATIENCE_S):
            await process.wait()
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    await process.wait()
