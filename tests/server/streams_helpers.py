"""A small MCP server over our streams, in this process or as a program of its own, and what to send it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, TextContent, Tool

from meshfleet.server.lines import line_streams
from meshfleet.server.stdio import claimed_stdio
from meshfleet.server.streams import MessageReader, MessageWriter

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
PROGRAM = [sys.executable, __file__]
Handler = Callable[[], Awaitable[None]]


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


@asynccontextmanager
async def stdio_streams() -> AsyncGenerator[tuple[MessageReader, MessageWriter]]:
    """Serve stdin and stdout, which are claimed meanwhile; raises what `claimed_stdio` does."""
    with claimed_stdio() as (fd_in, fd_out):
        async with message_streams(fd_in, fd_out) as streams:
            yield streams


@asynccontextmanager
async def message_streams(fd_in: int, fd_out: int) -> AsyncGenerator[tuple[MessageReader, MessageWriter]]:
    """Have the SDK speak over two descriptors of any kind, or one twice; they stay the caller's to close."""
    async with line_streams(fd_in, fd_out) as (lines, writer):
        yield MessageReader(lines), MessageWriter(writer)


def sample_server(wait: Handler = anyio.sleep_forever) -> Server[Any]:
    """Return a server whose tools echo, wait, crash, or put stray text where the protocol should be."""

    async def call_tool(_: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> CallToolResult:
        text = str((params.arguments or {}).get("text", "done"))
        if params.name == "wait":
            await wait()
        if params.name == "crash":
            raise ValueError(text)
        if params.name == "stray":
            text = "silent" if os.path.samestat(os.fstat(0), os.stat(os.devnull)) else "open"  # noqa: PTH116
            print("a stray print")  # noqa: T201 - it is the point
            subprocess.run(["/bin/sh", "-c", "echo a stray child; cat"], check=True)  # noqa: ASYNC221
        return CallToolResult(content=[TextContent(type="text", text=text)])

    async def list_tools(*_: object) -> ListToolsResult:
        return ListToolsResult(tools=[Tool(name="echo", input_schema={"type": "object"})])

    return Server("sample", on_call_tool=call_tool, on_list_tools=list_tools)


async def serve(fd_in: int, fd_out: int, wait: Handler = anyio.sleep_forever) -> None:
    """Serve two descriptors until their input ends."""
    server = sample_server(wait)
    async with message_streams(fd_in, fd_out) as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


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


async def main() -> None:
    server = sample_server()
    async with stdio_streams() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


@asynccontextmanager
async def streams_over(wire: Wire) -> AsyncGenerator[tuple[MessageReader, MessageWriter]]:
    """Have the SDK speak over the server's ends of pipes, for 10 s at most."""
    with anyio.fail_after(10):
        async with message_streams(wire.server_in, wire.server_out) as both:
            yield both


if __name__ == "__main__":
    anyio.run(main)
