"""A mesh in which everything is that the dashboard shows, of the same ids and at the same moments in every run."""

from __future__ import annotations

import json
import os
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from meshfleet.dashboard.app import Dashboard, Options
from meshfleet.ledger import Ledger
from meshfleet.model import Row, attempt_key, receipt_key
from meshfleet.settings import Durability, Settings, beside
from tests.ledgers import ledger_at

NOW: Final = 1_763_740_800_000
"""2025-11-21 16:00:00 UTC."""
MINUTE: Final = 60_000


def own_id(number: int) -> str:
    """An id as meshfleet makes them; numbers that are near differ in the first place."""
    head = (number * 2_654_435_761) % 2**32
    return f"{head:08x}-0000-4000-8000-{number:012x}"


CHECKOUT, DOCS, NIGHTLY = (own_id(number) for number in (1, 2, 3))
EXPLORER, ANALYST, ENGINEER, REVIEWER, WRITER, EDITOR, CRAWLER = (own_id(number) for number in range(11, 18))


def agent(agent_id: str, fleet_id: str, role: str, status: str, **more: Any) -> Row:
    """An agent's row."""
    row: Row = {"id": agent_id, "fleet_id": fleet_id, "role": role, "prompt": f"do {role}", "status": status}
    return row | {"cwd": "/project", "created_at": NOW - 50 * MINUTE} | more


def attempt(agent_id: str, number: int, **more: Any) -> Row:
    """An attempt's row."""
    return {"agent_id": agent_id, "number": number, "started_at": NOW - 12 * MINUTE} | more


def tokens(total: int) -> Row:
    """What a run has used."""
    return {"total": total, "input": total, "output": 0, "reasoning": 0, "cache_read": 0, "cache_write": 0}


def message(number: int, sender: str, to: str, text: str, *, ago: int, **more: Any) -> Row:
    """A message's row."""
    row: Row = {"id": own_id(100 + number), "from_agent_id": sender, "to_agent_id": to, "fleet_id": CHECKOUT}
    row |= {"type": "handoff", "payload": text, "timestamp": NOW - ago, "acknowledged": False}
    return row | more


def receipt(number: int, agent_id: str, action: str, *, ago: int, **more: Any) -> Row:
    """A receipt's row."""
    row: Row = {"message_id": own_id(100 + number), "agent_id": agent_id, "action": action, "timestamp": NOW - ago}
    return row | more


def document() -> Row:
    """The ledger's rows."""
    agents = _agents()
    attempts = _attempts()
    messages = _messages()
    receipts = _receipts()
    return {
        "schema_version": 2,
        "fleets": {fleet["id"]: fleet for fleet in _fleets()},
        "agents": {one["id"]: one for one in agents},
        "attempts": {attempt_key(one["agent_id"], one["number"]): one for one in attempts},
        "messages": {one["id"]: one for one in messages},
        "receipts": {receipt_key(one["message_id"], one["agent_id"], one["action"]): one for one in receipts},
        "inboxes": {
            ANALYST: [own_id(103)],
            ENGINEER: [own_id(102), own_id(103)],
            REVIEWER: [own_id(103)],
            CRAWLER: [own_id(105)],
        },
    }


def _fleets() -> list[Row]:
    return [
        {"id": NIGHTLY, "status": "failed", "created_at": NOW - 540 * MINUTE, "completed_at": NOW - 500 * MINUTE}
        | {"name": "nightly crawl", "max_tokens": 100_000, "over_budget": "it has used 140000 tokens of 100000"},
        {"id": DOCS, "status": "complete", "created_at": NOW - 90 * MINUTE, "completed_at": NOW - 70 * MINUTE},
        {"id": CHECKOUT, "status": "running", "created_at": NOW - 50 * MINUTE, "name": "checkout"},
    ]


def _agents() -> list[Row]:
    at_work = {"started_at": NOW - 48 * MINUTE}
    ended = {"started_at": NOW - 89 * MINUTE, "completed_at": NOW - 71 * MINUTE}
    return [
        agent(EXPLORER, CHECKOUT, "Explorer", "complete", attempt=1, output="seven files, one bug")
        | at_work
        | {"completed_at": NOW - 40 * MINUTE, "tokens": tokens(48_200), "cost": 0.41, "ending": 1},
        agent(ANALYST, CHECKOUT, "Analyst", "running", attempt=1, model="acme/large", session_id="ses_analyst")
        | at_work,
        agent(ENGINEER, CHECKOUT, "Engineer", "running", attempt=2, tokens=tokens(9_100), cost=0.08) | at_work,
        agent(REVIEWER, CHECKOUT, "Reviewer", "pending", attempt=1, retry_at=NOW + 42_000, reason="provider")
        | at_work
        | {"error": "the provider answered 529 overloaded; it is tried again"},
        agent(WRITER, DOCS, "Writer", "complete", attempt=1, tokens=tokens(21_000), cost=0.2) | ended,
        agent(EDITOR, DOCS, "Editor", "cancelled", attempt=1, reason="cancelled", error="it was cancelled") | ended,
        agent(CRAWLER, NIGHTLY, "Crawler", "failed", attempt=3, tokens=tokens(140_000), reason="timeout")
        | {"started_at": NOW - 539 * MINUTE, "completed_at": NOW - 500 * MINUTE}
        | {"error": "attempt 3 was stopped after 30 min; set a longer timeout_ms"},
    ]


def _attempts() -> list[Row]:
    return [
        attempt(EXPLORER, 1, started_at=NOW - 48 * MINUTE, ended_at=NOW - 40 * MINUTE, exit=0, ok=True),
        attempt(ANALYST, 1, tokens=tokens(31_400), cost=0.28),
        attempt(ENGINEER, 1, ended_at=NOW - 13 * MINUTE, ok=False, reason="exit"),
        attempt(ENGINEER, 2, silent_since=NOW - 4 * MINUTE - 5_000, tokens=tokens(2_300), cost=0.02),
        attempt(REVIEWER, 1, ended_at=NOW - 1 * MINUTE, ok=False, reason="provider"),
        attempt(WRITER, 1, ended_at=NOW - 71 * MINUTE, ok=True),
        attempt(EDITOR, 1, ended_at=NOW - 71 * MINUTE, ok=False, reason="cancelled"),
        *(attempt(CRAWLER, number, ended_at=NOW - 500 * MINUTE, ok=False, reason="timeout") for number in (1, 2, 3)),
    ]


def _messages() -> list[Row]:
    everyone = {"to_agent_id": "*", "recipients": [ANALYST, ENGINEER, REVIEWER]}
    return [
        message(1, EXPLORER, ANALYST, "README.md line 7: an order of 100.00 or more gets 10 % off", ago=41 * MINUTE)
        | {"acknowledged": True},
        message(2, ANALYST, ENGINEER, "the very amount is left out:\n\n    if amount > DISCOUNT_FROM", ago=20 * MINUTE)
        | {"type": "result", "correlation_id": own_id(101)},
        message(3, EXPLORER, "*", "till.py is generated; mend the template 模板 instead", ago=40 * MINUTE)
        | everyone
        | {"type": "alert"},
        message(4, ANALYST, "orchestrator", "shall I open a pull request?", ago=3 * MINUTE) | {"type": "question"},
        message(5, "orchestrator", CRAWLER, "are you there?", ago=499 * MINUTE)
        | {"type": "question", "fleet_id": NIGHTLY},
    ]


def _receipts() -> list[Row]:
    return [
        receipt(1, ANALYST, "delivered", ago=40 * MINUTE + 58_000),
        receipt(1, ANALYST, "seen", ago=40 * MINUTE + 55_000),
        receipt(1, ANALYST, "ack", ago=40 * MINUTE + 50_000),
        receipt(2, ENGINEER, "delivered", ago=19 * MINUTE),
        receipt(2, ENGINEER, "reproduced", ago=18 * MINUTE, note="test_till.py::test_the_very_amount fails"),
        receipt(3, ANALYST, "delivered", ago=39 * MINUTE),
        receipt(3, ANALYST, "seen", ago=38 * MINUTE),
        receipt(3, ENGINEER, "delivered", ago=39 * MINUTE),
    ]


def write_mesh(ledger_file: Path, rows: Row | None = None) -> None:
    """Write the ledger, its event log and the output of two agents."""
    ledger_file.write_text(json.dumps(rows or document()))
    log = beside(ledger_file, "events.log")
    log.write_text("".join(json.dumps(event) + "\n" for event in _events()))
    _write_output(ledger_file, ANALYST, 1)


def _events() -> list[Row]:
    return [
        {"timestamp": NOW - 50 * MINUTE, "event": "fleet_created", "fleet_id": CHECKOUT, "agent_count": 4},
        {"timestamp": NOW - 48 * MINUTE, "event": "attempt_started", "fleet_id": CHECKOUT, "agent_id": EXPLORER}
        | {"role": "Explorer", "attempt": 1},
        {"timestamp": NOW - 41 * MINUTE, "event": "message_sent", "message_id": own_id(101), "fleet_id": CHECKOUT}
        | {"from_agent_id": EXPLORER, "to_agent_id": ANALYST, "type": "handoff"},
        {"timestamp": NOW - 1 * MINUTE, "event": "attempt_failed", "fleet_id": CHECKOUT, "agent_id": REVIEWER}
        | {"role": "Reviewer", "reason": "provider"},
        {"timestamp": NOW - 30_000, "event": "heartbeat", "agents_running": 2, "agents_pending": 1},
    ]


def output_line(kind: str, **part: Any) -> str:
    """An event as OpenCode prints it."""
    return json.dumps({"type": kind, "timestamp": NOW, "sessionID": "ses_analyst", "part": part}) + "\n"


def _write_output(ledger_file: Path, agent_id: str, number: int) -> None:
    folder = beside(ledger_file, "runs") / attempt_key(agent_id, number)
    folder.mkdir(parents=True)
    events = folder / "events.ndjson"
    events.write_text(
        output_line("text", id="1", text="I read what the Explorer found.\nThe discount is in till.py.")
        + output_line("tool_use", tool="read", state={"status": "completed", "title": "till.py"})
        + output_line("tool_use", tool="bash", state={"status": "error", "error": "pytest: command not found"})
        + output_line(
            "text", id="2", text="The very amount of 100.00 gets no discount, since line 10 compares with `>`."
        )
        + output_line("tool_use", tool="meshfleet_send_message", state={"status": "completed", "title": "to Engineer"})
    )
    os.utime(events, (NOW / 1000 - 7, NOW / 1000 - 7))


def open_mesh(ledger_file: Path, rows: Row | None = None) -> Ledger:
    """The mesh's ledger, written and opened."""
    write_mesh(ledger_file, rows)
    return ledger_at(ledger_file, durability=Durability.PROCESS)


def dashboard_of(ledger: Ledger, *, read_only: bool = False, agent_id: str | None = None) -> Dashboard:
    """A dashboard whose clock stands still, and that looks only when it is told to after its first look."""
    settings = Settings(data_file=ledger.data_file, agent_id=agent_id)
    options = Options(interval_ms=3_600_000, read_only=read_only, now=lambda: NOW, zone=UTC)
    dashboard = Dashboard(ledger, settings, options)
    # however long the machine takes, what was said is still there to be compared
    dashboard.NOTIFICATION_TIMEOUT = 3_600.0  # type: ignore[misc]
    return dashboard
