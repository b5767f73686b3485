"""The small MCP server of sample_server.py as a program of its own or on two pipes, and what to send it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from meshfleet.server.streams import MessageReader, MessageWriter
from tests.server.sample_server import message_streams, serve

needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
RUN_THE_SAMPLE = """
from meshfleet.server.loading import loading
with loading():
    import anyio
    from tests.server.sample_server import main
anyio.run(main)
"""
PROGRAM = [sys.executable, "-c", RUN_THE_SAMPLE]


def line(method: str, request_id: object = None, **params: object) -> bytes:
    """Return one message as a line; a request if it has an id."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if request_id is not None:
        message["id"] = request_id
    if params:
        message["params"] = params
    return json.dumps(message).encode() + b"\n"


def call(request_id: object, name: str, /, **arguments: object) -> bytes:
    return line("tools/call", request_id, name=name, arguments=arguments)


def ping(request_id: object) -> bytes:
    return line("ping", request_id)


HELLO = line(
    "initialize",
    "hello",
    protocolVersion="2025-06-18",
    capabilities={},
    clientInfo={"name": "test", "version": "1"},
) + line("notifications/initialized")


def answers_in(output: bytes) -> list[dict[str, Any]]:
    """Return what a server wrote; whatever is not one JSON-RPC object a line fails here."""
    assert output.endswith(b"\n") or not output
    found = [json.loads(text, parse_constant=_refuse) for text in output.splitlines()]
    for message in found:
        assert message["jsonrpc"] == "2.0"
        assert {"id", "result"} == message.keys() - {"jsonrpc"} or {"id", "error"} == message.keys() - {"jsonrpc"}
    return found


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def run_program(data: bytes, command: Sequence[str] = PROGRAM) -> subprocess.CompletedProcess[bytes]:
    """Return what the server as a program makes of an input that ends at once."""
    return subprocess.run(command, input=data, capture_output=True, timeout=30, check=False)


class Wire:
    """Two pipes: the test holds the client's ends and gives the server's to what it tests."""

    def __init__(self) -> None:
        self.server_in, self.to_server = os.pipe()
        self.from_server, self.server_out = os.pipe()
        self._open = {self.server_in, self.to_server, self.from_server, self.server_out}

    def close(self, *fds: int) -> None:
        for fd in fds:
            os.close(fd)
            self._open.remove(fd)

    def close_all(self) -> None:
        self.close(*self._open)

    def send(self, data: bytes) -> None:
        """Write what fits into the pipe at once."""
        assert os.write(self.to_server, data) == len(data)

    async def read(self, enough: Callable[[bytes], bool] = lambda data: data.endswith(b"\n")) -> bytes:
        data = b""
        while not enough(data):
            await anyio.wait_readable(self.from_server)
            chunk = os.read(self.from_server, 65536)
            if not chunk:
                break
            data += chunk
        return data

    async def read_to_end(self) -> bytes:
        return await self.read(lambda _: False)


async def served_from_file(folder: Path, data: bytes) -> list[dict[str, Any]]:
    """Return what the sample server answers to a file; epoll takes neither end of this."""
    (folder / "in").write_bytes(data)
    with (folder / "in").open("rb") as source, (folder / "out").open("wb") as target, anyio.fail_after(10):
        await serve(source.fileno(), target.fileno())
    return answers_in((folder / "out").read_bytes())


@asynccontextmanager
async def streams_over(wire: Wire) -> AsyncGenerator[tuple[MessageReader, MessageWriter]]:
    """Have the SDK speak over the server's ends of pipes, for 10 s at most."""
    with anyio.fail_after(10):
        async with message_streams(wire.server_in, wire.server_out) as both:
            yield both
