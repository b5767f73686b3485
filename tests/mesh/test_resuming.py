"""Resuming: who may go on, what it is told, in which session, and what that makes of its fleet."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.errors import Conflict, Invalid, NotFound
from meshfleet.ledger import Ledger
from meshfleet.mesh.briefing import GO_ON, next_briefing
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.resuming import resume
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.supervision import begin_next_attempt
from meshfleet.model import Reason, Row
from tests.ledgers import ledger_at
from tests.mesh.fleets import bytes_of, events_in, open_ledger, row, start_all, supervisor

BROKEN = Outcome(ok=False, reason=Reason.EXIT, error="it broke", output="half", session_id="ses-1")
LOST = Outcome(ok=False, interrupted=True, error="gone", session_id="ses-1")


def how_it_goes_on(ledger: Ledger, agent: Row) -> tuple[str, str | None]:
    """What an agent is told when it starts again, and in which session."""
    briefing = ledger.read(lambda view: next_briefing(view, agent))
    return briefing.prompt, briefing.session_id


def fleet_in(ledger: Ledger, folder: Path, *roles: str) -> tuple[str, list[str]]:
    return create_fleet(ledger, [AgentSpec(role, f"do {role}") for role in roles], cwd=str(folder))


def failed(ledger: Ledger, folder: Path, outcome: Outcome = BROKEN) -> tuple[str, str]:
    fleet_id, [a] = fleet_in(ledger, folder, "A")
    start_all(ledger)
    settle_attempt(ledger, a, 1, outcome)
    return fleet_id, a


def begun(ledger: Ledger) -> tuple[Row, int]:
    attempt = begin_next_attempt(ledger, supervisor())
    assert attempt is not None
    return attempt


@pytest.mark.parametrize(
    ("end", "before"), [("fails", "failed"), ("is interrupted", "interrupted"), ("is cancelled", "cancelled")]
)
def test_an_agent_goes_on_in_its_session_after_it(ledger_file: Path, tmp_path: Path, end: str, before: str) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, [a] = fleet_in(ledger, tmp_path, "A")
    start_all(ledger)
    if end == "is cancelled":
        cancel(ledger, agent_id=a)
    settle_attempt(ledger, a, 1, LOST if end == "is interrupted" else BROKEN)
    assert row(ledger, "agents", a)["status"] == before
    assert resume(ledger, agent_id=a) == [a]
    agent, fleet = row(ledger, "agents", a), row(ledger, "fleets", fleet_id)
    assert (agent["status"], fleet["status"]) == ("pending", "running")
    assert not agent.keys() & {"error", "reason", "completed_at", "ending", "started_at", "supervisor"}
    assert "completed_at" not in fleet
    assert how_it_goes_on(ledger, agent) == (GO_ON, "ses-1")
    resumed, number = begun(ledger)
    assert (number, resumed["retry_count"]) == (2, 0)
    assert settle_attempt(ledger, a, 2, Outcome(ok=True, output="whole")) is True
    assert (row(ledger, "agents", a)["output"], row(ledger, "fleets", fleet_id)["status"]) == ("whole", "complete")


def test_a_fleet_goes_on_with_all_that_did_not_complete(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_in(ledger, tmp_path, *"ABC")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    settle_attempt(ledger, b, 1, BROKEN)
    settle_attempt(ledger, c, 1, LOST)
    assert resume(ledger, fleet_id=fleet_id, prompt="again", supervisor=supervisor(7)) == [b, c]
    assert row(ledger, "agents", a)["status"] == "complete"
    assert [row(ledger, "agents", one)["supervisor"] for one in (b, c)] == [supervisor(7)] * 2
    assert how_it_goes_on(ledger, row(ledger, "agents", b)) == ("again", "ses-1")
    told = [event for event in events_in(ledger_file) if event["event"] == "agent_resumed"]
    assert [(event["agent_id"], event["fresh"]) for event in told] == [(b, False), (c, False)]


@pytest.mark.parametrize(("prompt", "said"), [(None, "do A"), ("and hurry", "do A\n\nand hurry")])
def test_a_fresh_start_has_its_own_prompt_and_a_new_session(
    ledger_file: Path, tmp_path: Path, prompt: str | None, said: str
) -> None:
    ledger = open_ledger(ledger_file)
    _, a = failed(ledger, tmp_path)
    resume(ledger, agent_id=a, prompt=prompt, fresh=True)
    assert how_it_goes_on(ledger, row(ledger, "agents", a)) == (said, None)
    begun(ledger)
    settle_attempt(ledger, a, 2, Outcome(ok=False, reason=Reason.SPAWN, error="no"))
    assert "session_id" not in row(ledger, "agents", a)


def test_one_that_never_had_a_session_starts_afresh(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, a = failed(ledger, tmp_path, Outcome(ok=False, reason=Reason.SPAWN))
    resume(ledger, agent_id=a)
    assert how_it_goes_on(ledger, row(ledger, "agents", a)) == ("do A", None)


def test_an_agent_that_was_resumed_has_all_its_tries_again(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, [a] = fleet_in(ledger, tmp_path, "A")
    for first in (1, 4):
        for number in range(first, first + 3):
            assert begun(ledger)[1] == number
            settle_attempt(ledger, a, number, BROKEN, retry_base_ms=0)
        assert row(ledger, "agents", a)["status"] == "failed"
        resume(ledger, agent_id=a)


def test_who_runs_waits_or_has_completed_is_not_resumed(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_in(ledger, tmp_path, *"ABC")
    begun(ledger)
    begun(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    before = bytes_of(ledger_file.parent)
    for agent_id, status in ((a, "complete"), (b, "running"), (c, "pending")):
        with pytest.raises(Conflict, match=f"agent {agent_id} is {status}; only one that was interrupted"):
            resume(ledger, agent_id=agent_id)
    with pytest.raises(Conflict, match="has no agent that was interrupted"):
        resume(ledger, fleet_id=fleet_id)
    assert bytes_of(ledger_file.parent) == before


def test_one_whose_folder_is_gone_is_refused_with_the_folder(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    folder = tmp_path / "project"
    folder.mkdir()
    _, a = failed(ledger, folder)
    folder.rmdir()
    with pytest.raises(Invalid, match=f"{folder}, is gone; create it again"):
        resume(ledger, agent_id=a)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "name either"),
        ({"fleet_id": "f", "agent_id": "a"}, "name either"),
        ({"agent_id": "a", "prompt": " \n"}, "prompt is blank"),
        ({"agent_id": "a", "prompt": "x\0"}, "prompt holds a NUL"),
    ],
)
def test_what_can_not_be_asked_is_refused(ledger_file: Path, arguments: dict[str, str], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        resume(open_ledger(ledger_file), **arguments)  # type: ignore[arg-type]


def test_the_unknown_is_not_found(ledger_file: Path) -> None:
    for named in ({"fleet_id": "nowhere"}, {"agent_id": "nobody"}):
        with pytest.raises(NotFound):
            resume(open_ledger(ledger_file), **named)  # type: ignore[arg-type]


def test_a_cancelled_fleet_takes_agents_again_once_it_was_resumed(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_in(ledger, tmp_path, "A")
    cancel(ledger, fleet_id=fleet_id)
    assert "cancelled_at" in row(ledger, "fleets", fleet_id)
    resume(ledger, fleet_id=fleet_id)
    assert "cancelled_at" not in row(ledger, "fleets", fleet_id)


def test_nobody_waits_for_the_disk_an_agent_worked_on(
    ledger_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, work = open_ledger(ledger_file), tmp_path / "work"
    work.mkdir()
    _, a = failed(ledger, work)
    other = ledger_at(ledger_file, lock_timeout_ms=50)
    looked_at = []

    def is_dir(folder: Path) -> bool:
        if folder == work:
            looked_at.append(folder)
            other.transact(lambda transaction: transaction.put("fleets", "f", {"id": "f", "status": "running"}))
        return True

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert resume(ledger, agent_id=a) == [a]
    assert looked_at == [work]
