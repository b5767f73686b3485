"""Fleets and supervisors that many tests of the rules start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshfleet.agents.process import boot_id, identify
from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.inboxes import Wanted, get_inbox
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.supervision import begin_next_attempt
from meshfleet.model import Row, SupervisorRow
from meshfleet.settings import Durability
from tests.ledgers import ledger_at


def open_ledger(ledger_file: Path) -> Ledger:
    """A ledger that does not wait for the disk."""
    return ledger_at(ledger_file, durability=Durability.PROCESS)


def supervisor(pid: int = 1) -> SupervisorRow:
    """A supervisor, known by its pid; that of process 1 lives, so that no server adopts what is its."""
    living = identify(pid)
    start_time = 1.5 if living is None or pid != 1 else living.start_time
    return {"pid": pid, "start_time": start_time, "boot_id": boot_id()}


def fleet_of(
    ledger: Ledger, *roles: str, by: SupervisorRow | None = None, cwd: str = "/project"
) -> tuple[str, list[str]]:
    """A fleet with an agent for each role; returns its id and theirs.

    Beside a server that runs, leave it to somebody, or the server's supervisor takes it.
    """
    specs = [AgentSpec(role, f"do {role}") for role in roles]
    return create_fleet(ledger, specs, cwd=cwd, supervisor=by)


def start_all(ledger: Ledger, by: SupervisorRow | None = None) -> list[tuple[str, int]]:
    """Begin an attempt of every agent that waits; returns agent ids and attempt numbers."""
    begun = []
    while (attempt := begin_next_attempt(ledger, by or supervisor())) is not None:
        begun.append((attempt[0]["id"], attempt[1]))
    return begun


def send(ledger: Ledger, fleet_id: str, to: str, payload: str = "hello", *, sender: str = "me") -> dict[str, Any]:
    """Send a result; returns what the sender gets."""
    return send_message(ledger, Draft(sender, to, fleet_id, "result", payload))


def inbox_of(ledger: Ledger, agent_id: str, since: int | None = None) -> dict[str, list[Row]]:
    """What waits in an inbox, as the tool of that name gives it to somebody who only looks."""
    return {"messages": get_inbox(ledger, Wanted(agent_id, since))}


def payloads(ledger: Ledger, agent_id: str, since: int | None = None) -> list[str]:
    """What waits in an inbox, in order."""
    return [message["payload"] for message in inbox_of(ledger, agent_id, since)["messages"]]


def row(ledger: Ledger, table: str, key: str) -> Row:
    """A row that is there."""
    found = ledger.read(lambda view: view.get(table, key))
    assert found is not None
    return found


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a ledger's folder, to see that nothing was written; a folder counts as an empty file."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def events_in(ledger_file: Path) -> list[Row]:
    """The event log's lines."""
    path = ledger_file.with_name("agent-mesh.events.log")
    return [json.loads(line) for line in path.read_text().splitlines()]
