"""A program that is spoken to in lines, and that ends, with all it started, when nobody speaks to it any more."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, cast

import anyio

#: Seconds a program has to end by itself once its input is closed, and again once it is told to.
PATIENCE_S: Final = 2.0
_LOOK_S: Final = 0.01
_READ_BYTES: Final = 65_536
#: What a line may have of bytes; the server's own are far shorter.
MOST_LINE_BYTES: Final = 64 * 1024 * 1024
#: What every program gets to see unless it is told otherwise.
_INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")


class Gone(Exception):
    """The program takes no more lines, or says none."""


class Child:
    """A program in a process group of its own, where no Ctrl-C of a terminal reaches it; use as `async with`.

    Args:
        command: What starts it.
        environment: All it gets to see, but for HOME, PATH and the like where they are not in it.
        cwd: Where it works.
        stderr: The file its stderr goes to.

    Raises:
        OSError: It can't be started.
        ValueError: Its command, or its environment, is none that any program can be started with.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, stderr: IO[bytes]) -> None:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._process = subprocess.Popen(
            command,
            env={**inherited, **environment},
            cwd=cwd,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self._stdin.fileno(), False)
        self._lines: deque[bytes] = deque()
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._is_silent = False

    async def send(self, line: bytes) -> None:
        """Write a line, its newline included; raises Gone."""
        unsent = memoryview(line)
        while unsent:
            await anyio.wait_writable(self._stdin)
            try:
                unsent = unsent[os.write(self._stdin.fileno(), unsent) :]
            except OSError:
                raise Gone("it has ended") from None

    async def receive_line(self) -> bytes:
        """Return the next line; raises Gone."""
        while not self._lines:
            if self._is_silent:
                raise Gone("it has ended")
            self._take(await self._read())
        return self._lines.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._end()

    async def _end(self) -> None:
        self._stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if await self._has_ended():
                break
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        else:
            await self._has_ended()
        self._stdout.close()

    async def _has_ended(self) -> bool:
        with anyio.move_on_after(PATIENCE_S):
            while self._process.poll() is None:
                # what still has something to say can't end before somebody reads it
                with anyio.move_on_after(_LOOK_S):
                    await (anyio.sleep_forever() if self._is_silent else self._read())
        return self._process.poll() is not None

    async def _read(self) -> bytes:
        await anyio.wait_readable(self._stdout)
        chunk = os.read(self._stdout.fileno(), _READ_BYTES)
        self._is_silent = not chunk
        return chunk

    def _take(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        self._partial.append(first)
        self._partial_bytes += len(first)
        if others:
            self._lines.append(b"".join(self._partial))
            self._lines.extend(others[:-1])
            self._partial = others[-1:]
            self._partial_bytes = len(others[-1])
        if self._partial_bytes > MOST_LINE_BYTES:
            raise Gone(f"it says a line of more than {MOST_LINE_BYTES} bytes")
