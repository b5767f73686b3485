"""A terminal of a given width for a command to be run in."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Final

_TAKES_IT: Final = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
# whoever runs the tests in the background may have it ignored, which a child would inherit
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the terminal of a command, so that Ctrl-C reaches it."""
PATIENCE_S: Final = 60.0
_ESCAPES: Final = re.compile(r"\x1b(\[[0-9;?>=]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>])|[\r\x07\x0f]")


class Terminal:
    """What a person at a terminal sees and does.

    Args:
        descriptor: Our end of it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._got = b""
        self._read = 0

    def press(self, keys: str) -> None:
        """Press keys."""
        data = keys.encode()
        while data:
            data = data[os.write(self._descriptor, data) :]

    def read_until(self, pattern: str) -> str:
        """What it shows since the last time, up to this."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self._unread())):
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} in {self._unread()!r}")
            self._got += os.read(self._descriptor, 65_536)
        said = self._unread()[: found.end()]
        self._read += found.end()
        return said

    def _unread(self) -> str:
        """What has come, without what moves and colours."""
        return _ESCAPES.sub("", self._got.decode(errors="replace"))[self._read :]


@contextmanager
def on_a_terminal(command: list[str], *, cwd: Path, environ: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a command on a terminal of its own, and end it afterwards."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    environ = {**environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKES_IT, *command], cwd=cwd, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        yield Terminal(ours)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)
        os.close(ours)


def in_terminal(
    arguments: list[str], ledger: Path, *, columns: int, errors_too: bool = False, cwd: Path | None = None, **more: str
) -> tuple[int, str]:
    """Run the command with a terminal as its standard output; returns the exit code and what the terminal got.

    Args:
        arguments: What `meshfleet` is given.
        ledger: The ledger.
        columns: How wide the terminal is.
        errors_too: Whether it is standard error as well.
        cwd: Where the command is run.
        more: Variables it gets.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {**os.environ, "MESHFLEET_DATA_FILE": str(ledger), **more}
    environ.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "meshfleet", *arguments],
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs if errors_too else None,
    )
    os.close(theirs)
    got: list[bytes] = []
    reader = Thread(target=_read_all, args=(ours, got))
    reader.start()
    code = process.wait(timeout=60)
    reader.join(timeout=60)
    os.close(ours)
    return code, b"".join(got).decode().replace("\r\n", "\n")


def _read_all(terminal: int, got: list[bytes]) -> None:
    try:
        while chunk := os.read(terminal, 65_536):
            got.append(chunk)
    except OSError:  # Linux says so that nobody has it open any more
        return
