"""The MCP server: offers the tools through the SDK's low-level `Server` and turns refusals into results."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from pydantic import ValidationError

from meshfleet import __version__
from meshfleet.errors import Invalid, MeshfleetError
from meshfleet.mesh.identity import identify_agent
from meshfleet.mesh.texts import shown
from meshfleet.server.instructions import FOR_ORCHESTRATORS, for_agent
from meshfleet.server.offers import offer_resources_and_prompts, refuse_cursor
from meshfleet.server.refusals import wrong_params
from meshfleet.server.tool import Context, JsonObject, Tool
from meshfleet.server.tools import offered_tools
from meshfleet.server.waits import Report

if TYPE_CHECKING:
    from mcp.server.models import InitializationOptions

log = logging.getLogger(__name__)

SERVER_NAME: Final = "meshfleet"

RequestContext = ServerRequestContext[Any]


def build_server(context: Context) -> Server[Any]:
    """The server for one process: with all there is for the orchestrator, with a peer's tools for an agent.

    Raises:
        NotFound: In agent mode, the ledger does not hold the agent.
    """
    agent_id = context.caller.agent_id
    tools = offered_tools(in_agent_mode=agent_id is not None)
    listing = ListToolsResult(tools=[tool.on_the_wire() for tool in tools.values()])
    one_at_a_time = anyio.CapacityLimiter(1)

    async def list_tools(_: RequestContext, params: PaginatedRequestParams | None) -> ListToolsResult:
        try:
            refuse_cursor(params)
        except Invalid as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None
        return listing

    async def call_tool(request: RequestContext, params: CallToolRequestParams) -> CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"there is no tool {shown(params.name)}; there are {', '.join(tools)}")
        if tool.wait is not None:
            return await run_waiting_tool(tool, context, params.arguments or {}, request.session.report_progress)
        # In a thread, so that waiting for the ledger's lock never keeps the protocol waiting; one at a time, so that
        # calls take effect in the order they came.
        return await to_thread.run_sync(run_tool, tool, context, params.arguments or {}, limiter=one_at_a_time)

    instructions = FOR_ORCHESTRATORS if agent_id is None else for_agent(identify_agent(context.ledger, agent_id))
    server = _MeshServer(
        SERVER_NAME,
        version=__version__,
        instructions=instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware.append(_name_wrong_params)
    if agent_id is None:
        offer_resources_and_prompts(server, context.ledger, context.waits.watch)
    return server


async def _name_wrong_params(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Say which parameter of a request is wrong, and what would be right, where the SDK says that one is."""
    try:
        return await call_next(ctx)
    except ValidationError as error:
        raise MCPError(INVALID_PARAMS, wrong_params(ctx.method, error)) from None


class _MeshServer(Server[Any]):
    """Says in the handshake that the list of resources changes; of the SDK's own a caller would have to know it."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        changing = notification_options or NotificationOptions(resources_changed=True)
        return super().create_initialization_options(changing, experimental_capabilities, extensions)


def run_tool(tool: Tool[Any], context: Context, arguments: JsonObject) -> CallToolResult:
    """Run a tool; whatever goes wrong becomes a result that says so."""
    try:
        return _result(tool.run(context, arguments))
    except Exception as error:  # noqa: BLE001 - told and logged
        return _failure(tool, error)


async def run_waiting_tool(tool: Tool[Any], context: Context, arguments: JsonObject, report: Report) -> CallToolResult:
    """Run a tool that takes its time, in the same way."""
    try:
        return _result(await tool.run_waiting(context, arguments, report))
    except Exception as error:  # noqa: BLE001 - told and logged
        return _failure(tool, error)


def _failure(tool: Tool[Any], error: Exception) -> CallToolResult:
    if isinstance(error, MeshfleetError):
        return _refusal(str(error))
    log.error("%s failed", tool.name, exc_info=error)
    return _refusal(f"{tool.name} failed inside meshfleet ({type(error).__name__}: {error}); this is a bug: report it")


def _result(value: JsonObject) -> CallToolResult:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if not _is_unicode(text):
        text = text.encode(errors="replace").decode()
        value = json.loads(text)
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=value)


def _refusal(message: str) -> CallToolResult:
    text = json.dumps({"error": message}, separators=(",", ":"))
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _is_unicode(text: str) -> bool:
    """False for a text with a lone surrogate, which an old ledger may hold and no protocol can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
