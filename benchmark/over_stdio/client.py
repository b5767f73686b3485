"""A light MCP client: one request at a time, each made beforehand, so that the server is what is measured."""

from __future__ import annotations

import json
import os
import re
import select
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 60.0
"""How long an answer may take, in seconds, before its server counts as hanging."""
LEAVING_S: Final = 10.0
HELLO: Final = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "1"},
}
_GREETED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
_ANSWER: Final = re.compile(rb'\{(?:"jsonrpc": ?"2\.0", ?)?(?:"id": ?"?\w+"?, ?)?"(?:result|error)"')
"""How nearly all answers begin; of other lines it takes a look at the whole to tell."""


class Dead(Exception):
    """The server has ended, or hangs."""


class Refused(Exception):
    """A call was answered with an error."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Requests that were answered one after the other.

    Attributes:
        seconds: All of them together took.
        each: How long each took, from the first byte written to the last one read.
        answers: The lines, unread.
    """

    seconds: float
    each: list[float]
    answers: list[bytes]


class Client:
    """A server that was just started.

    Args:
        command: The program and its arguments.
        environ: Its environment.
        cwd: The folder it is started in.
        complaints: The file its stderr is added to.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], cwd: Path, complaints: Path) -> None:
        self.began = time.perf_counter()
        try:
            with complaints.open("ab") as errors:
                self.process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=environ,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    bufsize=0,
                )
        except OSError as error:
            raise Dead(f"could not be started: {os.strerror(error.errno or 0)}") from None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._read_parts: list[bytes] = []
        self._count = 0

    def fileno(self) -> int:
        """What is readable when an answer comes."""
        return self._out

    def greet(self) -> dict[str, Any]:
        """Shake hands; returns the server's side of it."""
        answer = self.ask("initialize", HELLO)
        self.write(_GREETED)
        return answer

    def hail(self) -> None:
        """Shake hands, and do not wait for the server's side of it, which is the first answer."""
        self.write(self.request("initialize", HELLO) + _GREETED)

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a method returns.

        Raises:
            Dead: The server has ended or does not answer.
            Refused: It answers with an error.
        """
        return result_in(self.run([self.request(method, params or {})]).answers[0])

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The object a tool returns; raises as `ask` does, also for a result that is an error."""
        return object_in(self.run([self.request_of(tool, **arguments)]).answers[0])

    def post(self, tool: str, /, **arguments: Any) -> int:
        """Call a tool, and do not wait for what it returns; returns the id that the answer will have. Raises Dead."""
        self.write(self.request_of(tool, **arguments))
        return self._count

    def request(self, method: str, params: Mapping[str, Any]) -> bytes:
        """The line of a request, with an id of its own."""
        self._count += 1
        return _line({"jsonrpc": "2.0", "id": self._count, "method": method, "params": params})

    def request_of(self, tool: str, /, **arguments: Any) -> bytes:
        """The line of a call."""
        return self.request("tools/call", {"name": tool, "arguments": arguments})

    def run(self, requests: Sequence[bytes]) -> Timed:
        """Send requests, each when the one before is answered.

        Raises:
            Dead: The server has ended or does not answer.
        """
        each, answers = [], []
        began = time.perf_counter()
        for request in requests:
            sent = time.perf_counter()
            self.write(request)
            line = self.answer()
            each.append(time.perf_counter() - sent)
            answers.append(line)
        return Timed(time.perf_counter() - began, each, answers)

    def write(self, line: bytes) -> None:
        """Hand the server a line."""
        rest, deadline = memoryview(line), time.monotonic() + PATIENCE_S
        while rest:
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                self._wait(self._in, select.POLLOUT, deadline)
            except OSError:
                raise Dead(self._how_it_died()) from None

    def answer(self) -> bytes:
        """The next answer; raises Dead."""
        return self._answer_by(time.monotonic() + PATIENCE_S)

    def answer_so_far(self) -> bytes | None:
        """The next answer if it is there by now; raises Dead."""
        while (line := self._line_so_far()) is not None:
            if _ANSWER.match(line):
                return line
            message = json.loads(line)
            if "method" not in message:
                return line
            if "id" in message:
                self._decline(message)
        return None

    def leave(self, patience_s: float = LEAVING_S) -> list[bytes]:
        """Close its input, as a client that ends does; one that does not end by that is killed.

        Args:
            patience_s: How long it may take to end, in seconds.

        Returns:
            The answers that nobody has read.
        """
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        # what the number stands for next is nobody's to write to
        self._in = -1
        answers, deadline = [], time.monotonic() + patience_s
        with suppress(Dead):
            while True:
                answers.append(self._answer_by(deadline))
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        return answers + self.kill()

    def kill(self) -> list[bytes]:
        """End it at once, and give back what it held; returns the answers that nobody has read."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        answers = []
        with suppress(Dead):
            while not self.process.stdout.closed and (line := self.answer_so_far()) is not None:
                answers.append(line)
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()
        return answers

    def _answer_by(self, deadline: float) -> bytes:
        while True:
            line = self.answer_so_far()
            if line is not None:
                return line
            self._wait(self._out, select.POLLIN, deadline)

    def _decline(self, message: dict[str, Any]) -> None:
        """A request of the server's: nothing is offered here."""
        answer = (
            {"result": {}} if message["method"] == "ping" else {"error": {"code": -32601, "message": "not offered"}}
        )
        self.write(_line({"jsonrpc": "2.0", "id": message["id"], **answer}))

    def _line_so_far(self) -> bytes | None:
        while not (self._read_parts and b"\n" in self._read_parts[-1]):
            try:
                chunk = os.read(self._out, 1 << 20)
            except BlockingIOError:
                return None
            if not chunk:
                raise Dead(self._how_it_died())
            self._read_parts.append(chunk)
        line, _, rest = b"".join(self._read_parts).partition(b"\n")
        self._read_parts = [rest] if rest else []
        return line

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise Dead(f"did not answer within {PATIENCE_S:g} s")

    def _how_it_died(self) -> str:
        try:
            return f"ended with exit code {self.process.wait(LEAVING_S)}"
        except subprocess.TimeoutExpired:
            return "closed its output"


def heard(clients: selectors.BaseSelector) -> Iterator[tuple[Client, bytes]]:
    """The answers that have come to those of several clients that are registered, once there is something to read.

    Raises:
        Dead: One of them has ended, or none of them answers.
    """
    ready = clients.select(PATIENCE_S)
    if not ready:
        raise Dead(f"did not answer within {PATIENCE_S:g} s")
    for key, _ in ready:
        client = key.fileobj
        assert isinstance(client, Client)
        answer = client.answer_so_far()
        if answer is not None:
            yield client, answer


def result_in(line: bytes) -> dict[str, Any]:
    """The result that an answer has.

    Raises:
        Refused: It has an error instead.
    """
    answer = json.loads(line)
    if "result" not in answer:
        raise Refused(str(answer.get("error", {}).get("message", answer))[:200])
    result: dict[str, Any] = answer["result"]
    return result


def object_in(line: bytes) -> dict[str, Any]:
    """The object that a tool returned; raises as `result_in` does, also for a result that is an error."""
    result = result_in(line)
    if result.get("isError"):
        raise Refused(str(result["content"][0]["text"])[:200])
    found = result.get("structuredContent")
    if not isinstance(found, dict):
        found = json.loads(result["content"][0]["text"])
    return found if isinstance(found, dict) else {"value": found}


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
