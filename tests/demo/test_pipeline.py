"""What each role of the demo does next, told only what OpenCode would tell it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from meshfleet.demo.conversation import Call, Conversation, PastCall, Reply, Say
from meshfleet.demo.pipeline import (
    ANALYST,
    EAGER_POLL_S,
    ENGINEER,
    EXPLORER,
    MAX_POLLS,
    PROMPTS,
    Briefing,
    fleet_agents,
    play_pipeline,
)

IDS: Mapping[str, str] = {EXPLORER: "id-explorer", ANALYST: "id-analyst", ENGINEER: "id-engineer"}
TOOLS = (
    "bash",
    "edit",
    "read",
    "write",
    *(f"meshfleet_{name}" for name in ("send_message", "get_inbox", "ack_message", "receipt", "get_receipts")),
)
PROMISE = "README.md, line 7: An order of 100.00 or more gets 10 % off."
LINE = "till.py, line 10: if amount > DISCOUNT_FROM:"
LISTING = "<path>/p</path>\n<type>directory</type>\n<entries>\nREADME.md\ntill.py\n\n(2 entries)\n</entries>"
README = "<content>\n5: ## The promise\n6: \n7: An order of 100.00 or more gets 10 % off.\n</content>"
CODE = "<content>\n9:     amount = sum(prices)\n10:     if amount > DISCOUNT_FROM:\n</content>"


def system_prompt(role: str) -> str:
    peers = "\n".join(f"    - {peer}: {agent}" for peer, agent in IDS.items() if peer != role)
    return (
        "You are opencode, a CLI tool.\n<env>\n  Working directory: /p\n  Platform: linux\n</env>\n"
        '<mcp_instructions>\n  <server name="meshfleet">\n'
        f"    You are {role}, agent {IDS.get(role, 'id-other')} of fleet id-fleet.\n    Peers:\n{peers}\n"
        "  </server>\n</mcp_instructions>\n- not a: peer"
    )


class Play:
    """One role's conversation as it grows; `answer` gives the next call a result, and its arguments back."""

    def __init__(self, role: str, tools: tuple[str, ...] = TOOLS) -> None:
        self.system, self.tools = system_prompt(role), tools
        self.calls: tuple[PastCall, ...] = ()

    def next(self) -> Reply:
        prompts = ("go",)
        return play_pipeline(Conversation(self.system, prompts, self.tools, self.calls, self.calls, {"messages": []}))

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

    def receive(self, message: Mapping[str, Any]) -> None:
        self.answer_mesh("get_inbox", {"messages": [message]})
        seen = self.answer_mesh("receipt", {"receipt": {}})
        assert (seen["message_id"], seen["action"]) == (message["id"], "seen")
        acknowledged = self.answer_mesh("ack_message", {"ok": True})
        assert acknowledged["message_id"] == message["id"]
        assert seen["agent_id"] == acknowledged["agent_id"] == message["to_agent_id"]


def message(kind: str, sender: str, to: str, payload: str, **more: str) -> dict[str, Any]:
    return {
        "id": f"m-{sender}-{to}",
        "from_agent_id": IDS[sender],
        "to_agent_id": IDS[to],
        "fleet_id": "id-fleet",
        "type": kind,
        "payload": payload,
        "timestamp": 1,
        "acknowledged": False,
        **more,
    }


def explored() -> Play:
    play = Play(EXPLORER)
    assert play.answer("read", LISTING)["filePath"] == "/p"
    assert play.answer("read", README)["filePath"] == "/p/README.md"
    assert play.answer("read", CODE)["filePath"] == "/p/till.py"
    return play


def test_a_role_learns_who_it_is_and_who_its_peers_are_from_the_system_prompt() -> None:
    briefing = Briefing.from_system_prompt(system_prompt(ANALYST))

    assert briefing == Briefing(
        role=ANALYST,
        agent_id="id-analyst",
        fleet_id="id-fleet",
        peers={EXPLORER: "id-explorer", ENGINEER: "id-engineer"},
        working_directory="/p",
    )


def test_the_explorer_hands_on_what_it_read() -> None:
    play = explored()
    sent = play.answer_mesh("send_message", {"message_id": "m1", "recipients": ["id-analyst"]})

    assert sent == {
        "from_agent_id": "id-explorer",
        "to_agent_id": "id-analyst",
        "fleet_id": "id-fleet",
        "type": "handoff",
        "payload": f"{PROMISE}\n{LINE}",
    }


def test_the_explorer_ends_once_the_analyst_answered_and_acknowledged() -> None:
    play = explored()
    play.answer_mesh("send_message", {"message_id": "m1", "recipients": ["id-analyst"]})
    play.receive(message("result", ANALYST, EXPLORER, "a bug indeed"))
    receipts = [{"message_id": "m1", "agent_id": "id-analyst", "action": "ack", "timestamp": 2}]
    assert play.answer_mesh("get_receipts", {"receipts": receipts}) == {"message_id": "m1"}

    assert "a bug indeed" in play.last_words()


def test_the_explorer_does_not_take_an_answer_for_an_acknowledgement() -> None:
    play = explored()
    play.answer_mesh("send_message", {"message_id": "m1", "recipients": ["id-analyst"]})
    play.receive(message("result", ANALYST, EXPLORER, "a bug indeed"))
    play.answer_mesh("get_receipts", {"receipts": [{"agent_id": "id-analyst", "action": "seen"}]})

    assert play.last_words().startswith("I give up: the Analyst answered without acknowledging")


def test_the_explorer_says_so_when_the_line_is_not_there() -> None:
    play = Play(EXPLORER)
    play.answer("read", LISTING)
    play.answer("read", "<content>\n1: nothing to see\n</content>")
    play.answer("read", CODE)

    assert "no line of README.md holds" in play.last_words()


def test_the_analyst_answers_the_explorer_and_hands_on_under_one_correlation_id() -> None:
    play = Play(ANALYST)
    handoff = message("handoff", EXPLORER, ANALYST, f"{PROMISE}\n{LINE}")
    play.receive(handoff)
    result = play.answer_mesh("send_message", {"message_id": "m2", "recipients": []})
    order = play.answer_mesh("send_message", {"message_id": "m3", "recipients": []})
    play.receive(message("result", ENGINEER, ANALYST, "changed it"))

    assert (result["type"], result["to_agent_id"]) == ("result", "id-explorer")
    assert "if amount > DISCOUNT_FROM:" in result["payload"]
    assert (order["type"], order["to_agent_id"]) == ("handoff", "id-engineer")
    assert "    if amount >= DISCOUNT_FROM:" in order["payload"]
    assert "An order of 100.00 or more gets 10 % off." in order["payload"]
    assert result["correlation_id"] == order["correlation_id"] == handoff["id"]
    assert "changed it" in play.last_words()


def test_the_engineer_does_what_the_analyst_wrote_and_files_its_words() -> None:
    order = "In till.py, line 10, replace\n    if sum > LEAST:\nwith\n    if sum >= LEAST:\nbecause it says so"
    play = Play(ENGINEER)
    play.receive(message("handoff", ANALYST, ENGINEER, order, correlation_id="m1"))
    assert play.answer("read", "10:     if sum > LEAST:")["filePath"] == "/p/till.py"
    edit = play.answer("edit", "Edit applied successfully.")
    file = play.answer("write", "Wrote file successfully.")
    result = play.answer_mesh("send_message", {"message_id": "m4", "recipients": []})

    assert (edit["oldString"], edit["newString"]) == ("if sum > LEAST:", "if sum >= LEAST:")
    assert file["filePath"] == "/p/FINDINGS.md"
    assert order in file["content"]
    assert (result["type"], result["to_agent_id"], result["correlation_id"]) == ("result", "id-analyst", "m1")
    assert "FINDINGS.md" in play.last_words()


@pytest.mark.parametrize("tool", ["edit", "write"])
def test_the_engineer_does_not_report_what_a_tool_refused(tool: str) -> None:
    order = "In till.py, line 10, replace\n    a > b\nwith\n    a >= b\nbecause it says so"
    refusal = "The user rejected permission to use this specific tool call."
    play = Play(ENGINEER)
    play.receive(message("handoff", ANALYST, ENGINEER, order))
    play.answer("read", "10: a > b")
    play.answer("edit", refusal if tool == "edit" else "Edit applied successfully.")
    if tool == "write":
        play.answer("write", refusal)

    assert refusal in play.last_words()


@pytest.mark.parametrize(("role", "sender"), [(ANALYST, EXPLORER), (ENGINEER, ANALYST)])
def test_a_handoff_that_does_not_say_enough_ends_the_role(role: str, sender: str) -> None:
    play = Play(role)
    play.receive(message("handoff", sender, role, "please fix it"))

    assert play.last_words().endswith("please fix it")


def test_only_the_awaited_kind_from_the_awaited_peer_is_taken() -> None:
    play = Play(ENGINEER)
    others = [
        message("alert", ANALYST, ENGINEER, "wrong kind"),
        message("handoff", EXPLORER, ENGINEER, "wrong sender"),
    ]
    play.answer_mesh("get_inbox", {"messages": others})

    assert play.next_call().tool == "meshfleet_get_inbox"


def test_an_empty_inbox_is_looked_at_again_after_a_pause_and_not_for_ever() -> None:
    play = Play(ENGINEER)
    assert play.next_call().after_s == 0
    empty = PastCall("meshfleet_get_inbox", {"agent_id": "id-engineer"}, '{"messages": []}')
    play.calls = (empty,)
    assert play.next_call() == Call("meshfleet_get_inbox", {"agent_id": "id-engineer"}, EAGER_POLL_S)
    play.calls = (empty,) * MAX_POLLS

    assert play.last_words() == (f"I give up: no handoff from the Analyst after {MAX_POLLS} looks into my inbox")


def test_an_error_of_meshfleet_becomes_the_last_words() -> None:
    play = Play(ENGINEER)
    play.answer_mesh("get_inbox", {"error": "unknown agent id-engineer"})

    assert play.last_words() == 'I give up: get_inbox answered: {"error": "unknown agent id-engineer"}'


def test_an_acknowledgement_that_was_refused_is_no_acknowledgement() -> None:
    play = Play(ENGINEER)
    play.answer_mesh("get_inbox", {"messages": [message("handoff", ANALYST, ENGINEER, "x")]})
    play.answer_mesh("receipt", {"receipt": {}})
    play.answer_mesh("ack_message", {"ok": False, "reason": "not sent to you"})

    assert "not sent to you" in play.last_words()


def test_a_tool_that_is_not_offered_is_not_called() -> None:
    play = Play(ENGINEER, tools=("read",))

    assert play.last_words() == "I give up: I need meshfleet_get_inbox, which is not among my tools"


def test_a_conversation_that_took_another_turn_ends_with_its_reason() -> None:
    play = Play(EXPLORER)
    play.calls = (PastCall("invalid", {}, "unavailable tool 'read'"),)

    assert play.last_words() == "I give up: I called read and got invalid: unavailable tool 'read'"


def test_a_missing_peer_is_said() -> None:
    play = explored()
    play.system = play.system.replace("- Analyst:", "- Poet:")

    assert play.last_words() == "I give up: there is no Analyst among my peers, only Poet, Engineer"


def test_a_stranger_and_a_model_without_meshfleet_say_something() -> None:
    assert Play("Poet").last_words() == "I have no part for the role Poet."
    alone = Conversation("You are opencode.", ("go",), TOOLS, (), (), {})

    assert play_pipeline(alone) == Say("I give up: no meshfleet server told me who I am.")


def test_the_fleet_is_the_three_roles_and_each_is_told_how_to_wait_and_to_acknowledge() -> None:
    assert [agent["role"] for agent in fleet_agents()] == [EXPLORER, ANALYST, ENGINEER]
    for role, prompt in PROMPTS.items():
        assert role in prompt
        assert "sleep 3" in prompt
        assert "meshfleet_ack_message" in prompt
