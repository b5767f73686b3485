"""Adoption: a supervisor killed at whatever moment loses no agent, doubles none, and what it came to is told truly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import pytest

from meshfleet.agents.adoption import take_up
from meshfleet.agents.launch import EXIT_NAME
from meshfleet.agents.process import boot_id, current_identity, identify
from meshfleet.agents.supervisor import CHECK_INTERVAL_S
from meshfleet.ledger import Ledger
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet, fleet_status
from meshfleet.mesh.lifecycle import record_process
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import get_receipts
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.supervision import begin_next_attempt
from meshfleet.model import Start, SupervisorRow, now_ms
from meshfleet.settings import Settings
from tests.agents.agents_helpers import members_of
from tests.agents.supervising import (
    WAIT_S,
    Clock,
    agent_row,
    attempt_row,
    has_said,
    kill,
    ledger_of,
    look_until,
    server,
    settled,
    spawn,
    status_of,
    supervisor_with,
)
from tests.mesh.fleets import events_in, supervisor

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.usefixtures("database", "soon_killed")]

#: A process that is not there any more.
GONE: Final = SupervisorRow(pid=2**22 + 1, start_time=1.0, boot_id=boot_id())
ANOTHER_BOOT: Final = SupervisorRow(pid=2**22 + 1, start_time=1.0, boot_id="another boot")


async def until(happened: Callable[[], bool]) -> None:
    with anyio.fail_after(WAIT_S):
        while not happened():
            await anyio.sleep(0.01)


async def until_killed(pid: int) -> None:
    """Kill a process and wait until it is gone, which is not at once."""
    os.kill(pid, signal.SIGKILL)
    await until(lambda: identify(pid) is None)


@pytest.mark.parametrize("moment", ["before the launch", "before the record", "before the settlement"])
async def test_a_server_that_dies(
    moment: str, ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay up\nwait 0.2\nanswer done")
    with server(settings, fake_opencode, moment) as running:
        assert running.wait(WAIT_S) == -signal.SIGKILL
    assert status_of(ledger, agent_id) == "running"
    clock.leap(60)
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        await look_until(lambda: agent_row(ledger, agent_id)["supervisor"] == heir.row, heir)
        if moment == "before the launch":
            await look_until(lambda: "retry_at" in agent_row(ledger, agent_id), heir)
            assert attempt_row(ledger, agent_id)["reason"] == "spawn"
            clock.leap(2)
        assert await settled(ledger, fleet_id, heir) == "complete"
    number = 2 if moment == "before the launch" else 1
    attempt = attempt_row(ledger, agent_id, number)
    assert (attempt["exit"], attempt["ok"], agent_row(ledger, agent_id)["output"]) == (0, True, "up\ndone")
    assert agent_row(ledger, agent_id)["attempt"] == number
    ends = [event for event in events_in(settings.data_file) if event["event"] == "attempt_ended"]
    assert len(ends) == number
    assert CHECK_INTERVAL_S <= 10


@pytest.mark.parametrize("moment", ["before the launch", "before the record", "before the settlement"])
async def test_a_message_is_put_before_an_agent_once_though_the_server_dies(
    moment: str, ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    specs = [AgentSpec("A", "hang"), AgentSpec("B", "your part", start=Start.ON_MESSAGE, wake=True)]
    _, (a, b) = create_fleet(ledger, specs, cwd=str(tmp_path))
    begin_next_attempt(ledger, supervisor())
    fleet_id = agent_row(ledger, b)["fleet_id"]
    message_id = send_message(ledger, Draft(a, "B", fleet_id, "handoff", "take over"))["message_id"]
    with server(settings, fake_opencode, moment) as running:
        assert running.wait(WAIT_S) == -signal.SIGKILL
    clock.leap(60)
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        if moment == "before the launch":
            await look_until(lambda: "retry_at" in agent_row(ledger, b), heir)
            assert get_receipts(ledger, message_id)["receipts"] == []
            clock.leap(2)
        await look_until(lambda: status_of(ledger, b) not in {"running", "pending"}, heir)
    agent = agent_row(ledger, b)
    assert (agent["status"], agent.get("wakes", 0)) == ("complete", 0)
    assert '"payload":"take over"' in agent["output"]
    assert agent["attempt"] == (2 if moment == "before the launch" else 1)
    assert [one["action"] for one in get_receipts(ledger, message_id)["receipts"]] == ["delivered"]


async def test_an_agent_goes_on_while_nobody_supervises_it_and_its_answer_is_there_afterwards(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (working, failing) = spawn(
        ledger, tmp_path, "begin\nsay up\nwait 0.3\nanswer done", "begin\nsay up\nwait 0.3\ncomplain oh\nexit 7",
        max_attempts=1,
    )  # fmt: skip
    with server(settings, fake_opencode) as running:
        await until(lambda: all(has_said(settings, one, "up") for one in (working, failing)))
        kill(running)
    ends = [settings.runs_dir / one / "1" / EXIT_NAME for one in (working, failing)]
    await until(lambda: all(end.exists() for end in ends))
    assert fleet_status(ledger, fleet_id)["fleet"]["status"] == "running"
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        assert await settled(ledger, fleet_id, heir) == "failed"
    assert (status_of(ledger, working), agent_row(ledger, working)["output"]) == ("complete", "up\ndone")
    assert (attempt_row(ledger, failing)["exit"], attempt_row(ledger, failing)["reason"]) == (7, "exit")


async def test_a_deadline_holds_from_the_start_of_the_attempt_also_for_who_adopts_it(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay up\nhang", max_attempts=1, timeout_ms=3_600_000)
    with server(settings, fake_opencode) as running:
        await until(lambda: has_said(settings, agent_id, "up"))
        kill(running)
    clock.leap(3_590)
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        await heir.look()
        assert "stopping" not in attempt_row(ledger, agent_id)
        clock.leap(20)
        assert await settled(ledger, fleet_id, heir) == "failed"
    assert attempt_row(ledger, agent_id)["reason"] == "timeout"
    assert members_of(f"{agent_id}/1", None) == []


async def test_a_stopping_that_was_under_way_is_finished(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "ignore SIGTERM\nspawn-stubborn 600\nbegin\nsay up\nhang")
    with server(settings, fake_opencode) as running:
        await until(lambda: has_said(settings, agent_id, "up"))
        cancel(ledger, agent_id=agent_id)
        await until(lambda: "spawned" in (settings.runs_dir / agent_id / "1" / "events.ndjson").read_text())
        kill(running)
    assert status_of(ledger, agent_id) == "running"
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        assert await settled(ledger, fleet_id, heir) == "failed"
    assert status_of(ledger, agent_id) == "cancelled"
    assert members_of(f"{agent_id}/1", None) == []


async def test_a_pending_retry_is_run_by_the_heir(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "recover 2\nexit 3")
    with server(settings, fake_opencode, MESHFLEET_RETRY_BASE_MS="100000") as running:
        await until(lambda: "retry_at" in agent_row(ledger, agent_id))
        kill(running)
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        for _ in range(3):
            await heir.look()
        assert (status_of(ledger, agent_id), attempt_row(ledger, agent_id, 2)) == ("pending", {})
        clock.leap(121)
        assert await settled(ledger, fleet_id, heir) == "complete"
    assert agent_row(ledger, agent_id)["output"] == "recovered"


async def test_two_heirs_at_the_same_instant_adopt_each_agent_once(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path
) -> None:
    def told() -> list[str]:
        return [event["event"] for event in events_in(settings.data_file)]

    fail, end = tmp_path / "fail", tmp_path / "end"
    long = f"begin\nsay up\nuntil {end}\nanswer done"
    _, agent_ids = spawn(ledger, tmp_path, *[long] * 4, f"begin\nsay up\nuntil {fail}\nexit 3", max_attempts=2)
    with server(settings, fake_opencode, MESHFLEET_RETRY_BASE_MS="1500") as running:
        await until(lambda: all(has_said(settings, one, "up") for one in agent_ids))
        fail.touch()
        await until(lambda: "agent_retry_scheduled" in told())
        kill(running)
    with server(settings, fake_opencode) as one, server(settings, fake_opencode) as other:
        await until(lambda: told().count("agent_adopted") >= len(agent_ids))
        end.touch()
        # the log is written after the ledger
        await until(lambda: told().count("attempt_ended") >= 6 and "fleet_ended" in told())
        owners = {agent_row(ledger, agent_id)["supervisor"]["pid"] for agent_id in agent_ids}
        assert owners <= {one.pid, other.pid}
    events = events_in(settings.data_file)
    adopted = [event["agent_id"] for event in events if event["event"] == "agent_adopted"]
    assert sorted(adopted) == sorted(agent_ids)
    ended = [(event["agent_id"], event["attempt"]) for event in events if event["event"] == "attempt_ended"]
    assert len(ended) == len(set(ended)) == 6
    assert [status_of(ledger, agent_id) for agent_id in agent_ids] == ["complete"] * 4 + ["failed"]


async def test_the_agents_of_a_living_server_are_left_alone(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (running, ended) = spawn(ledger, tmp_path, "begin\nsay up\nhang", "begin\nsay up\nhang")
    with server(settings, fake_opencode) as living:
        await until(lambda: all(has_said(settings, one, "up") for one in (running, ended)))
        # not even if it can't look after them at the moment
        os.kill(living.pid, signal.SIGSTOP)
        for process in members_of(f"{ended}/1", None):
            os.kill(process.pid, signal.SIGKILL)
        async with supervisor_with(ledger, settings, fake_opencode, clock) as other:
            for _ in range(4):
                clock.leap(6)
                await other.look()
            assert other._attempts == {}
        owners = [agent_row(ledger, one)["supervisor"]["pid"] for one in (running, ended)]
        assert owners == [living.pid] * 2
        assert [status_of(ledger, one) for one in (running, ended)] == ["running"] * 2
        kill(living)
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        cancel(ledger, fleet_id=fleet_id)
        await settled(ledger, fleet_id, heir)


async def test_an_agent_whose_shell_was_killed_meanwhile_is_interrupted_and_ended_whole(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "ignore SIGTERM\nspawn-stubborn 600\nbegin\nsay up\nhang")
    with server(settings, fake_opencode) as running:
        await until(lambda: has_said(settings, agent_id, "up"))
        kill(running)
    await until_killed(attempt_row(ledger, agent_id)["pid"])
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        assert await settled(ledger, fleet_id, heir) == "failed"
    agent = agent_row(ledger, agent_id)
    assert agent["status"] == "interrupted"
    assert "resume it to have it go on" in agent["error"]
    assert members_of(f"{agent_id}/1", None) == []
    assert agent["session_id"].startswith("ses_fake")


async def test_what_is_left_of_a_start_nobody_noted_is_ended_before_it_is_told_of(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "spawn-stubborn 600\nbegin\nhang")
    with server(settings, fake_opencode, "before the record") as running:
        running.wait(WAIT_S)
    await until(lambda: has_said(settings, agent_id, "spawned"))
    shell = next(one for one in members_of(f"{agent_id}/1", None) if os.getsid(one.pid) == one.pid)
    await until_killed(shell.pid)
    clock.leap(60)
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        # a tool that leads a session of its own is not taken for the shell
        assert await settled(ledger, fleet_id, heir) == "failed"
    assert status_of(ledger, agent_id) == "interrupted"
    assert members_of(f"{agent_id}/1", None) == []


# -- what is found of attempts whose process is recorded and gone --


def left_behind(ledger: Ledger, settings: Settings, cwd: Path, by: SupervisorRow, exit_line: str | None) -> str:
    """An agent whose run has left its files and no process; returns its id."""
    _, (agent_id,) = spawn(ledger, cwd, "go")
    begin_next_attempt(ledger, by)
    record_process(ledger, agent_id, 1, 2**22 + 1, 1.0, by["boot_id"])
    run_dir = settings.runs_dir / agent_id / "1"
    run_dir.mkdir(parents=True)
    said = '{"type": "text", "sessionID": "ses", "part": {"text": "done"}}\n'
    finished = '{"type": "step_finish", "part": {"reason": "stop"}}\n' if exit_line == "0\n" else ""
    (run_dir / "events.ndjson").write_text(said + finished)
    if exit_line is not None:
        (run_dir / EXIT_NAME).write_text(exit_line)
    return agent_id


@pytest.mark.parametrize(
    ("by", "exit_line", "status"),
    [
        (GONE, "0\n", "complete"),
        (GONE, None, "interrupted"),
        (GONE, "3\n", "pending"),
        (GONE, "143\n", "pending"),
        (ANOTHER_BOOT, "0\n", "complete"),
        (ANOTHER_BOOT, None, "interrupted"),
        (ANOTHER_BOOT, "143\n", "interrupted"),
        (ANOTHER_BOOT, "3\n", "pending"),
    ],
)
async def test_an_attempt_that_ended_meanwhile_is_told_by_what_it_left(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock,
    by: SupervisorRow, exit_line: str | None, status: str,
) -> None:  # fmt: skip
    agent_id = left_behind(ledger, settings, tmp_path, by, exit_line)
    slow = replace(settings, retry_base_ms=10**6)
    async with supervisor_with(ledger, slow, fake_opencode, clock) as heir:
        await look_until(lambda: status_of(ledger, agent_id) != "running", heir)
    assert status_of(ledger, agent_id) == status
    assert ("retry_at" in agent_row(ledger, agent_id)) == (status == "pending")
    assert agent_row(ledger, agent_id)["session_id"] == "ses"


async def test_an_attempt_whose_run_folder_is_gone_too_is_interrupted(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "go")
    begin_next_attempt(ledger, GONE)
    record_process(ledger, agent_id, 1, 2**22 + 1, 1.0, boot_id())
    async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
        assert await settled(ledger, fleet_id, heir) == "failed"
    assert status_of(ledger, agent_id) == "interrupted"


async def test_a_recorded_pid_that_is_somebody_else_s_now_is_not_signalled(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "go")
    begin_next_attempt(ledger, GONE)
    own = current_identity()
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        record_process(ledger, agent_id, 1, own.pid, own.start_time - 100, boot_id())
        async with supervisor_with(ledger, settings, fake_opencode, clock) as heir:
            assert await settled(ledger, fleet_id, heir) == "failed"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (status_of(ledger, agent_id), received) == ("interrupted", [])


async def test_an_attempt_begun_a_moment_ago_may_still_be_starting(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "answer done")
    begin_next_attempt(ledger, GONE, now=now_ms())
    async with supervisor_with(ledger_of(settings), settings, fake_opencode, clock) as heir:
        await heir.look()
        assert (agent_row(ledger, agent_id)["supervisor"], heir._attempts) == (heir.row, {})
        clock.leap(6)
        await look_until(lambda: "retry_at" in agent_row(ledger, agent_id), heir)
        clock.leap(2)
        assert await settled(ledger, fleet_id, heir) == "complete"


def test_taking_up_an_attempt_of_another_boot_looks_at_no_process(tmp_path: Path) -> None:
    own = current_identity()
    row = {"number": 1, "pid": own.pid, "start_time": own.start_time, "boot_id": "another boot"}
    attempt = take_up({"id": "a"}, row, tmp_path, 0.0)
    assert (attempt.leader, attempt.is_running, attempt.was_gone) == (None, False, True)
    assert take_up({"id": "a"}, {**row, "boot_id": boot_id()}, tmp_path, 0.0).is_running
