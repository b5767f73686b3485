"""What a model sees of one chat-completions request and may answer; scripted_model.py does the serving."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: The first words of the system prompt with which OpenCode asks for a session title.
TITLE_SYSTEM_PROMPT: Final = "You are a title generator"


@dataclass(frozen=True, slots=True)
class Say:
    """Words that end the model's turn, sent `after_s` seconds after the request."""

    text: str
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call, sent `after_s` seconds after the request, with what the model says along with it."""

    tool: str
    arguments: Mapping[str, Any]
    after_s: float = 0.0
    saying: str = ""


@dataclass(frozen=True, slots=True)
class Calls:
    """Several tool calls in one answer; only this `after_s` counts, not those of the calls."""

    calls: tuple[Call, ...]
    after_s: float = 0.0
    saying: str = ""


@dataclass(frozen=True, slots=True)
class Fail:
    """An HTTP error instead of an answer; OpenCode retries 429 and 5xx, and gives up on 400."""

    status: int
    message: str
    after_s: float = 0.0


Reply = Say | Call | Calls | Fail


@dataclass(frozen=True, slots=True)
class PastCall:
    """A tool call the model made earlier; `result` is None until the conversation holds its answer."""

    tool: str
    arguments: Mapping[str, Any]
    result: str | None

    def result_json(self) -> Any:
        """The result read as JSON; None where there is no result or it is not JSON."""
        try:
            return json.loads(self.result) if self.result is not None else None
        except json.JSONDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request as a model understands it.

    Attributes:
        system: every system message, joined by newlines.
        prompts: the text of each user message, oldest first; a resumed session has several.
        tools: names of the tools offered, in the order offered.
        calls: every tool call of the conversation, oldest first.
        calls_of_turn: those made since the last user message.
        body: the request as it came.
    """

    system: str
    prompts: tuple[str, ...]
    tools: tuple[str, ...]
    calls: tuple[PastCall, ...]
    calls_of_turn: tuple[PastCall, ...]
    body: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        """The user message now to be answered, or "" where there is none."""
        return self.prompts[-1] if self.prompts else ""

    @property
    def is_title_request(self) -> bool:
        """Whether OpenCode only wants a name for the session: asked by its title generator, without tools."""
        return not self.tools and self.system.lstrip().startswith(TITLE_SYSTEM_PROMPT)


Script = Callable[[Conversation], Reply]


def parse_conversation(body: object) -> Conversation:
    """The view of one request body.

    Raises:
        ValueError: The body is not what the chat-completions API has; the text names what is wrong.
    """
    if not isinstance(body, Mapping):
        raise ValueError("the request is not a JSON object")
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise ValueError("messages is not an array of objects")
    last_user = max((i for i, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    return Conversation(
        system="\n".join(_texts(messages, "system")),
        prompts=tuple(_texts(messages, "user")),
        tools=tuple(tool["function"]["name"] for tool in body.get("tools") or ()),
        calls=_past_calls(messages),
        calls_of_turn=_past_calls(messages[last_user + 1 :]),
        body=body,
    )


def _texts(messages: Sequence[Mapping[str, Any]], role: str) -> list[str]:
    return [_text_of(message.get("content")) for message in messages if message.get("role") == role]


def _text_of(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    raise ValueError(f"content is a {type(content).__name__}, not text or an array of parts")


def _past_calls(messages: Sequence[Mapping[str, Any]]) -> tuple[PastCall, ...]:
    results = {
        message.get("tool_call_id"): _text_of(message.get("content"))
        for message in messages
        if message.get("role") == "tool"
    }
    return tuple(
        PastCall(
            tool=call["function"]["name"],
            arguments=_arguments(call["function"]),
            result=results.get(call.get("id")),
        )
        for message in messages
        for call in message.get("tool_calls") or ()
    )


def _arguments(function: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"the arguments of {function['name']} are not JSON: {error}") from None
    if not isinstance(arguments, Mapping):
        raise ValueError(f"the arguments of {function['name']} are not a JSON object")
    return arguments
