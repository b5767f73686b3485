"""When a failed attempt is followed by another: how often, after how long, and for which reasons not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.lifecycle import note_stop
from meshfleet.mesh.retries import FINAL_REASONS, LONGEST_BACKOFF_MS, MOST_ATTEMPTS, backoff_ms, is_due
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.mesh.supervision import begin_next_attempt
from meshfleet.model import AgentStatus, Reason, now_ms
from tests.mesh.fleets import events_in, fleet_of, open_ledger, row, start_all, supervisor

FAR: int = 10**9
BROKEN = Outcome(ok=False, reason=Reason.EXIT, error="it broke")


@given(st.integers(0, 10**15), st.integers(0, 10**6))
def test_a_delay_doubles_with_each_failure_give_or_take_a_fifth(base: int, failures: int) -> None:
    exact = min(base * 2 ** min(max(failures - 1, 0), 60), max(base, LONGEST_BACKOFF_MS))
    assert exact * 0.8 - 1 <= backoff_ms(base, failures) <= exact * 1.2 + 1


def test_delays_of_those_that_failed_together_differ() -> None:
    assert len({backoff_ms(100_000, 1) for _ in range(50)}) > 1


@given(st.integers(0, 10**13), st.integers(0, 10**6), st.integers(0, 10**13))
def test_a_retry_is_due_from_its_time_on_and_when_the_clock_was_set_back(now: int, delay: int, at: int) -> None:
    agent = {"retry_at": at, "retry_delay_ms": delay}
    assert is_due(agent, now) == (now >= at or now < at - delay)
    assert is_due({}, now)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in FINAL_REASONS])
def test_what_failed_is_tried_three_times_and_then_has_failed_with_the_last_error(
    ledger_file: Path, reason: Reason
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    for number in range(1, MOST_ATTEMPTS + 1):
        begun = begin_next_attempt(ledger, supervisor(), now=now_ms() + FAR)
        assert begun is not None
        assert (begun[1], begun[0]["retry_count"]) == (number, number - 1)
        outcome = Outcome(ok=False, reason=reason, error=f"error {number}")
        settle_attempt(ledger, a, number, outcome, retry_base_ms=1_000)
        assert row(ledger, "fleets", fleet_id)["status"] == ("running" if number < MOST_ATTEMPTS else "failed")
    agent = row(ledger, "agents", a)
    assert (agent["status"], agent["error"], agent["reason"]) == ("failed", "error 3", str(reason))
    assert not agent.keys() & {"retry_at", "retry_delay_ms", "pid"}


def test_the_delay_that_is_logged_is_the_delay_that_is_used(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    before = now_ms()
    settle_attempt(ledger, a, 1, BROKEN, retry_base_ms=1_000)
    agent = row(ledger, "agents", a)
    told = next(event for event in events_in(ledger_file) if event["event"] == "agent_retry_scheduled")
    assert told["delay_ms"] == agent["retry_delay_ms"]
    assert before + told["delay_ms"] <= agent["retry_at"] <= now_ms() + told["delay_ms"]
    assert (told["reason"], told["error"], told["attempt"]) == ("exit", "it broke", 1)
    assert begin_next_attempt(ledger, supervisor(), now=agent["retry_at"] - 1) is None
    assert begin_next_attempt(ledger, supervisor(), now=agent["retry_at"]) is not None


@pytest.mark.parametrize("reason", sorted(FINAL_REASONS - {Reason.CANCELLED}))
def test_what_trying_again_can_t_change_is_not_tried_again(ledger_file: Path, reason: Reason) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=False, reason=reason), retry_base_ms=0)
    assert row(ledger, "agents", a)["status"] == "failed"


def test_what_left_a_process_that_can_t_be_killed_is_not_tried_again_and_says_so(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a, b) = fleet_of(ledger, "A", "B")
    start_all(ledger)
    note_stop(ledger, b, 1, Reason.TIMEOUT, "it ran too long")
    for agent_id in (a, b):
        left = Outcome(ok=False, reason=Reason.EXIT, error="it broke", survivors="4711, 4712")
        settle_attempt(ledger, agent_id, 1, left, retry_base_ms=0)
    told = "its processes 4711, 4712 can't be killed, so it is not tried again"
    assert row(ledger, "agents", a)["error"] == f"it broke; {told}"
    assert row(ledger, "agents", b)["error"] == f"it ran too long; {told}"
    assert {row(ledger, "agents", agent_id)["status"] for agent_id in (a, b)} == {"failed"}


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_fleet_may_say_how_often_its_agents_are_tried(ledger_file: Path, most: int) -> None:
    ledger = open_ledger(ledger_file)
    options = FleetOptions(max_attempts=most)
    _, [a] = create_fleet(ledger, [AgentSpec("A", "go")], cwd="/project", options=options)
    tried = 0
    while begin_next_attempt(ledger, supervisor(), now=now_ms() + FAR) is not None:
        tried += 1
        settle_attempt(ledger, a, tried, BROKEN, retry_base_ms=1_000)
    assert (tried, row(ledger, "agents", a)["status"]) == (most, AgentStatus.FAILED)


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.STALL, Reason.BUDGET])
def test_a_good_answer_stands_though_it_came_too_late(ledger_file: Path, reason: Reason) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    note_stop(ledger, a, 1, reason, "it ran too long")
    settle_attempt(ledger, a, 1, Outcome(ok=True, output="done"), retry_base_ms=0)
    agent = row(ledger, "agents", a)
    assert (agent["status"], agent["output"]) == ("complete", "done")
    assert not agent.keys() & {"error", "reason", "retry_at"}
    assert row(ledger, "fleets", fleet_id)["status"] == "complete"


def test_what_the_attempts_of_an_agent_used_is_added_up(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    used = {"total": 6, "input": 1, "output": 2, "reasoning": 3, "cache_read": 0, "cache_write": 0}
    for number, ok in ((1, False), (2, True)):
        assert begin_next_attempt(ledger, supervisor(), now=now_ms() + FAR) is not None
        outcome = Outcome(ok=ok, reason=None if ok else Reason.EXIT, tokens=used, cost=0.25)  # type: ignore[arg-type]
        settle_attempt(ledger, a, number, outcome, retry_base_ms=0)
    agent = row(ledger, "agents", a)
    assert (agent["tokens"]["total"], agent["tokens"]["reasoning"], agent["cost"]) == (12, 6, 0.5)
    assert row(ledger, "attempts", f"{a}/2")["cost"] == 0.25
