"""Many messages in one transaction: all of them or none, and a refusal says which one it is about."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from meshfleet.errors import Conflict, Invalid, MeshfleetError, NotFound
from meshfleet.ledger import Ledger
from meshfleet.mesh.messages import MOST_AT_ONCE, Draft, send_message, send_messages
from meshfleet.model import Row
from tests.mesh.fleets import fleet_of, open_ledger, payloads, row, start_all
from tests.mesh.test_dormancy import finish, fleet, roles_started, spec


def draft(fleet_id: str, to: str, payload: str = "x", **more: str) -> Draft:
    return replace(Draft("me", to, fleet_id, "result", payload), **more)


def written(ledger: Ledger) -> tuple[int, int]:
    return ledger.read(lambda view: (view.seq, view.count("messages")))


def test_all_of_them_are_one_transaction_and_arrive_in_their_order(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    seq, _ = written(ledger)
    drafts = [draft(fleet_id, a, str(number)) for number in range(MOST_AT_ONCE - 1)]
    sent = send_messages(ledger, [*drafts, draft(fleet_id, "*", "last", from_agent_id=a)])
    assert written(ledger) == (seq + 1, MOST_AT_ONCE)
    assert payloads(ledger, a) == [str(number) for number in range(MOST_AT_ONCE - 1)]
    assert payloads(ledger, b) == ["last"]
    assert [one["recipients"] for one in sent] == [[a]] * (MOST_AT_ONCE - 1) + [[b]]
    assert len({one["message_id"] for one in sent}) == MOST_AT_ONCE
    events = [json.loads(line)["event"] for line in ledger.events.path.read_text().splitlines()]
    assert events.count("message_sent") == MOST_AT_ONCE


@pytest.mark.parametrize(
    ("wrong", "kind", "told"),
    [
        ({"to_agent_id": "Nobody"}, Invalid, "messages[1]: to_agent_id 'Nobody' is no agent"),
        ({"fleet_id": "nowhere"}, NotFound, "messages[1]: fleet_id 'nowhere' is no fleet"),
        ({"type": "shout"}, Invalid, "messages[1]: type is 'shout'; it has to be one of"),
        ({"payload": "x" * 65_537}, Invalid, "messages[1]: payload has 65537 bytes; at most 65536"),
        ({"idempotency_key": "k", "payload": "y"}, Conflict, "messages[1]: idempotency_key 'k' was used for another"),
    ],
)
def test_one_that_can_t_be_sent_refuses_all_and_is_named_by_its_place(
    ledger_file: Path, wrong: dict[str, str], kind: type[MeshfleetError], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, _) = fleet_of(ledger, "A", "B")
    send_message(ledger, draft(fleet_id, a, idempotency_key="k"))
    before = written(ledger)
    good = draft(fleet_id, a)
    with pytest.raises(kind) as refusal:
        send_messages(ledger, [good, replace(good, **wrong), replace(good, to_agent_id="Nobody either")])
    assert str(refusal.value).startswith(told)
    assert written(ledger) == before


@pytest.mark.parametrize("count", [0, MOST_AT_ONCE + 1])
def test_none_and_more_than_a_thousand_are_refused(ledger_file: Path, count: int) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A")
    with pytest.raises(Invalid, match=f"messages has {count} entries; 1 to 1000 can be sent at once"):
        send_messages(ledger, [draft(fleet_id, "A")] * count)


def test_a_key_that_is_repeated_within_stands_for_one_message(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, _) = fleet_of(ledger, "A", "B")
    first, second = send_messages(ledger, [draft(fleet_id, a, idempotency_key="k")] * 2)
    assert first == second
    assert payloads(ledger, a) == ["x"]


def test_the_first_of_several_wakes_and_the_others_wait_with_it(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (_, b) = fleet(ledger, spec("A"), spec("B", wake=True))
    start_all(ledger)
    finish(ledger, b)
    sent: list[Row] = send_messages(ledger, [draft(fleet_id, b, type="handoff")] * 3)
    assert not any("warning" in one for one in sent)
    assert row(ledger, "agents", b)["wakes"] == 1
    assert roles_started(ledger) == ["B"]
