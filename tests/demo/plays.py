"""One role's conversation with its model as it grows, told only what OpenCode would tell it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from meshfleet.demo.conversation import Call, Conversation, PastCall, Reply, Say
from meshfleet.demo.patterns import Pattern
from meshfleet.mesh.briefing import MESSAGES

MESH_TOOLS: Final = ("send_message", "wait_for_messages", "ack_message", "get_receipts")
TOOLS: Final = ("bash", "edit", "read", "write", *(f"meshfleet_{name}" for name in MESH_TOOLS))
PROMISE: Final = "README.md, line 7: An order of 100.00 or more gets 10 % off."
LINE: Final = "till.py, line 10: if amount > DISCOUNT_FROM:"
README: Final = "<content>\n5: ## The promise\n6: \n7: An order of 100.00 or more gets 10 % off.\n</content>"
CODE: Final = "<content>\n9:     amount = sum(prices)\n10:     if amount > DISCOUNT_FROM:\n</content>"


def id_of(role: str) -> str:
    return f"id-{role.lower()}"


def system_prompt(role: str, roles: Sequence[str]) -> str:
    peers = "\n".join(f"    - {peer}: {id_of(peer)}" for peer in roles if peer != role)
    return (
        "You are opencode, a CLI tool.\n<env>\n  Working directory: /p\n  Platform: linux\n</env>\n"
        '<mcp_instructions>\n  <server name="meshfleet">\n'
        f"    You are {role}, agent {id_of(role)} of fleet id-fleet.\n    Peers:\n{peers}\n"
        "  </server>\n</mcp_instructions>\n- not a: peer"
    )


def message(sender: str, kind: str, payload: str, **more: str) -> dict[str, Any]:
    """Return a message as an inbox holds it."""
    return {
        "id": f"m-{sender}-{kind}",
        "from_agent_id": id_of(sender),
        "type": kind,
        "payload": payload,
        "timestamp": 7,
        **more,
    }


def prompt_with(*messages: Mapping[str, Any]) -> str:
    """Return the prompt of an agent that these messages called."""
    return "\n".join(["do your part", "", MESSAGES, *map(json.dumps, messages)]) if messages else "do your part"


class Play:
    """One role of a pattern; `answer` gives its next call a result, and returns the call's arguments."""

    def __init__(self, pattern: Pattern, role: str, *handed: Mapping[str, Any], tools: tuple[str, ...] = TOOLS) -> None:
        self.pattern, self.tools = pattern, tools
        self.system = system_prompt(role, pattern.roles)
        self.prompts: tuple[str, ...] = (prompt_with(*handed),)
        self.earlier: tuple[PastCall, ...] = ()
        self.calls: tuple[PastCall, ...] = ()

    def wake(self, *handed: Mapping[str, Any]) -> None:
        """Have the session go on in a turn of its own."""
        self.prompts = (*self.prompts, prompt_with(*handed))
        self.earlier, self.calls = (*self.earlier, *self.calls), ()

    def next(self) -> Reply:
        calls = (*self.earlier, *self.calls)
        return self.pattern.play(Conversation(self.system, self.prompts, self.tools, calls, self.calls, {}))

    def next_call(self) -> Call:
        reply = self.next()
        assert isinstance(reply, Call), reply
        return reply

    def last_words(self) -> str:
        reply = self.next()
        assert isinstance(reply, Say), reply
        return reply.text

    def answer(self, tool: str, result: object) -> Mapping[str, Any]:
        call = self.next_call()
        assert call.tool == tool
        text = result if isinstance(result, str) else json.dumps(result)
        self.calls = (*self.calls, PastCall(call.tool, call.arguments, text))
        return call.arguments

    def answer_mesh(self, tool: str, result: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.answer(f"meshfleet_{tool}", result)

    def receive(self, *waiting: Mapping[str, Any], thread: str | None = None) -> None:
        """Have it wait for messages, and acknowledge the last of those that wait."""
        waits = self.answer_mesh("wait_for_messages", {"messages": list(waiting), "timed_out": not waiting})
        assert waits.get("correlation_id") == thread
        assert self.answer_mesh("ack_message", {"ok": True}) == {"message_id": waiting[-1]["id"]}

    def send(self, message_id: str, warning: str = "") -> Mapping[str, Any]:
        """Have it send a message; return what it says."""
        sent = {"message_id": message_id, "recipients": []}
        return self.answer_mesh("send_message", {**sent, "warning": warning} if warning else sent)
