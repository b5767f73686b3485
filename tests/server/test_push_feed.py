"""What a reader of an inbox is told, whenever it looks and wherever it left off."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.ledger import Ledger, View
from meshfleet.ledger.state import State
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import ack_message, write_receipt
from meshfleet.model import EVERYONE, ORCHESTRATOR, Row, receipt_key
from meshfleet.server.push_feed import Event, Feed, Position, pieces
from tests.mesh.fleets import fleet_of, open_ledger, send

Told = tuple[str, str]


def fields_of(event: Event) -> dict[str, str]:
    lines = event.encoded().decode().removesuffix("\n\n").split("\n")
    return dict(line.split(": ", 1) for line in lines)


def data_of(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fields_of(event)["data"])
    return found


def told(events: Iterable[Event]) -> list[Told]:
    return [(fields_of(event)["event"], data_of(event)["message_id"]) for event in events]


@pytest.fixture
def ledger(ledger_file: Path) -> Iterable[Ledger]:
    found = open_ledger(ledger_file)
    yield found
    found.close()


def test_what_waits_is_told_first_and_then_what_is_new(ledger: Ledger) -> None:
    fleet_id, (one, other) = fleet_of(ledger, "A", "B")
    gone, waiting = (send(ledger, fleet_id, one)["message_id"] for _ in range(2))
    ack_message(ledger, one, gone)
    feed = Feed(one)
    assert told(ledger.read(feed.take)) == [("message", waiting)]
    assert ledger.read(feed.take) == []
    new = send(ledger, fleet_id, one)["message_id"]
    send(ledger, fleet_id, other)
    send(ledger, fleet_id, ORCHESTRATOR)
    ack_message(ledger, one, waiting)
    assert told(ledger.read(feed.take)) == [("message", new), ("ack", waiting)]
    assert ledger.read(feed.take) == []


def test_a_message_that_was_acknowledged_between_two_looks_is_told_all_the_same(ledger: Ledger) -> None:
    fleet_id, (one,) = fleet_of(ledger, "A")
    feed = Feed(one)
    assert ledger.read(feed.take) == []
    message_id = send(ledger, fleet_id, one)["message_id"]
    ack_message(ledger, one, message_id)
    assert told(ledger.read(feed.take)) == [("message", message_id), ("ack", message_id)]


def test_a_broadcast_is_told_to_each_and_acknowledged_by_each_alone(ledger: Ledger) -> None:
    fleet_id, (one, other) = fleet_of(ledger, "A", "B")
    feeds = {agent_id: Feed(agent_id) for agent_id in (one, other, ORCHESTRATOR)}
    assert [ledger.read(feed.take) for feed in feeds.values()] == [[], [], []]
    message_id = send(ledger, fleet_id, EVERYONE)["message_id"]
    ack_message(ledger, one, message_id)
    assert told(ledger.read(feeds[one].take)) == [("message", message_id), ("ack", message_id)]
    assert told(ledger.read(feeds[other].take)) == [("message", message_id)]
    assert ledger.read(feeds[ORCHESTRATOR].take) == []


def test_other_receipts_and_repeated_acknowledgements_are_no_events(ledger: Ledger) -> None:
    fleet_id, (one,) = fleet_of(ledger, "A")
    message_id = send(ledger, fleet_id, one)["message_id"]
    feed = Feed(one)
    ledger.read(feed.take)
    write_receipt(ledger, one, message_id, "seen")
    assert ledger.read(feed.take) == []
    for _ in range(2):
        ack_message(ledger, one, message_id)
    assert told(ledger.read(feed.take)) == [("ack", message_id)]


def test_events_are_as_the_contract_has_them(ledger: Ledger) -> None:
    fleet_id, (one,) = fleet_of(ledger, "A")
    payload = 'two\nlines\r\n\u2028 "quoted" \\ ä 🦊'
    message_id = send_message(ledger, Draft("me", one, fleet_id, "question", payload))["message_id"]
    feed = Feed(one)
    (arrived,) = ledger.read(feed.take)
    ack_message(ledger, one, message_id)
    (acked,) = ledger.read(feed.take)
    row, receipt = arrived.row, acked.row
    assert fields_of(arrived)["event"] == "message"
    assert data_of(arrived) == {
        "type": "message",
        "message_id": message_id,
        "from_agent_id": "me",
        "payload": data_of(arrived)["payload"],
        "timestamp": row["timestamp"],
    }
    assert json.loads(data_of(arrived)["payload"]) == {"type": "question", "payload": payload}
    assert data_of(acked) == {
        "type": "ack",
        "message_id": message_id,
        "agent_id": one,
        "timestamp": receipt["timestamp"],
    }


def test_a_lone_surrogate_of_an_old_ledger_stops_no_stream() -> None:
    row = {"id": "m\ud800", "from_agent_id": "x", "type": "result", "payload": "\udfff", "timestamp": 1}
    assert fields_of(Event(Position("m\ud800"), row))["data"].count("?") == 2


def test_the_id_of_an_event_tells_a_position_whatever_the_ids_in_it_hold() -> None:
    position = Position("a:b\n%", "ä 🦊")
    assert str(position).isascii()
    assert str(position).isprintable()
    assert Position.from_event_id(str(position)) == position
    assert Position.from_event_id("no position") is None


@pytest.mark.parametrize("event_id", ["rubbish", "gone:", ":gone", "gone:gone", ":::", "%FF%00:%", "a" * 9000])
def test_a_reader_that_names_an_unknown_event_is_told_what_waits(ledger: Ledger, event_id: str) -> None:
    fleet_id, (one,) = fleet_of(ledger, "A")
    gone, waiting = (send(ledger, fleet_id, one)["message_id"] for _ in range(2))
    ack_message(ledger, one, gone)
    assert told(ledger.read(Feed(one, event_id).take)) == [("message", waiting)]


def test_another_ledger_in_the_place_of_the_old_one_is_told_from_its_beginning() -> None:
    first, second = Mesh(), Mesh()
    for number in range(3):
        first.send("a", f"old {number}")
    feed = Feed("a")
    feed.take(first.view)
    second.send("a", "new")
    assert told(feed.take(second.view)) == [("message", "new")]


class Mesh:
    """A ledger's rows in memory, written as the rules write them."""

    def __init__(self) -> None:
        self.state = State()
        self.view = View(self.state, 0)

    def send(self, to: str, message_id: str) -> None:
        row: Row = {"id": message_id, "from_agent_id": "x", "to_agent_id": to, "fleet_id": "f", "type": "result"}
        row |= {"payload": "", "timestamp": 0, "acknowledged": False}
        self.state.apply([["put", "messages", message_id, row], ["append", to, message_id]])

    def ack(self, agent_id: str, message_id: str) -> None:
        row = {"message_id": message_id, "agent_id": agent_id, "action": "ack", "timestamp": 0}
        acknowledged = {**self.state.tables["messages"][message_id], "acknowledged": True}
        self.state.apply(
            [
                ["put", "receipts", receipt_key(message_id, agent_id, "ack"), row],
                ["take", agent_id, message_id],
                ["put", "messages", message_id, acknowledged],
            ]
        )


STEPS = st.lists(
    st.sampled_from(["send a", "send b", "ack oldest", "ack newest", "ack b", "look", "break"]), max_size=40
)


@given(STEPS, st.data())
def test_a_reader_that_is_cut_off_anywhere_misses_nothing_and_hears_nothing_twice(
    steps: list[str], data: st.DataObject
) -> None:
    mesh, feed = Mesh(), Feed("a")
    happened: dict[str, list[str]] = {"message": [], "ack": []}
    heard: dict[str, list[str]] = {"message": [], "ack": []}
    last_event_id = ""
    listening = False

    def hear(events: list[Event]) -> None:
        nonlocal last_event_id
        for kind, message_id in told(events):
            assert kind == "message" or message_id in heard["message"]
            heard[kind].append(message_id)
        last_event_id = str(events[-1].position) if events else last_event_id

    for number, step in enumerate([*steps, "look"]):
        waiting = list(mesh.view.inbox("a"))
        match step.split():
            case ["send", to]:
                mesh.send(to, f"{number}")
                happened["message"] += [f"{number}"] if to == "a" else []
            case ["ack", "b"] if mesh.view.inbox("b"):
                mesh.ack("b", next(iter(mesh.view.inbox("b"))))
            case ["ack", which] if which != "b" and waiting:
                acked = waiting[0 if which == "oldest" else -1]
                mesh.ack("a", acked)
                if listening:
                    happened["ack"].append(acked)
                else:
                    # gone before anybody listened
                    happened["message"].remove(acked)
            case ["look"]:
                hear(feed.take(mesh.view))
                listening = True
            case ["break"] if last_event_id:
                events = feed.take(mesh.view)
                hear(events[: data.draw(st.integers(0, len(events)))])
                feed = Feed("a", last_event_id)
    assert heard == happened


def test_many_small_events_go_out_together_and_a_large_one_alone() -> None:
    def event(payload: str) -> Event:
        return Event(Position("m"), {"id": "m", "from_agent_id": "x", "type": "t", "payload": payload, "timestamp": 1})

    small, large = event("x"), event("x" * 65_536)
    sent = list(pieces([small] * 2000))
    assert max(map(len, sent)) < 70_000
    assert b"".join(sent) == small.encoded() * 2000
    assert list(pieces([large, large])) == [large.encoded()] * 2
    assert list(pieces([])) == []
