"""The MCP server of the SDK: its low-level `Server`, for all that front.py does not answer itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from pydantic import ValidationError

from meshfleet import __version__
from meshfleet.errors import Invalid
from meshfleet.server.calls import no_such_tool, run_in_turn
from meshfleet.server.face import SERVER_NAME
from meshfleet.server.front import Rest
from meshfleet.server.offers import offer_resources_and_prompts, refuse_cursor
from meshfleet.server.refusals import wrong_params
from meshfleet.server.streams import MessageReader, MessageWriter
from meshfleet.server.tool import Context
from meshfleet.server.tools import offered_tools

if TYPE_CHECKING:
    from mcp.server.models import InitializationOptions

    from meshfleet.server.lines import LineWriter

RequestContext = ServerRequestContext[Any]


def build_server(context: Context, words: str) -> Server[Any]:
    """The server for one process: with all there is for the orchestrator, with a peer's tools for an agent.

    Args:
        context: What the tools work with.
        words: Its instructions.
    """
    agent_id = context.caller.agent_id
    tools = offered_tools(in_agent_mode=agent_id is not None)
    listing = ListToolsResult.model_validate({"tools": [tool.on_the_wire() for tool in tools.values()]})

    async def list_tools(_: RequestContext, params: PaginatedRequestParams | None) -> ListToolsResult:
        try:
            refuse_cursor(params)
        except Invalid as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None
        return listing

    async def call_tool(request: RequestContext, params: CallToolRequestParams) -> CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, no_such_tool(params.name, tools))
        answer = await run_in_turn(tool, context, params.arguments or {}, request.session.report_progress)
        return CallToolResult.model_validate(answer.as_result())

    server = _MeshServer(
        SERVER_NAME,
        version=__version__,
        instructions=words,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware.append(_name_wrong_params)
    if agent_id is None:
        offer_resources_and_prompts(server, context.ledger, context.waits.watch)
    return server


async def answer_the_rest(context: Context, words: str, rest: Rest, writer: LineWriter) -> None:
    """Answer what the front has left, until there is no more; `words` are the instructions."""
    server = build_server(context, words)
    options = server.create_initialization_options()
    await server.run(MessageReader(rest), MessageWriter(writer, unheard=rest.unheard), options)


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
