"""Cancelling, resuming, admission and budgets: a supervisor over real processes, by a clock that leaps."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import pytest
from anyio import to_thread

from meshfleet.agents.admission import Admission, Memory
from meshfleet.agents.process import identify, is_same_process
from meshfleet.agents.stopping import stop_attempt
from meshfleet.agents.supervisor import Supervisor
from meshfleet.ledger import Ledger
from meshfleet.mesh.briefing import GO_ON
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet, fleet_status
from meshfleet.mesh.resuming import resume
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.settings import Settings
from tests.agents.agents_helpers import members_of
from tests.agents.supervising import (
    Clock,
    agent_row,
    attempt_row,
    has_said,
    ledger_of,
    look_until,
    settled,
    spawn,
    status_of,
    supervisor_with,
    waits_for_retry,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database", "soon_killed")]

GIB: Final = 1024**3


# -- waking --


async def call_at_once(call: Callable[[], None]) -> None:
    """Do it here and now."""
    call()


@pytest.mark.parametrize("wake", [call_at_once, to_thread.run_sync], ids=["in its own thread", "in another"])
async def test_who_leaves_work_wakes_it_from_its_own_thread_and_from_a_worker_s(
    ledger: Ledger,
    settings: Settings,
    fake_opencode: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wake: Callable[[Callable[[], None]], Awaitable[None]],
) -> None:
    monkeypatch.setattr("meshfleet.agents.supervisor.LOOK_INTERVAL_S", 3600)
    supervisor = Supervisor(ledger, settings, {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode)})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        await anyio.wait_all_tasks_blocked()  # it has looked for the first time, and waits
        # its launch may end after the test has, and nobody would stop one that hangs
        _, (agent_id,) = spawn(ledger, tmp_path, "answer done")
        with anyio.fail_after(20):
            while status_of(ledger, agent_id) == "pending":
                await wake(supervisor.wake)
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


# -- cancelling and resuming --


async def test_cancelling_leaves_no_process_not_even_one_deaf_to_term_in_a_session_of_its_own(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    deeds = "ignore SIGTERM\nspawn-stubborn 600\nspawn 600\nbegin\nsay deaf\nhang"
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, deeds)
    await look_until(lambda: has_said(settings, agent_id, "deaf"), supervisor)
    said = (settings.runs_dir / agent_id / "1" / "events.ndjson").read_text()
    children = [identify(int(pid)) for pid in re.findall(r"spawned (\d+)", said)]
    assert len([child for child in children if child is not None]) == 2
    # as another process would
    assert cancel(ledger_of(settings), fleet_id=fleet_id).stopping == [agent_id]
    assert await settled(ledger, fleet_id, supervisor) == "failed"
    assert members_of(f"{agent_id}/1", None) == []
    assert not any(is_same_process(child) for child in children if child is not None)
    agent = agent_row(ledger, agent_id)
    assert (agent["status"], agent["error"]) == ("cancelled", "its fleet was cancelled")
    assert "deaf" in agent["output"]


async def test_cancelling_an_agent_that_has_just_answered_ends_what_it_left_behind(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "spawn 600\nanswer done")
    await supervisor.look()
    exit_file = settings.runs_dir / agent_id / "1" / "exit"
    with anyio.fail_after(20):
        while not (exit_file.exists() and supervisor._attempts[f"{agent_id}/1"].is_over):
            await anyio.sleep(0.01)
    assert members_of(f"{agent_id}/1", None)
    attempt = supervisor._attempts[f"{agent_id}/1"]
    cancel(ledger, agent_id=agent_id)
    # it is looked after before the cancel was seen
    await supervisor._conclude(attempt)
    assert status_of(ledger, agent_id) == "running"
    assert await settled(ledger, fleet_id, supervisor) == "failed"
    assert (status_of(ledger, agent_id), agent_row(ledger, agent_id)["output"].endswith("done")) == ("cancelled", True)
    assert members_of(f"{agent_id}/1", None) == []


async def test_what_waits_for_a_retry_or_a_start_ends_at_once_when_cancelled(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path, settings: Settings, clock: Clock
) -> None:
    supervisor._settings = replace(settings, retry_base_ms=10**6)
    fleet_id, (failing,) = spawn(ledger, tmp_path, "exit 3")
    await look_until(lambda: waits_for_retry(ledger, failing), supervisor)
    cancel(ledger, fleet_id=fleet_id)
    assert fleet_status(ledger, fleet_id)["fleet"]["status"] == "failed"
    clock.leap(10**7)
    await supervisor.look()
    assert (status_of(ledger, failing), attempt_row(ledger, failing, 2)) == ("cancelled", {})


async def test_fleets_that_agents_spawned_are_stopped_with_theirs(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    fleet_id, (above,) = spawn(ledger, tmp_path, "begin\nsay up\nhang")
    below_id, (below,) = spawn(ledger, tmp_path, "begin\nsay up\nhang", parent_agent_id=above)
    await look_until(lambda: all(has_said(settings, one, "up") for one in (above, below)), supervisor)
    cancel(ledger, fleet_id=fleet_id)
    for each in (fleet_id, below_id):
        assert await settled(ledger, each, supervisor) == "failed"
    assert [members_of(f"{one}/1", None) for one in (above, below)] == [[], []]


async def test_many_are_cancelled_together_with_one_look_at_the_process_table(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    fleet_id, agent_ids = spawn(ledger, tmp_path, *["begin\nsay up\nhang"] * 6)
    await look_until(lambda: all(has_said(settings, one, "up") for one in agent_ids), supervisor)
    cancel(ledger, fleet_id=fleet_id)
    assert await settled(ledger, fleet_id, supervisor) == "failed"
    assert supervisor._registry._begun <= 4 * len(agent_ids)
    assert {status_of(ledger, one) for one in agent_ids} == {"cancelled"}


@pytest.mark.parametrize("fresh", [False, True])
async def test_what_is_resumed_goes_on_in_its_session_unless_it_starts_afresh(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, fresh: bool
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay first\nhang")
    await look_until(lambda: has_said(settings, agent_id, "first"), supervisor)
    cancel(ledger, agent_id=agent_id)
    await settled(ledger, fleet_id, supervisor)
    session = agent_row(ledger, agent_id)["session_id"]
    resume(ledger, agent_id=agent_id, prompt=None if not fresh else "x", fresh=fresh)
    if not fresh:
        resumed = settings.runs_dir / agent_id / "2" / "prompt.txt"
        assert await settled(ledger, fleet_id, supervisor) == "complete"
        assert resumed.read_text() == GO_ON
    else:
        await look_until(lambda: has_said(settings, agent_id, "first", 2), supervisor)
        assert (settings.runs_dir / agent_id / "2" / "prompt.txt").read_text() == "begin\nsay first\nhang\n\nx"
        command = Path(f"/proc/{attempt_row(ledger, agent_id, 2)['pid']}/cmdline").read_text()
        assert "--session" not in command
        cancel(ledger, agent_id=agent_id)
        await settled(ledger, fleet_id, supervisor)
        return
    resume_prompt = "arguments\nanswer again"
    fleet_id, (other,) = spawn(ledger, tmp_path, "exit 3", max_attempts=1)
    await settled(ledger, fleet_id, supervisor)
    ledger.transact(
        lambda transaction: transaction.put("agents", other, {**agent_row(ledger, other), "session_id": session})
    )
    resume(ledger, agent_id=other, prompt=resume_prompt)
    assert await settled(ledger, fleet_id, supervisor) == "complete"
    assert f"--session={session}" in agent_row(ledger, other)["output"]


# -- admission and budgets --


async def test_no_more_run_at_once_than_may_in_order_and_who_waits_says_why(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    two = replace(settings, max_running=2)
    async with supervisor_with(ledger, two, fake_opencode, clock) as supervisor:
        fleet_id, agent_ids = spawn(ledger, tmp_path, *["begin\nsay up\nhang"] * 2, *["answer ok"] * 3)
        await look_until(lambda: all(has_said(settings, one, "up") for one in agent_ids[:2]), supervisor)
        await supervisor.look()
        shown = fleet_status(ledger, fleet_id)["agents"]
        assert [agent["status"] for agent in shown] == ["running"] * 2 + ["pending"] * 3
        told = "others to end: 2 may run at once (MESHFLEET_MAX_RUNNING)"
        assert [agent["waiting_for"] for agent in shown[2:]] == [told] * 3
        assert [agent["condition"] for agent in shown[2:]] == ["queued"] * 3
        cancel(ledger, agent_id=agent_ids[0])
        await look_until(lambda: all(status_of(ledger, one) == "complete" for one in agent_ids[2:]), supervisor)
        cancel(ledger, fleet_id=fleet_id)
        await settled(ledger, fleet_id, supervisor)
    starts = [attempt_row(ledger, one)["started_at"] for one in agent_ids]
    assert starts == sorted(starts)
    assert not any("waiting_for" in agent_row(ledger, one) for one in agent_ids)


async def test_as_many_run_as_memory_holds(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    free = [GIB // 2]
    admission = Admission(lambda: Memory(4 * GIB, free[0]))
    async with supervisor_with(ledger, settings, fake_opencode, clock, admission) as supervisor:
        fleet_id, (one, two) = spawn(ledger, tmp_path, "begin\nsay up\nhang", "answer ok")
        await look_until(lambda: has_said(settings, one, "up"), supervisor)
        await supervisor.look()
        assert agent_row(ledger, two)["waiting_for"] == "memory that other agents use"
        free[0] = 4 * GIB
        await look_until(lambda: status_of(ledger, two) == "complete", supervisor)
        cancel(ledger, fleet_id=fleet_id)
        await settled(ledger, fleet_id, supervisor)


@pytest.mark.parametrize("limit", [{"max_tokens": 200}, {"max_cost_usd": 0.4}], ids=str)
async def test_a_fleet_over_its_budget_is_stopped_and_starts_nothing_more(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock, limit: dict[str, float]
) -> None:
    two = replace(settings, max_running=2)
    async with supervisor_with(ledger, two, fake_opencode, clock) as supervisor:
        working = "begin\nsay up\nfinish tool-calls\nhang"
        go = tmp_path / "go"
        spending = f"begin\nsay up\nuntil {go}\nfinish tool-calls\nfinish tool-calls\nhang"
        fleet_id, agent_ids = spawn(ledger, tmp_path, spending, "begin\nsay up\nhang", working, **limit)
        await look_until(lambda: has_said(settings, agent_ids[1], "up"), supervisor)
        go.touch()
        await look_until(lambda: has_said(settings, agent_ids[0], "finish"))
        clock.leap(2)
        assert await settled(ledger, fleet_id, supervisor) == "failed"
    assert [agent_row(ledger, one)["reason"] for one in agent_ids] == ["budget"] * 3
    assert attempt_row(ledger, agent_ids[2]) == {}
    fleet = fleet_status(ledger, fleet_id)["fleet"]
    assert str(next(iter(limit))) in fleet["over_budget"]
    assert agent_row(ledger, agent_ids[0])["tokens"]["total"] == 240


async def test_what_agents_are_given_reaches_them(supervisor: Supervisor, ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    spec = AgentSpec("A", "environment\narguments\nanswer ok", model="p/m", cwd=str(folder), env={"GIVEN": "this"})
    fleet_id, [agent_id] = create_fleet(ledger, [spec], cwd=str(tmp_path), options=FleetOptions(allow_all=True))
    assert await settled(ledger, fleet_id, supervisor) == "complete"
    output = agent_row(ledger, agent_id)["output"]
    assert '"GIVEN": "this"' in output
    assert f'"PWD": "{folder}"' in output
    assert '"--model=p/m"' in output
    assert '"--auto"' in output
    fleet_id, (plain,) = spawn(ledger, tmp_path, "arguments\nanswer ok")
    await settled(ledger, fleet_id, supervisor)
    assert "--auto" not in agent_row(ledger, plain)["output"]


# -- troubles --


async def test_an_attempt_the_ledger_has_forgotten_is_let_go(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    _, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay up\nhang")
    await look_until(lambda: has_said(settings, agent_id, "up"), supervisor)
    ledger.transact(lambda transaction: transaction.drop("attempts", f"{agent_id}/1"))
    for process in members_of(f"{agent_id}/1", None):
        os.kill(process.pid, signal.SIGKILL)
    await look_until(lambda: not supervisor._attempts, supervisor)
    assert supervisor._troubles == {}


async def test_what_could_not_be_ended_for_want_of_descriptors_is_ended_later(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([OSError(24, "Too many open files")])

    async def stop(*arguments: object, **named: object) -> object:
        for refusal in refusals:
            raise refusal
        return await stop_attempt(*arguments, **named, grace_s=0.2)  # type: ignore[arg-type]

    monkeypatch.setattr("meshfleet.agents.supervisor.stop_attempt", stop)
    monkeypatch.setattr("meshfleet.agents.supervisor.CHECK_INTERVAL_S", 0.05)
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay up\nhang")
    await look_until(lambda: has_said(settings, agent_id, "up"), supervisor)
    cancel(ledger, fleet_id=fleet_id)
    assert await settled(ledger, fleet_id, supervisor) == "failed"
    assert members_of(f"{agent_id}/1", None) == []
