"""Cancelling: who ends at once, who is stopped first, whose fleets go along, and what a repeat does."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from meshfleet.errors import Conflict, Invalid, NotFound
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.cancelling import cancel, require_offspring
from meshfleet.mesh.fleets import attach_agent, create_fleet
from meshfleet.mesh.lifecycle import note_stop
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.mesh.supervision import begin_next_attempt
from meshfleet.model import Reason
from tests.mesh.fleets import bytes_of, events_in, fleet_of, open_ledger, row, start_all, supervisor

BROKEN = Outcome(ok=False, reason=Reason.KILLED, error="it was killed")


def below(ledger: Ledger, parent: str, *roles: str) -> tuple[str, list[str]]:
    specs = [AgentSpec(role, "go") for role in roles]
    return create_fleet(ledger, specs, cwd="/project", options=FleetOptions(parent_agent_id=parent, max_depth=5))


def required(view: View, caller: str, fleet_id: str | None, agent_id: str | None) -> None:
    require_offspring(view, caller, fleet_id=fleet_id, agent_id=agent_id)


def status(ledger: Ledger, agent_id: str) -> str:
    return str(row(ledger, "agents", agent_id)["status"])


def test_cancelling_a_fleet_ends_who_waits_and_stops_who_runs(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (done, failed, running, waiting) = fleet_of(ledger, *"ABCD")
    for _ in range(3):
        begin_next_attempt(ledger, supervisor())
    settle_attempt(ledger, done, 1, Outcome(ok=True))
    settle_attempt(ledger, failed, 1, BROKEN, retry_base_ms=10**6)
    result = cancel(ledger, fleet_id=fleet_id).as_result()
    assert result["ended_before"] == [done]
    assert result["stopping"] == [running]
    assert sorted(result["cancelled"]) == sorted([failed, waiting])
    assert row(ledger, "attempts", f"{running}/1")["stopping"] == "cancelled"
    assert row(ledger, "fleets", fleet_id)["status"] == "running"
    settle_attempt(ledger, running, 1, BROKEN, retry_base_ms=0)
    assert [status(ledger, one) for one in (done, failed, running, waiting)] == ["complete", *["cancelled"] * 3]
    assert row(ledger, "agents", running)["error"] == "its fleet was cancelled"
    assert row(ledger, "fleets", fleet_id)["status"] == "failed"


def test_a_repeat_changes_nothing(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    begin_next_attempt(ledger, supervisor())
    cancel(ledger, fleet_id=fleet_id)
    before = bytes_of(ledger_file.parent)
    result = cancel(ledger, fleet_id=fleet_id).as_result()
    assert result == {"cancelled": [], "stopping": [a], "ended_before": [b]}
    assert bytes_of(ledger_file.parent) == before
    settle_attempt(ledger, a, 1, BROKEN)
    assert cancel(ledger, agent_id=a).as_result() == {"cancelled": [], "stopping": [], "ended_before": [a]}
    assert [event["event"] for event in events_in(ledger_file)].count("agent_cancelled") == 2


def test_an_answer_that_comes_after_the_cancel_is_kept_but_the_agent_is_cancelled(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    cancel(ledger, agent_id=a)
    with pytest.raises(Conflict, match="what it left behind ends first"):
        settle_attempt(ledger, a, 1, Outcome(ok=True, output="done", whole=False))
    assert status(ledger, a) == "running"
    assert settle_attempt(ledger, a, 1, Outcome(ok=True, output="done")) is True
    agent = row(ledger, "agents", a)
    assert (agent["status"], agent["output"], agent["reason"]) == ("cancelled", "done", "cancelled")


def test_a_cancel_outweighs_the_reason_an_attempt_is_stopped_for_and_no_other_does(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    note_stop(ledger, a, 1, Reason.STALL, "silent")
    note_stop(ledger, a, 1, Reason.TIMEOUT, "too long")
    assert row(ledger, "attempts", f"{a}/1")["stopping"] == "stall"
    cancel(ledger, agent_id=a)
    note_stop(ledger, a, 1, Reason.TIMEOUT, "too long")
    assert row(ledger, "attempts", f"{a}/1")["stopping"] == "cancelled"
    settle_attempt(ledger, a, 1, BROKEN, retry_base_ms=0)
    assert status(ledger, a) == "cancelled"


def test_fleets_that_agents_spawned_go_along_however_deep(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    _, [c] = below(ledger, a, "C")
    deepest_id, [d] = below(ledger, c, "D")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    assert sorted(cancel(ledger, agent_id=a).stopping) == sorted([c, d])
    assert "stopping" not in row(ledger, "attempts", f"{b}/1")
    assert "cancelled_at" in row(ledger, "fleets", deepest_id)
    assert "cancelled_at" not in row(ledger, "fleets", fleet_id)


def test_who_is_being_cancelled_or_has_ended_spawns_and_attaches_nothing_more(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_of(ledger, *"ABC")
    start_all(ledger)
    cancel(ledger, agent_id=a)
    with pytest.raises(Conflict, match="you have been cancelled"):
        below(ledger, a, "C")
    settle_attempt(ledger, c, 1, Outcome(ok=True))
    with pytest.raises(Conflict, match="have ended"):
        below(ledger, c, "C")
    cancel(ledger, fleet_id=fleet_id)
    with pytest.raises(Conflict, match="is being stopped"):
        below(ledger, b, "C")
    with pytest.raises(Conflict, match="is being cancelled"):
        attach_agent(ledger, fleet_id, AgentSpec("D", "go"), cwd="/project")


def test_an_agent_that_v090_left_running_and_one_whose_attempt_is_lost_end_at_once(ledger_file: Path) -> None:
    agent = {"id": "a", "fleet_id": "f", "role": "r", "prompt": "p", "status": "running", "pid": 4711}
    rows = {"a": agent, "b": {**agent, "id": "b", "attempt": 3, "cwd": "/project"}}
    fleet = {"id": "f", "status": "running", "created_at": 1}
    ledger_file.write_text(json.dumps({"schema_version": 2, "fleets": {"f": fleet}, "agents": rows}))
    ledger = open_ledger(ledger_file)
    cancel(ledger, fleet_id="f")
    assert {status(ledger, agent_id) for agent_id in rows} == {"cancelled"}
    assert row(ledger, "fleets", "f")["status"] == "failed"


@pytest.mark.parametrize("named", [{}, {"fleet_id": "f", "agent_id": "a"}])
def test_neither_or_both_are_refused(ledger_file: Path, named: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="name either"):
        cancel(open_ledger(ledger_file), **named)


def test_the_unknown_is_not_found_and_nothing_is_written(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, "A")
    before = bytes_of(ledger_file.parent)
    for named in ({"fleet_id": "nowhere"}, {"agent_id": "nobody"}):
        with pytest.raises(NotFound):
            cancel(ledger, **named)
    assert bytes_of(ledger_file.parent) == before


def test_an_agent_commands_only_what_it_spawned_or_that_spawned(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    below_id, [c] = below(ledger, a, "C")
    _, [d] = below(ledger, c, "D")
    for named in ({"fleet_id": below_id}, {"agent_id": c}, {"agent_id": d}):
        ids = (named.get("fleet_id"), named.get("agent_id"))
        ledger.read(partial(required, caller=a, fleet_id=ids[0], agent_id=ids[1]))
        with pytest.raises(Invalid, match="only those are yours"):
            ledger.read(partial(required, caller=b, fleet_id=ids[0], agent_id=ids[1]))
    with pytest.raises(Invalid, match="only those are yours"):
        ledger.read(lambda view: require_offspring(view, a, fleet_id=fleet_id, agent_id=None))


def test_five_hundred_that_wait_end_in_one_transaction(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, agent_ids = fleet_of(ledger, *[f"agent {number}" for number in range(500)])
    before = ledger.read(lambda view: view.seq)
    assert cancel(ledger, fleet_id=fleet_id).ended == agent_ids
    assert ledger.read(lambda view: view.seq) == before + 1
    assert row(ledger, "fleets", fleet_id)["endings"] == 500
    assert [event["event"] for event in events_in(ledger_file)].count("fleet_ended") == 1
