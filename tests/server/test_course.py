"""The tools for agents on their way, over the official client: cancel, resume, agent_output, wait, spawn's options."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp_types import TextContent

from meshfleet.agents.process import environment_value, process_table
from meshfleet.demo.leaving import stop_all_attempts
from tests.agents.fake_runtime import install
from tests.ledgers import ledger_at
from tests.server.serving import SERVE, environ_for

pytestmark = pytest.mark.anyio
PATIENCE_S: Final = 20


class Session(NamedTuple):
    client: Client
    folder: Path

    async def call(self, name: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool that is not to refuse."""
        result = await self.client.call_tool(name, arguments)
        assert not result.is_error, result.content
        said = result.structured_content
        assert isinstance(said, dict)
        return said

    async def refused(self, name: str, /, **arguments: object) -> str:
        """Call a tool that is to refuse; why it did."""
        result = await self.client.call_tool(name, arguments)
        [content] = result.content
        assert result.is_error
        assert isinstance(content, TextContent)
        return content.text

    async def spawn(self, *prompts: str, **options: object) -> tuple[str, list[str]]:
        """A fleet of agents that do what their prompts say; its id and theirs."""
        agents = [{"role": f"Agent {place}", "prompt": prompt} for place, prompt in enumerate(prompts)]
        said = await self.call("spawn_fleet", agents=agents, **options)
        return said["fleet_id"], said["agent_ids"]

    async def saying(self, agent_id: str, words: str) -> dict[str, Any]:
        """What agent_output says once the agent has said these words."""
        with anyio.fail_after(PATIENCE_S):
            while words not in (said := await self.call("agent_output", agent_id=agent_id))["text"]:
                await anyio.sleep(0.02)
        return said

    async def agent(self, fleet_id: str, place: int = 0) -> dict[str, Any]:
        """An agent's row as it is shown."""
        row: dict[str, Any] = (await self.call("fleet_status", fleet_id=fleet_id))["agents"][place]
        return row


@asynccontextmanager
async def session_in(folder: Path, **more: str) -> AsyncGenerator[Session]:
    """A session with a server whose agents are the fake runtime."""
    file = folder / "ledger" / "agent-mesh.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    environ = environ_for(
        file,
        MESHFLEET_OPENCODE=str(install(folder / "bin")),
        MESHFLEET_START_STAGGER_MS="0",
        MESHFLEET_RETRY_BASE_MS="1",
        MESHFLEET_DURABILITY="process",
        **more,
    )
    # so that nobody waits for OpenCode's very first run to make it
    database = Path(environ["HOME"]) / ".local/share/opencode/opencode.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    database.touch()
    program = StdioServerParameters(command=SERVE[0], args=SERVE[1:], env=environ)
    try:
        async with Client(program, read_timeout_seconds=PATIENCE_S) as client:
            yield Session(client, folder)
    finally:
        # one that was just cancelled may outlive the server that was to stop it
        await stop_all_attempts(ledger_at(file))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """As in conftest, for as long as the module's session lasts."""
    return "asyncio"


@pytest.fixture(scope="module")
async def session(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Session]:
    """One session for all tests; each has a fleet of its own."""
    async with session_in(tmp_path_factory.mktemp("course")) as one:
        yield one


def alive(agent_id: str) -> list[int]:
    """The processes of an agent's attempts."""
    return [
        entry.identity.pid
        for entry in process_table()
        if entry.identity.pid != os.getpid()
        and not entry.ended
        and environment_value(entry.identity.pid, "MESHFLEET_AGENT_ID") == agent_id
    ]


async def test_wait_returns_once_all_have_ended_with_what_they_came_to(session: Session) -> None:
    fleet_id, (good, bad) = await session.spawn("answer well", "exit 3", max_attempts=1)
    said = await session.call("wait", fleet_id=fleet_id)
    assert (said["fleet_id"], said["status"], said["timed_out"], said["more"]) == (fleet_id, "failed", False, False)
    told = {one["agent_id"]: one for one in said["ended"]}
    assert told[good] == {"agent_id": good, "role": "Agent 0", "status": "complete", "output": "well"}
    assert (told[bad]["status"], "exit" in told[bad]["error"]) == ("failed", True)
    assert said["cursor"] == 2


async def test_wait_for_any_tells_each_ending_once_as_they_come(session: Session) -> None:
    fleet_id, (_, slow) = await session.spawn("answer first", "wait 0.3\nanswer second")
    first = await session.call("wait", fleet_id=fleet_id, until="any")
    assert [one["output"] for one in first["ended"]] == ["first"]
    assert (first["status"], first["timed_out"], first["cursor"]) == ("running", False, 1)
    second = await session.call("wait", fleet_id=fleet_id, until="any", cursor=first["cursor"])
    assert [one["agent_id"] for one in second["ended"]] == [slow]
    assert (second["status"], second["cursor"]) == ("complete", 2)
    assert (await session.call("wait", fleet_id=fleet_id, cursor=2))["ended"] == []


async def test_a_wait_that_takes_too_long_says_so_and_what_has_ended_meanwhile(session: Session) -> None:
    fleet_id, _ = await session.spawn("answer first", "hang")
    await session.call("wait", fleet_id=fleet_id, until="any")
    said = await session.call("wait", fleet_id=fleet_id, timeout_ms=1)
    assert (said["timed_out"], said["status"], said["cursor"]) == (True, "running", 1)
    assert [one["output"] for one in said["ended"]] == ["first"]
    await session.call("cancel", fleet_id=fleet_id)


async def test_a_wait_reports_progress_and_holds_up_no_other_call(session: Session) -> None:
    fleet_id, (agent_id,) = await session.spawn("hang")
    reports: list[tuple[float, float | None, str | None]] = []
    begun = anyio.Event()

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))
        begun.set()

    async def wait() -> None:
        result = await session.client.call_tool("wait", {"fleet_id": fleet_id}, progress_callback=report)
        assert (result.structured_content or {})["status"] == "failed"

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await begun.wait()
            assert (await session.call("ping"))["status"] == "ok"
            await session.saying(agent_id, "")
            await session.call("cancel", fleet_id=fleet_id)
    assert reports[0][1:] == (50.0, "1 agents have not ended yet")


async def test_a_wait_can_be_cancelled_and_makes_room_for_others(session: Session) -> None:
    fleet_id, _ = await session.spawn("hang")
    for _ in range(20):
        with anyio.move_on_after(0.02):
            await session.client.call_tool("wait", {"fleet_id": fleet_id})
    assert (await session.call("wait", fleet_id=fleet_id, timeout_ms=1))["timed_out"]
    await session.call("cancel", fleet_id=fleet_id)


async def test_no_more_than_16_calls_wait_at_a_time_so_that_the_others_are_answered(session: Session) -> None:
    fleet_id, _ = await session.spawn("hang")
    told: list[str] = []

    async def wait() -> None:
        result = await session.client.call_tool("wait", {"fleet_id": fleet_id, "timeout_ms": 30_000})
        told.append(str(result.content))

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(wait)
            while len(told) < 4:
                assert (await session.call("ping"))["status"] == "ok"
            assert all("16 calls of this session wait already" in one for one in told)
            await session.call("cancel", fleet_id=fleet_id)
    assert len(told) == 20


async def test_cancel_leaves_no_process_and_a_repeat_changes_nothing(session: Session) -> None:
    fleet_id, agents = await session.spawn("say up\nspawn 60\nhang", "say up\nhang")
    for agent_id in agents:
        await session.saying(agent_id, "up")
    said = await session.call("cancel", fleet_id=fleet_id)
    assert said == {"cancelled": [], "stopping": agents, "ended_before": []}
    ended = await session.call("wait", fleet_id=fleet_id)
    assert {one["status"] for one in ended["ended"]} == {"cancelled"}
    assert [alive(agent_id) for agent_id in agents] == [[], []]
    assert await session.call("cancel", fleet_id=fleet_id) == {"cancelled": [], "stopping": [], "ended_before": agents}


async def test_one_agent_can_be_cancelled_while_its_peers_go_on(session: Session) -> None:
    fleet_id, (one, other) = await session.spawn("hang", "say here\nwait 0.2\nanswer done")
    await session.saying(other, "here")
    await session.call("cancel", agent_id=one)
    said = await session.call("wait", fleet_id=fleet_id)
    assert {each["agent_id"]: each["status"] for each in said["ended"]} == {one: "cancelled", other: "complete"}


async def test_resume_goes_on_in_the_same_session_and_says_what_it_is_told(session: Session) -> None:
    fleet_id, (agent_id,) = await session.spawn("say before\nhang")
    await session.saying(agent_id, "before")
    await session.call("cancel", agent_id=agent_id)
    cursor = (await session.call("wait", fleet_id=fleet_id))["cursor"]
    before = (await session.agent(fleet_id))["session_id"]
    said = await session.call("resume", agent_id=agent_id, prompt="arguments\nfinish stop")
    assert said == {"fleet_id": fleet_id, "agent_ids": [agent_id]}
    ended = await session.call("wait", fleet_id=fleet_id, cursor=cursor)
    assert (ended["status"], [one["status"] for one in ended["ended"]]) == ("complete", ["complete"])
    assert f"--session={before}" in ended["ended"][0]["output"]


async def test_a_fresh_resume_of_a_fleet_begins_again_with_all_that_did_not_complete(session: Session) -> None:
    fleet_id, (_, bad) = await session.spawn("answer well", "exit 3", max_attempts=1)
    await session.call("wait", fleet_id=fleet_id)
    said = await session.call("resume", fleet_id=fleet_id, fresh=True)
    assert said["agent_ids"] == [bad]
    await session.call("wait", fleet_id=fleet_id)
    assert (await session.agent(fleet_id, 1))["attempt"] == 2


async def test_a_running_agent_and_one_that_completed_are_not_resumed(session: Session) -> None:
    fleet_id, (good, running) = await session.spawn("answer well", "say up\nhang")
    await session.call("wait", fleet_id=fleet_id, until="any")
    await session.saying(running, "up")
    assert "is complete; only one that was interrupted, failed or was cancelled" in await session.refused(
        "resume", agent_id=good
    )
    assert "is running; only one that was" in await session.refused("resume", agent_id=running)
    assert "has no agent that was interrupted" in await session.refused("resume", fleet_id=fleet_id)
    await session.call("cancel", fleet_id=fleet_id)


async def test_agent_output_tells_what_a_running_agent_says_and_does_and_reads_on_from_its_cursor(
    session: Session,
) -> None:
    fleet_id, (agent_id,) = await session.spawn("begin\nsay one\ntool bash\nerror it broke\nhang")
    said = await session.saying(agent_id, "one")
    with anyio.fail_after(PATIENCE_S):
        while len(said["events"]) < 4:
            said = await session.call("agent_output", agent_id=agent_id)
    assert (said["agent_id"], said["attempt"], said["status"], said["text"]) == (agent_id, 1, "running", "one")
    begin, text, tool, error = said["events"]
    assert (begin["type"], text["text"], tool["tool"], tool["status"]) == ("step_start", "one", "bash", "completed")
    assert "it broke" in error["error"]
    assert all(type(event["at"]) is int for event in said["events"])
    again = await session.call("agent_output", agent_id=agent_id, cursor=said["cursor"])
    assert (again["events"], again["text"], again["more"], again["cursor"]) == ([], "", False, said["cursor"])
    whole = await session.call("agent_output", agent_id=agent_id, cursor="1:0")
    assert whole["events"] == said["events"]
    await session.call("cancel", fleet_id=fleet_id)


async def test_agent_output_goes_on_into_the_next_attempt(session: Session) -> None:
    fleet_id, (agent_id,) = await session.spawn("say try\nexit 3", max_attempts=2)
    await session.call("wait", fleet_id=fleet_id)
    first = await session.call("agent_output", agent_id=agent_id, cursor="1:0")
    assert (first["attempt"], first["text"], first["cursor"], first["more"]) == (1, "try", "2:0", True)
    second = await session.call("agent_output", agent_id=agent_id, cursor=first["cursor"])
    assert (second["attempt"], second["text"], second["more"]) == (2, "try", False)
    alone = await session.call("agent_output", agent_id=agent_id, attempt=1)
    assert (alone["attempt"], alone["more"]) == (1, False)


async def test_a_fleet_takes_what_it_is_to_be_called_its_limits_and_what_each_agent_is_given(session: Session) -> None:
    folder = session.folder / "elsewhere"
    folder.mkdir()
    agent = {"role": "A", "prompt": "environment\narguments\nfinish stop", "model": "some/model"}
    agents = [agent | {"cwd": str(folder), "env": {"SECRET_TOKEN": "hush-hush"}}]
    options = {"name": "night shift", "timeout_ms": 60_000, "max_attempts": 2, "max_cost_usd": 5, "max_tokens": 10**6}
    said = await session.call("spawn_fleet", agents=agents, allow_all=True, **options)
    ended = await session.call("wait", fleet_id=said["fleet_id"])
    [told] = ended["ended"]
    assert told["status"] == "complete"
    for given in ("hush-hush", f'"PWD": "{folder}"', "--model=some/model", "--auto"):
        assert given in told["output"]
    status = await session.call("fleet_status", fleet_id=said["fleet_id"])
    assert status["fleet"].items() >= {**options, "allow_all": True}.items()
    [row] = status["agents"]
    assert (row["model"], row["cwd"]) == ("some/model", str(folder))
    assert "env" not in row


async def test_a_repeated_spawn_or_attach_with_its_key_starts_nothing_and_says_the_same(session: Session) -> None:
    agents = [{"role": "A", "prompt": "hang"}]
    first = await session.call("spawn_fleet", agents=agents, idempotency_key="monday")
    assert await session.call("spawn_fleet", agents=agents, idempotency_key="monday") == first
    one = {"fleet_id": first["fleet_id"], "role": "B", "prompt": "hang", "idempotency_key": "second"}
    attached = await session.call("attach_agent", **one)
    assert (await session.call("attach_agent", **one))["agent_id"] == attached["agent_id"]
    assert len((await session.call("fleet_status", fleet_id=first["fleet_id"]))["agents"]) == 2
    assert "monday" in await session.refused(
        "spawn_fleet", agents=[{"role": "A", "prompt": "else"}], idempotency_key="monday"
    )
    await session.call("cancel", fleet_id=first["fleet_id"])


async def test_a_fleet_over_its_budget_is_stopped_and_says_so(session: Session) -> None:
    fleet_id, _ = await session.spawn("begin\nsay much\nfinish tool-calls\nhang", max_tokens=100)
    ended = await session.call("wait", fleet_id=fleet_id)
    assert "max_tokens" in ended["ended"][0]["error"]
    fleet = (await session.call("fleet_status", fleet_id=fleet_id))["fleet"]
    assert "it has used 120 tokens" in fleet["over_budget"]
    assert "over its budget" in await session.refused("resume", fleet_id=fleet_id)
