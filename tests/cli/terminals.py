"""A terminal of a given width for a command to be run in."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from threading import Thread


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
