"""A small MCP server over our streams; apart from its helpers, so that a process of it loads no more than it needs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, TextContent, Tool

from meshfleet.server.lines import line_streams
from meshfleet.server.stdio import claimed_stdio
from meshfleet.server.streams import MessageReader, MessageWriter

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

Handler = Callable[[], Awaitable[None]]


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


async def main() -> None:
    server = sample_server()
    async with stdio_streams() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())
