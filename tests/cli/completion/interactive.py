"""Real shells on a pseudo-terminal, in which keys are pressed as a person presses them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

PATIENCE_S: Final = 60.0
TAB: Final = "\t"
_ESCAPES: Final = re.compile(r"\x1b(\[[0-9;?>=]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>])|[\r\x07\x0f]")
_ON_A_TERMINAL: Final = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
_PROGRAM: Final = """\
#!/bin/sh
case $1 in
__complete | completion) exec "{python}" -P -m meshfleet "$@" ;;
esac
printf '%s\\n' "$@" > "{told}"
echo it was' run'
"""
"""Completes as meshfleet does, and writes down what it is told to do instead of doing it."""
_STARTS: Final[Mapping[str, list[str]]] = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--interactive"],
}
_SET_UP: Final[Mapping[str, str]] = {
    "bash": "PS1='ready> '; bind 'set bell-style none'; source <(meshfleet completion bash)",
    "zsh": "PS1='ready> '; bindkey -e; setopt no_beep no_prompt_sp; source <(meshfleet completion zsh)",
    "fish": "function fish_prompt; echo 'ready> '; end; meshfleet completion fish | source",
}
SHELLS: Final = tuple(_STARTS)


class Interactive:
    """A shell that has read the script of `meshfleet completion`."""

    def __init__(self, name: str, terminal: int, told: Path) -> None:
        self.name = name
        self._terminal = terminal
        self._told = told
        self._got = b""
        self._read = 0

    def press(self, keys: str) -> None:
        """Press keys."""
        data = keys.encode()
        while data:
            data = data[os.write(self._terminal, data) :]

    def completed(self, line: str) -> list[str]:
        """The words after the program's name that a line has once Tab was pressed at its end."""
        # what is typed after the Tab is read once the shell is done with it
        self.press(f"{line}{TAB}\r")
        self.read_until("it was run\n")
        self.read_until("ready> ")
        return self._told.read_text(encoding="utf-8").splitlines()

    def read_until(self, pattern: str) -> str:
        """What the terminal shows since the last time, up to this."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self._unread())):
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._terminal], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} in {self._unread()!r}")
            self._got += os.read(self._terminal, 65_536)
        said = self._unread()[: found.end()]
        self._read += found.end()
        return said

    def _unread(self) -> str:
        """What has come, without what moves and colours."""
        return _ESCAPES.sub("", self._got.decode(errors="replace"))[self._read :]


@contextmanager
def interactive(name: str, folder: Path, environ: Mapping[str, str]) -> Iterator[Interactive]:
    """Such a shell, in a folder; skips the test where there is no such shell."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    programs = folder.parent / "programs"
    programs.mkdir(exist_ok=True)
    told, program = programs / "told", programs / "meshfleet"
    program.write_text(_PROGRAM.format(python=sys.executable, told=told), encoding="utf-8")
    program.chmod(0o755)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    path = f"{programs}:{environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL, *_STARTS[name]],
        cwd=folder,
        env={**environ, "PATH": path, "TERM": "xterm", "LC_ALL": "C.UTF-8"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        shell = Interactive(name, ours, told)
        shell.press(f"{_SET_UP[name]}; echo set' up'\r")
        shell.read_until("set up\n")
        shell.read_until("ready> ")
        yield shell
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)
        os.close(ours)
