"""Sending messages in one process: the rule, the journal and the disk, with and without waiting for the disk."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmark.floor import append_lines
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import AgentSpec, create_fleet
from meshfleet.mesh.messages import Draft, get_inbox, send_message
from meshfleet.settings import Durability

PAYLOAD = "Findings: the total of an empty cart is None, see cart.py line 12. " * 2


@dataclass(frozen=True, slots=True)
class Timing:
    """How long some sends took, and the floor in the same run."""

    durability: Durability
    messages: int
    seconds: float
    floor_seconds: float

    @property
    def ratio(self) -> float:
        """How many times the floor."""
        return self.seconds / self.floor_seconds


def measure_sends(messages: int, durability: Durability) -> Timing:
    """Send that many messages into a fresh ledger; every one is in the inbox afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "agent-mesh.json", durability=durability)
        specs = [AgentSpec("Sender", "send"), AgentSpec("Receiver", "receive")]
        fleet_id, (sender, receiver) = create_fleet(ledger, specs, cwd=folder)
        draft = Draft(sender, receiver, fleet_id, "handoff", PAYLOAD)
        started = time.perf_counter()
        for _ in range(messages):
            send_message(ledger, draft)
        seconds = time.perf_counter() - started
        assert len(get_inbox(ledger, receiver)["messages"]) == messages
        ledger.close()
        line = b"x" * 560 + b"\n"
        floor = append_lines(Path(folder) / "floor", [line] * messages, sync=durability is Durability.POWER)
        return Timing(durability, messages, seconds, floor)
