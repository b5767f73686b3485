"""`meshfleet` by a Python that has loaded it before: each time a process of its own, forked, without the loading.

Loading takes up to nine tenths of what a command that does little costs. Tests that are about how a process starts,
about its signals or its terminal start one themselves.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 60.0
LOADED: Final = (
    "meshfleet.cli.agents",
    "meshfleet.cli.app",
    "meshfleet.cli.completion.answering",
    "meshfleet.cli.events",
    "meshfleet.cli.init",
    "meshfleet.cli.ledger",
    "meshfleet.cli.looking",
    "meshfleet.cli.progress",
    "meshfleet.cli.sights",
    "meshfleet.cli.spawning",
    "meshfleet.cli.trails",
    "meshfleet.cli.wording",
)
_AT_ITS_START: Final = ("LANG", "LC_", "PYTHON")
"""How the variables begin that a Python heeds only as it starts."""
_NUMBER: Final = struct.Struct("!q")
_python: _Python | None = None


class _Python:
    """Our end of it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self.environ: Final = dict(os.environ)
        self._is_at_work = False
        with theirs:
            # it leaves itself to init: there are tests that look which children a worker has
            subprocess.run(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                timeout=PATIENCE_S,
                check=True,
            )
        self._socket.settimeout(PATIENCE_S)

    def start(self, wanted: Mapping[str, Any], descriptors: list[int]) -> int:
        """Have it fork a process that is given these as its standard streams; returns its pid."""
        assert not self._is_at_work, "what an earlier test started has not ended"
        self._is_at_work = True
        line = json.dumps(wanted).encode()
        socket.send_fds(self._socket, [_NUMBER.pack(len(line))], descriptors)
        self._socket.sendall(line)
        return self._number()

    def wait(self) -> int:
        """The exit status of the process it has started."""
        status = self._number()
        self._is_at_work = False
        return status

    def end(self) -> None:
        """Have it end, as it does when a worker is killed, too."""
        with self._socket:
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.recv(1)

    def _number(self) -> int:
        return int(_NUMBER.unpack(_received(self._socket, _NUMBER.size))[0])


@contextmanager
def prepared_python() -> Generator[None]:
    """Have one, for `run`."""
    global _python  # noqa: PLW0603 - one for all tests of a worker, whose helpers are plain functions
    _python = _Python()
    try:
        yield
    finally:
        _python.end()
        _python = None


def run(
    *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None, says: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `meshfleet`, in pipes, as subprocess.run does.

    Args:
        arguments: What it is given.
        cwd: Where; by default here.
        environ: The variables it gets; by default ours.
        says: What it reads on standard input.
    """
    assert _python is not None, "prepared_python has to come first"
    given = dict(os.environ if environ is None else environ)
    odd = [
        name
        for name in {*given, *_python.environ}
        if name.startswith(_AT_ITS_START) and given.get(name) != _python.environ.get(name)
    ]
    assert not odd, f"a Python that runs already heeds no {', '.join(odd)}; start one"
    wanted = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "environ": given}
    pipes = [os.pipe() for _ in range(3)]
    (stdin, writing), (reading, stdout), (complaining, stderr) = pipes
    pid = _python.start(wanted, [stdin, stdout, stderr])
    for theirs in (stdin, stdout, stderr):
        os.close(theirs)
    said = _talk(pid, writing, says.encode(), [reading, complaining])
    told, complained = (text.decode().replace("\r\n", "\n") for text in said)
    return subprocess.CompletedProcess(["meshfleet", *arguments], _python.wait(), told, complained)


def _talk(pid: int, writing: int, says: bytes, reading: list[int]) -> list[bytes]:
    """Write to a process and read what it says until it says no more; kill it where that takes too long."""
    said = dict.fromkeys(reading, b"")
    os.set_blocking(writing, False)
    deadline = time.monotonic() + PATIENCE_S
    with selectors.DefaultSelector() as selector:
        selector.register(writing, selectors.EVENT_WRITE)
        for descriptor in reading:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(pid, signal.SIGKILL)
                deadline = time.monotonic() + PATIENCE_S
            for key, _ in ready:
                if key.fd == writing:
                    says = _written(writing, says)
                    is_over = not says
                else:
                    chunk = os.read(key.fd, 65_536)
                    said[key.fd] += chunk
                    is_over = not chunk
                if is_over:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return list(said.values())


def _written(descriptor: int, says: bytes) -> bytes:
    try:
        return says[os.write(descriptor, says) :] if says else b""
    except BrokenPipeError:
        return b""


def _received(source: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        chunk = source.recv(size - len(got))
        if not chunk:
            raise EOFError
        got += chunk
    return got


def _next_command(source: socket.socket) -> list[str]:
    """Fork for each command that is wanted; returns its arguments in the process that is to run it."""
    is_loaded = False
    while True:
        header, descriptors, _, _ = socket.recv_fds(source, _NUMBER.size, 3)
        if not header:
            os._exit(0)
        header += _received(source, _NUMBER.size - len(header))
        wanted = json.loads(_received(source, _NUMBER.unpack(header)[0]))
        if not is_loaded:
            for name in LOADED:
                __import__(name)
            gc.freeze()
            is_loaded = True
        pid = os.fork()
        if pid == 0:
            source.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(wanted["environ"])
            time.tzset()
            os.chdir(wanted["cwd"])
            return list(wanted["arguments"])
        for descriptor in descriptors:
            os.close(descriptor)
        source.sendall(_NUMBER.pack(pid))
        _, status = os.waitpid(pid, 0)
        source.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    if os.fork() > 0:
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.argv[1:] = _next_command(socket.socket(fileno=int(sys.argv[1])))
    # whoever runs the tests in the background may have it ignored, which a command would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module("meshfleet", run_name="__main__", alter_sys=True)
