"""Calls of tools: whatever comes of one, a refusal and a failure included, is an answer in the protocol's form."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from meshfleet.errors import MeshfleetError
from meshfleet.mesh.texts import shown
from meshfleet.server.envelope import RequestId
from meshfleet.server.tool import Context, JsonObject, Tool
from meshfleet.server.waits import Report

log = logging.getLogger(__name__)

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call is answered.

    Attributes:
        text: It as JSON; there is no half of a surrogate pair in it.
        value: The same as an object; None for a refusal.
    """

    text: str
    value: JsonObject | None

    def as_result(self) -> JsonObject:
        """The result of the request, as the protocol wants it."""
        content = [{"type": "text", "text": self.text}]
        if self.value is None:
            return {"content": content, "isError": True}
        return {"content": content, "structuredContent": self.value, "isError": False}

    def as_line(self, request_id: RequestId) -> bytes:
        r"""The response to the request as a line with its "\n"."""
        structured = "" if self.value is None else f'"structuredContent":{self.text},'
        is_error = "true" if self.value is None else "false"
        content = f'"content":[{{"type":"text","text":{_encode(self.text)}}}]'
        line = (
            f'{{"jsonrpc":"2.0","id":{_encode(request_id)},"result":{{{content},{structured}"isError":{is_error}}}}}\n'
        )
        return line.encode()


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
    text = _encode(value)
    if _is_unicode(text):
        return Answer(text, value)
    text = text.encode(errors="replace").decode()
    return Answer(text, json.loads(text))


def _failure(tool: Tool[Any], error: Exception) -> Answer:
    if isinstance(error, MeshfleetError):
        return _refusal(str(error))
    log.error("%s failed", tool.name, exc_info=error)
    return _refusal(f"{tool.name} failed inside meshfleet ({type(error).__name__}: {error}); this is a bug: report it")


def _refusal(message: str) -> Answer:
    return Answer(json.dumps({"error": message}, separators=(",", ":")), None)


def _is_unicode(text: str) -> bool:
    """False for a text with a lone surrogate, which an old ledger may hold and no protocol can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
