"""What a bystander sees of a fleet: the rows, and what each agent is at or waits for."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.demo.observe import Observer
from meshfleet.errors import NotFound
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.receipts import ack_message
from meshfleet.mesh.specs import AgentSpec
from meshfleet.model import Start
from tests.mesh.fleets import bytes_of, open_ledger, send

SPECS = [
    AgentSpec("Explorer", "explore"),
    AgentSpec("Analyst", "analyse", start=Start.ON_MESSAGE),
    AgentSpec("Judge", "decide", after=("Explorer", "Analyst")),
]


def test_it_sees_who_waits_for_what_and_every_message_with_its_receipts(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (explorer, analyst, judge) = create_fleet(ledger, SPECS, cwd="/project", supervisor=None)
    observer = Observer(ledger, ledger_file.with_name("runs"), fleet_id)
    before = observer.look()
    sent = send(ledger, fleet_id, judge, sender=explorer)["message_id"]
    ack_message(ledger, judge, sent)
    after = observer.look()

    assert [before.activities[agent].doing for agent in (explorer, analyst, judge)] == [
        "is to start",
        "waits for a message from a peer",
        "waits for Explorer, Analyst to complete",
    ]
    assert (before.messages, before.receipts) == ((), ())
    assert [message["id"] for message in after.messages] == [sent]
    assert [(receipt["agent_id"], receipt["action"]) for receipt in after.receipts_of(sent)] == [(judge, "ack")]
    assert [after.name_of(agent["id"]) for agent in after.agents] == ["Explorer", "Analyst", "Judge"]


def test_looking_writes_nothing(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = create_fleet(ledger, SPECS, cwd="/project", supervisor=None)
    before = bytes_of(ledger_file.parent)
    Observer(ledger, ledger_file.with_name("runs"), fleet_id).look()

    assert bytes_of(ledger_file.parent) == before


def test_a_fleet_that_is_not_there_is_none_to_look_at(ledger_file: Path) -> None:
    observer = Observer(open_ledger(ledger_file), ledger_file.with_name("runs"), "nothing")

    with pytest.raises(NotFound, match="'nothing' is no fleet"):
        observer.look()
