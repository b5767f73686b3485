"""What a fleet that really ran tells as JSON, and how a test reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from meshfleet.agents.process import environment_value, process_table
from meshfleet.demo.run import SCRIPTED_LIMIT_S

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
#: What an orchestrator calls of a fleet that runs itself; wait again only where it timed out.
CALLED: Final = ["spawn_fleet", "wait"]


def run_for_real(command: list[str], opencode: Path) -> tuple[dict[str, Any], str]:
    """Have Python run a command that succeeds; return its JSON object, and what it shows a person."""
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "MESHFLEET_OPENCODE": str(opencode), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=SCRIPTED_LIMIT_S + 30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("}\n")
    assert done.stdout.count("\n") == 1
    told = json.loads(done.stdout)
    assert (told["ok"], told["failure"]) == (True, None)
    assert list(dict.fromkeys(told["called"])) == CALLED
    assert told["called"].count("spawn_fleet") == 1
    return told, done.stderr


def ids_of(told: dict[str, Any]) -> dict[str, str]:
    """Return the agents' ids by role."""
    return {agent["role"]: agent["id"] for agent in told["agents"]}


def said_in(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return of each message its type, who sent it and whom it was for."""
    names = {agent_id: role for role, agent_id in ids_of(told).items()}
    return [
        (row["type"], names[row["from_agent_id"]], names.get(row["to_agent_id"], row["to_agent_id"]))
        for row in told["messages"]
    ]


def trail_of(told: dict[str, Any], message: dict[str, Any], recipient: str) -> list[str]:
    """Return what one recipient did about a message, oldest first."""
    return [
        row["action"] for row in told["receipts"] if (row["message_id"], row["agent_id"]) == (message["id"], recipient)
    ]


def left_of(told: dict[str, Any]) -> list[int]:
    """Return the processes that a fleet has left running."""
    marks = (("MESHFLEET_FLEET_ID", told["fleet_id"]), ("MESHFLEET_DATA_FILE", told["ledger"]))
    return [
        entry.identity.pid
        for entry in process_table()
        if not entry.ended and any(environment_value(entry.identity.pid, name) == value for name, value in marks)
    ]
