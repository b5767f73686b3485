"""Starting the next attempt: apart in time, with room, and with traces that tell what went wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from meshfleet.agents.admission import LEAST_DISK, Admission, Memory
from meshfleet.agents.attempt import Attempt
from meshfleet.agents.process import is_same_process
from meshfleet.agents.starting import Starter
from meshfleet.agents.stopping import stop_attempt
from meshfleet.ledger import Ledger
from meshfleet.mesh.supervision import ITS_TURN
from meshfleet.settings import Settings
from tests.agents.supervising import Clock, agent_row, attempt_row, spawn
from tests.mesh.fleets import fleet_of, supervisor

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database")]


def starter(
    ledger: Ledger, settings: Settings, program: Path, clock: Clock, admission: Admission | None = None
) -> Starter:
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(program)}
    some = admission or Admission(lambda: Memory(2**34, 2**34))
    return Starter(ledger, settings, environ, supervisor(), some, clock.monotonic, clock.wall)


async def end(attempt: Attempt) -> None:
    await stop_attempt(attempt.marker, attempt.leader)
    assert attempt.leader is not None
    assert not is_same_process(attempt.leader)


async def test_a_started_attempt_is_recorded_and_the_next_one_waits_for_its_turn(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    one = starter(ledger, replace(settings, start_stagger_ms=250_000), fake_opencode, clock)
    assert one.start_next({}) is None
    _, (first, _) = spawn(ledger, tmp_path, "hang", "hang")
    assert one.is_time({})
    attempt = one.start_next({})
    assert attempt is not None
    assert (attempt.marker, attempt.recorded, attempt.is_running) == (f"{first}/1", True, True)
    assert attempt.leader is not None
    assert attempt_row(ledger, first)["pid"] == agent_row(ledger, first)["pid"] == attempt.leader.pid
    assert not one.is_time({attempt.marker: attempt})
    clock.leap(251)
    assert one.is_time({attempt.marker: attempt})
    await end(attempt)


async def test_who_comes_to_what_is_anyone_s_later_says_so_and_what_is_missing_then_says_more(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    memory = [2**34, 0]
    slow = replace(settings, start_stagger_ms=250_000)
    one = starter(ledger, slow, fake_opencode, clock, Admission(lambda: Memory(2**34, memory[0])))
    _, (_, second) = spawn(ledger, tmp_path, "hang", "hang")
    attempt = one.start_next({})
    assert attempt is not None
    one.note_turns()
    assert agent_row(ledger, second)["waiting_for"] == ITS_TURN
    del memory[0]
    assert one.start_next({attempt.marker: attempt}) is None
    one.note_turns()
    assert agent_row(ledger, second)["waiting_for"] == "memory that other agents use"
    await end(attempt)


async def test_who_has_no_opencode_promises_nobody_a_turn(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fake_opencode.unlink()
    _, (agent_id,) = spawn(ledger, tmp_path, "hang")
    starter(ledger, settings, fake_opencode, clock).note_turns()
    assert "waiting_for" not in agent_row(ledger, agent_id)


async def test_without_an_opencode_what_is_one_s_own_is_refused_and_what_is_anyone_s_left_to_others(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fake_opencode.unlink()
    one = starter(ledger, settings, fake_opencode, clock)
    _, (left_to_anyone,) = spawn(ledger, tmp_path, "hang")
    _, (agent_id,) = fleet_of(ledger, "A", by=supervisor(), cwd=str(tmp_path))
    attempt = one.start_next({})
    assert attempt is not None
    assert attempt.agent["id"] == agent_id
    assert one.start_next({attempt.marker: attempt}) is None
    assert "supervisor" not in agent_row(ledger, left_to_anyone)
    assert (attempt.leader, attempt.is_running, "MESHFLEET_OPENCODE" in str(attempt.refusal)) == (None, False, True)
    assert "pid" not in attempt_row(ledger, agent_id)


async def test_where_memory_is_short_nobody_starts_beside_one_that_runs(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    one = starter(ledger, settings, fake_opencode, clock, Admission(lambda: Memory(2**34, 0)))
    _, (_, second) = spawn(ledger, tmp_path, "hang", "hang")
    attempt = one.start_next({})
    assert attempt is not None
    assert one.start_next({attempt.marker: attempt}) is None
    assert agent_row(ledger, second)["waiting_for"] == "memory that other agents use"
    await end(attempt)


async def test_where_the_disk_has_no_room_nobody_starts_and_no_attempt_is_used_up(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    free = [LEAST_DISK - 1]
    one = starter(ledger, settings, fake_opencode, clock, Admission(lambda: Memory(2**34, 2**34), lambda _: free[0]))
    _, (agent_id,) = spawn(ledger, tmp_path, "hang")
    assert one.start_next({}) is None
    row = agent_row(ledger, agent_id)
    assert (row["status"], "attempt" in row) == ("pending", False)
    assert f"free space where {settings.runs_dir} is" in row["waiting_for"]
    free[0] = LEAST_DISK
    attempt = one.start_next({})
    assert attempt is not None
    assert (attempt.number, attempt.recorded) == (1, True)
    await end(attempt)


async def test_a_number_of_agents_that_may_run_is_all_there_is_to_it_however_short_memory_is(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    two = replace(settings, max_running=2)
    one = starter(ledger, two, fake_opencode, clock, Admission(lambda: Memory(2**34, 0)))
    _, agent_ids = spawn(ledger, tmp_path, *["hang"] * 3)
    attempts: dict[str, Attempt] = {}
    while (attempt := one.start_next(attempts)) is not None:
        attempts[attempt.marker] = attempt
    assert list(attempts) == [f"{agent_id}/1" for agent_id in agent_ids[:2]]
    assert "2 may run at once" in agent_row(ledger, agent_ids[2])["waiting_for"]
    for started in attempts.values():
        await end(started)
