"""Messages: who may be written to, what they may hold, and what waits in an inbox."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meshfleet.errors import Invalid, MeshfleetError, NotFound
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.model import MessageType
from tests.mesh.fleets import bytes_of, fleet_of, inbox_of, open_ledger, payloads, row, send


def test_a_message_waits_for_its_recipient_alone(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_of(ledger, "A", "B", "C")
    sent = send(ledger, fleet_id, b, "for b", sender=a)
    assert sent == {"message_id": sent["message_id"], "recipients": [b]}
    assert [payloads(ledger, agent_id) for agent_id in (a, b, c, "orchestrator")] == [[], ["for b"], [], []]


def test_a_message_s_row_holds_what_was_said_and_nothing_else(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    sent = send_message(ledger, Draft(a, b, fleet_id, "question", "why?", "m-0"))
    [message] = inbox_of(ledger, b)["messages"]
    timestamp = message.pop("timestamp")
    assert type(timestamp) is int
    assert timestamp >= row(ledger, "fleets", fleet_id)["created_at"]
    assert message == {
        "id": sent["message_id"],
        "from_agent_id": a,
        "to_agent_id": b,
        "fleet_id": fleet_id,
        "type": "question",
        "payload": "why?",
        "acknowledged": False,
        "correlation_id": "m-0",
    }


@pytest.mark.parametrize("type_", MessageType)
def test_each_type_of_message_can_be_sent(ledger_file: Path, type_: str) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    sent = send_message(ledger, Draft(a, b, fleet_id, str(type_), "x"))
    assert row(ledger, "messages", sent["message_id"])["type"] == str(type_)


def test_a_broadcast_goes_to_every_other_agent_and_remembers_whom(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_of(ledger, "A", "B", "C")
    fleet_of(ledger, "elsewhere")
    sent = send(ledger, fleet_id, "*", "all", sender=b)
    assert sent["recipients"] == [a, c]
    assert row(ledger, "messages", sent["message_id"])["recipients"] == [a, c]
    assert [payloads(ledger, agent_id) for agent_id in (a, b, c, "orchestrator")] == [["all"], [], ["all"], []]


def test_an_orchestrator_s_broadcast_reaches_every_agent(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, agent_ids = fleet_of(ledger, "A", "B")
    assert send(ledger, fleet_id, "*", sender="somebody's script")["recipients"] == agent_ids


def test_a_broadcast_of_the_only_agent_is_an_error(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    with pytest.raises(Invalid, match="to_agent_id is '\\*', but the fleet has no other agent"):
        send(ledger, fleet_id, "*", sender=a)


def test_the_orchestrator_has_an_inbox_in_every_fleet(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    assert send(ledger, fleet_id, "orchestrator", "done", sender=a)["recipients"] == ["orchestrator"]
    assert payloads(ledger, "orchestrator") == ["done"]


def test_an_agent_may_write_to_itself(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    assert send(ledger, fleet_id, a, sender=a)["recipients"] == [a]


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"from_agent_id": " "}, Invalid, "from_agent_id is blank"),
        ({"from_agent_id": "*"}, Invalid, r"from_agent_id is '\*'; a message comes from somebody"),
        ({"from_agent_id": "a\0"}, Invalid, "from_agent_id holds a NUL"),
        ({"from_agent_id": "x" * 257}, Invalid, "from_agent_id has 257 bytes"),
        ({"to_agent_id": ""}, Invalid, "to_agent_id is blank"),
        ({"to_agent_id": "nobody"}, Invalid, "to_agent_id 'nobody' is no agent; .* fleet_status"),
        ({"to_agent_id": "Orchestrator"}, Invalid, "to_agent_id 'Orchestrator' is no agent"),
        ({"to_agent_id": "** "}, Invalid, r"to_agent_id '\*\* ' is no agent"),
        ({"fleet_id": "nowhere"}, NotFound, "fleet_id 'nowhere' is no fleet"),
        ({"fleet_id": ""}, NotFound, "fleet_id '' is no fleet"),
        ({"type": "gossip"}, Invalid, "type is 'gossip'; it has to be one of handoff, question"),
        ({"type": "Result"}, Invalid, "type is 'Result'"),
        ({"payload": "x" * 65_537}, Invalid, "payload has 65537 bytes; at most 65536"),
        ({"payload": "€" * 21_845 + "ü"}, Invalid, "payload has 65537 bytes; at most 65536"),
        ({"payload": "a\0b"}, Invalid, "payload holds a NUL at character 1"),
        ({"payload": "\udfff"}, Invalid, "payload holds a lone surrogate at character 0"),
        ({"correlation_id": ""}, Invalid, "correlation_id is blank"),
        ({"correlation_id": "x" * 257}, Invalid, "correlation_id has 257 bytes"),
    ],
)
def test_a_message_that_cannot_be_is_refused_and_nothing_is_written(
    ledger_file: Path, change: dict[str, str], error: type[MeshfleetError], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    before = bytes_of(ledger_file.parent)
    with pytest.raises(error, match=told):
        send_message(ledger, replace(Draft(a, b, fleet_id, "result", "x"), **change))
    assert bytes_of(ledger_file.parent) == before


def test_an_agent_of_another_fleet_is_no_recipient(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    here, (a,) = fleet_of(ledger, "A")
    there, (stranger,) = fleet_of(ledger, "B")
    before = bytes_of(ledger_file.parent)
    with pytest.raises(Invalid, match=f"to_agent_id '{stranger}' is an agent of another fleet, {there}"):
        send(ledger, here, stranger, sender=a)
    assert bytes_of(ledger_file.parent) == before


@pytest.mark.parametrize(
    "payload",
    ["x" * 65_536, "€" * 21_845 + "x", "😀" * 16_384, "", " ", "\x1b[2J", 'a"\\\r\n\u2028\ufeff', "\U0010ffff\ufffe"],
    ids=["65536 bytes", "3-byte characters", "4-byte characters", "empty", "blank", "ansi", "quotes", "odd"],
)
def test_a_payload_of_up_to_65_536_bytes_arrives_unchanged_also_after_a_reopening(
    ledger_file: Path, payload: str
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    send(ledger, fleet_id, b, payload, sender=a)
    assert payloads(ledger, b) == [payload]
    ledger.close()
    assert payloads(open_ledger(ledger_file), b) == [payload]


def test_an_inbox_is_in_order_of_arrival(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    for number in range(30):
        send(ledger, fleet_id, b, str(number), sender=a if number % 2 else "me")
    assert payloads(ledger, b) == [str(number) for number in range(30)]


def test_since_leaves_out_what_was_sent_at_that_time_or_before(ledger_file: Path) -> None:
    times = iter([100, 101, 101, 102])
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshfleet.mesh.messages.now_ms", lambda: next(times))
        for payload in ("one", "two", "three", "four"):
            send(ledger, fleet_id, b, payload, sender=a)
    assert payloads(ledger, b, 99) == ["one", "two", "three", "four"]
    assert payloads(ledger, b, 100) == ["two", "three", "four"]
    assert payloads(ledger, b, 101) == ["four"]
    assert payloads(ledger, b, 102) == []
    assert payloads(ledger, b, 2**53 - 1) == []


def test_an_inbox_nobody_wrote_to_is_empty_and_a_blank_name_has_none(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    assert inbox_of(ledger, "nobody yet") == {"messages": []}
    with pytest.raises(Invalid, match="agent_id is blank"):
        inbox_of(ledger, " ")


def test_two_ledgers_on_one_file_see_each_other_s_messages_at_once(ledger_file: Path) -> None:
    one, two = open_ledger(ledger_file), open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(one, "A", "B")
    for number in range(10):
        send((one, two)[number % 2], fleet_id, b, str(number), sender=a)
        assert payloads(one, b) == payloads(two, b)
    assert payloads(one, b) == [str(number) for number in range(10)]


def test_an_agent_sends_in_its_own_fleet_only(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (stranger, _) = fleet_of(ledger, "A", "B")
    fleet_id, (_, member) = fleet_of(ledger, "A", "B")
    with pytest.raises(Invalid, match="not the fleet of from_agent_id"):
        send(ledger, fleet_id, member, sender=stranger)
    assert payloads(ledger, member) == []
