"""The demo for real: three OpenCode processes, started through a meshfleet server, hand work to each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.agents.process import environment_has, process_table
from meshfleet.demo.pipeline import ANALYST, ENGINEER, EXPLORER
from meshfleet.demo.run import SCRIPTED_LIMIT_S

EXPECTED: Final = [
    ("handoff", EXPLORER, ANALYST),
    ("result", ANALYST, EXPLORER),
    ("handoff", ANALYST, ENGINEER),
    ("result", ENGINEER, ANALYST),
]


def processes_with(name: str, value: str) -> list[int]:
    return [entry.identity.pid for entry in process_table() if environment_has(entry.identity.pid, name, value)]


def version_of(opencode: Path) -> str:
    asked = subprocess.run([opencode, "--version"], capture_output=True, text=True, timeout=60, check=True)
    return asked.stdout.split()[-1]


def trail_of(told: dict[str, Any], message: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the receipts of a message, oldest first: what was done, and by whom."""
    return [(row["action"], row["agent_id"]) for row in told["receipts"] if row["message_id"] == message["id"]]


@pytest.mark.opencode
@pytest.mark.timeout(SCRIPTED_LIMIT_S + 60)
def test_three_real_agents_hand_work_on_acknowledge_it_and_leave_nothing_behind(
    opencode_binary: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("COLUMNS", "100")
    before = sorted(home.rglob("*"))

    done = subprocess.run(
        [sys.executable, "-m", "meshfleet", "demo", "--json"],
        env={**os.environ, "MESHFLEET_OPENCODE": str(opencode_binary)},
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
    # who took part
    ids = {agent["role"]: agent["id"] for agent in told["agents"]}
    assert list(ids) == [EXPLORER, ANALYST, ENGINEER]
    for agent in told["agents"]:
        assert agent["status"] == "complete"
        assert 0 < agent["duration_ms"] < SCRIPTED_LIMIT_S * 1000
        assert agent["tokens"] > 0
        assert agent["output"]
    # what they said to whom, and that each acknowledged what was meant for it
    said = [(row["type"], row["from_agent_id"], row["to_agent_id"]) for row in told["messages"]]
    assert said == [(kind, ids[sender], ids[recipient]) for kind, sender, recipient in EXPECTED]
    for message in told["messages"]:
        assert message["fleet_id"] == told["fleet_id"]
        assert message["acknowledged"] is True
        recipient = message["to_agent_id"]
        assert trail_of(told, message) == [("seen", recipient), ("ack", recipient)]
    first, *answers = told["messages"]
    assert {row["correlation_id"] for row in answers} == {first["id"]}
    # what a person reads
    assert "Explorer → Analyst  handoff" in done.stderr
    assert "FINDINGS.md  new" in done.stderr
    assert "+    if amount >= DISCOUNT_FROM:" in done.stderr
    assert "✓ ok: every message was acknowledged by the agent it was meant for" in done.stderr
    assert "\x1b" not in done.stderr
    # what is left: nothing
    assert processes_with("MESHFLEET_FLEET_ID", told["fleet_id"]) == []
    assert processes_with("MESHFLEET_DATA_FILE", told["ledger"]) == []
    assert list(temporary.iterdir()) == []
    assert sorted(home.rglob("*")) == before
    assert told["opencode_version"] == version_of(opencode_binary)
