"""The protocol's methods for resources and prompts, added to the orchestrator's server.

An agent's server has neither: nobody sits at an agent's session who could pick one, and its tools say the same.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from anyio import to_thread
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CompleteRequestParams,
    CompleteResult,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    PromptReference,
    ReadResourceRequestParams,
    ReadResourceResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from meshfleet.errors import Invalid, MeshfleetError, NotFound
from meshfleet.ledger import Ledger
from meshfleet.ledger.watching import Watch
from meshfleet.mesh.texts import shown
from meshfleet.server import prompts
from meshfleet.server.resources import Library, templates
from meshfleet.server.subscriptions import Subscriptions

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

T = TypeVar("T")
P = TypeVar("P", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)

log = logging.getLogger(__name__)

RESOURCE_NOT_FOUND: Final = -32002
"""The code of the handshake eras; the modern one says invalid params."""

_Request = ServerRequestContext[Subscriptions, Any]


def offer_resources_and_prompts(server: Server[Any], ledger: Ledger, watch: Watch) -> None:
    """Have a server that is not running yet answer for the resources of a ledger, and for the prompts."""
    offers = _Offers(ledger, watch)
    server.lifespan = offers.one_connection
    _add(server, "resources/list", PaginatedRequestParams, offers.list_resources)
    _add(server, "resources/templates/list", PaginatedRequestParams, offers.list_templates)
    _add(server, "resources/read", ReadResourceRequestParams, offers.read)
    _add(server, "resources/subscribe", SubscribeRequestParams, offers.subscribe)
    _add(server, "resources/unsubscribe", UnsubscribeRequestParams, offers.unsubscribe)
    _add(server, "subscriptions/listen", SubscriptionsListenRequestParams, offers.listen)
    _add(server, "prompts/list", PaginatedRequestParams, offers.list_prompts)
    _add(server, "prompts/get", GetPromptRequestParams, offers.get_prompt)
    _add(server, "completion/complete", CompleteRequestParams, offers.complete)


class _Offers:
    def __init__(self, ledger: Ledger, watch: Watch) -> None:
        self._library = Library(ledger)
        self._watch = watch
        # not the tools' turn: reading what an agent has said so far may take a while
        self._turn = anyio.CapacityLimiter(1)

    @asynccontextmanager
    async def one_connection(self, _: Server[Any]) -> AsyncGenerator[Subscriptions]:
        """Look after what one connection wants to hear of."""
        subscriptions = Subscriptions(self._library, self._turn, self._watch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(subscriptions.watch)
            yield subscriptions
            tasks.cancel_scope.cancel()

    async def list_resources(self, request: _Request, params: PaginatedRequestParams) -> ListResourcesResult:
        page = await self._in_thread(lambda: self._library.page(params.cursor))
        if not _is_modern(request):
            await request.lifespan_context.follow_list(request.session)
        return page

    async def list_templates(self, _: _Request, params: PaginatedRequestParams) -> ListResourceTemplatesResult:
        refuse_cursor(params)
        return ListResourceTemplatesResult(resource_templates=templates())

    async def read(self, _: _Request, params: ReadResourceRequestParams) -> ReadResourceResult:
        kind, text = await self._in_thread(lambda: self._library.read(params.uri))
        contents = TextResourceContents(uri=params.uri, mime_type=kind.mime_type, text=text)
        return ReadResourceResult(contents=[contents])

    async def subscribe(self, request: _Request, params: SubscribeRequestParams) -> EmptyResult:
        await request.lifespan_context.subscribe(request.session, params.uri)
        return EmptyResult()

    async def unsubscribe(self, request: _Request, params: UnsubscribeRequestParams) -> EmptyResult:
        request.lifespan_context.unsubscribe(params.uri)
        return EmptyResult()

    async def listen(self, request: _Request, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        return await request.lifespan_context.listen(request, params)

    async def list_prompts(self, _: _Request, params: PaginatedRequestParams) -> ListPromptsResult:
        refuse_cursor(params)
        return ListPromptsResult(prompts=prompts.listed())

    async def get_prompt(self, _: _Request, params: GetPromptRequestParams) -> GetPromptResult:
        return prompts.filled_in(params.name, params.arguments or {})

    async def complete(self, _: _Request, params: CompleteRequestParams) -> CompleteResult:
        argument, typed = params.argument.name, params.argument.value
        if isinstance(params.ref, PromptReference):
            return CompleteResult(completion=prompts.complete(params.ref.name, argument, typed))
        template = params.ref.uri
        return CompleteResult(
            completion=await self._in_thread(lambda: self._library.complete(template, argument, typed))
        )

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await to_thread.run_sync(call, limiter=self._turn)


def _add(server: Server[Any], method: str, params_type: type[P], answer: Callable[[_Request, P], Awaitable[R]]) -> None:
    async def answer_or_refuse(request: _Request, params: P) -> R:
        try:
            return await answer(request, params)
        except NotFound as error:
            raise _not_found(request, params, error) from None
        except Invalid as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None
        except MeshfleetError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None

    server.add_request_handler(method, params_type, answer_or_refuse)


def _not_found(request: _Request, params: BaseModel, error: NotFound) -> MCPError:
    uri = getattr(params, "uri", None)
    if uri is None:
        return MCPError(INVALID_PARAMS, str(error))
    code = INVALID_PARAMS if _is_modern(request) else RESOURCE_NOT_FOUND
    return MCPError(code, f"uri {shown(uri)} is no resource: {error}", {"uri": uri})


def _is_modern(request: _Request) -> bool:
    return request.protocol_version in MODERN_PROTOCOL_VERSIONS


def refuse_cursor(params: PaginatedRequestParams | None) -> None:
    """Refuse to go on with a list that is told at once.

    Raises:
        Invalid: There is a cursor.
    """
    if params is not None and params.cursor is not None:
        raise Invalid(f"cursor is {shown(params.cursor)}, but this list is told at once; leave it out")
