"""Waiting calls from inside: progress, answers of bounded size, and what becomes of them when something fails."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import anyio
import pytest

from meshfleet.errors import Busy
from meshfleet.ledger import Ledger, View
from meshfleet.ledger.watching import Watch
from meshfleet.mesh.identity import Caller
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.waiting import MOST_OUTPUT
from meshfleet.server import waits
from meshfleet.server.calls import run_tool, run_waiting_tool
from meshfleet.server.tool import Context
from meshfleet.server.tools import TOOLS
from meshfleet.server.waits import MOST_AT_ONCE, Waits
from meshfleet.settings import beside
from tests.mesh.fleets import fleet_of, open_ledger, send, start_all, supervisor
from tests.server.serving import PATIENCE_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def ledger(ledger_file: Path) -> Ledger:
    return open_ledger(ledger_file)


@pytest.fixture
def context(ledger: Ledger, tmp_path: Path) -> Context:
    return Context(ledger, Caller(), None, {}, tmp_path)


async def silently(_progress: float, _total: float | None, _message: str | None) -> None:
    """Tell nobody."""


async def wait(context: Context, **arguments: object) -> dict[str, Any]:
    """What the tool says, refusals included."""
    result = await run_waiting_tool(TOOLS["wait"], context, arguments, silently)
    return {"error": result.text} if result.value is None else result.value


async def test_progress_is_reported_again_and_again_and_only_grows(
    context: Context, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "PROGRESS_S", 0.01)
    fleet_id, _ = fleet_of(ledger, "A", "B", by=supervisor())
    told: list[float] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (50.0, "2 agents have not ended yet")
        told.append(progress)
        if len(told) == 3:
            context.waits.end()

    with anyio.fail_after(20):
        await run_waiting_tool(TOOLS["wait"], context, {"fleet_id": fleet_id}, report)
    assert len(told) == 3
    assert all(one < other for one, other in itertools.pairwise(told))


async def test_many_long_outputs_come_in_several_answers_and_none_is_lost_or_told_twice(
    context: Context, ledger: Ledger
) -> None:
    fleet_id, agents = fleet_of(ledger, *(f"A{number}" for number in range(7)), by=supervisor())
    for agent_id, number in start_all(ledger):
        settle_attempt(ledger, agent_id, number, Outcome(ok=True, output="x" * (MOST_OUTPUT // 2)))
    told: list[str] = []
    said = await wait(context, fleet_id=fleet_id)
    while True:
        assert sum(len(one["output"]) for one in said["ended"]) <= MOST_OUTPUT
        told += [one["agent_id"] for one in said["ended"]]
        if not said["more"]:
            break
        said = await wait(context, fleet_id=fleet_id, cursor=said["cursor"])
    assert told == agents
    assert said["cursor"] == 7


async def test_an_agent_that_v090_ended_is_told_once(context: Context, ledger: Ledger) -> None:
    fleet_id, (agent_id,) = fleet_of(ledger, "A", by=supervisor())
    row = {"id": agent_id, "fleet_id": fleet_id, "role": "A", "prompt": "p", "status": "complete", "output": None}
    fleet = {"id": fleet_id, "status": "complete", "created_at": 1}

    ledger.transact(lambda transaction: transaction.put("agents", agent_id, row))
    ledger.transact(lambda transaction: transaction.put("fleets", fleet_id, fleet))
    said = await wait(context, fleet_id=fleet_id)
    assert said["ended"] == [{"agent_id": agent_id, "role": "A", "status": "complete"}]
    assert (said["cursor"], said["timed_out"]) == (0, False)


async def test_what_ended_before_it_was_resumed_is_news_again_when_it_ends_again(
    context: Context, ledger: Ledger, tmp_path: Path
) -> None:
    fleet_id, (agent_id,) = fleet_of(ledger, "A", by=supervisor())
    moved = {**ledger.read(lambda view: view.agents_of(fleet_id))[0], "cwd": str(tmp_path)}
    ledger.transact(lambda transaction: transaction.put("agents", agent_id, moved))
    start_all(ledger)
    settle_attempt(ledger, agent_id, 1, Outcome(ok=False, error="it broke"))
    first = await wait(context, fleet_id=fleet_id)
    assert run_tool(TOOLS["resume"], context, {"agent_id": agent_id}).value is not None
    waiting_again = await wait(context, fleet_id=fleet_id, timeout_ms=1, cursor=first["cursor"])
    assert (waiting_again["ended"], waiting_again["timed_out"]) == ([], True)
    start_all(ledger)
    settle_attempt(ledger, agent_id, 2, Outcome(ok=True, output="done"))
    second = await wait(context, fleet_id=fleet_id, cursor=first["cursor"])
    assert [(one["status"], one["output"]) for one in second["ended"]] == [("complete", "done")]


async def test_a_waiting_tool_that_fails_inside_is_a_refusal(context: Context) -> None:
    async def fail(*_: object) -> dict[str, Any]:
        raise RuntimeError("it broke")

    broken = dataclasses.replace(TOOLS["wait"], wait=fail)
    result = await run_waiting_tool(broken, context, {"fleet_id": "x"}, silently)
    assert result.value is None
    assert "wait failed inside meshfleet (RuntimeError: it broke)" in result.text


async def test_a_wait_for_no_fleet_is_refused_and_makes_room(context: Context) -> None:
    for _ in range(40):
        assert "is no fleet" in str((await wait(context, fleet_id="nowhere"))["error"])


# -- what any tool can wait for -------------------------------------------------------------------------------------


async def messages_for(
    context: Context, agent_id: str, timeout_ms: int = 50_000, asked: list[int] | None = None
) -> int:
    """How many messages wait for an agent, once there is one."""

    def query(view: View) -> int:
        found = len(view.inbox(agent_id))
        if asked is not None:
            asked.append(found)
        return found

    return await context.waits.look_until(context.ledger, agent_id, query, bool, timeout_ms, report=silently, words=str)


@pytest.fixture
def unpolled(ledger: Ledger, tmp_path: Path) -> Context:
    """A server's context whose calls have everything rung to them."""
    return Context(ledger, Caller(), None, {}, tmp_path, waits=Waits(Watch(poll_s=3600)))


async def until_it_waits(context: Context, topic: str, count: int = 1) -> None:
    with anyio.fail_after(PATIENCE_S):
        while (found := context.waits.watch._topics.get((context.ledger.data_file, topic))) is None or (
            # the first of them has looked, and has nothing left to do but to hear
            found.listeners < count or not found.armed
        ):
            await anyio.sleep(0.001)


def bells_in(ledger: Ledger) -> list[Path]:
    return list(beside(ledger.data_file, "waiters").glob("*/*"))


async def test_a_wait_returns_once_another_process_commits_without_a_look_in_between(
    unpolled: Context, ledger: Ledger
) -> None:
    fleet_id, (agent_id,) = fleet_of(ledger, "A", by=supervisor())
    elsewhere = open_ledger(ledger.data_file)
    said: list[dict[str, Any]] = []

    async def ask() -> None:
        said.append(await wait(unpolled, fleet_id=fleet_id))

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until_it_waits(unpolled, fleet_id)
            start_all(elsewhere)
            settle_attempt(elsewhere, agent_id, 1, Outcome(ok=True, output="done"))
    assert [one["ended"][0]["output"] for one in said] == ["done"]
    assert bells_in(ledger) == []


async def test_what_is_there_at_once_is_answered_without_a_bell(unpolled: Context, ledger: Ledger) -> None:
    fleet_id, (agent_id,) = fleet_of(ledger, "A")
    send(ledger, fleet_id, agent_id)
    beside(ledger.data_file, "waiters").touch()
    asked: list[int] = []
    assert await messages_for(unpolled, agent_id, asked=asked) == 1
    assert asked == [1]


async def test_nothing_is_asked_while_others_are_sent_to(unpolled: Context, ledger: Ledger) -> None:
    fleet_id, (one, other) = fleet_of(ledger, "A", "B")
    asked: list[int] = []
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(messages_for, unpolled, one, 50_000, asked)
            await until_it_waits(unpolled, one)
            for _ in range(20):
                send(ledger, fleet_id, other)
                assert await messages_for(unpolled, other) > 0
            send(ledger, fleet_id, one)
    assert asked == [0, 1]


async def test_a_call_that_is_cancelled_leaves_no_bell_and_makes_room(unpolled: Context, ledger: Ledger) -> None:
    fleet_id, (agent_id,) = fleet_of(ledger, "A")
    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            for _ in range(MOST_AT_ONCE):
                tasks.start_soon(messages_for, unpolled, agent_id)
            await until_it_waits(unpolled, agent_id, MOST_AT_ONCE)
            assert len(bells_in(ledger)) == 1
            with pytest.raises(Busy, match="16 calls of this session wait already"):
                await messages_for(unpolled, agent_id)
            tasks.cancel_scope.cancel()
        assert bells_in(ledger) == []
    send(ledger, fleet_id, agent_id)
    assert await messages_for(unpolled, agent_id) == 1


async def test_all_are_answered_with_what_there_is_once_the_client_has_said_its_last_word(
    unpolled: Context, ledger: Ledger
) -> None:
    _, (agent_id,) = fleet_of(ledger, "A")
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(messages_for, unpolled, agent_id)
            await until_it_waits(unpolled, agent_id, 3)
            unpolled.waits.end()
        assert await messages_for(unpolled, agent_id) == 0
    assert bells_in(ledger) == []


async def test_a_call_ends_in_time_though_nothing_rings(unpolled: Context, ledger: Ledger) -> None:
    _, (agent_id,) = fleet_of(ledger, "A")
    with anyio.fail_after(PATIENCE_S):
        assert await messages_for(unpolled, agent_id, timeout_ms=20) == 0
    assert bells_in(ledger) == []


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_either_waits_or_does_not(tool: str) -> None:
    assert (TOOLS[tool].call is None) != (TOOLS[tool].wait is None)
