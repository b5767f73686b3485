"""Agents that wait for a message or for others: they start when it is there, and hold up no fleet when it never is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.errors import Conflict, Invalid
from meshfleet.ledger import Ledger
from meshfleet.mesh.cancelling import cancel, stop_over_budget
from meshfleet.mesh.fleets import attach_agent, create_fleet, fleet_status
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.resuming import resume
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions, order_of
from meshfleet.mesh.verify import verify
from meshfleet.model import Reason, Row, Start
from tests.mesh.fleets import open_ledger, row, start_all, supervisor

ON_MESSAGE = Start.ON_MESSAGE


def spec(role: str, *after: str, start: str = Start.NOW, wake: bool = False) -> AgentSpec:
    return AgentSpec(role, f"do {role}", start=start, after=after, wake=wake)


def fleet(ledger: Ledger, *specs: AgentSpec) -> tuple[str, list[str]]:
    return create_fleet(ledger, specs, cwd="/project", supervisor=supervisor())


def roles_started(ledger: Ledger) -> list[str]:
    return [row(ledger, "agents", agent_id)["role"] for agent_id, _ in start_all(ledger)]


def finish(ledger: Ledger, agent_id: str, output: str = "done", *, ok: bool = True) -> None:
    number = row(ledger, "agents", agent_id)["attempt"]
    outcome = Outcome(ok=True, output=output, session_id=f"ses-{agent_id}")
    settle_attempt(ledger, agent_id, number, outcome if ok else Outcome(ok=False, reason=Reason.EXIT, error="no"))


def tell(ledger: Ledger, fleet_id: str, to: str, kind: str = "handoff", *, sender: str = "me") -> Row:
    return send_message(ledger, Draft(sender, to, fleet_id, kind, "here"))


def statuses(ledger: Ledger, agents: list[str]) -> list[str]:
    return [row(ledger, "agents", agent_id)["status"] for agent_id in agents]


def test_an_agent_that_waits_for_a_message_starts_once_one_has_come(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet(ledger, spec("A"), spec("B", start=ON_MESSAGE))
    assert roles_started(ledger) == ["A"]
    [_, shown] = fleet_status(ledger, fleet_id)["agents"]
    assert (shown["status"], shown["condition"], shown["waiting_for"]) == (
        "pending",
        "dormant",
        "a message from a peer",
    )
    assert "warning" not in tell(ledger, fleet_id, b, sender=a)
    assert roles_started(ledger) == ["B"]


@pytest.mark.parametrize("kind", ["handoff", "question", "result", "alert", "request_help"])
def test_a_message_of_any_type_starts_it_and_a_broadcast_does_too(ledger_file: Path, kind: str) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet(ledger, spec("A"), spec("B", start=ON_MESSAGE), spec("C", start=ON_MESSAGE))
    start_all(ledger)
    tell(ledger, fleet_id, "*", kind)
    assert roles_started(ledger) == ["B", "C"]


def test_an_agent_that_comes_after_others_starts_when_all_of_them_are_complete(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b, _) = fleet(ledger, spec("A"), spec("B"), spec("C", "A", "B"))
    assert roles_started(ledger) == ["A", "B"]
    finish(ledger, a)
    assert roles_started(ledger) == []
    assert fleet_status(ledger, fleet_id)["agents"][2]["waiting_for"] == "B to complete"
    finish(ledger, b)
    assert roles_started(ledger) == ["C"]


def test_a_message_does_not_start_one_that_comes_after_others(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (_, b) = fleet(ledger, spec("A"), spec("B", "A"))
    start_all(ledger)
    assert "warning" not in tell(ledger, fleet_id, b)
    assert roles_started(ledger) == []


def test_those_never_called_end_with_the_last_of_the_others_and_fail_nothing(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, agents = fleet(ledger, spec("A"), spec("B", start=ON_MESSAGE), spec("C", start=ON_MESSAGE))
    start_all(ledger)
    tell(ledger, fleet_id, agents[1])
    start_all(ledger)
    finish(ledger, agents[0])
    assert row(ledger, "fleets", fleet_id)["status"] == "running"
    finish(ledger, agents[1])
    assert statuses(ledger, agents) == ["complete", "complete", "cancelled"]
    last = row(ledger, "agents", agents[2])
    assert (last["reason"], last["error"]) == (
        "never_called",
        "it waited for a message from a peer, and all others have ended",
    )
    assert row(ledger, "fleets", fleet_id)["status"] == "complete"
    assert verify(ledger_file).clean


def test_one_whose_predecessor_failed_ends_with_it_and_the_fleet_is_failed_for_that_one(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, agents = fleet(ledger, spec("A"), spec("B", "A"), spec("C", "B"))
    start_all(ledger)
    finish(ledger, agents[0], ok=False)
    assert statuses(ledger, agents) == ["failed", "cancelled", "cancelled"]
    errors = [row(ledger, "agents", agent_id)["error"] for agent_id in agents[1:]]
    assert errors == [f"it waited for {role} to complete, and all others have ended" for role in ("A", "B")]
    assert row(ledger, "fleets", fleet_id)["status"] == "failed"
    assert verify(ledger_file).findings == []


def test_a_resumed_fleet_has_its_dormant_agents_wait_again(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet(ledger, spec("A"), spec("B", "A"))
    start_all(ledger)
    finish(ledger, a, ok=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshfleet.mesh.resuming._check_folder", lambda _: None)
        assert resume(ledger, fleet_id=fleet_id) == [a, b]
    assert roles_started(ledger) == ["A"]
    finish(ledger, a)
    assert roles_started(ledger) == ["B"]


def test_resuming_the_one_that_was_never_called_starts_it(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet(ledger, spec("A"), spec("B", start=ON_MESSAGE))
    start_all(ledger)
    finish(ledger, a)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshfleet.mesh.resuming._check_folder", lambda _: None)
        with pytest.raises(Conflict, match="all that could go on waits to be called: B"):
            resume(ledger, fleet_id=fleet_id)
        assert statuses(ledger, [b]) == ["cancelled"]
        resume(ledger, agent_id=b)
    assert roles_started(ledger) == ["B"]


def test_resuming_one_has_those_that_come_after_it_wait_for_it_again(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, agents = fleet(ledger, spec("C", "B"), spec("B", "A"), spec("A"), spec("Z", start=ON_MESSAGE))
    start_all(ledger)
    finish(ledger, agents[2], ok=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshfleet.mesh.resuming._check_folder", lambda _: None)
        assert resume(ledger, agent_id=agents[2]) == [agents[2], agents[1], agents[0]]
    for role, agent_id in zip("ABC", (agents[2], agents[1], agents[0]), strict=True):
        assert roles_started(ledger) == [role]
        finish(ledger, agent_id)
    assert statuses(ledger, agents) == ["complete", "complete", "complete", "cancelled"]


def test_a_message_after_the_end_calls_one_that_was_never_called_and_reopens_the_fleet(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet(ledger, spec("A"), spec("B", start=ON_MESSAGE))
    start_all(ledger)
    finish(ledger, a)
    assert "warning" not in tell(ledger, fleet_id, b)
    assert row(ledger, "fleets", fleet_id)["status"] == "running"
    assert roles_started(ledger) == ["B"]


def test_cancelling_ends_dormant_agents_as_cancelled_and_each_only_once(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, agents = fleet(ledger, spec("A"), spec("B", start=ON_MESSAGE), spec("C", "A"))
    assert cancel(ledger, fleet_id=fleet_id).ended == agents
    assert {row(ledger, "agents", agent_id)["reason"] for agent_id in agents} == {"cancelled"}
    assert row(ledger, "fleets", fleet_id)["endings"] == 3
    warning = tell(ledger, fleet_id, agents[1])["warning"]
    assert warning == f"nobody reads this: B ({agents[1]}) is cancelled; resume starts it again"


def test_a_fleet_over_its_budget_starts_none_that_is_called(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, agents = fleet(ledger, spec("A"), spec("B", start=ON_MESSAGE))
    start_all(ledger)
    stop_over_budget(ledger, fleet_id, "too much")
    assert statuses(ledger, agents)[1] == "failed"
    assert "resume starts it again" in tell(ledger, fleet_id, agents[1])["warning"]


def test_one_that_was_called_keeps_its_turn_over_a_failed_attempt(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet(ledger, spec("A"), spec("B", "A"))
    start_all(ledger)
    finish(ledger, a)
    start_all(ledger)
    failed = Outcome(ok=False, reason=Reason.EXIT, error="no")
    settle_attempt(ledger, b, 1, failed, retry_base_ms=1)
    [_, shown] = fleet_status(ledger, fleet_id)["agents"]
    assert (shown["status"], shown["condition"]) == ("pending", "retrying")


@pytest.mark.parametrize(
    ("specs", "told"),
    [
        ([spec("A"), spec("B", "Z")], "agents[1].after names 'Z', a role that no agent of this fleet has"),
        ([spec("A"), spec("A"), spec("B", "A")], "agents[2].after names 'A', a role that more than one agent has"),
        ([spec("A"), spec("B", "B")], "after goes in a circle: 'B' after 'B'"),
        ([spec("A"), spec("B", "C"), spec("C", "B")], "after goes in a circle: 'B' after 'C' after 'B'"),
        ([spec("A", start=ON_MESSAGE)], "no agent starts at once, so none ever would"),
        ([spec("A", start=ON_MESSAGE), spec("B", "A")], "no agent starts at once, so none ever would"),
        ([spec("A"), spec("B", "A", start=ON_MESSAGE)], "agents[1].after can't go with start 'on_message'"),
        ([spec("A", start="later")], "agents[0].start is 'later'; it has to be one of now, on_message"),
    ],
)
def test_an_order_that_can_t_be_is_refused_and_nothing_is_written(
    ledger_file: Path, specs: list[AgentSpec], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    with pytest.raises(Invalid) as refusal:
        fleet(ledger, *specs)
    assert str(refusal.value).startswith(told)
    assert ledger.read(lambda view: view.count("fleets")) == 0


def test_an_agent_that_is_attached_can_t_be_dormant(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet(ledger, spec("A"))
    with pytest.raises(Invalid, match="an agent that is attached starts at once"):
        attach_agent(ledger, fleet_id, spec("B", start=ON_MESSAGE), cwd="/project")


def test_a_repeated_spawn_with_another_order_is_refused(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    options = FleetOptions(idempotency_key="k")
    first = create_fleet(ledger, [spec("A"), spec("B", "A", wake=True)], cwd="/project", options=options)
    assert create_fleet(ledger, [spec("A"), spec("B", "A", wake=True)], cwd="/project", options=options) == first
    for other in (spec("B"), spec("B", "A"), spec("B", start=ON_MESSAGE, wake=True)):
        with pytest.raises(Conflict, match="was used for something else before"):
            create_fleet(ledger, [spec("A"), other], cwd="/project", options=options)


@given(st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=1, max_size=7))
def test_an_order_is_taken_exactly_when_every_agent_s_turn_comes(after: list[list[int]]) -> None:
    count = len(after)
    specs = [spec(f"r{place}", *(f"r{one % count}" for one in before)) for place, before in enumerate(after)]
    done: set[int] = set()
    while ready := {p for p, before in enumerate(after) if p not in done and {b % count for b in before} <= done}:
        done |= ready
    if len(done) == count:
        assert order_of(specs) == [list(dict.fromkeys(b % count for b in before)) for before in after]
    else:
        with pytest.raises(Invalid, match="after goes in a circle"):
            order_of(specs)
