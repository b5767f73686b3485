"""Calls of tools: whatever comes of one, a refusal and a failure included, is an answer in the protocol's form."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from meshfleet.errors import MeshfleetError
from meshfleet.mesh.texts import shown
from meshfleet.server.envelope import RequestId
from meshfleet.server.tool import Context, JsonObject, Tool
from meshfleet.server.waits import Report

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call is answered.

    Attributes:
        json: It as JSON; there is no half of a surrogate pair in it.
        value: The same as an object; None for a refusal.
    """

    json: bytes
    value: JsonObject | None

    @property
    def text(self) -> str:
        """It as JSON, for a model to read."""
        return self.json.decode()

    def as_result(self) -> JsonObject:
        """The result of the request, as the protocol wants it."""
        content = [{"type": "text", "text": self.text}]
        if self.value is None:
            return {"content": content, "isError": True}
        return {"content": content, "structuredContent": self.value, "isError": False}

    def as_line(self, request_id: RequestId) -> bytes:
        r"""The response to the request as a line with its "\n"."""
        structured = b"" if self.value is None else b'"structuredContent":%b,' % self.json
        is_error = b"true" if self.value is None else b"false"
        content = b'"content":[{"type":"text","text":%b}]' % to_json(self.text)
        result = b'{%b,%b"isError":%b}' % (content, structured, is_error)
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (json.dumps(request_id).encode(), result)


def run_tool(tool: Tool[Any], context: Context, arguments: JsonObject) -> Answer:
    """Run a tool; whatever goes wrong becomes an answer that says so."""
    try:
        return _said(tool.run(context, arguments))
    except Exception as error:  # noqa: BLE001 - told and logged
        return _failure(tool, error)


async def run_waiting_tool(tool: Tool[Any], context: Context, arguments: JsonObject, report: Report) -> Answer:
    """Run a tool that takes its time, in the same way."""
    try:
        return _said(await tool.run_waiting(context, arguments, report))
    except Exception as error:  # noqa: BLE001 - told and logged
        return _failure(tool, error)


async def run_in_turn(tool: Tool[Any], context: Context, arguments: JsonObject, report: Report) -> Answer:
    """Run a tool when it is its turn; one that waits has none and waits beside the others."""
    if tool.wait is not None:
        return await run_waiting_tool(tool, context, arguments, report)
    return await context.lane.in_line(tool.name, lambda: run_tool(tool, context, arguments))


def no_such_tool(name: str, offered: Iterable[str]) -> str:
    """Why a call of a tool that is not offered is refused."""
    return f"there is no tool {shown(name)}; there are {', '.join(offered)}"


def _said(value: JsonObject) -> Answer:
    try:
        return Answer(to_json(value, inf_nan_mode="null"), value)
    except PydanticSerializationError:
        # half of a surrogate pair, which an old ledger may hold and no protocol can carry
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        return Answer(text, json.loads(text))


def _failure(tool: Tool[Any], error: Exception) -> Answer:
    if isinstance(error, MeshfleetError):
        return _refusal(str(error))
    log.error("%s failed", tool.name, exc_info=error)
    return _refusal(f"{tool.name} failed inside meshfleet ({type(error).__name__}: {error}); this is a bug: report it")


def _refusal(message: str) -> Answer:
    return Answer(json.dumps({"error": message}, separators=(",", ":")).encode(), None)
