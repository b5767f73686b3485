"""Who supervises whom, whose turn it is, and what is noted of those that run and wait."""

from __future__ import annotations

from pathlib import Path

from meshfleet.mesh.fleets import create_fleet, fleet_status, shown_agent
from meshfleet.mesh.lifecycle import note_stop
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.supervision import (
    Progress,
    adopt,
    attempts_of,
    begin_next_attempt,
    note_progress,
    note_waiting,
    stops_of,
    supervisors_at_work,
)
from meshfleet.model import AgentStatus, Reason, TokensRow, now_ms
from tests.mesh.fleets import bytes_of, events_in, fleet_of, open_ledger, row, start_all, supervisor

TOKENS = TokensRow(total=5, input=5, output=0, reasoning=0, cache_read=0, cache_write=0)


def test_only_agents_at_work_of_those_that_are_gone_are_adopted(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (ended, running) = fleet_of(ledger, "A", "B", by=supervisor(7))
    _, (waiting,) = fleet_of(ledger, "C", by=supervisor(8))
    start_all(ledger, supervisor(7))
    settle_attempt(ledger, ended, 1, Outcome(ok=True))
    _, (living,) = fleet_of(ledger, "D", by=supervisor(9))
    assert {one["pid"] for one in supervisors_at_work(ledger)} == {7, 8, 9}
    assert sorted(adopt(ledger, supervisor(1), [supervisor(7), supervisor(8)])) == sorted([running, waiting])
    owners = [row(ledger, "agents", one)["supervisor"]["pid"] for one in (ended, running, waiting, living)]
    assert owners == [7, 1, 1, 9]
    assert adopt(ledger, supervisor(2), [supervisor(7), supervisor(8)]) == []
    told = [event["agent_id"] for event in events_in(ledger_file) if event["event"] == "agent_adopted"]
    assert sorted(told) == sorted([running, waiting])


def test_who_can_start_none_adopts_those_that_run_and_leaves_those_that_wait(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, "A", by=supervisor(7))
    ((running, _),) = start_all(ledger, supervisor(7))
    _, (waiting,) = fleet_of(ledger, "B", by=supervisor(7))
    assert adopt(ledger, supervisor(1), [supervisor(7)], statuses=(AgentStatus.RUNNING,)) == [running]
    assert row(ledger, "agents", waiting)["supervisor"] == supervisor(7)


def test_with_nobody_gone_nothing_is_written(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, "A")
    before = bytes_of(ledger_file.parent)
    assert adopt(ledger, supervisor(1), []) == []
    note_progress(ledger, [])
    assert bytes_of(ledger_file.parent) == before


def test_a_retry_is_run_by_whoever_adopted_it(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    start_all(ledger, supervisor(7))
    settle_attempt(ledger, a, 1, Outcome(ok=False, reason=Reason.EXIT), retry_base_ms=1_000)
    later = now_ms() + 10**6
    assert begin_next_attempt(ledger, supervisor(8), now=later) is None
    adopt(ledger, supervisor(8), [supervisor(7)])
    begun = begin_next_attempt(ledger, supervisor(8), now=later)
    assert begun is not None
    assert (begun[0]["id"], begun[1]) == (a, 2)


def test_a_retry_that_waits_keeps_no_other_agent_waiting(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a, b) = fleet_of(ledger, "A", "B")
    begin_next_attempt(ledger, supervisor())
    settle_attempt(ledger, a, 1, Outcome(ok=False, reason=Reason.EXIT), retry_base_ms=10**6)
    begun = begin_next_attempt(ledger, supervisor())
    assert begun is not None
    assert begun[0]["id"] == b


def test_no_more_than_may_run_at_once_are_begun_whoever_supervises_them(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, *"ABC")
    for pid in (7, 8):
        assert begin_next_attempt(ledger, supervisor(pid), most_running=2) is not None
    assert begin_next_attempt(ledger, supervisor(9), most_running=2) is None


def test_why_agents_wait_is_told_once_and_forgotten_when_they_start(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    _, (of_another,) = fleet_of(ledger, "C", by=supervisor(8))
    note_waiting(ledger, supervisor(7), "memory")
    assert [row(ledger, "agents", one).get("waiting_for") for one in (a, b, of_another)] == ["memory", "memory", None]
    assert [agent["condition"] for agent in fleet_status(ledger, fleet_id)["agents"]] == ["queued", "queued"]
    before = bytes_of(ledger_file.parent)
    note_waiting(ledger, supervisor(7), "memory")
    note_waiting(ledger, supervisor(9), "others to end")
    assert row(ledger, "agents", of_another).get("waiting_for") is None
    assert bytes_of(ledger_file.parent) == before
    begin_next_attempt(ledger, supervisor(7))
    assert "waiting_for" not in row(ledger, "agents", a)
    note_waiting(ledger, supervisor(8), "memory")
    note_waiting(ledger, supervisor(8), "others to end")
    assert row(ledger, "agents", of_another)["waiting_for"] == "others to end"


def test_silence_is_told_of_and_goes_with_the_next_sign_of_life(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    for since in (1_000, 1_000, None, 2_000):
        note_progress(ledger, [Progress(a, 1, "ses", TOKENS, 0.5, since)])
        [agent] = fleet_status(ledger, fleet_id)["agents"]
        assert (agent.get("condition"), agent.get("silent_since")) == (since and "stalled", since)
        assert agent["used"] == {"tokens": 5, "cost": 0.5}
    told = [event for event in events_in(ledger_file) if event["event"] == "agent_stalled"]
    assert [(event["fleet_id"], event["agent_id"], event["role"]) for event in told] == [(fleet_id, a, "A")] * 2
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    note_progress(ledger, [Progress(a, 1, "ses", TOKENS, 0.5, 3_000)])
    assert not row(ledger, "attempts", f"{a}/1").keys() & {"silent_since"}


def test_what_is_to_be_stopped_is_its_supervisor_s_to_stop_whatever_the_reason(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    start_all(ledger, supervisor(7))
    note_stop(ledger, a, 1, Reason.TIMEOUT, "too long")
    of_the_future = {**row(ledger, "attempts", f"{b}/1"), "stopping": "a reason of tomorrow"}
    ledger.transact(lambda transaction: transaction.put("attempts", f"{b}/1", of_the_future))
    assert sorted(stops_of(ledger, supervisor(7))) == sorted([f"{a}/1", f"{b}/1"])
    assert stops_of(ledger, supervisor(8)) == []
    assert [agent["condition"] for agent in fleet_status(ledger, fleet_id)["agents"]] == ["stopping", "stopping"]
    settle_attempt(ledger, b, 1, Outcome(ok=False))
    assert row(ledger, "agents", b)["reason"] == "killed"
    assert [agent["id"] for agent, _ in attempts_of(ledger, supervisor(7))] == [a]


def test_the_variables_of_an_agent_are_shown_nowhere(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    spec = AgentSpec("A", "go", env={"TOKEN": "s3cret"})
    fleet_id, [a] = create_fleet(ledger, [spec], cwd=str(tmp_path))
    assert row(ledger, "agents", a)["env"] == {"TOKEN": "s3cret"}
    assert "s3cret" not in str(fleet_status(ledger, fleet_id))
    start_all(ledger)
    assert "s3cret" not in str(fleet_status(ledger, fleet_id))
    settle_attempt(ledger, a, 1, Outcome(ok=False, reason=Reason.EXIT))
    assert "env" not in ledger.read(lambda view: shown_agent(view, row(ledger, "agents", a)))
    assert "s3cret" not in str(events_in(ledger_file))
