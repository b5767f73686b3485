"""Dormant agents under a supervisor: called by a message, started after others, woken again, and ended uncalled."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.agents.supervisor import Supervisor
from meshfleet.ledger import Ledger
from meshfleet.mesh.briefing import MESSAGES
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.receipts import get_receipts
from meshfleet.mesh.specs import AgentSpec
from meshfleet.model import Start
from meshfleet.settings import Settings
from tests.agents.supervising import agent_row, attempt_row, has_said, look_until, settled, status_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database", "soon_killed")]


def prompt_of(settings: Settings, agent_id: str, number: int) -> str:
    return (settings.runs_dir / agent_id / str(number) / "prompt.txt").read_text()


def sent(ledger: Ledger, fleet_id: str, sender: str, to: str, payload: str) -> str:
    message = send_message(ledger, Draft(sender, to, fleet_id, "handoff", payload))
    assert "warning" not in message
    return str(message["message_id"])


async def test_a_called_agent_runs_with_its_message_in_its_prompt_and_that_is_witnessed(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    specs = [AgentSpec("A", "begin\nsay first\nhang"), AgentSpec("B", "your part", start=Start.ON_MESSAGE, wake=True)]
    fleet_id, (a, b) = create_fleet(ledger, specs, cwd=str(tmp_path))
    await look_until(lambda: has_said(settings, a, "first"), supervisor)
    assert attempt_row(ledger, b) == {}
    handoff = sent(ledger, fleet_id, a, "B", "take over")
    await look_until(lambda: status_of(ledger, b) == "complete", supervisor)
    first, _, told = prompt_of(settings, b, 1).splitlines()[0:3]
    assert (first, told) == ("your part", MESSAGES)
    assert '"payload":"take over"' in agent_row(ledger, b)["output"]
    assert [(one["agent_id"], one["action"]) for one in get_receipts(ledger, handoff)["receipts"]] == [(b, "delivered")]

    again = sent(ledger, fleet_id, a, "B", "once more")
    await look_until(lambda: attempt_row(ledger, b, 2).get("ok") is True, supervisor)
    assert prompt_of(settings, b, 2).startswith(MESSAGES)
    assert '"payload":"once more"' in agent_row(ledger, b)["output"]
    assert [one["action"] for one in get_receipts(ledger, again)["receipts"]] == ["delivered"]
    cancel(ledger, agent_id=a)
    await settled(ledger, fleet_id, supervisor)


async def test_agents_run_one_after_the_other_with_the_results_of_those_before(
    supervisor: Supervisor, ledger: Ledger, tmp_path: Path
) -> None:
    specs = [
        AgentSpec("C", "third", after=["B"]),
        AgentSpec("B", "second", after=["A"]),
        AgentSpec("A", "answer found"),
    ]
    fleet_id, (c, b, a) = create_fleet(ledger, specs, cwd=str(tmp_path))
    assert await settled(ledger, fleet_id, supervisor) == "complete"
    assert f'{{"role":"A","agent_id":"{a}","output":"found"}}' in agent_row(ledger, b)["output"]
    assert agent_row(ledger, c)["output"].startswith("third\n")
    assert attempt_row(ledger, a)["ended_at"] <= attempt_row(ledger, b)["started_at"]
    assert attempt_row(ledger, b)["ended_at"] <= attempt_row(ledger, c)["started_at"]


async def test_a_dormant_agent_nobody_calls_costs_no_process_and_holds_up_no_fleet(
    supervisor: Supervisor, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    specs = [AgentSpec("A", "answer done"), AgentSpec("B", "never", start=Start.ON_MESSAGE)]
    fleet_id, (_, b) = create_fleet(ledger, specs, cwd=str(tmp_path))
    assert await settled(ledger, fleet_id, supervisor) == "complete"
    assert (status_of(ledger, b), agent_row(ledger, b)["reason"]) == ("cancelled", "never_called")
    assert not (settings.runs_dir / b).exists()
