"""The demo for real: three OpenCode processes, started through a meshfleet server, hand work to each other."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from meshfleet.demo.pipeline import ANALYST, ENGINEER, EXPLORER
from meshfleet.demo.run import SCRIPTED_LIMIT_S
from tests.demo.told import ids_of, left_of, run_for_real, said_in, trail_of

EXPECTED: Final = [
    ("handoff", EXPLORER, ANALYST),
    ("result", ANALYST, EXPLORER),
    ("handoff", ANALYST, ENGINEER),
    ("result", ENGINEER, ANALYST),
]


def version_of(opencode: Path) -> str:
    asked = subprocess.run([opencode, "--version"], capture_output=True, text=True, timeout=60, check=True)
    return asked.stdout.split()[-1]


@pytest.mark.opencode
@pytest.mark.timeout(SCRIPTED_LIMIT_S + 60)
def test_three_real_agents_hand_work_on_acknowledge_it_and_leave_nothing_behind(
    opencode_binary: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = sorted(home.rglob("*"))

    told, shown = run_for_real(["-m", "meshfleet", "demo", "--json"], opencode_binary)

    # who took part
    ids = ids_of(told)
    assert list(ids) == [EXPLORER, ANALYST, ENGINEER]
    for agent in told["agents"]:
        assert (agent["status"], agent["attempt"]) == ("complete", 1)
        assert 0 < agent["duration_ms"] < SCRIPTED_LIMIT_S * 1000
        assert agent["tokens"] > 0
        assert agent["output"]
    # what they said to whom, and that each saw and acknowledged what was meant for it
    assert said_in(told) == EXPECTED
    for message in told["messages"]:
        assert message["fleet_id"] == told["fleet_id"]
        assert message["acknowledged"] is True
        assert trail_of(told, message, message["to_agent_id"]) == ["seen", "ack"]
    first, *answers = told["messages"]
    assert {row["correlation_id"] for row in answers} == {first["id"]}
    # what a person reads
    assert "Explorer → Analyst  handoff" in shown
    assert "FINDINGS.md  new" in shown
    assert "+    if amount >= DISCOUNT_FROM:" in shown
    assert "✓ ok: every message to an agent was acknowledged by it" in shown
    assert "\x1b" not in shown
    # what is left: nothing
    assert left_of(told) == []
    assert list(temporary.iterdir()) == []
    assert sorted(home.rglob("*")) == before
    assert told["opencode_version"] == version_of(opencode_binary)
