"""What each role of the pipeline does next."""

from __future__ import annotations

import pytest

from meshfleet.demo.pipeline import ANALYST, DEMO, ENGINEER, EXPLORER, PIPELINE, PROMPTS
from tests.demo.plays import CODE, LINE, PROMISE, README, Play, message

LISTING = "<path>/p</path>\n<type>directory</type>\n<entries>\nREADME.md\ntill.py\n\n(2 entries)\n</entries>"
HANDOFF = message(EXPLORER, "handoff", f"{PROMISE}\n{LINE}")


def explored() -> Play:
    play = Play(PIPELINE, EXPLORER)
    assert play.answer("read", LISTING)["filePath"] == "/p"
    assert play.answer("read", README)["filePath"] == "/p/README.md"
    assert play.answer("read", CODE)["filePath"] == "/p/till.py"
    return play


def answered() -> Play:
    play = explored()
    play.send("m1")
    play.receive(message(ANALYST, "result", "a bug indeed"), thread="m1")
    return play


def called(role: str, sender: str, payload: str, **more: str) -> Play:
    handoff = message(sender, "handoff", payload, **more)
    play = Play(PIPELINE, role, handoff)
    play.receive(handoff)
    return play


def test_the_explorer_hands_on_what_it_read() -> None:
    assert explored().send("m1") == {"to_agent_id": ANALYST, "type": "handoff", "payload": f"{PROMISE}\n{LINE}"}


def test_the_explorer_ends_once_the_analyst_answered_and_acknowledged() -> None:
    play = answered()
    receipts = [{"message_id": "m1", "agent_id": "id-analyst", "action": "ack", "timestamp": 2}]
    assert play.answer_mesh("get_receipts", {"receipts": receipts}) == {"message_id": "m1"}

    assert "a bug indeed" in play.last_words()


def test_the_explorer_does_not_take_an_answer_for_an_acknowledgement() -> None:
    play = answered()
    play.answer_mesh("get_receipts", {"receipts": [{"agent_id": "id-analyst", "action": "seen"}]})

    assert play.last_words().startswith("I give up: the Analyst answered without acknowledging")


def test_the_explorer_says_so_when_the_line_is_not_there() -> None:
    play = Play(PIPELINE, EXPLORER)
    play.answer("read", LISTING)
    play.answer("read", "<content>\n1: nothing to see\n</content>")
    play.answer("read", CODE)

    assert "no line of README.md holds" in play.last_words()


def test_the_analyst_answers_the_explorer_and_hands_on_under_one_correlation_id() -> None:
    play = Play(PIPELINE, ANALYST, HANDOFF)
    play.receive(HANDOFF)
    result, order = play.send("m2"), play.send("m3")
    play.receive(message(ENGINEER, "result", "changed it"), thread=HANDOFF["id"])

    assert (result["type"], result["to_agent_id"]) == ("result", EXPLORER)
    assert "if amount > DISCOUNT_FROM:" in result["payload"]
    assert (order["type"], order["to_agent_id"]) == ("handoff", ENGINEER)
    assert "    if amount >= DISCOUNT_FROM:" in order["payload"]
    assert "An order of 100.00 or more gets 10 % off." in order["payload"]
    assert result["correlation_id"] == order["correlation_id"] == HANDOFF["id"]
    assert "changed it" in play.last_words()


def test_the_engineer_does_what_the_analyst_wrote_and_files_its_words() -> None:
    order = "In till.py, line 10, replace\n    if sum > LEAST:\nwith\n    if sum >= LEAST:\nbecause it says so"
    play = called(ENGINEER, ANALYST, order, correlation_id="m1")
    assert play.answer("read", "10:     if sum > LEAST:")["filePath"] == "/p/till.py"
    edit = play.answer("edit", "Edit applied successfully.")
    file = play.answer("write", "Wrote file successfully.")
    result = play.send("m4")

    assert (edit["oldString"], edit["newString"]) == ("if sum > LEAST:", "if sum >= LEAST:")
    assert file["filePath"] == "/p/FINDINGS.md"
    assert order in file["content"]
    assert (result["type"], result["to_agent_id"], result["correlation_id"]) == ("result", ANALYST, "m1")
    assert "FINDINGS.md" in play.last_words()


@pytest.mark.parametrize("tool", ["edit", "write"])
def test_the_engineer_does_not_report_what_a_tool_refused(tool: str) -> None:
    refusal = "The user rejected permission to use this specific tool call."
    play = called(ENGINEER, ANALYST, "In till.py, line 10, replace\n    a > b\nwith\n    a >= b\nbecause it says so")
    play.answer("read", "10: a > b")
    play.answer("edit", refusal if tool == "edit" else "Edit applied successfully.")
    if tool == "write":
        play.answer("write", refusal)

    assert refusal in play.last_words()


@pytest.mark.parametrize(("role", "sender"), [(ANALYST, EXPLORER), (ENGINEER, ANALYST)])
def test_a_handoff_that_does_not_say_enough_ends_the_role(role: str, sender: str) -> None:
    assert called(role, sender, "please fix it").last_words().endswith("please fix it")


def test_only_the_first_station_starts_but_in_the_demo_and_each_is_told_how_to_wait_and_to_acknowledge() -> None:
    assert PIPELINE.roles == (EXPLORER, ANALYST, ENGINEER)
    assert [agent.get("start", "now") for agent in PIPELINE.agents] == ["now", "on_message", "on_message"]
    assert [agent.get("start", "now") for agent in DEMO.agents] == ["now", "now", "now"]
    for role, prompt in PROMPTS.items():
        assert role in prompt
        assert "meshfleet_wait_for_messages" in prompt
        assert "meshfleet_ack_message" in prompt
        assert "sleep" not in prompt
