"""What an agent is told when an attempt of it begins: its prompt, what others came to, and the messages that wait."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from meshfleet.ledger import View
from meshfleet.model import Row, Start

GO_ON: Final = "You were interrupted. Go on where you left off, and finish what you were asked to do."
"""What an agent is told in the session it continues, where there is nothing else to say."""
RESULTS: Final = "What those you come after said at their end, one JSON object a line:"
MESSAGES: Final = "These messages wait in your inbox, one JSON object a line; ack_message each that you have acted on:"
MOST_MESSAGE_BYTES: Final = 256 * 1024
"""How much of what waits is put into a prompt, in bytes; the rest stays in the inbox."""


@dataclass(frozen=True, slots=True)
class Briefing:
    """How an attempt begins.

    Attributes:
        prompt: What the agent is told.
        session_id: The OpenCode session it continues, if any.
        message_ids: The messages that the prompt puts before it.
    """

    prompt: str
    session_id: str | None = None
    message_ids: list[str] = field(default_factory=list)


def next_briefing(view: View, agent: Row) -> Briefing:
    """How an agent's next attempt begins.

    Only who can be called or woken is shown its inbox; any other agent asks for it when it is told to.
    """
    continues: dict[str, Any] = agent.get("continues") or {}
    said, session_id = continues.get("prompt"), continues.get("session_id")
    waiting = _waiting(view, agent) if agent.get("start") == Start.ON_MESSAGE or agent.get("wake") else []
    shown = _those_that_fit(waiting)
    parts = [said] if session_id is not None else [agent["prompt"], said, _results(view, agent)]
    parts.append(_messages(view, shown, len(waiting) - len(shown)) if shown else None)
    prompt = "\n\n".join(part for part in parts if part)
    return Briefing(prompt or GO_ON, session_id, [message["id"] for message in shown])


def _results(view: View, agent: Row) -> str | None:
    before = [other for agent_id in agent.get("after", ()) if (other := view.get("agents", agent_id)) is not None]
    if not before:
        return None
    told = [{"role": one["role"], "agent_id": one["id"], "output": one.get("output", "")} for one in before]
    return "\n".join([RESULTS, *map(_as_line, told)])


def _waiting(view: View, agent: Row) -> list[Row]:
    found = (view.get("messages", message_id) for message_id in view.inbox(agent["id"]))
    return [message for message in found if message is not None]


def _those_that_fit(messages: list[Row]) -> list[Row]:
    shown, room = [], MOST_MESSAGE_BYTES
    for message in messages:
        room -= len(message["payload"].encode(errors="replace"))
        if room < 0:
            break
        shown.append(message)
    return shown


def _messages(view: View, messages: list[Row], left: int) -> str:
    lines = [MESSAGES, *(_as_line(_told(view, message)) for message in messages)]
    if left:
        lines.append(f"{left} more are in your inbox; get_inbox shows them.")
    return "\n".join(lines)


def _told(view: View, message: Row) -> Row:
    sender = view.get("agents", message["from_agent_id"])
    row = {"id": message["id"], "from_agent_id": message["from_agent_id"]}
    if sender is not None:
        row["from_role"] = sender["role"]
    row["type"] = message["type"]
    if "correlation_id" in message:
        row["correlation_id"] = message["correlation_id"]
    return row | {"payload": message["payload"]}


def _as_line(row: Row) -> str:
    """One line whatever a text holds, so that none can pass for the next one."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
