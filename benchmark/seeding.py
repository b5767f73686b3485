"""Ledgers that hold a given number of acknowledged messages, made once and copied for each measurement."""

from __future__ import annotations

import json
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
        """The same ledger once more, in a folder of its own."""
        shutil.copytree(self.folder, folder)
        return Seeded(folder, self.messages, self.fleet_id, self.sender, self.receiver)


def seed(folder: Path, messages: int) -> Seeded:
    """Make a ledger with a fleet of two and that many messages, all of them acknowledged."""
    folder.mkdir()
    file = folder / "agent-mesh.json"
    file.write_text(json.dumps(_history(messages)))
    ledger = Ledger(file, durability=Durability.PROCESS)
    specs = [AgentSpec("Sender", "send"), AgentSpec("Receiver", "receive")]
    fleet_id, (sender, receiver) = create_fleet(ledger, specs, cwd="/project")
    ledger.compact()
    ledger.close()
    return Seeded(folder, messages, fleet_id, sender, receiver)


def _history(messages: int) -> Row:
    fleet_id, sender, receiver = (str(UUID(int=number)) for number in (1, 2, 3))
    rows: dict[str, Row] = {}
    receipts: dict[str, Row] = {}
    for number in range(messages):
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
    agent = {"fleet_id": fleet_id, "role": "Worker", "prompt": "work", "status": "complete"}
    return {
        "schema_version": 2,
        "fleets": {fleet_id: {"id": fleet_id, "status": "complete", "created_at": 1, "completed_at": 2}},
        "agents": {agent_id: {"id": agent_id, **agent} for agent_id in (sender, receiver)},
        "messages": rows,
        "inboxes": {receiver: []},
        "receipts": receipts,
    }
