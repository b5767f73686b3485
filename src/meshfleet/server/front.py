"""What the server answers itself: greetings, lists and calls of tools, which are nearly all that clients ask.

The SDK takes most of a second and 35 MB to load, and two thirds of what a call costs; a fleet of forty agents would
pay for it forty times. So it is loaded when a client asks for what only the SDK knows: resources, prompts, other
versions of the protocol, and whatever looks odd. What is answered here is answered as the SDK would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
from pydantic_core import to_json

from meshfleet.server.calls import Answer, no_such_tool, run_in_turn, run_tool
from meshfleet.server.envelope import CALLING, CONNECTION_CLOSED, INVALID_PARAMS, Call, Message, RequestId, error_line
from meshfleet.server.face import INITIALIZE, Face
from meshfleet.server.lines import LineReader, LineWriter
from meshfleet.server.tool import Context, Tool
from meshfleet.server.unanswered import MOST_AT_ONCE, Unanswered
from meshfleet.server.waits import Report

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

INTRODUCTION_ID: Final = "meshfleet:introduction"
"""The id of a greeting that the SDK is told although it was answered; its answer goes nowhere."""
INITIALIZED: Final = "notifications/initialized"
_CANCELLED: Final = "notifications/cancelled"
_PROGRESS: Final = "notifications/progress"
_LAST_WORD_S: Final = 1.0
_MODERN: Final = "io.modelcontextprotocol/protocolVersion"
"""What every request has in its `_meta` that is of a version of the protocol without greetings."""
_META: Final = frozenset({"_meta"})
_CALL_PARAMS: Final = frozenset({"name", "arguments", "_meta"})
_LATER: Final = b""
_CLOSED: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError)


class Front:
    """Stands between the lines and the SDK; a source of the messages that are for the SDK.

    Args:
        lines: Where messages come from.
        writer: Where answers go.
        face: What the server says of itself.
        tools: What it offers.
        context: What the tools work with.
        tasks: Where the calls run that take their time.
        greeted: The greeting that has been answered before.
    """

    def __init__(
        self,
        lines: LineReader,
        writer: LineWriter,
        face: Face,
        tools: Mapping[str, Tool[Any]],
        context: Context,
        tasks: TaskGroup,
        greeted: Call | None = None,
    ) -> None:
        self._lines = lines
        self._writer = writer
        self._face = face
        self._tools = tools
        self._context = context
        self._tasks = tasks
        self._running: dict[RequestId, anyio.CancelScope] = {}
        # a client that greets nobody, or twice, or calls in a way only the SDK knows, is the SDK's from then on
        self._has_stepped_aside = False
        self._greeting = greeted
        self._is_initialized = False
        self._has_sdk = False

    @property
    def unanswered(self) -> Unanswered:
        """The requests that came and are still to be answered."""
        return self._lines.unanswered

    async def receive(self) -> Message:
        """Return the next message that is for the SDK; raises EndOfStream, ClosedResourceError."""
        while True:
            message = await self._lines.receive()
            if not await self._deals_with(message):
                return message

    def introduction(self) -> list[Call]:
        """What the SDK is told first of all: the greeting that was answered here, and what followed it."""
        self._has_sdk = True
        if self._greeting is None:
            self._has_stepped_aside = True  # or the SDK would not know of a greeting that comes later
            return []
        greeting = Call(INITIALIZE, self._greeting.params, INTRODUCTION_ID)
        return [greeting, Call(INITIALIZED)] if self._is_initialized else [greeting]

    async def aclose(self) -> None:
        """Read no more."""
        await self._lines.aclose()

    async def _deals_with(self, message: Message) -> bool:
        if not isinstance(message, Call):
            return False
        if message.id is None:
            return self._notices(message)
        line = None if self._has_stepped_aside else self._answer_to(message, message.id)
        if line is None:
            # what is called later must not be done before it
            self._has_stepped_aside |= message.method == CALLING
            return False
        if line == _LATER:
            await anyio.lowlevel.checkpoint()  # it gets in line before the next one is read
        elif self._writer.takes(line):
            await self._answer(message.id, line)
        else:
            # the next one may be read while this one waits for the client to take it
            self._tasks.start_soon(self._answer, message.id, line)
        return True

    def _notices(self, told: Call) -> bool:
        if told.method == _CANCELLED and self._cancels((told.params or {}).get("requestId")):
            return True
        self._is_initialized |= told.method == INITIALIZED
        return self._greeting is not None and not self._has_sdk

    def _cancels(self, request_id: object) -> bool:
        # True equals 1, and is no id
        if not isinstance(request_id, str | int) or isinstance(request_id, bool):
            return False
        scope = self._running.get(_key(request_id))
        if scope is not None:
            scope.cancel()
        return scope is not None

    def _answer_to(self, request: Call, request_id: RequestId) -> bytes | None:
        """The line that answers a request, an empty one where it comes later, None where the SDK has to answer."""
        method, params = request.method, request.params or {}
        if method == INITIALIZE:
            return self._greet(request, request_id)
        if not _is_plain_meta(params.get("_meta", {})):
            self._has_stepped_aside = self._greeting is None
            return None
        if method == "ping" and params.keys() <= _META:
            return to_json({"jsonrpc": "2.0", "id": request_id, "result": {}}) + b"\n"
        if self._greeting is None:
            self._has_stepped_aside = True
            return None
        if method == "tools/list" and params.keys() <= _META:
            return self._face.listing(request_id)
        return self._call(request_id, params) if method == CALLING else None

    def _greet(self, request: Call, request_id: RequestId) -> bytes | None:
        line = self._face.greeting(request_id, request.params) if self._greeting is None else None
        if line is None:
            self._has_stepped_aside = True
        else:
            self._greeting = request
        return line

    def _call(self, request_id: RequestId, params: dict[str, Any]) -> bytes | None:
        name, arguments = params.get("name"), params.get("arguments")
        if not params.keys() <= _CALL_PARAMS or type(name) is not str or type(arguments) not in (dict, NoneType):
            return None
        tool = self._tools.get(name)
        if tool is None:
            return error_line(request_id, INVALID_PARAMS, no_such_tool(name, self._tools))
        arguments = arguments or {}
        if self._is_clear_for(tool):
            answer = self._context.lane.at_once(name, partial(run_tool, tool, self._context, arguments))
            return answer.as_line(request_id)
        report = self._reporter(params.get("_meta", {}).get("progressToken"))
        scope = self._running[_key(request_id)] = anyio.CancelScope()
        work = partial(run_in_turn, tool, self._context, arguments, report)
        self._tasks.start_soon(self._work, request_id, scope, work)
        return _LATER

    def _is_clear_for(self, tool: Tool[Any]) -> bool:
        if tool.wait is not None or tool.in_thread or not self._context.lane.is_clear(tool.name):
            return False
        ledger = self._context.ledger
        return ledger.is_at_rest if tool.read_only else ledger.is_free

    def _reporter(self, token: RequestId | None) -> Report:
        async def report(progress: float, total: float | None, message: str | None) -> None:
            if token is None:
                return
            params = {"progressToken": token, "progress": progress, "total": total, "message": message}
            told = {key: value for key, value in params.items() if value is not None}
            with suppress(*_CLOSED):
                await self._writer.send_line(to_json({"jsonrpc": "2.0", "method": _PROGRESS, "params": told}) + b"\n")

        return report

    async def _work(
        self, request_id: RequestId, scope: anyio.CancelScope, work: Callable[[], Awaitable[Answer]]
    ) -> None:
        try:
            with scope:
                answer = await work()
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(_LAST_WORD_S, shield=True):
                await self._answer(request_id, error_line(request_id, CONNECTION_CLOSED, "Connection closed"))
            raise
        finally:
            # an id may be in use twice
            if self._running.get(_key(request_id)) is scope:
                del self._running[_key(request_id)]
        if scope.cancel_called:
            self.unanswered.settle(request_id)
        else:
            await self._answer(request_id, answer.as_line(request_id))

    async def _answer(self, request_id: RequestId, line: bytes) -> None:
        with suppress(*_CLOSED):
            await self._writer.answer(request_id, line)


class Rest:
    """The messages that are for the SDK, from the first one on.

    Args:
        front: Who leaves them.
        first: The first one.

    Attributes:
        unheard: The id of a first request whose answer is for nobody; None where there is none.
    """

    def __init__(self, front: Front, first: Message) -> None:
        self._front = front
        introduction = front.introduction()
        self.unheard: Final = introduction[0].id if introduction else None
        untold = [*introduction, first]
        # those who wait for the SDK keep nobody waiting who does not
        self._in, self._out = anyio.create_memory_object_stream[Message](len(untold) + MOST_AT_ONCE)
        for message in untold:
            self._in.send_nowait(message)

    @property
    def unanswered(self) -> Unanswered:
        """The requests that came and are still to be answered."""
        return self._front.unanswered

    async def gather(self) -> None:
        """Take what the front leaves, until the client has said its last word."""
        with self._in, suppress(anyio.EndOfStream, *_CLOSED):
            while True:
                await self._in.send(await self._front.receive())

    async def receive(self) -> Message:
        """Return the next message; raises EndOfStream, ClosedResourceError."""
        return await self._out.receive()

    async def aclose(self) -> None:
        """Read no more."""
        self.close()
        await self._front.aclose()

    def close(self) -> None:
        """Hand out no more."""
        self._out.close()


def _is_plain_meta(meta: object) -> bool:
    """False where it says more than who is to be told of progress, or says that wrongly: the SDK knows what of it."""
    if not isinstance(meta, dict) or _MODERN in meta:
        return False
    return "progressToken" not in meta or type(meta["progressToken"]) in (str, int)


def _key(request_id: RequestId) -> RequestId:
    """An id as cancellations are matched with it: some clients make a text of a number."""
    if isinstance(request_id, str):
        with suppress(ValueError):
            return int(request_id)
    return request_id
