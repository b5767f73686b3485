"""How a scripted model plays whatever part it has: told only what OpenCode would tell it."""

from __future__ import annotations

import json

from meshfleet.demo.conversation import Conversation, PastCall, Say
from meshfleet.demo.parts import MOST_WAITS, Briefing, messages_in
from meshfleet.demo.pipeline import ANALYST, DEMO, ENGINEER, EXPLORER, PIPELINE
from meshfleet.mesh.briefing import GO_ON, MESSAGES
from tests.demo.plays import CODE, LINE, PROMISE, README, TOOLS, Play, message, prompt_with, system_prompt

LISTING = "<path>/p</path>\n<type>directory</type>\n<entries>\nREADME.md\ntill.py\n\n(2 entries)\n</entries>"
HANDOFF = message(EXPLORER, "handoff", f"{PROMISE}\n{LINE}")


def conversation(*prompts: str, calls: tuple[PastCall, ...] = (), of_turn: tuple[PastCall, ...] = ()) -> Conversation:
    return Conversation(system_prompt(ANALYST, PIPELINE.roles), prompts, TOOLS, calls, of_turn, {})


def waiting_explorer() -> Play:
    play = Play(PIPELINE, EXPLORER)
    for result in (LISTING, README, CODE):
        play.answer("read", result)
    play.send("m1")
    return play


def test_a_role_learns_who_it_is_and_who_its_peers_are_from_the_system_prompt() -> None:
    assert Briefing.of(conversation("go")) == Briefing(
        role=ANALYST,
        agent_id="id-analyst",
        fleet_id="id-fleet",
        peers={EXPLORER: "id-explorer", ENGINEER: "id-engineer"},
        working_directory="/p",
    )


def test_a_role_that_was_called_finds_the_messages_in_its_prompt() -> None:
    two = (HANDOFF, message(ENGINEER, "question", "what\n{else}?"))

    assert messages_in(prompt_with(*two)) == two
    assert messages_in(prompt_with(*two) + "\n3 more are in your inbox; wait_for_messages shows them.") == two
    assert messages_in("do your part") == ()
    assert messages_in(MESSAGES) == ()


def test_a_role_that_was_woken_begins_anew_and_knows_what_it_did_before() -> None:
    before, now = PastCall("read", {}, "old"), PastCall("read", {}, "new")
    woken = Briefing.of(conversation("go", prompt_with(HANDOFF), calls=(before, now), of_turn=(now,)))
    interrupted = Briefing.of(conversation(prompt_with(HANDOFF), GO_ON, calls=(before, now), of_turn=(now,)))

    assert woken is not None
    assert (woken.earlier, woken.handed) == ((before,), (HANDOFF,))
    assert interrupted is not None
    assert interrupted.earlier == ()


def test_a_role_that_was_called_takes_what_its_prompt_and_its_inbox_hold() -> None:
    play = Play(PIPELINE, ANALYST, HANDOFF)
    play.receive(message(ENGINEER, "handoff", "another sender"), HANDOFF)

    assert play.next_call().arguments["correlation_id"] == HANDOFF["id"]


def test_a_role_whose_prompt_does_not_hold_what_its_inbox_does_says_so() -> None:
    play = Play(PIPELINE, ANALYST, {**HANDOFF, "id": "another"})
    play.receive(HANDOFF)

    assert play.last_words() == f"I give up: my prompt does not hold the handoff of the Explorer: {HANDOFF['id']}"


def test_a_role_that_was_started_at_once_waits_for_what_is_handed_over() -> None:
    play = Play(DEMO, ANALYST)
    play.answer_mesh("wait_for_messages", {"messages": [], "timed_out": True})
    play.receive(HANDOFF)

    assert play.next_call().arguments["correlation_id"] == HANDOFF["id"]


def test_it_waits_again_where_nothing_came_and_not_for_ever() -> None:
    play = waiting_explorer()
    for _ in range(MOST_WAITS):
        play.answer_mesh("wait_for_messages", {"messages": [], "timed_out": True})

    assert play.last_words() == f"I give up: no result from the Analyst after {MOST_WAITS} waits"


def test_only_the_awaited_kind_from_the_awaited_peer_is_taken() -> None:
    play = waiting_explorer()
    others = [message(ANALYST, "alert", "wrong kind"), message(ENGINEER, "result", "wrong sender")]
    play.answer_mesh("wait_for_messages", {"messages": others, "timed_out": False})

    again = play.next_call()
    assert (again.tool, again.arguments["since"]) == ("meshfleet_wait_for_messages", 7)


def test_an_error_of_meshfleet_becomes_the_last_words() -> None:
    play = Play(PIPELINE, ENGINEER, message(ANALYST, "handoff", "x"))
    play.answer_mesh("wait_for_messages", {"error": "unknown agent id-engineer"})

    assert play.last_words() == 'I give up: wait_for_messages answered: {"error": "unknown agent id-engineer"}'


def test_an_acknowledgement_that_was_refused_is_no_acknowledgement() -> None:
    handoff = message(ANALYST, "handoff", "x")
    play = Play(PIPELINE, ENGINEER, handoff)
    play.answer_mesh("wait_for_messages", {"messages": [handoff]})
    play.answer_mesh("ack_message", {"ok": False, "reason": "not sent to you"})

    assert "not sent to you" in play.last_words()


def test_a_tool_that_is_not_offered_is_not_called() -> None:
    play = Play(PIPELINE, ENGINEER, tools=("read",))

    assert play.last_words() == "I give up: I need meshfleet_wait_for_messages, which is not among my tools"


def test_a_conversation_that_took_another_turn_ends_with_its_reason() -> None:
    play = Play(PIPELINE, EXPLORER)
    play.calls = (PastCall("invalid", {}, "unavailable tool 'read'"),)

    assert play.last_words() == "I give up: I called read and got invalid: unavailable tool 'read'"


def test_a_missing_peer_is_said() -> None:
    play = Play(PIPELINE, ENGINEER, message(ANALYST, "handoff", "x"))
    play.system = play.system.replace("- Analyst:", "- Poet:")

    assert play.last_words() == "I give up: there is no Analyst among my peers, only Explorer, Poet"


def test_a_stranger_and_a_model_without_meshfleet_say_something() -> None:
    assert Play(PIPELINE, "Poet").last_words() == "I have no part for the role Poet."
    alone = Conversation("You are opencode.", ("go",), TOOLS, (), (), {})

    assert PIPELINE.play(alone) == Say("I give up: no meshfleet server told me who I am.")


def test_what_a_prompt_holds_is_one_json_object_a_line() -> None:
    assert [json.loads(line) for line in prompt_with(HANDOFF).splitlines()[3:]] == [HANDOFF]
