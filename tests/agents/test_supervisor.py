"""The supervisor over real processes of the fake runtime: what it starts, and what it makes of how a run ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import anyio
import pytest

from meshfleet.agents.launch import EXIT_NAME, read_exit
from meshfleet.agents.process import is_same_process
from meshfleet.agents.stopping import stop_attempt
from meshfleet.agents.supervisor import Supervisor
from meshfleet.ledger import Ledger
from meshfleet.ledger.files import Files
from meshfleet.mesh.fleets import create_fleet, fleet_status, set_fleet_timeout
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.model import Row, now_ms
from meshfleet.settings import Settings
from tests.agents.agents_helpers import members_of
from tests.ledgers import ledger_at

pytestmark = pytest.mark.anyio

WAIT_S: Final = 30.0


@pytest.fixture
def settings(ledger_file: Path) -> Settings:
    """Settings with no pause between starts and little patience with the lock."""
    return Settings(ledger_file, start_stagger_ms=0, lock_timeout_ms=50)


@pytest.fixture(autouse=True)
def database(home: Path) -> Path:
    """The database of an OpenCode that has run here before."""
    path = home / ".local" / "share" / "opencode" / "opencode.db"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def ledger_of(settings: Settings) -> Ledger:
    """The ledger that these settings name, which the end of the test closes."""
    return ledger_at(settings.data_file, durability=settings.durability, lock_timeout_ms=settings.lock_timeout_ms)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    """The ledger the supervisor works on."""
    return ledger_of(settings)


@pytest.fixture
async def supervisor(ledger: Ledger, settings: Settings, fake_opencode: Path) -> AsyncIterator[Supervisor]:
    """A supervisor whose OpenCode is the fake runtime."""
    async with Supervisor(ledger, settings, {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode)}) as supervisor:
        yield supervisor


def spawn(
    ledger: Ledger, tmp_path: Path, *prompts: str, agent: str | None = None, by: Supervisor | None = None
) -> tuple[str, list[str]]:
    """Write a fleet of one agent for each prompt, each to be tried once."""
    specs = [AgentSpec("Worker", prompt, agent) for prompt in prompts]
    row = None if by is None else by.row
    return create_fleet(ledger, specs, cwd=str(tmp_path), supervisor=row, options=FleetOptions(max_attempts=1))


def agent_row(ledger: Ledger, agent_id: str) -> Row:
    """The agent as it stands."""
    row = ledger.read(lambda view: view.get("agents", agent_id))
    assert row is not None
    return row


def attempt_row(ledger: Ledger, agent_id: str, number: int = 1) -> Row:
    """One of the agent's attempts."""
    row = ledger.read(lambda view: view.get("attempts", f"{agent_id}/{number}"))
    assert row is not None
    return row


async def look_until(supervisor: Supervisor, happened: Callable[[], bool]) -> None:
    """Have the supervisor look again and again until something is so."""
    with anyio.fail_after(WAIT_S):
        while not happened():
            await supervisor.look()
            await anyio.sleep(0.005)


async def settled(supervisor: Supervisor, ledger: Ledger, fleet_id: str) -> str:
    """Look until the fleet has ended; returns its status."""

    def status() -> str:
        return str(fleet_status(ledger, fleet_id)["fleet"]["status"])

    await look_until(supervisor, lambda: status() in {"complete", "failed"})
    return status()


async def test_a_fleet_whose_agents_all_answer_is_complete(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path
) -> None:
    fleet_id, (one, two) = spawn(ledger, tmp_path, "answer first\nanswer second", "what is this?")
    assert await settled(supervisor, ledger, fleet_id) == "complete"
    agent = agent_row(ledger, one)
    assert (agent["status"], agent["output"], agent["cost"]) == ("complete", "first\nsecond", 0.5)
    assert agent["tokens"]["total"] == 240
    assert agent["session_id"].startswith("ses_fake")
    assert "pid" not in agent
    assert agent["started_at"] <= agent["completed_at"]
    attempt = attempt_row(ledger, one)
    assert (attempt["ok"], attempt["exit"]) == (True, 0)
    assert attempt["pid"] > 0
    assert agent_row(ledger, two)["output"] == "what is this?"


MISBEHAVIOURS: Final = {
    "exits with a status": ("complain no luck\nexit 3", "exit", "no luck"),
    "exits 0 after an error event": ("begin\nerror quota used up\nexit 0", "provider", "quota used up"),
    "says something, then an error event, and exits 0": ("answer done\nerror boom\nexit 0", "provider", "boom"),
    "exits 0 without a word": ("begin\nfinish stop", "no_answer", "without a word"),
    "exits 0 with no events at all": ("exit 0", "no_answer", "before it had finished"),
    "exits 0 in the middle of its work": ("begin\nsay hm\nfinish tool-calls", "no_answer", "before it had finished"),
    "prints what is no event": ("raw {not json\nraw [1]\nraw null", "no_answer", "before it had finished"),
    "is killed": ("begin\nsay hm\ndie SIGKILL", "killed", "SIGKILL"),
}


@pytest.mark.parametrize("deed", MISBEHAVIOURS)
async def test_an_agent_that(deed: str, supervisor: Supervisor, ledger: Ledger, tmp_path: Path) -> None:
    prompt, reason, error = MISBEHAVIOURS[deed]
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, prompt)
    assert await settled(supervisor, ledger, fleet_id) == "failed"
    agent = agent_row(ledger, agent_id)
    assert (agent["status"], agent["reason"]) == ("failed", reason)
    assert error in agent["error"]
    assert (attempt_row(ledger, agent_id)["ok"], attempt_row(ledger, agent_id)["reason"]) == (False, reason)


async def test_an_agent_replaced_by_the_default_one_has_failed(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path
) -> None:
    prompt = 'complain ! agent "critic" not found. Falling back to default agent\nanswer I am somebody else'
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, prompt, agent="critic")
    assert await settled(supervisor, ledger, fleet_id) == "failed"
    assert agent_row(ledger, agent_id)["reason"] == "wrong_agent"


async def test_one_failed_agent_makes_the_fleet_fail_once_all_have_ended(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path
) -> None:
    fleet_id, _ = spawn(ledger, tmp_path, "exit 1", "answer fine")
    assert await settled(supervisor, ledger, fleet_id) == "failed"
    statuses = sorted(agent["status"] for agent in fleet_status(ledger, fleet_id)["agents"])
    assert statuses == ["complete", "failed"]


async def test_an_agent_whose_shell_was_killed_is_ended_whole_and_settled(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay working\nhang")
    await look_until(supervisor, lambda: len(members_of(f"{agent_id}/1", None)) >= 2)
    os.kill(attempt_row(ledger, agent_id)["pid"], signal.SIGKILL)
    assert await settled(supervisor, ledger, fleet_id) == "failed"
    assert agent_row(ledger, agent_id)["reason"] == "killed"
    assert members_of(f"{agent_id}/1", None) == []


@pytest.mark.parametrize("missing", ["folder", "opencode"])
async def test_an_agent_that_can_not_be_started_has_failed_with_the_reason(
    missing: str, supervisor: Supervisor, ledger: Ledger, tmp_path: Path, fake_opencode: Path
) -> None:
    if missing == "opencode":
        fake_opencode.unlink()
    folder = tmp_path / "gone" if missing == "folder" else tmp_path
    fleet_id, (agent_id,) = spawn(ledger, folder, "answer hello", by=supervisor)
    assert await settled(supervisor, ledger, fleet_id) == "failed"
    agent = agent_row(ledger, agent_id)
    assert agent["reason"] == "spawn"
    assert ("gone" if missing == "folder" else "npm install") in agent["error"]


async def test_two_supervisors_start_each_agent_once(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path
) -> None:
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode)}
    fleet_id, agent_ids = spawn(ledger, tmp_path, *[f"answer {number}" for number in range(8)])
    async with Supervisor(ledger_of(settings), settings, environ) as other:
        with anyio.fail_after(WAIT_S):
            while fleet_status(ledger, fleet_id)["fleet"]["status"] == "running":
                async with anyio.create_task_group() as both:
                    both.start_soon(supervisor.look)
                    both.start_soon(other.look)
    assert fleet_status(ledger, fleet_id)["fleet"]["status"] == "complete"
    assert ledger.read(lambda view: view.count("attempts")) == len(agent_ids)


async def test_an_agent_goes_on_without_its_supervisor_and_leaves_its_exit_status(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    _, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay working\nhang")
    marker, run_dir = f"{agent_id}/1", settings.runs_dir / agent_id / "1"
    events = run_dir / "events.ndjson"
    # not before it runs: in the moment its shell forks, a TERM is lost
    await look_until(supervisor, lambda: events.exists() and "working" in events.read_text())
    assert read_exit(run_dir) is None
    await stop_attempt(marker, None)
    assert read_exit(run_dir) == 128 + signal.SIGTERM
    assert (run_dir / EXIT_NAME).stat().st_mode & 0o777 == 0o600
    await look_until(supervisor, lambda: agent_row(ledger, agent_id)["status"] == "failed")


async def test_what_could_not_be_settled_is_settled_at_the_next_look(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "answer done")
    await supervisor.look()
    with anyio.fail_after(WAIT_S):
        while members_of(f"{agent_id}/1", None):
            await anyio.sleep(0.005)
    lock = os.open(settings.data_file.with_name("agent-mesh.lock"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    await supervisor.look()
    assert agent_row(ledger, agent_id)["status"] == "running"
    os.close(lock)
    assert await settled(supervisor, ledger, fleet_id) == "complete"


async def test_starts_are_kept_apart(ledger: Ledger, ledger_file: Path, tmp_path: Path, fake_opencode: Path) -> None:
    now = 1000.0
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode)}
    fleet_id, _ = spawn(ledger, tmp_path, "answer 1", "answer 2", "answer 3")

    def started() -> int:
        return ledger.read(lambda view: view.count("attempts"))

    counts = []
    settings = Settings(ledger_file, start_stagger_ms=250)
    async with Supervisor(ledger, settings, environ, clock=lambda: now) as supervisor:
        for step in (0, 0.2, 0.06, 0.1, 0.16):
            now += step
            await supervisor.look()
            counts.append(started())
        assert counts == [1, 1, 2, 2, 3]
        assert await settled(supervisor, ledger, fleet_id) == "complete"


async def test_run_folders_are_private_and_keep_nothing_opencode_unpacked(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    fleet_id, (agent_id,) = spawn(ledger, tmp_path, "environment\nanswer ok")
    assert await settled(supervisor, ledger, fleet_id) == "complete"
    run_dir = settings.runs_dir / agent_id / "1"
    assert f'"BUN_TMPDIR": "{run_dir}/scratch"' in agent_row(ledger, agent_id)["output"]
    assert sorted(path.name for path in run_dir.iterdir()) == ["events.ndjson", "exit", "prompt.txt", "stderr.log"]
    assert {path.stat().st_mode & 0o777 for path in run_dir.iterdir()} == {0o600}
    assert {folder.stat().st_mode & 0o777 for folder in (run_dir, run_dir.parent, settings.runs_dir)} == {0o700}
    assert not any(is_same_process(process) for process in members_of(f"{agent_id}/1", None))


async def test_a_trouble_that_lasts_is_told_once(
    supervisor: Supervisor, ledger: Ledger, ledger_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger_file.write_text("{")
    for _ in range(5):
        await supervisor.look()
    assert [record.message for record in caplog.records if "damaged" in record.message] == [caplog.messages[0]]
    ledger_file.unlink()
    fleet_id, _ = spawn(ledger, tmp_path, "answer fine")
    assert await settled(supervisor, ledger, fleet_id) == "complete"


async def test_agents_that_v090_left_at_work_are_interrupted_once_their_processes_are_gone(
    supervisor: Supervisor, ledger: Ledger, ledger_file: Path
) -> None:
    agent = {"id": "a", "fleet_id": "f", "role": "r", "prompt": "p", "status": "pending"}
    started = now_ms()
    rows = {
        "a": agent,
        "b": {**agent, "id": "b", "status": "running", "pid": os.getpid(), "started_at": started},
        "c": {**agent, "id": "c", "status": "running", "pid": os.getpid(), "started_at": started - 10**9},
        "d": {**agent, "id": "d", "status": "running", "pid": 2**22 + 1, "started_at": started},
    }
    fleet = {"id": "f", "status": "running", "created_at": started}
    ledger_file.write_text(json.dumps({"schema_version": 2, "fleets": {"f": fleet}, "agents": rows}))
    await supervisor.look()
    assert {agent_id: agent_row(ledger, agent_id)["status"] for agent_id in rows} == {
        "a": "interrupted",
        "b": "running",
        "c": "interrupted",
        "d": "interrupted",
    }


async def test_an_agent_that_runs_too_long_is_stopped_with_all_it_started_and_has_failed(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path
) -> None:
    now = 1000.0
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode)}
    async with Supervisor(ledger, settings, environ, clock=lambda: now) as supervisor:
        fleet_id, (agent_id,) = spawn(ledger, tmp_path, "begin\nsay working\nspawn 600\nhang")
        await look_until(supervisor, lambda: len(members_of(f"{agent_id}/1", None)) >= 3)
        set_fleet_timeout(ledger, fleet_id, 60_000)
        now += 59.9
        await supervisor.look()
        assert "stopping" not in attempt_row(ledger, agent_id)
        now += 1.2
        assert await settled(supervisor, ledger, fleet_id) == "failed"
    agent = agent_row(ledger, agent_id)
    assert (agent["reason"], agent["error"]) == ("timeout", "it ran longer than the 60000 ms it may, and was stopped")
    assert "working" in agent["output"]
    assert attempt_row(ledger, agent_id)["stopping"] == "timeout"
    assert members_of(f"{agent_id}/1", None) == []


async def test_the_limit_of_the_settings_holds_where_the_fleet_has_none(
    ledger: Ledger, ledger_file: Path, tmp_path: Path, fake_opencode: Path
) -> None:
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode)}
    limited = Settings(ledger_file, start_stagger_ms=0, agent_timeout_ms=1)
    async with Supervisor(ledger, limited, environ) as supervisor:
        fleet_id, (agent_id,) = spawn(ledger, tmp_path, "hang")
        assert await settled(supervisor, ledger, fleet_id) == "failed"
    assert agent_row(ledger, agent_id)["reason"] == "timeout"


async def test_an_agent_that_could_not_be_started_is_settled_once_the_ledger_lets_it(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path
) -> None:
    fake_opencode.unlink()
    fleet_id, _ = spawn(ledger, tmp_path, "answer hello", by=supervisor)
    await supervisor._start_next()
    lock = os.open(settings.data_file.with_name("agent-mesh.lock"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    await supervisor.look()
    os.close(lock)
    assert await settled(supervisor, ledger, fleet_id) == "failed"


async def test_the_very_first_run_of_opencode_makes_its_database_alone(
    ledger: Ledger, settings: Settings, tmp_path: Path, fake_opencode: Path, database: Path
) -> None:
    database.unlink()
    now = 1000.0
    environ = {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode)}
    async with Supervisor(ledger, settings, environ, clock=lambda: now) as supervisor:
        fleet_id, (first, second, third) = spawn(ledger, tmp_path, "hang", "begin\nwait 1\nanswer b", "answer c")
        for _ in range(3):
            await supervisor.look()
        assert [agent_row(ledger, agent_id)["status"] for agent_id in (first, second)] == ["running", "pending"]
        now += 30.1
        await supervisor.look()
        assert agent_row(ledger, second)["status"] == "running"
        assert agent_row(ledger, third)["status"] == "pending"
        await look_until(supervisor, lambda: agent_row(ledger, third)["status"] == "complete")
        assert agent_row(ledger, second)["status"] in {"running", "complete"}
        await stop_attempt(f"{first}/1", None)
        assert await settled(supervisor, ledger, fleet_id) == "failed"


async def test_an_attempt_that_was_begun_though_the_disk_refused_is_started_at_the_next_look(
    ledger_file: Path, settings: Settings, tmp_path: Path, fake_opencode: Path
) -> None:
    files = FailingSync()
    ledger = ledger_at(ledger_file, files=files)
    async with Supervisor(ledger, settings, {**os.environ, "MESHFLEET_OPENCODE": str(fake_opencode)}) as supervisor:
        fleet_id, (agent_id,) = spawn(ledger, tmp_path, "answer after all")
        files.broken = True
        await supervisor.look()
        assert agent_row(ledger, agent_id)["status"] == "running"
        assert "pid" not in attempt_row(ledger, agent_id)
        files.broken = False
        assert await settled(supervisor, ledger, fleet_id) == "complete"
    assert ledger.read(lambda view: view.count("attempts")) == 1


class FailingSync(Files):
    """A disk that takes writes, but does not say that they have arrived."""

    broken = False

    def sync(self, fd: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(fd)


async def test_ending_the_remains_of_one_agent_keeps_no_other_waiting(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    _, (stubborn,) = spawn(ledger, tmp_path, "ignore SIGTERM\nbegin\nsay deaf\nhang")
    events = settings.runs_dir / stubborn / "1" / "events.ndjson"
    await look_until(supervisor, lambda: events.exists() and "deaf" in events.read_text())
    os.kill(attempt_row(ledger, stubborn)["pid"], signal.SIGKILL)
    fleet_id, _ = spawn(ledger, tmp_path, "answer quick")
    assert await settled(supervisor, ledger, fleet_id) == "complete"
    assert agent_row(ledger, stubborn)["status"] == "running"
    for process in members_of(f"{stubborn}/1", None):
        os.kill(process.pid, signal.SIGKILL)
    await look_until(supervisor, lambda: agent_row(ledger, stubborn)["status"] == "failed")


async def test_an_agent_that_floods_its_stream_keeps_no_other_waiting(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path
) -> None:
    _, (flooding,) = spawn(ledger, tmp_path, "flood 60000000\nhang")
    await look_until(supervisor, lambda: len(members_of(f"{flooding}/1", None)) >= 2)
    fleet_id, _ = spawn(ledger, tmp_path, "answer quick")
    assert await settled(supervisor, ledger, fleet_id) == "complete"
    assert agent_row(ledger, flooding)["status"] == "running"
    await stop_attempt(f"{flooding}/1", None)
    await look_until(supervisor, lambda: agent_row(ledger, flooding)["status"] == "failed")


async def test_a_supervisor_that_finds_nothing_to_do_writes_nothing(supervisor: Supervisor, ledger_file: Path) -> None:
    for _ in range(3):
        await supervisor.look()
    assert list(ledger_file.parent.iterdir()) == []
