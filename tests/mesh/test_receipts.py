"""Receipts: the first one stands, an ack consumes, and a message is acknowledged when all it went to have acked."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.errors import Invalid, MeshfleetError, NotFound
from meshfleet.mesh.receipts import ack_message, get_receipts, write_receipt
from meshfleet.model import receipt_key
from tests.mesh.fleets import bytes_of, events_in, fleet_of, open_ledger, payloads, row, send


def test_an_ack_takes_the_message_out_of_the_inbox_and_leaves_a_receipt(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    message_id = send(ledger, fleet_id, b, sender=a)["message_id"]
    assert ack_message(ledger, b, message_id) == {"ok": True}
    assert payloads(ledger, b) == []
    assert row(ledger, "messages", message_id)["acknowledged"] is True
    [receipt] = get_receipts(ledger, message_id)["receipts"]
    assert receipt.keys() == {"message_id", "agent_id", "action", "timestamp"}
    assert (receipt["message_id"], receipt["agent_id"], receipt["action"]) == (message_id, b, "ack")
    assert receipt == row(ledger, "receipts", receipt_key(message_id, b, "ack"))


def test_a_repeated_ack_is_fine_and_writes_nothing_more(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    message_id = send(ledger, fleet_id, b, sender=a)["message_id"]
    ack_message(ledger, b, message_id)
    before = bytes_of(ledger_file.parent)
    assert ack_message(ledger, b, message_id) == {"ok": True}
    assert bytes_of(ledger_file.parent) == before


def test_a_broadcast_to_five_peers_is_acknowledged_only_when_all_five_have_acked(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (sender, *peers) = fleet_of(ledger, "A", "B", "C", "D", "E", "F")
    message_id = send(ledger, fleet_id, "*", "all", sender=sender)["message_id"]
    for acked, peer in enumerate(peers, start=1):
        assert row(ledger, "messages", message_id)["acknowledged"] is False
        ack_message(ledger, peer, message_id)
        ack_message(ledger, peer, message_id)
        assert [payloads(ledger, other) for other in peers] == [[]] * acked + [["all"]] * (5 - acked)
        trail = get_receipts(ledger, message_id)["receipts"]
        assert {(one["agent_id"], one["action"]) for one in trail} == {(other, "ack") for other in peers[:acked]}
    assert row(ledger, "messages", message_id)["acknowledged"] is True
    assert row(ledger, "messages", message_id)["recipients"] == peers


def test_an_agent_that_joined_after_a_broadcast_is_none_of_its_recipients(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    message_id = send(ledger, fleet_id, "*", sender=a)["message_id"]
    ledger.transact(
        lambda transaction: transaction.put(
            "agents", "late", {"id": "late", "fleet_id": fleet_id, "role": "L", "prompt": "", "status": "running"}
        )
    )
    assert ack_message(ledger, "late", message_id)["ok"] is False
    ack_message(ledger, b, message_id)
    assert row(ledger, "messages", message_id)["acknowledged"] is True


def test_the_orchestrator_acks_what_was_sent_to_it(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    message_id = send(ledger, fleet_id, "orchestrator", sender=a)["message_id"]
    assert ack_message(ledger, "orchestrator", message_id) == {"ok": True}
    assert payloads(ledger, "orchestrator") == []


def test_an_ack_by_somebody_it_was_not_sent_to_is_false_with_the_reason(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_of(ledger, "A", "B", "C")
    message_id = send(ledger, fleet_id, b, sender=a)["message_id"]
    before = bytes_of(ledger_file.parent)
    for other in (a, c, "orchestrator", "nobody"):
        answer = ack_message(ledger, other, message_id)
        assert answer.keys() == {"ok", "reason"}
        assert answer["ok"] is False
        assert f"not sent to '{other}'" in answer["reason"]
    assert bytes_of(ledger_file.parent) == before


def test_an_ack_of_an_unknown_message_is_false_with_the_reason(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    assert ack_message(ledger, "a", "nothing") == {
        "ok": False,
        "reason": "message_id 'nothing' is no message; get_inbox shows what waits",
    }
    assert len(ack_message(ledger, "a", "x" * 1_000_000)["reason"]) < 200


def test_any_other_action_annotates_and_leaves_the_message_where_it_is(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    message_id = send(ledger, fleet_id, b, "hello", sender=a)["message_id"]
    answer = write_receipt(ledger, b, message_id, "seen", "on it")
    assert answer["receipt"].keys() == {"message_id", "agent_id", "action", "timestamp", "note"}
    assert (answer["receipt"]["action"], answer["receipt"]["note"]) == ("seen", "on it")
    assert payloads(ledger, b) == ["hello"]
    assert row(ledger, "messages", message_id)["acknowledged"] is False


def test_the_first_receipt_of_a_kind_stands_and_a_repeat_returns_it(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    message_id = send(ledger, fleet_id, b, sender=a)["message_id"]
    first = write_receipt(ledger, b, message_id, "seen", "first")
    before = bytes_of(ledger_file.parent)
    assert write_receipt(ledger, b, message_id, "seen", "second") == first
    assert write_receipt(ledger, b, message_id, "seen") == first
    assert bytes_of(ledger_file.parent) == before
    assert write_receipt(ledger, b, message_id, "done")["receipt"]["action"] == "done"


def test_receipts_are_told_oldest_first_then_by_agent(ledger_file: Path) -> None:
    times = iter([300, 200, 200, 100])
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    message_id = send(ledger, fleet_id, b, sender=a)["message_id"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshfleet.mesh.receipts.now_ms", lambda: next(times))
        for agent_id in ("z", "y", "x", "w"):
            write_receipt(ledger, agent_id, message_id, "seen")
    receipts = get_receipts(ledger, message_id)["receipts"]
    assert [(receipt["timestamp"], receipt["agent_id"]) for receipt in receipts] == [
        (100, "w"),
        (200, "x"),
        (200, "y"),
        (300, "z"),
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (("b", "MESSAGE", "ack"), Invalid, "action is 'ack', .* use ack_message"),
        (("b", "MESSAGE", " Ack"), Invalid, "action is ' Ack', .* use ack_message"),
        (("b", "MESSAGE", ""), Invalid, "action is blank"),
        (("b", "MESSAGE", " \n"), Invalid, "action is blank"),
        (("b", "MESSAGE", "a:b"), Invalid, "action is 'a:b'; it can't hold a colon"),
        (("b", "MESSAGE", "x" * 257), Invalid, "action has 257 bytes"),
        (("", "MESSAGE", "seen"), Invalid, "agent_id is blank"),
        (("b\0", "MESSAGE", "seen"), Invalid, "agent_id holds a NUL"),
        (("b", "nothing", "seen"), NotFound, "message_id 'nothing' is no message"),
        (("b", "MESSAGE", "seen", "\0"), Invalid, "note holds a NUL"),
        (("b", "MESSAGE", "seen", "\ud800"), Invalid, "note holds a lone surrogate"),
        (("b", "MESSAGE", "seen", "ü" * 32_769), Invalid, "note has 65538 bytes"),
    ],
)
def test_a_receipt_that_cannot_be_is_refused_and_nothing_is_written(
    ledger_file: Path, arguments: tuple[str, ...], error: type[MeshfleetError], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    message_id = send(ledger, fleet_id, b, sender=a)["message_id"]
    before = bytes_of(ledger_file.parent)
    with pytest.raises(error, match=told):
        write_receipt(ledger, *[message_id if value == "MESSAGE" else value for value in arguments])
    assert bytes_of(ledger_file.parent) == before


def test_the_trail_of_an_unknown_message_is_an_error_not_an_empty_one(ledger_file: Path) -> None:
    with pytest.raises(NotFound, match="message_id 'nothing' is no message"):
        get_receipts(open_ledger(ledger_file), "nothing")


def test_every_first_receipt_is_told_in_the_event_log_and_no_repeat_is(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    message_id = send(ledger, fleet_id, b, sender=a)["message_id"]
    for _ in range(2):
        write_receipt(ledger, b, message_id, "seen")
        ack_message(ledger, b, message_id)
    told = [event for event in events_in(ledger_file) if event["event"] == "receipt_written"]
    assert [(event["message_id"], event["agent_id"], event["action"]) for event in told] == [
        (message_id, b, "seen"),
        (message_id, b, "ack"),
    ]
