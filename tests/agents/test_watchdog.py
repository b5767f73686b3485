"""Retries and the watchdog: a supervisor over real processes, by a clock that leaps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meshfleet.agents.process import is_same_process
from meshfleet.agents.supervisor import Supervisor
from meshfleet.ledger import Ledger
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet, fleet_status, set_fleet_timeout
from meshfleet.mesh.specs import AgentSpec
from meshfleet.settings import Settings
from tests.agents.agents_helpers import eventually, members_of
from tests.agents.supervising import (
    Clock,
    agent_row,
    attempt_row,
    has_said,
    look_until,
    settled,
    spawn,
    status_of,
    supervisor_with,
    waits_for_retry,
)
from tests.mesh.fleets import events_in

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database", "soon_killed")]


async def test_what_failed_is_tried_again_after_its_delay_and_may_succeed_then(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "recover 2\nbegin\nsay trying\nexit 3")
    await look_until(lambda: waits_for_retry(ledger, agent_id), supervisor)
    agent = agent_row(ledger, agent_id)
    assert 800 <= agent["retry_delay_ms"] <= 1_200
    assert (agent["status"], agent["reason"]) == ("pending", "exit")
    assert fleet_status(ledger, fleet_id)["agents"][0]["condition"] == "retrying"
    assert fleet_status(ledger, fleet_id)["fleet"]["status"] == "running"
    clock.leap(1.3)
    assert await settled(ledger, fleet_id, supervisor) == "complete"
    agent = agent_row(ledger, agent_id)
    assert (agent["output"], agent["attempt"], agent["retry_count"]) == ("recovered", 2, 1)
    assert not agent.keys() & {"error", "reason", "retry_at"}


async def test_before_its_time_a_retry_is_not_begun(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path, settings: Settings
) -> None:
    slow = replace(settings, retry_base_ms=10**6)
    supervisor._settings = slow
    _, (agent_id,) = spawn(ledger, tmp_path, "exit 3")
    await look_until(lambda: waits_for_retry(ledger, agent_id), supervisor)
    for _ in range(5):
        await supervisor.look()
    assert attempt_row(ledger, agent_id, 2) == {}


@pytest.mark.parametrize(
    ("deed", "reason"),
    [("exit 3", "exit"), ("begin\nfinish stop", "no_answer"), ("begin\nerror boom", "provider"),
     ("begin\ndie SIGKILL", "killed")],
)  # fmt: skip
async def test_three_attempts_that_failed_are_all_there_are(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path, clock: Clock, deed: str, reason: str
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, deed)
    for _ in range(2):
        await look_until(lambda: waits_for_retry(ledger, agent_id), supervisor)
        clock.leap(10)
        await look_until(lambda: not waits_for_retry(ledger, agent_id), supervisor)
    assert await settled(ledger, fleet_id, supervisor) == "failed"
    agent = agent_row(ledger, agent_id)
    assert (agent["attempt"], agent["reason"], agent["retry_count"]) == (3, reason, 2)
    assert [attempt_row(ledger, agent_id, number)["ok"] for number in (1, 2, 3)] == [False] * 3


async def test_a_wrong_agent_is_not_tried_again(supervisor: Supervisor, ledger: Ledger, tmp_path: Path) -> None:
    prompt = 'complain ! agent "critic" not found. Falling back to default agent\nanswer I am somebody else'
    fleet_id, [agent_id] = create_fleet(ledger, [AgentSpec("A", prompt, "critic")], cwd=str(tmp_path))
    assert await settled(ledger, fleet_id, supervisor) == "failed"
    assert (agent_row(ledger, agent_id)["reason"], agent_row(ledger, agent_id)["attempt"]) == ("wrong_agent", 1)


async def test_nothing_of_an_attempt_is_alive_when_its_replacement_starts(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "recover 2\nspawn-stubborn 600\nbegin\nexit 3")
    await look_until(lambda: waits_for_retry(ledger, agent_id), supervisor)
    assert members_of(f"{agent_id}/1", None) == []
    clock.leap(2)
    assert await settled(ledger, fleet_id, supervisor) == "complete"


# -- the watchdog --


async def test_a_limit_set_while_it_runs_ends_an_attempt_and_the_next_one_is_tried(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "recover 2\nbegin\nsay working\nhang")
    await look_until(lambda: has_said(settings, agent_id, "working"), supervisor)
    set_fleet_timeout(ledger, fleet_id, 60_000)
    clock.leap(61)
    await look_until(lambda: waits_for_retry(ledger, agent_id), supervisor)
    assert attempt_row(ledger, agent_id)["reason"] == "timeout"
    assert members_of(f"{agent_id}/1", None) == []
    clock.leap(2)
    assert await settled(ledger, fleet_id, supervisor) == "complete"


async def test_an_answer_that_was_given_before_the_limit_ended_the_attempt_stands(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "answer done\nhang", timeout_ms=60_000)
    await look_until(lambda: has_said(settings, agent_id, "done"), supervisor)
    clock.leap(61)
    assert await settled(ledger, fleet_id, supervisor) == "complete"
    assert (agent_row(ledger, agent_id)["output"], attempt_row(ledger, agent_id)["stopping"]) == ("done", "timeout")


async def test_silence_shows_ends_with_a_word_and_is_no_stall_before_its_time(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay working\nspawn 600\nhang")
    await look_until(lambda: has_said(settings, agent_id, "spawned"), supervisor)

    def shown() -> dict[str, object]:
        return dict(fleet_status(ledger, fleet_id)["agents"][0])

    await look_until(lambda: "used" in shown(), supervisor)
    for _ in range(14):
        clock.leap(6)
        await supervisor.look()
    assert shown()["condition"] == "stalled"
    assert 60_000 <= clock.wall() - int(str(shown()["silent_since"])) <= 90_000
    events = settings.runs_dir / agent_id / "1" / "events.ndjson"
    with events.open("a") as file:
        file.write('{"type": "text", "part": {"text": "here"}}\n')
    clock.leap(6)
    await supervisor.look()
    clock.leap(6)
    await supervisor.look()
    assert not shown().keys() & {"condition", "silent_since"}
    cancel(ledger, fleet_id=fleet_id)
    assert await settled(ledger, fleet_id, supervisor) == "failed"


async def test_an_agent_that_is_silent_and_idle_is_stalled_and_tried_again(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "recover 2\nbegin\nsay working\nhang")
    await look_until(lambda: has_said(settings, agent_id, "working"), supervisor)
    for _ in range(20):
        clock.leap(100)
        await supervisor.look()
    await look_until(lambda: waits_for_retry(ledger, agent_id), supervisor)
    attempt = attempt_row(ledger, agent_id)
    assert (attempt["reason"], attempt["stopping"]) == ("stall", "stall")
    assert "said and did nothing for 1800 s" in attempt["error"]
    assert "silent_since" not in attempt
    assert "agent_stalled" in {event["event"] for event in events_in(settings.data_file)}
    clock.leap(2)
    assert await settled(ledger, fleet_id, supervisor) == "complete"


async def test_one_that_speaks_now_and_then_is_never_stalled(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay working\nhang")
    await look_until(lambda: has_said(settings, agent_id, "working"), supervisor)
    events = settings.runs_dir / agent_id / "1" / "events.ndjson"
    for number in range(20):
        with events.open("a") as file:
            file.write(f'{{"type": "text", "part": {{"text": "{number}"}}}}\n')
        clock.leap(1_000)
        await supervisor.look()
        await supervisor.look()
    assert "stopping" not in attempt_row(ledger, agent_id)
    cancel(ledger, fleet_id=fleet_id)
    await settled(ledger, fleet_id, supervisor)


async def test_none_is_stalled_where_that_is_switched_off(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    never = replace(settings, agent_stall_ms=0)
    async with supervisor_with(ledger, never, fake_opencode, clock) as supervisor:
        fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay working\nhang")
        await look_until(lambda: has_said(settings, agent_id, "working"), supervisor)
        for _ in range(20):
            clock.leap(1_000)
            await supervisor.look()
        assert "stopping" not in attempt_row(ledger, agent_id)
        cancel(ledger, fleet_id=fleet_id)
        await settled(ledger, fleet_id, supervisor)


async def test_a_flood_is_stopped_at_the_most_it_may_write_and_not_tried_again(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, clock: Clock
) -> None:
    little = replace(settings, max_output_bytes=100_000)
    async with supervisor_with(ledger, little, fake_opencode, clock) as supervisor:
        fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nflood 400000\nhang")
        await look_until(lambda: attempt_row(ledger, agent_id).get("stopping") == "budget", supervisor)
        assert await settled(ledger, fleet_id, supervisor) == "failed"
    agent = agent_row(ledger, agent_id)
    assert (agent["reason"], agent["attempt"]) == ("budget", 1)
    assert "more than 100000 bytes" in agent["error"]
    assert "x" * 1000 in agent["output"]


async def test_an_attempt_whose_end_nobody_told_of_is_settled_by_the_watchdog(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    async def refused(_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("meshfleet.agents.supervisor.ended", refused)
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "answer done")
    await look_until((settings.runs_dir / agent_id / "1" / "exit").exists, supervisor)
    leader = supervisor._attempts[f"{agent_id}/1"].leader
    assert leader is not None
    eventually(lambda: not is_same_process(leader), "the shell parent ends")
    clock.leap(6)
    assert await settled(ledger, fleet_id, supervisor) == "complete"


async def test_the_event_log_is_told_how_many_are_at_work_while_that_changes(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, clock: Clock
) -> None:
    def beats() -> list[tuple[int, int]]:
        told = events_in(settings.data_file) if settings.events_file.exists() else []
        return [(each["agents_running"], each["agents_pending"]) for each in told if each["event"] == "heartbeat"]

    await supervisor.look()
    assert beats() == []
    _, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay up\nhang")
    await look_until(lambda: has_said(settings, agent_id, "up"), supervisor)
    for _ in range(3):
        clock.leap(61)
        await supervisor.look()
    assert beats() == [(1, 0)]
    cancel(ledger, agent_id=agent_id)
    await look_until(lambda: status_of(ledger, agent_id) == "cancelled", supervisor)
    clock.leap(61)
    await supervisor.look()
    assert beats() == [(1, 0), (0, 0)]


async def test_an_exit_status_that_an_agent_writes_itself_spares_it_no_limit(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path, settings: Settings, clock: Clock
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay up\nhang", timeout_ms=60_000, max_attempts=1)
    await look_until(lambda: has_said(settings, agent_id, "up"), supervisor)
    (settings.runs_dir / agent_id / "1" / "exit").write_text("0\n")
    clock.leap(61)
    await supervisor.look()
    clock.leap(10)
    assert await settled(ledger, fleet_id, supervisor) == "failed"
    assert agent_row(ledger, agent_id)["reason"] == "timeout"
