"""How a scripted model plays its part in a fleet: it knows only what OpenCode sent, and talks by meshfleet's tools.

A part is written as straight-line steps; since a model keeps nothing between requests, the steps are gone through
anew for every request, fed with the results the conversation already holds. Which parts there are is a pattern's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshfleet.demo.conversation import Call, Conversation, PastCall, Reply, Say
from meshfleet.mesh.briefing import MESSAGES

#: OpenCode shows a tool of the MCP server `meshfleet` under this prefix.
TOOL_PREFIX: Final = "meshfleet_"
#: How long one wait_for_messages is, ms, and how many run out before a role gives up: five minutes.
WAIT_MS: Final = 50_000
MOST_WAITS: Final = 6

_IDENTITY: Final = re.compile(r"^\s*You are (.+), agent (\S+) of fleet (\S+)\.\s*$", re.MULTILINE)
_PEERS: Final = re.compile(r"^\s*Peers:\s*$((?:\n\s*- .+: \S+\s*$)*)", re.MULTILINE)
_PEER: Final = re.compile(r"^\s*- (.+): (\S+)\s*$", re.MULTILINE)
_WORKING_DIRECTORY: Final = re.compile(r"^\s*Working directory: (.+?)\s*$", re.MULTILINE)
_NUMBERED_LINE: Final = re.compile(r"^(\d+): (.*)$", re.MULTILINE)

HOW_TO_TALK: Final = """
How to talk: send with meshfleet_send_message to a peer's role. To wait for a message, call
meshfleet_wait_for_messages; if it timed out, call it again, up to 10 times. A message that stands in this prompt is
in your inbox too, where the same call finds it at once and leaves the receipt that you have seen it. Call
meshfleet_ack_message for every message you get. Make one call at a time, and do not end before your last step."""


@dataclass(frozen=True, slots=True)
class Briefing:
    """Who the model is told it is, and what its turn begins with.

    Attributes:
        role: Its own.
        agent_id: Its own.
        fleet_id: Its fleet's.
        peers: Agent ids by role.
        working_directory: Where it is at work.
        handed: The messages that its prompt holds.
        earlier: What it did in turns before this one, where a message woke it.
    """

    role: str
    agent_id: str
    fleet_id: str
    peers: Mapping[str, str]
    working_directory: str
    handed: tuple[Mapping[str, Any], ...] = ()
    earlier: tuple[PastCall, ...] = ()

    @classmethod
    def of(cls, conversation: Conversation) -> Briefing | None:
        """What OpenCode and meshfleet say in it; None where meshfleet says nothing."""
        identity = _IDENTITY.search(conversation.system)
        if identity is None:
            return None
        peers = _PEERS.search(conversation.system)
        directory = _WORKING_DIRECTORY.search(conversation.system)
        earlier = len(conversation.calls) - len(conversation.calls_of_turn) if _was_woken(conversation) else 0
        return cls(
            role=identity[1],
            agent_id=identity[2],
            fleet_id=identity[3],
            peers=dict(_PEER.findall(peers[1])) if peers else {},
            working_directory=directory[1] if directory else ".",
            handed=messages_in(conversation.prompt),
            earlier=conversation.calls[:earlier],
        )

    def peer(self, role: str) -> str:
        """The agent id of that role; gives up where there is no such peer."""
        if role not in self.peers:
            raise GaveUp(f"there is no {role} among my peers, only {', '.join(self.peers) or 'nobody'}")
        return self.peers[role]

    def role_of(self, agent_id: str) -> str:
        """The role of a peer, or the id of somebody who is none."""
        return next((role for role, peer in self.peers.items() if peer == agent_id), agent_id)

    def path(self, name: str) -> str:
        """A file of the working directory."""
        return f"{self.working_directory}/{name}"


class GaveUp(Exception):
    """A role can't go on; its text becomes the agent's last words."""


#: Yields each next call, is sent that call's result, returns the last words.
Steps = Generator[Call, PastCall, str]
Part = Callable[[Briefing], Steps]


def play(parts: Mapping[str, Part], conversation: Conversation) -> Reply:
    """What the role named in the system prompt does next; another role says that it has no part here."""
    briefing = Briefing.of(conversation)
    if briefing is None:
        return Say("I give up: no meshfleet server told me who I am.")
    part = parts.get(briefing.role)
    if part is None:
        return Say(f"I have no part for the role {briefing.role}.")
    return _follow(part(briefing), conversation, conversation.calls[len(briefing.earlier) :])


def _was_woken(conversation: Conversation) -> bool:
    """Tell whether this turn is one of its own: an interrupted one goes on where it left off."""
    return len(conversation.prompts) > 1 and MESSAGES in conversation.prompt


def _follow(steps: Steps, conversation: Conversation, made: tuple[PastCall, ...]) -> Reply:
    """The next call of the steps after those already made, or the words that end them."""
    try:
        wanted = next(steps)
        for past in made:
            if past.tool != wanted.tool:
                raise GaveUp(f"I called {wanted.tool} and got {past.tool}: {past.result}")
            wanted = steps.send(past)
    except StopIteration as end:
        return Say(str(end.value))
    except GaveUp as reason:
        return Say(f"I give up: {reason}")
    if wanted.tool not in conversation.tools:
        return Say(f"I give up: I need {wanted.tool}, which is not among my tools")
    return wanted


def messages_in(prompt: str) -> tuple[Mapping[str, Any], ...]:
    """The messages that meshfleet put into a prompt, oldest first."""
    _, found, after = prompt.partition(f"{MESSAGES}\n")
    messages = []
    for line in after.splitlines() if found else ():
        if not line.startswith("{"):
            break
        messages.append(json.loads(line))
    return tuple(messages)


def quote(name: str, read: PastCall, words: str) -> str:
    """`NAME, line N: TEXT` of the first line with these words in what OpenCode's read tool showed."""
    for number, text in _NUMBERED_LINE.findall(read.result or ""):
        if words in text:
            return f"{name}, line {number}: {text.strip()}"
    raise GaveUp(f"no line of {name} holds {words!r}: {read.result}")


def ask(tool: str, arguments: Mapping[str, Any]) -> Generator[Call, PastCall, dict[str, Any]]:
    """Call a tool of meshfleet; gives up unless the result is a JSON object without an error."""
    past = yield Call(TOOL_PREFIX + tool, arguments)
    answer = past.result_json()
    if not isinstance(answer, dict) or "error" in answer:
        raise GaveUp(f"{tool} answered: {past.result}")
    return answer


def send(to: str, kind: str, payload: str, correlation_id: str | None = None) -> Generator[Call, PastCall, str]:
    """Send a message to a role, `*` or `orchestrator`; returns its id."""
    arguments = {"to_agent_id": to, "type": kind, "payload": payload}
    if correlation_id is not None:
        arguments["correlation_id"] = correlation_id
    answer = yield from ask("send_message", arguments)
    return str(answer["message_id"])


def take(me: Briefing, role: str, kind: str) -> Generator[Call, PastCall, dict[str, Any]]:
    """Wait for the message by which that role hands over, and acknowledge it; who was called by it finds it at once."""
    message = yield from receive(me, role, kind)
    if me.handed and message["id"] not in {handed["id"] for handed in me.handed}:
        raise GaveUp(f"my prompt does not hold the {kind} of the {role}: {message['id']}")
    return message


def receive(me: Briefing, role: str, kind: str, thread: str | None = None) -> Generator[Call, PastCall, dict[str, Any]]:
    """Wait for the message of that kind from that role, in a thread where one is named, and acknowledge it."""
    sender, since = me.peer(role), None
    for _ in range(MOST_WAITS):
        for message in (yield from look(thread, since)):
            # whatever is left in the inbox would otherwise be there at once, again and again
            since = message["timestamp"]
            if message["type"] == kind and message["from_agent_id"] == sender:
                yield from acknowledge(message)
                return message
    raise GaveUp(f"no {kind} from the {role} after {MOST_WAITS} waits")


def look(thread: str | None, since: int | None = None) -> Generator[Call, PastCall, list[dict[str, Any]]]:
    """Wait for messages, of a thread and after a time; an empty list where none came in time."""
    picked = {"correlation_id": thread, "since": since}
    wanted = {name: value for name, value in picked.items() if value is not None}
    answer = yield from ask("wait_for_messages", {"timeout_ms": WAIT_MS, **wanted})
    return list(answer["messages"])


def acknowledge(message: Mapping[str, Any]) -> Generator[Call, PastCall, None]:
    """Say that a message was acted on; gives up where that is refused."""
    answer = yield from ask("ack_message", {"message_id": message["id"]})
    if answer.get("ok") is not True:
        raise GaveUp(f"ack_message refused {message['id']}: {answer}")


def change(me: Briefing, name: str, old: str, new: str) -> Generator[Call, PastCall, None]:
    """Read a file, and replace a text in it."""
    before = yield Call("read", {"filePath": me.path(name)})
    if old not in (before.result or ""):
        raise GaveUp(f"{name} does not hold the line {old!r}: {before.result}")
    edited = yield Call("edit", {"filePath": me.path(name), "oldString": old, "newString": new})
    if "success" not in (edited.result or ""):
        raise GaveUp(f"the change of {name} failed: {edited.result}")
