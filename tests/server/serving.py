"""`meshfleet serve` as a process of its own, spoken to line by line, and what its ledger holds beforehand."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from meshfleet.mesh.settlement import Outcome, settle_attempt
from tests.mesh.fleets import fleet_of, open_ledger, send, start_all
from tests.server.streams_helpers import HELLO, call

SERVE: Final = [sys.executable, "-m", "meshfleet", "serve"]
PATIENCE_S: Final = 20
_OWN: Final = ("MESHFLEET_", "AGENT_MESH_", "OPENCODE")


def environ_for(ledger_file: Path, **more: str) -> dict[str, str]:
    """The environment of a server on this ledger, without any variable of the user's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    home = ledger_file.parent.parent / "home"
    home.mkdir(exist_ok=True)
    return {**inherited, "HOME": str(home), "MESHFLEET_DATA_FILE": str(ledger_file), **more}


class RawServer:
    """A server process whose every line on stdout is checked to be a JSON-RPC message."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self.process = process
        self._errors = errors
        self._unread = b""

    @property
    def stderr(self) -> str:
        """What the server has complained of so far."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def send(self, data: bytes) -> None:
        """Write lines to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next message it writes."""
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in self._unread:
            self._unread += self._read(deadline) or self._ended()
        line, _, self._unread = self._unread.partition(b"\n")
        return _message(line)

    def ask(self, data: bytes) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        self.send(data)
        return self.receive()

    def call(self, name: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool; returns the result of the JSON-RPC response."""
        answer = self.ask(call(name, name, **arguments))
        assert answer["id"] == name
        result: dict[str, Any] = answer["result"]
        return result

    def end(self) -> list[dict[str, Any]]:
        """Close its stdin; returns what it still wrote once it has closed its stdout."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.rest()

    def rest(self) -> list[dict[str, Any]]:
        """Everything it writes until it closes its stdout."""
        deadline = time.monotonic() + PATIENCE_S
        while chunk := self._read(deadline):
            self._unread += chunk
        assert not self._unread or self._unread.endswith(b"\n")
        return [_message(line) for line in self._unread.splitlines()]

    def _read(self, deadline: float) -> bytes:
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
        assert ready, f"the server said nothing for {PATIENCE_S} s; its stderr: {self.stderr}"
        return os.read(fd, 1_000_000)

    def _ended(self) -> bytes:
        raise AssertionError(f"the server ended: {self.stderr}")


@contextmanager
def raw_server(
    environ: Mapping[str, str], command: Sequence[str] = SERVE, *, hello: bool = True
) -> Generator[RawServer]:
    """A server process that has been greeted; it is killed at the end if it has not ended by then."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environ) as process,
    ):
        server = RawServer(process, errors)
        try:
            if hello:
                server.send(HELLO)
                assert "result" in server.receive()
            yield server
        finally:
            process.kill()


def _message(line: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(line, parse_constant=_refuse)
    assert message["jsonrpc"] == "2.0"
    assert ("method" in message) or (("result" in message) != ("error" in message))
    return message


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def refusal_in(result: Mapping[str, Any]) -> str:
    """The text of a refused call's error, which is all the result holds."""
    assert result["isError"] is True
    assert result.get("structuredContent") is None
    [content] = result["content"]
    assert content["type"] == "text"
    told = json.loads(content["text"])
    assert told.keys() == {"error"}
    error = told["error"]
    assert isinstance(error, str)
    return error


def said_in(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a call that was not refused answered."""
    assert result["isError"] is False, result
    said: dict[str, Any] = result["structuredContent"]
    return said


@dataclass(frozen=True)
class Prepared:
    """A ledger with one fleet that has ended, another one, and a message; nothing of it waits to be started."""

    ledger_file: Path
    fleet_id: str
    agents: list[str]
    stranger: str
    message_id: str


def prepare(ledger_file: Path, *roles: str) -> Prepared:
    """Write a ledger whose files stay as they are until somebody writes to it."""
    ledger_file.parent.mkdir(exist_ok=True)
    ledger = open_ledger(ledger_file)
    fleet_id, agents = fleet_of(ledger, *(roles or ("Explorer", "Analyst", "Engineer")))
    _, (stranger,) = fleet_of(ledger, "Stranger")
    for agent_id, number in start_all(ledger):
        settle_attempt(ledger, agent_id, number, Outcome(ok=True, output="done"))
    message_id = send(ledger, fleet_id, agents[1], "a first message", sender=agents[0])["message_id"]
    ledger.close()
    return Prepared(ledger_file, fleet_id, agents, stranger, message_id)


def fake_opencode(folder: Path) -> Path:
    """A program that begins like OpenCode and then sits there."""
    path = folder / "opencode"
    path.write_text(
        "#!/bin/sh\n"
        """printf '{"type":"step_start","timestamp":1,"sessionID":"ses_fake","part":{}}\\n'\n"""
        "exec sleep 120\n"
    )
    path.chmod(0o755)
    return path


def kill_group(pid: int) -> None:
    """End a started agent, which leads a group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Return once something holds; fail when it never does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)
