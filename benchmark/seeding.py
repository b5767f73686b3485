"""Ledgers that hold a given number of acknowledged messages, made once and copied for each measurement."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.specs import AgentSpec
from meshfleet.model import Row, receipt_key
from meshfleet.settings import Durability

PAYLOAD = "Findings: the total of an empty cart is None, see cart.py line 12. " * 2


@dataclass(frozen=True, slots=True)
class Seeded:
    """A ledger's folder, and the fleet whose sender writes to its receiver."""

    folder: Path
    messages: int
    fleet_id: str
    sender: str
    receiver: str

    @property
    def file(self) -> Path:
        """The snapshot."""
        return self.folder / "agent-mesh.json"

    def copied(self, folder: Path) -> Seeded:
        """The same ledger once more, in a folder of its own.

        The snapshot is a link, since nobody writes into one: a copy would go to the disk while a sync is timed.
        """
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(self.file.name))
        os.link(self.file, folder / self.file.name)
        return Seeded(folder, self.messages, self.fleet_id, self.sender, self.receiver)


def seed(folder: Path, messages: int) -> Seeded:
    """Make a ledger with a fleet of two and that many messages, all of them acknowledged."""
    folder.mkdir()
    file = folder / "agent-mesh.json"
    file.write_text(json.dumps(history(messages)))
    ledger = Ledger(file, durability=Durability.PROCESS)
    specs = [AgentSpec("Sender", "send"), AgentSpec("Receiver", "receive")]
    fleet_id, (sender, receiver) = create_fleet(ledger, specs, cwd="/project")
    ledger.compact()
    ledger.close()
    return Seeded(folder, messages, fleet_id, sender, receiver)


def history(messages: int, fleets: int = 1) -> Row:
    """The document of a ledger, as v0.9.0 writes it: so many fleets of two that have ended, and acknowledged messages.

    All the messages are of the first fleet.
    """
    fleet_rows: dict[str, Row] = {}
    agents: dict[str, Row] = {}
    for number in range(fleets):
        fleet_id = str(UUID(int=2**80 + number))
        fleet_rows[fleet_id] = {
            "id": fleet_id,
            "status": "complete",
            "created_at": 1 + number,
            "completed_at": 2 + number,
        }
        for place in range(2):
            agent_id = str(UUID(int=2**96 + 2 * number + place))
            agents[agent_id] = {"id": agent_id, "fleet_id": fleet_id, "role": f"Worker {place}", "prompt": "work"}
            agents[agent_id] |= {"status": "complete", "started_at": 1 + number, "completed_at": 2 + number}
    sender, receiver, *_ = agents
    rows, receipts = _messages(messages, next(iter(fleet_rows)), sender, receiver)
    return {
        "schema_version": 2,
        "fleets": fleet_rows,
        "agents": agents,
        "messages": rows,
        "inboxes": {receiver: []},
        "capabilities": {},
        "receipts": receipts,
        "templates": {},
    }


def _messages(count: int, fleet_id: str, sender: str, receiver: str) -> tuple[dict[str, Row], dict[str, Row]]:
    rows: dict[str, Row] = {}
    receipts: dict[str, Row] = {}
    for number in range(count):
        message_id = str(UUID(int=2**64 + number))
        rows[message_id] = {
            "id": message_id,
            "from_agent_id": sender,
            "to_agent_id": receiver,
            "fleet_id": fleet_id,
            "type": "handoff",
            "payload": PAYLOAD,
            "timestamp": 1_751_273_000_000 + number,
            "acknowledged": True,
        }
        receipts[receipt_key(message_id, receiver, "ack")] = {
            "message_id": message_id,
            "agent_id": receiver,
            "action": "ack",
            "timestamp": 1_751_273_000_500 + number,
        }
    return rows, receipts
