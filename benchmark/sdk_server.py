"""The official SDK out of the box, with one tool that does nothing: what any server built on it starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent, Tool

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

PING = Tool(name="ping", description="Whether the server answers", input_schema={"type": "object"})


async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=[PING])


async def call_tool(_: ServerRequestContext[Any], __: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text='{"status":"ok"}')], structured_content={"status": "ok"}
    )


async def main() -> None:
    server: Server[Any] = Server("sdk", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
