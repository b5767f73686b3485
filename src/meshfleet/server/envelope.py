"""What a line of the wire says: a JSON-RPC message, or why it is none; lines.py is left to move the bytes.

The SDK's own adapter takes twice as long, lets NaN through, and takes a request whose id is 1.5 or null for a
notification, so that its sender would wait for ever. Nothing here needs the SDK, which takes most of a second to load.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from mcp_types import JSONRPCError, JSONRPCResponse

RequestId = str | int
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INVALID_PARAMS: Final = -32602
CONNECTION_CLOSED: Final = -32000
MOST_LINE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a line that are read; whatever a tool takes fits into it many times."""
_SHOWN_CHARACTERS: Final = 60
CALLING: Final = "tools/call"
_INTEGER_DIGITS: Final = 4300  # Python's and pydantic's limit, which keeps parsing linear
_REMEDY: Final = "send each JSON-RPC 2.0 message as one JSON object on one line, in UTF-8"
_PLACE: Final = re.compile(r" at line 1 column (\d+)")
# the parser's words for what is well-formed enough to look right, in words that say what to change
_PLAINLY: Final = {
    "recursion limit exceeded": "nested deeper than 200 levels",
    "number out of range": f"a number of more than {_INTEGER_DIGITS} digits",
    "invalid unicode code point": "bytes that are not UTF-8",
    "unexpected end of hex escape": "half of a surrogate pair",
    "lone leading surrogate in hex escape": "half of a surrogate pair",
}


class NotAMessage(Exception):
    """A line that is no JSON-RPC message.

    Attributes:
        answer: the line to send back; its id is the request's where the line still shows one.
    """

    def __init__(self, code: int, text: str, request_id: RequestId | None) -> None:
        super().__init__(text)
        self.answer: Final = error_line(request_id, code, f"{text}; {_REMEDY}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request, or a notification.

    Attributes:
        method: What is asked for.
        params: With what.
        id: The request's id; None makes it a notification.
    """

    method: str
    params: dict[str, Any] | None = None
    id: RequestId | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side answers to a request: a response or an error of the SDK, which alone asks anything."""

    content: JSONRPCResponse | JSONRPCError


Message = Call | Reply


def error_line(request_id: RequestId | None, code: int, text: str) -> bytes:
    r"""An error as a line with its "\n"."""
    return to_json({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}}) + b"\n"


def message_in(line: bytes) -> Message:
    """Return the message a line holds; of a repeated key the last value counts; raises NotAMessage."""
    if len(line) > MOST_LINE_BYTES:
        raise NotAMessage(INVALID_REQUEST, f"this line has more than {MOST_LINE_BYTES} bytes", None)
    try:
        found = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        found = _call_with_lone_surrogates(line)
        if found is None:
            text = f"this line is not JSON: {_plain(error)}"
            raise NotAMessage(PARSE_ERROR, text, _id_in_broken(line)) from None
    if type(found) is list:
        raise _invalid(found, "a JSON array is no message, and batches are not part of MCP")
    if type(found) is not dict:
        raise _invalid(found, f"{_shown(found)} is no message")
    if found.get("jsonrpc") != "2.0":
        raise _invalid(found, f'jsonrpc is {_shown(found.get("jsonrpc"))}; it must be "2.0"')
    if "method" in found:
        return _call_in(found)
    return _reply_in(found)


def _call_in(found: dict[str, Any]) -> Call:
    method, params = found["method"], found.get("params")
    if type(method) is not str:
        raise _invalid(found, f"method is {_shown(method)}; it must be a string")
    if params is not None and type(params) is not dict:
        raise _invalid(found, f"params is {_shown(params)}; it must be an object, or left out")
    if "id" not in found:
        return Call(method, params)
    request_id = found["id"]
    if type(request_id) not in (str, int):
        raise _invalid(found, f"id is {_shown(request_id)}; it must be a string or an integer")
    return Call(method, params, request_id)


def _reply_in(found: dict[str, Any]) -> Reply:
    # a client is asked nothing, so that replies are rare
    from mcp_types import JSONRPCError, JSONRPCResponse
    from pydantic import ValidationError

    try:
        if found.get("error") is not None:
            return Reply(JSONRPCError.model_validate(found))
        if "result" in found:
            return Reply(JSONRPCResponse.model_validate(found))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _invalid(found, f"this response is malformed at {place}: {first['msg'].lower()}") from None
    raise _invalid(found, "method is missing, and there is neither a result nor an error")


def _invalid(found: object, text: str) -> NotAMessage:
    return NotAMessage(INVALID_REQUEST, text, _id_to_answer(found))


def _id_to_answer(found: object) -> RequestId | None:
    if not isinstance(found, dict):
        return None
    if "method" not in found and ("result" in found or "error" in found):
        # it replies to a request of ours: with its id, our error would seem to answer one of theirs
        return None
    request_id = found.get("id")
    if type(request_id) is int:
        return request_id
    if type(request_id) is str and request_id.encode("utf-8", "replace").decode() == request_id:
        return request_id
    return None


def _call_with_lone_surrogates(line: bytes) -> dict[str, Any] | None:
    """Return a call of a tool in whose arguments halves of surrogate pairs are all that is wrong, else None.

    A client in JavaScript sends them when it cuts a text within an emoji; the tool names the argument they are in.
    """
    try:
        found = json.loads(line.decode())
        # without them it is JSON by every other rule
        from_json(json.dumps(found, ensure_ascii=False).encode(errors="replace"), allow_inf_nan=False)
        json.dumps({**found, "params": {**found["params"], "arguments": None}}, ensure_ascii=False).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if found.get("method") == CALLING and isinstance(found["params"].get("arguments"), dict) else None


def _id_in_broken(line: bytes) -> RequestId | None:
    """Return the id of a line that a tolerant parser takes: NaN, surrogates, bad bytes, long integers."""
    text = line.decode("utf-8-sig", "surrogateescape")
    try:
        return _id_to_answer(json.loads(text, strict=False, parse_int=_bounded_integer))
    except (ValueError, RecursionError):
        return None


def _bounded_integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _INTEGER_DIGITS else None


def _plain(error: ValueError) -> str:
    text = _PLACE.sub(r" at byte \1", str(error))
    for theirs, ours in _PLAINLY.items():
        text = text.replace(theirs, ours)
    return text


def _shown(value: object) -> str:
    if value is None:
        return "missing or null"
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
