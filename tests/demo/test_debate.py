"""What the moderator and the debaters do next."""

from __future__ import annotations

from typing import Any

import pytest

from meshfleet.demo.debate import CONSENSUS, DEBATE, DEBATERS, MODERATOR, QUESTION
from tests.demo.plays import CODE, LINE, PROMISE, README, Play, id_of, message

READ = {"README.md": README, "till.py": CODE, "check_till.py": "7: assert total([60.00, 40.00]) == 90.00"}
ASKED = message(MODERATOR, "question", QUESTION)
EVERY_ACK = [{"agent_id": id_of(role), "action": "ack"} for role in DEBATERS]


def answers_in(play: Play, thread: str, answers: dict[str, str]) -> None:
    """Have the moderator take an answer of each debater, two of which come at once."""
    waiting: list[dict[str, Any]] = [
        {**message(role, "result", payload), "id": f"{role} to {thread}"} for role, payload in answers.items()
    ]
    for several in (waiting[:2], *([one] for one in waiting[2:])):
        waits = play.answer_mesh("wait_for_messages", {"messages": several, "timed_out": False})
        assert waits["correlation_id"] == thread
        for one in several:
            assert play.answer_mesh("ack_message", {"ok": True}) == {"message_id": one["id"]}


def moderated(**answers: str) -> Play:
    """Return a moderator that all have told their positions, and what they say to its proposal."""
    play = Play(DEBATE, MODERATOR)
    assert play.send("q1")["to_agent_id"] == "*"
    positions = dict.fromkeys(DEBATERS, f"90.00, because {PROMISE}") | {"Maintainer": f"100.00, because {LINE}"}
    answers_in(play, "q1", positions)
    proposal = play.send("q2")
    assert (proposal["to_agent_id"], proposal["type"], proposal["correlation_id"]) == ("*", "question", "q1")
    assert proposal["payload"] == f"PROPOSAL: an order of exactly 100.00 costs 90.00: {PROMISE}"
    answers_in(play, "q2", dict.fromkeys(DEBATERS, "AGREE: yes") | answers)
    return play


def test_the_moderator_proposes_what_the_evidence_carries_and_tells_the_consensus() -> None:
    play = moderated()
    assert play.answer_mesh("get_receipts", {"receipts": EVERY_ACK}) == {"message_id": "q2"}
    told = play.send("r1")

    assert (told["to_agent_id"], told["type"]) == ("orchestrator", "result")
    assert told["payload"] == play.last_words()
    assert told["payload"].startswith(f"{CONSENSUS} of Customer, Lawyer, Tester, Maintainer, Accountant: an order")


def test_without_the_agreement_of_all_there_is_no_consensus() -> None:
    assert moderated(Lawyer="OBJECT: no").last_words() == "I give up: the Lawyer does not agree: OBJECT: no"


def test_a_proposal_that_not_all_have_acknowledged_carries_no_consensus() -> None:
    play = moderated()
    play.answer_mesh("get_receipts", {"receipts": EVERY_ACK[1:]})

    assert play.last_words() == "I give up: my proposal was acknowledged by 4 of 5"


@pytest.mark.parametrize(
    ("role", "amount", "agrees"),
    [
        ("Customer", "90.00", "AGREE: 90.00, as I said"),
        ("Lawyer", "90.00", "AGREE: 90.00, as I said"),
        ("Tester", "90.00", "AGREE: 90.00, as I said"),
        ("Maintainer", "100.00", "AGREE: I give up 100.00;"),
        ("Accountant", "100.00", "AGREE: I give up 100.00;"),
    ],
)
def test_a_debater_answers_from_its_own_evidence_and_gives_way_to_better(role: str, amount: str, agrees: str) -> None:
    play, file = Play(DEBATE, role, ASKED), DEBATERS[role][1]
    play.receive(ASKED)
    assert play.answer("read", READ[file])["filePath"] == f"/p/{file}"
    position = play.send("r1")
    proposal = {**ASKED, "id": "q2", "payload": f"PROPOSAL: an order of exactly 100.00 costs 90.00: {PROMISE}"}
    play.receive(proposal, thread=ASKED["id"])
    answer = play.send("r2")

    assert position["payload"].startswith(f"{amount}, because {file}, line ")
    assert (position["to_agent_id"], position["correlation_id"]) == (MODERATOR, ASKED["id"])
    assert answer["payload"].startswith(agrees)
    assert (answer["to_agent_id"], answer["correlation_id"]) == (MODERATOR, "q2")
    assert answer["payload"] in play.last_words()


def test_a_debater_does_not_agree_with_what_has_no_evidence() -> None:
    play = Play(DEBATE, "Maintainer", ASKED)
    play.receive(ASKED)
    play.answer("read", CODE)
    play.send("r1")
    play.receive({**ASKED, "id": "q2", "payload": "PROPOSAL: 90.00"}, thread=ASKED["id"])

    assert play.send("r2")["payload"] == "OBJECT: without evidence it stays at 100.00"


def test_only_the_moderator_starts_and_five_peers_wait_to_be_asked() -> None:
    starts = {agent["role"]: agent.get("start", "now") for agent in DEBATE.agents}

    assert starts == {MODERATOR: "now", **dict.fromkeys(DEBATERS, "on_message")}
    assert len(DEBATERS) == 5
