"""The examples for real: fleets of OpenCode processes that run themselves, once they are spawned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshfleet.demo.debate import CONSENSUS, DEBATERS, MODERATOR
from meshfleet.demo.pipeline import ANALYST, ENGINEER, EXPLORER
from meshfleet.demo.rescue import FIXER, RESCUER
from meshfleet.demo.run import SCRIPTED_LIMIT_S
from tests.demo.told import EXAMPLES, ids_of, left_of, run_for_real, said_in, trail_of

pytestmark = [pytest.mark.opencode, pytest.mark.timeout(SCRIPTED_LIMIT_S + 60)]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def sessions_of(agent: dict[str, Any]) -> list[set[str]]:
    """Return the sessions that the event stream of each attempt of an agent tells of."""
    attempts = sorted(Path(agent["logs"]).parent.iterdir())
    streams = [(attempt / "events.ndjson").read_text(encoding="utf-8").splitlines() for attempt in attempts]
    return [{json.loads(line)["sessionID"] for line in lines} for lines in streams]


def test_each_station_of_a_pipeline_is_started_by_what_it_is_handed(opencode_binary: Path, temporary: Path) -> None:
    told, shown = run_for_real([str(EXAMPLES / "pipeline.py"), "--scripted", "--json"], opencode_binary)

    assert [(agent["status"], agent["attempt"]) for agent in told["agents"]] == [("complete", 1)] * 3
    trails = [trail_of(told, row, row["to_agent_id"]) for row in told["messages"]]
    called, read = ["delivered", "seen", "ack"], ["seen", "ack"]
    assert list(zip(said_in(told), trails, strict=True)) == [
        (("handoff", EXPLORER, ANALYST), called),
        (("result", ANALYST, EXPLORER), read),
        (("handoff", ANALYST, ENGINEER), called),
        (("result", ENGINEER, ANALYST), read),
    ]
    assert all(row["acknowledged"] for row in told["messages"])
    assert "Analyst is pending" in shown
    assert "FINDINGS.md  new" in shown
    assert left_of(told) == []
    assert list(temporary.iterdir()) == []


def test_five_debaters_are_asked_at_once_and_each_broadcast_is_complete_when_all_five_have_acked(
    opencode_binary: Path, temporary: Path
) -> None:
    told, shown = run_for_real([str(EXAMPLES / "debate.py"), "--scripted", "--json"], opencode_binary)

    ids = ids_of(told)
    assert [agent["status"] for agent in told["agents"]] == ["complete"] * 6
    broadcasts = [row for row in told["messages"] if row["to_agent_id"] == "*"]
    for message, trail in zip(broadcasts, [["delivered", "seen", "ack"], ["seen", "ack"]], strict=True):
        assert (message["from_agent_id"], message["type"]) == (ids[MODERATOR], "question")
        assert message["recipients"] == [ids[role] for role in DEBATERS]
        assert [trail_of(told, message, recipient) for recipient in message["recipients"]] == [trail] * 5
        assert message["acknowledged"] is True
    assert shown.count("5 of 5 acknowledged: complete at ") == 2
    # every answer was taken, and the last word is that they agree
    *answers, last = [row for row in told["messages"] if row["to_agent_id"] != "*"]
    assert sorted(row["from_agent_id"] for row in answers) == sorted([ids[role] for role in DEBATERS] * 2)
    assert [trail_of(told, row, ids[MODERATOR]) for row in answers] == [["seen", "ack"]] * 10
    assert last["to_agent_id"] == "orchestrator"
    assert last["payload"].startswith(CONSENSUS)
    assert left_of(told) == []
    assert list(temporary.iterdir()) == []


def test_a_rescuer_comes_by_alert_and_is_woken_in_its_session_when_it_is_asked_again(opencode_binary: Path) -> None:
    told, shown = run_for_real([str(EXAMPLES / "rescue.py"), "--scripted", "--json", "--keep"], opencode_binary)

    fixer, rescuer = told["agents"]
    assert said_in(told) == [
        ("alert", FIXER, RESCUER),
        ("result", RESCUER, FIXER),
        ("request_help", FIXER, RESCUER),
        ("result", RESCUER, FIXER),
        ("result", FIXER, "orchestrator"),
    ]
    trails = [trail_of(told, row, row["to_agent_id"]) for row in told["messages"]]
    called, read = ["delivered", "seen", "ack"], ["seen", "ack"]
    assert trails == [called, read, called, read, []]
    # woken once, in the session it had, where it still knew what it had read
    assert [(agent["status"], agent["attempt"]) for agent in (fixer, rescuer)] == [("complete", 1), ("complete", 2)]
    assert sessions_of(rescuer) == [{rescuer["session_id"]}] * 2
    assert "An order of 100.00 or more gets 10 % off." in rescuer["output"]
    assert told["messages"][-1]["payload"].startswith("DONE: ")
    assert "+    if amount >= DISCOUNT_FROM:" in shown
    assert left_of(told) == []
