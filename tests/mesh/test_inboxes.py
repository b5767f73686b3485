"""What is picked out of an inbox, what that witnesses, roles in the place of ids, and sends that are repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshfleet.errors import Conflict, Invalid
from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import identify_agent, whoami
from meshfleet.mesh.inboxes import Wanted, get_inbox, note_seen
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import ack_message, get_receipts
from meshfleet.mesh.routing import register_capability
from tests.mesh.fleets import fleet_of, open_ledger, row, start_all
from tests.mesh.test_dormancy import finish


def say(ledger: Ledger, fleet_id: str, to: str, payload: str, **more: Any) -> str:
    told = {"from_agent_id": "me", "type": "result", **more}
    draft = Draft(to_agent_id=to, fleet_id=fleet_id, payload=payload, **told)
    return str(send_message(ledger, draft)["message_id"])


def picked(ledger: Ledger, agent_id: str, **wanted: Any) -> list[str]:
    return [message["payload"] for message in get_inbox(ledger, Wanted(agent_id, **wanted))]


def test_a_thread_is_the_message_and_what_belongs_to_it(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, _) = fleet_of(ledger, "A", "B")
    question = say(ledger, fleet_id, a, "q", type="question")
    say(ledger, fleet_id, a, "other", correlation_id="something else")
    say(ledger, fleet_id, a, "answer", correlation_id=question)
    assert picked(ledger, a, correlation_id=question) == ["q", "answer"]
    assert picked(ledger, a, correlation_id=question, type="question") == ["q"]
    assert picked(ledger, a, correlation_id="nobody's") == []


def test_a_limit_gives_the_oldest_and_none_gives_all(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, _) = fleet_of(ledger, "A", "B")
    for number in range(120):
        say(ledger, fleet_id, a, str(number), type="alert" if number % 2 else "result")
    assert picked(ledger, a, limit=3) == ["0", "1", "2"]
    assert picked(ledger, a, limit=2, type="alert") == ["1", "3"]
    assert len(picked(ledger, a)) == 120


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"since": -1}, "since is -1; it has to be a time in ms since the epoch"),
        ({"since": 2**53}, f"since is {2**53}; it has to be a time in ms since the epoch"),
        ({"since": 10**400}, f"since is 1{'0' * 79}...; it has to be a time in ms since the epoch"),
        ({"type": "shout"}, "type is 'shout'; it has to be one of handoff, question, result, alert, request_help"),
        ({"limit": 0}, "limit is 0; it has to be at least 1"),
        ({"correlation_id": " "}, "correlation_id is blank; it has to say something"),
    ],
)
def test_what_no_message_can_match_is_refused_by_name(ledger_file: Path, wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refusal:
        picked(open_ledger(ledger_file), "a", **wanted)
    assert str(refusal.value) == told


def test_what_an_agent_has_seen_is_noted_once(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, _) = fleet_of(ledger, "A", "B")
    message_id = say(ledger, fleet_id, a, "x")
    messages = get_inbox(ledger, Wanted(a))
    note_seen(ledger, a, messages)
    seq = ledger.read(lambda view: view.seq)
    note_seen(ledger, a, messages)
    assert ledger.read(lambda view: view.seq) == seq
    assert [one["action"] for one in get_receipts(ledger, message_id)["receipts"]] == ["seen"]


def test_the_trail_of_a_broadcast_to_five_is_complete_only_when_all_five_have_acknowledged(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (speaker, *peers) = fleet_of(ledger, "Speaker", "A", "B", "C", "D", "E")
    message_id = say(ledger, fleet_id, "*", "all of you", from_agent_id=speaker)
    for count, peer in enumerate(peers):
        assert row(ledger, "messages", message_id)["acknowledged"] is False, count
        note_seen(ledger, peer, get_inbox(ledger, Wanted(peer)))
        ack_message(ledger, peer, message_id)
    assert row(ledger, "messages", message_id)["acknowledged"] is True
    trail = [(one["agent_id"], one["action"]) for one in get_receipts(ledger, message_id)["receipts"]]
    assert sorted(trail) == sorted((peer, action) for peer in peers for action in ("seen", "ack"))


def test_a_role_stands_for_the_one_agent_that_has_it(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, "Analyst")
    fleet_id, (_, b) = fleet_of(ledger, "Explorer", "Analyst")
    message_id = say(ledger, fleet_id, "Analyst", "x")
    assert row(ledger, "messages", message_id)["to_agent_id"] == b
    assert picked(ledger, b) == ["x"]


def test_a_role_of_two_agents_is_refused_by_naming_them(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (_, b, c) = fleet_of(ledger, "A", "Twin", "Twin")
    with pytest.raises(Invalid) as refusal:
        say(ledger, fleet_id, "Twin", "x")
    assert str(refusal.value) == f"to_agent_id 'Twin' is the role of 2 agents, {b}, {c}; name one"
    assert ledger.read(lambda view: view.count("messages")) == 0


def test_a_role_nobody_has_is_refused(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A")
    with pytest.raises(Invalid, match="to_agent_id 'Nobody' is no agent; name one by its id or its role"):
        say(ledger, fleet_id, "Nobody", "x")


def test_an_agent_may_call_itself_by_its_role(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, _) = fleet_of(ledger, "A", "B")
    caller = identify_agent(ledger, a).caller
    assert [caller.acting_as("agent_id", name) for name in (None, a, "A")] == [a, a, a]
    assert caller.in_fleet(None) == fleet_id
    with pytest.raises(Invalid, match="agent_id is 'B', but you are agent"):
        caller.acting_as("agent_id", "B")


def test_a_repeat_with_its_key_returns_the_message_that_is_there(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    first = say(ledger, fleet_id, "*", "x", from_agent_id=a, idempotency_key="k")
    ack_message(ledger, b, first)
    assert say(ledger, fleet_id, "*", "x", from_agent_id=a, idempotency_key="k") == first
    assert picked(ledger, b) == []
    assert say(ledger, fleet_id, "*", "x", from_agent_id="boss", idempotency_key="k") != first
    assert say(ledger, fleet_id, "*", "x", from_agent_id=a, idempotency_key="l") != first
    other, _ = fleet_of(ledger, "C")
    assert say(ledger, other, "C", "x", idempotency_key="k") != say(ledger, fleet_id, b, "x", idempotency_key="k")


@pytest.mark.parametrize("change", [{"payload": "y"}, {"to": "A"}, {"type": "alert"}, {"correlation_id": "m"}])
def test_a_key_that_was_used_for_another_message_is_refused(ledger_file: Path, change: dict[str, str]) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A", "B")
    said: dict[str, Any] = {"to": "B", "payload": "x", "idempotency_key": "k"}
    say(ledger, fleet_id, **said)
    with pytest.raises(Conflict, match="idempotency_key 'k' was used for another message"):
        say(ledger, fleet_id, **said | change)
    assert ledger.read(lambda view: view.count("messages")) == 1


def test_an_agent_learns_who_it_is_what_its_peers_can_and_what_of_its_own_reaches_nobody(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_of(ledger, "A", "B", "C")
    register_capability(ledger, agent_id=b, fleet_id=fleet_id, role="DBA", skills=["sql"])
    start_all(ledger)
    say(ledger, fleet_id, a, "x")
    lost = say(ledger, fleet_id, c, "y", from_agent_id=a)
    say(ledger, fleet_id, c, "not mine", from_agent_id=b)
    finish(ledger, c, ok=False)
    assert whoami(ledger, a) == {
        "agent_id": a,
        "role": "A",
        "fleet_id": fleet_id,
        "peers": [
            {"agent_id": b, "role": "B", "status": "running", "skills": ["sql"]},
            {"agent_id": c, "role": "C", "status": "failed", "skills": []},
        ],
        "unread": 1,
        "undeliverable": [{"message_id": lost, "to_agent_id": c, "role": "C", "status": "failed"}],
    }
