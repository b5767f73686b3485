"""Waiting calls from inside: progress, answers of bounded size, and what becomes of them when something fails."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import anyio
import pytest

from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import Caller
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.waiting import MOST_OUTPUT
from meshfleet.server import waits
from meshfleet.server.app import run_tool, run_waiting_tool
from meshfleet.server.tool import Context
from meshfleet.server.tools import TOOLS
from tests.mesh.fleets import fleet_of, open_ledger, start_all, supervisor

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
    if result.is_error:
        return {"error": result.content}
    return result.structured_content or {}


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
    assert not run_tool(TOOLS["resume"], context, {"agent_id": agent_id}).is_error
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
    assert result.is_error
    assert "wait failed inside meshfleet (RuntimeError: it broke)" in str(result.content)


async def test_a_wait_for_no_fleet_is_refused_and_makes_room(context: Context) -> None:
    for _ in range(40):
        assert "is no fleet" in str((await wait(context, fleet_id="nowhere"))["error"])


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_either_waits_or_does_not(tool: str) -> None:
    assert (TOOLS[tool].call is None) != (TOOLS[tool].wait is None)
