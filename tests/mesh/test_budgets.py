"""What a fleet may use: what counts, when it is over, and that nothing more starts then."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.errors import Conflict
from meshfleet.ledger import Ledger
from meshfleet.mesh.budgets import over_budget, usage_of_fleet
from meshfleet.mesh.cancelling import stop_over_budget
from meshfleet.mesh.fleets import attach_agent, create_fleet, fleet_status
from meshfleet.mesh.lifecycle import note_stop
from meshfleet.mesh.resuming import resume
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.mesh.supervision import Progress, begin_next_attempt, note_progress
from meshfleet.model import Reason, TokensRow
from tests.mesh.fleets import events_in, open_ledger, row, start_all, supervisor


def tokens(total: int) -> TokensRow:
    return TokensRow(total=total, input=total, output=0, reasoning=0, cache_read=0, cache_write=0)


def fleet_with(ledger: Ledger, folder: Path, count: int, **limits: float) -> tuple[str, list[str]]:
    options = FleetOptions(**limits)  # type: ignore[arg-type]
    specs = [AgentSpec(f"R{number}", "go") for number in range(count)]
    return create_fleet(ledger, specs, cwd=str(folder), options=options)


def use(ledger: Ledger, agent_id: str, total: int, cost: float = 0.0, number: int = 1) -> None:
    note_progress(ledger, [Progress(agent_id, number, "ses", tokens(total), cost, None)])


def test_a_fleet_uses_what_ended_and_running_attempts_use_together(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_with(ledger, tmp_path, 2)
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=False, reason=Reason.EXIT, tokens=tokens(10), cost=1.0), retry_base_ms=0)
    start_all(ledger)
    use(ledger, a, 5, 0.5, number=2)
    use(ledger, b, 7)
    usage = ledger.read(lambda view: usage_of_fleet(view, fleet_id))
    assert (usage.tokens, usage.cost) == (22, 1.5)
    shown = fleet_status(ledger, fleet_id)["agents"]
    assert [agent["used"] for agent in shown] == [{"tokens": 15, "cost": 1.5}, {"tokens": 7, "cost": 0.0}]


@pytest.mark.parametrize(
    ("limit", "used", "told"),
    [
        ("max_tokens", (101, 0.0), "101 tokens and may use 100"),
        ("max_cost_usd", (0, 100.5), "$100.5000 and may cost $100.0000"),
    ],
)
def test_a_fleet_over_its_budget_stops_what_runs_and_starts_nothing_more(
    ledger_file: Path, tmp_path: Path, limit: str, used: tuple[int, float], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, c) = fleet_with(ledger, tmp_path, 3, **{limit: 100})
    begin_next_attempt(ledger, supervisor())
    begin_next_attempt(ledger, supervisor())
    use(ledger, a, 100, 100.0)
    assert over_budget(ledger) == []
    use(ledger, a, *used)
    assert begin_next_attempt(ledger, supervisor()) is None
    [(found, what)] = over_budget(ledger)
    assert found == fleet_id
    assert told in what
    stop_over_budget(ledger, fleet_id, what)
    stop_over_budget(ledger, fleet_id, what)
    assert over_budget(ledger) == []
    assert [row(ledger, "attempts", f"{agent_id}/1")["stopping"] for agent_id in (a, b)] == ["budget", "budget"]
    waiting = row(ledger, "agents", c)
    assert (waiting["status"], waiting["reason"]) == ("failed", "budget")
    assert told in waiting["error"]
    for agent_id in (a, b):
        settle_attempt(ledger, agent_id, 1, Outcome(ok=False, reason=Reason.KILLED), retry_base_ms=0)
    fleet = fleet_status(ledger, fleet_id)
    assert (fleet["fleet"]["status"], told in fleet["fleet"]["over_budget"]) == ("failed", True)
    assert {agent["reason"] for agent in fleet["agents"]} == {"budget"}
    assert [event["event"] for event in events_in(ledger_file)].count("fleet_over_budget") == 1
    with pytest.raises(Conflict, match="over its budget"):
        resume(ledger, fleet_id=fleet_id)


def test_what_agents_of_a_fleet_spawn_counts_and_is_stopped_with_it(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a,) = fleet_with(ledger, tmp_path, 1, max_tokens=100)
    below = FleetOptions(parent_agent_id=a)
    below_id, [child, waiting] = create_fleet(
        ledger, [AgentSpec("C", "go"), AgentSpec("D", "go")], cwd=str(tmp_path), options=below
    )
    begin_next_attempt(ledger, supervisor())
    begin_next_attempt(ledger, supervisor())
    settle_attempt(ledger, a, 1, Outcome(ok=True, output="handed on", tokens=tokens(60)))
    use(ledger, child, 41)
    [(found, what)] = over_budget(ledger)
    assert found == fleet_id
    stop_over_budget(ledger, found, what)
    assert row(ledger, "attempts", f"{child}/1")["stopping"] == "budget"
    assert row(ledger, "agents", waiting)["reason"] == "budget"
    assert row(ledger, "agents", a)["status"] == "complete"
    assert "101 tokens" in row(ledger, "fleets", below_id)["over_budget"]
    with pytest.raises(Conflict, match="over its budget"):
        attach_agent(ledger, below_id, AgentSpec("E", "go"), cwd=str(tmp_path))


def test_another_fleet_is_not_held_up_by_one_that_is_over_its_budget(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a, _) = fleet_with(ledger, tmp_path, 2, max_tokens=1)
    begin_next_attempt(ledger, supervisor())
    use(ledger, a, 2)
    _, [other] = fleet_with(ledger, tmp_path, 1, max_tokens=1)
    assert start_all(ledger) == [(other, 1)]


def test_an_attempt_that_was_being_stopped_for_something_else_is_not_tried_again_over_the_budget(
    ledger_file: Path, tmp_path: Path
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, _) = fleet_with(ledger, tmp_path, 2, max_tokens=100)
    [(_, one), _] = start_all(ledger)
    note_stop(ledger, a, one, Reason.TIMEOUT, "it ran too long")
    use(ledger, a, 101)
    [(_, what)] = over_budget(ledger)
    stop_over_budget(ledger, fleet_id, what)
    settle_attempt(ledger, a, one, Outcome(ok=False, tokens=tokens(101)), retry_base_ms=1)
    assert (row(ledger, "agents", a)["status"], row(ledger, "agents", a)["reason"]) == ("failed", "timeout")
