"""A fleet as the demo sees it when all went well, to be changed by what a test is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from meshfleet.demo.observe import Activity, Observation
from meshfleet.demo.outcome import Outcome
from meshfleet.demo.pipeline import ANALYST, ENGINEER, EXPLORER, RESULT_FILE
from meshfleet.demo.project import PROJECT_FILES, DemoFolder
from meshfleet.model import Row

START: Final = 1_700_000_000_000
ORDER: Final = 'In till.py, line 10, replace\n    a > b\nwith\n    a >= b\nbecause README.md says: "100.00 or more"'
FINDINGS: Final = f"# Findings\n\nChanged till.py, as the Analyst asked:\n\n{ORDER}\n"

_SENT: Final = (
    (EXPLORER, "handoff", ANALYST, "README.md, line 7: or more\ntill.py, line 10: a > b"),
    (ANALYST, "result", EXPLORER, "a bug"),
    (ANALYST, "handoff", ENGINEER, ORDER),
    (ENGINEER, "result", ANALYST, "changed till.py"),
)


def agent(role: str, **changes: Any) -> Row:
    row = {
        "id": f"id-{role}",
        "fleet_id": "id-fleet",
        "role": role,
        "prompt": "go",
        "status": "complete",
        "attempt": 1,
        "started_at": START + 100,
        "completed_at": START + 12_350,
        "output": f"First words.\nThe {role} is done.",
        "tokens": {"total": 12_345, "input": 12_000, "output": 345},
    }
    return {**row, **changes}


def message(number: int, sender: str, kind: str, recipient: str, payload: str) -> Row:
    return {
        "id": f"m{number}",
        "from_agent_id": f"id-{sender}",
        "to_agent_id": f"id-{recipient}",
        "fleet_id": "id-fleet",
        "type": kind,
        "payload": payload,
        "timestamp": START + 1_000 * number,
        "acknowledged": True,
    }


def receipts(of: Row) -> list[Row]:
    return [
        {
            "message_id": of["id"],
            "agent_id": of["to_agent_id"],
            "action": action,
            "timestamp": of["timestamp"] + delay,
        }
        for action, delay in (("seen", 300), ("ack", 500))
    ]


def success() -> Observation:
    """Return what a demo that went well looks like at its end."""
    messages = tuple(message(number, *sent) for number, sent in enumerate(_SENT, start=1))
    return Observation(
        fleet={"id": "id-fleet", "status": "complete", "created_at": START, "completed_at": START + 13_000},
        agents=tuple(agent(role) for role in (EXPLORER, ANALYST, ENGINEER)),
        messages=messages,
        receipts=tuple(receipt for sent in messages for receipt in receipts(sent)),
        activities={f"id-{role}": Activity("", 9, f"The {role} is done.") for role in (EXPLORER, ANALYST, ENGINEER)},
    )


def with_agent(seen: Observation, role: str, /, **changes: Any) -> Observation:
    agents = tuple({**row, **changes} if row["role"] == role else row for row in seen.agents)
    return replace(seen, agents=agents)


def with_message(seen: Observation, message_id: str, /, **changes: Any) -> Observation:
    messages = tuple({**row, **changes} if row["id"] == message_id else row for row in seen.messages)
    return replace(seen, messages=messages)


def without_messages(seen: Observation, *ids: str) -> Observation:
    return replace(
        seen,
        messages=tuple(row for row in seen.messages if row["id"] not in ids),
        receipts=tuple(row for row in seen.receipts if row["message_id"] not in ids),
    )


def without_receipts(seen: Observation, unwanted: Callable[[Row], bool]) -> Observation:
    return replace(seen, receipts=tuple(row for row in seen.receipts if not unwanted(row)))


def outcome(seen: Observation | None = None, **changes: Any) -> Outcome:
    root = Path("/demo")
    folder = DemoFolder(root, root / "project", root / "home", root / "tmp", root / "ledger" / "agent-mesh.json")
    went_well = Outcome(
        failure=None,
        stopped_by=None,
        seen=seen or success(),
        opencode_version="1.2.3",
        folder=folder,
        kept=False,
        files={**PROJECT_FILES, RESULT_FILE: FINDINGS},
        called=("spawn_fleet", "wait"),
        results={f"id-{role}": f"First words.\nThe {role} is done." for role in (EXPLORER, ANALYST, ENGINEER)},
        server_words="",
        duration_s=13.5,
    )
    return replace(went_well, **changes)
