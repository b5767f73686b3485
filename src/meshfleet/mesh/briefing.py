"""What an agent is told when an attempt of it begins: its prompt, what others came to, and the messages that wait."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from meshfleet.ledger import View
from meshfleet.mesh.dormancy import comes_after
from meshfleet.mesh.receipts import was_put_before
from meshfleet.mesh.texts import end_of
from meshfleet.model import Row, Start, attempt_key

GO_ON: Final = "You were interrupted. Go on where you left off, and finish what you were asked to do."
"""What an agent is told in the session it continues, where there is nothing else to say."""
RESULTS: Final = "What those you come after said at their end, one JSON object a line:"
MESSAGES: Final = "These messages wait in your inbox, one JSON object a line; ack_message each that you have acted on:"
MOST_MESSAGE_BYTES: Final = 256 * 1024
"""How much of what waits is put into a prompt, in bytes; the rest stays in the inbox."""
MOST_RESULT_BYTES: Final = 512 * 1024
"""How much of what others said is put into a prompt, in bytes of theirs; of the longest only the end."""
_NO_TEXT: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What JSON lets stand, though some take it for the end of a line, and what can't be written."""


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
    """How an attempt begins: an agent's next one, or the one that was begun for it."""
    continues: dict[str, Any] = agent.get("continues") or {}
    said, session_id = continues.get("prompt"), continues.get("session_id")
    parts = [said] if session_id is not None else [agent["prompt"], said, _results(view, agent)]
    message_ids = _shown_by(view, agent)
    parts.append(_messages(view, agent, message_ids) if message_ids else None)
    prompt = "\n\n".join(part for part in parts if part)
    return Briefing(prompt or GO_ON, session_id, message_ids)


def messages_to_show(view: View, agent: Row) -> list[str]:
    """The messages for an agent's next prompt, oldest first, as many as fit: those it has not had yet, then the latest.

    Only who can be called or woken is shown its inbox; any other agent asks for it when it is told to.
    """
    if agent.get("start") != Start.ON_MESSAGE and not agent.get("wake"):
        return []
    waiting = [message_id for message_id in view.inbox(agent["id"]) if view.get("messages", message_id) is not None]
    known = [message_id for message_id in waiting if was_put_before(view, message_id, agent["id"])]
    put = {*known}
    unread = [message_id for message_id in waiting if message_id not in put]
    fitting: set[str] = set()
    room = MOST_MESSAGE_BYTES
    # an attempt that failed may have had the latest of those it knows, and answered none
    for message_id in [*unread, *reversed(known)]:
        room -= len(_line_of(view, message_id).encode()) + 1
        if room < 0 and fitting:
            break
        fitting.add(message_id)
    return [message_id for message_id in waiting if message_id in fitting]


def _shown_by(view: View, agent: Row) -> list[str]:
    """What an attempt was begun to show, whatever has come since; what the next one would, where none was begun."""
    attempt = view.get("attempts", attempt_key(agent["id"], agent.get("attempt", 0)))
    if attempt is None or "ended_at" in attempt:
        return messages_to_show(view, agent)
    return [message_id for message_id in attempt.get("shows", ()) if view.get("messages", message_id) is not None]


def _results(view: View, agent: Row) -> str | None:
    before = [other for agent_id in comes_after(agent) if (other := view.get("agents", agent_id)) is not None]
    if not before:
        return None
    outputs = [one.get("output") or "" for one in before]
    most = _share([len(output.encode(errors="replace")) for output in outputs], MOST_RESULT_BYTES)
    told = [
        {"role": one["role"], "agent_id": one["id"], "output": end_of(output, most, "collect_results")}
        for one, output in zip(before, outputs, strict=True)
    ]
    return "\n".join([RESULTS, *map(_as_line, told)])


def _share(sizes: list[int], room: int) -> int:
    """How much each may have at most so that all have room: what the small ones leave is for the large ones."""
    for place, size in enumerate(sorted(sizes)):
        share = room // (len(sizes) - place)
        if size > share:
            return share
        room -= size
    return max(sizes)


def _messages(view: View, agent: Row, message_ids: list[str]) -> str:
    lines = [MESSAGES, *(_line_of(view, message_id) for message_id in message_ids)]
    left = len({*view.inbox(agent["id"])} - {*message_ids})
    if left:
        lines.append(f"{left} more are in your inbox; get_inbox shows them.")
    return "\n".join(lines)


def _line_of(view: View, message_id: str) -> str:
    message = view.get("messages", message_id)
    return "" if message is None else _as_line(_told(view, message))


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
    line = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return _NO_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
