"""What there is to see of a mesh: fleets and agents as they stand, trails, the order of time, what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.cancelling import cancel
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.messages import Draft, send_message
from meshfleet.mesh.overview import (
    MomentKind,
    ProblemKind,
    agent_detail,
    agent_summaries,
    fleet_summaries,
    fleet_summary,
    message_trail,
    message_trails,
    metrics,
    problems,
    require_named,
    timeline,
)
from meshfleet.mesh.receipts import ack_message, write_receipt
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.mesh.supervision import Progress, note_progress
from meshfleet.model import Reason, Row, TokensRow
from tests.mesh.fleets import fleet_of, open_ledger, send, start_all


@pytest.fixture
def ledger(ledger_file: Path) -> Ledger:
    return open_ledger(ledger_file)


def tokens(total: int) -> TokensRow:
    return TokensRow(total=total, input=total, output=0, reasoning=0, cache_read=0, cache_write=0)


def fleet_with(ledger: Ledger, *roles: str, options: FleetOptions | None = None) -> tuple[str, list[str]]:
    specs = [AgentSpec(role, f"do {role}", env={"KEY": "secret"}) for role in roles]
    return create_fleet(ledger, specs, cwd="/project", options=options)


def changed(ledger: Ledger, table: str, key: str, **fields: object) -> None:
    ledger.transact(lambda transaction: transaction.put(table, key, {**(transaction.get(table, key) or {}), **fields}))


def kinds_of(ledger: Ledger, left: Callable[[Row], bool] = lambda _: False) -> set[tuple[str, str | None]]:
    return {(str(problem.kind), problem.role) for problem in ledger.read(lambda view: problems(view, left=left))}


def test_a_fleet_is_summed_up_with_its_agents_by_status_and_what_they_used(ledger: Ledger) -> None:
    fleet_id, (a, b, c) = fleet_with(ledger, "A", "B", "C", options=FleetOptions(name="team", max_attempts=2))
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=True, output="done", tokens=tokens(10), cost=1.0))
    settle_attempt(ledger, b, 1, Outcome(ok=False, reason=Reason.EXIT, tokens=tokens(3)), retry_base_ms=60_000)
    note_progress(ledger, [Progress(c, 1, "ses", tokens(5), 0.5, 7)])
    send(ledger, fleet_id, a)
    send(ledger, fleet_id, "orchestrator")
    (fleet,) = ledger.read(fleet_summaries)
    assert (fleet.id, fleet.name, fleet.status, fleet.completed_at) == (fleet_id, "team", "running", None)
    assert fleet.agents == {"pending": 1, "running": 1, "complete": 1}
    assert fleet.conditions == {"retrying": 1, "stalled": 1}
    assert (fleet.used.tokens, fleet.used.cost) == (18, 1.5)
    assert (fleet.messages, fleet.unread, fleet.agent_count) == (2, 1, 3)
    assert fleet.age_ms(fleet.created_at + 5) == fleet.runtime_ms(fleet.created_at + 5) == 5
    assert fleet.age_ms(0) == 0


def test_what_a_spawned_fleet_used_counts_for_the_one_above_and_not_as_its_own(ledger: Ledger) -> None:
    above, (a,) = fleet_with(ledger, "A")
    start_all(ledger)
    below, (b,) = fleet_with(ledger, "B", options=FleetOptions(parent_agent_id=a, max_depth=3))
    start_all(ledger)
    note_progress(ledger, [Progress(a, 1, None, tokens(1), 0, None), Progress(b, 1, None, tokens(2), 0, None)])
    one, other = ledger.read(fleet_summaries)
    assert [(fleet.id, fleet.used.tokens, fleet.used_in_all.tokens) for fleet in (one, other)] == [
        (above, 1, 3),
        (below, 2, 2),
    ]
    assert other.parent_agent_id == a
    assert ledger.read(lambda view: agent_detail(view, a)).spawned == [below]


def test_fleets_that_somebody_made_spawn_each_other_are_summed_up_all_the_same(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_with(ledger, "A")
    start_all(ledger)
    note_progress(ledger, [Progress(a, 1, None, tokens(3), 0, None)])
    changed(ledger, "fleets", fleet_id, parent_agent_id=a)
    (fleet,) = ledger.read(fleet_summaries)
    assert (fleet.used.tokens, fleet.used_in_all.tokens) == (3, 3)


def test_an_agent_is_told_with_its_attempts_and_what_waits_for_it_and_without_its_variables(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_with(ledger, "A")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=False, reason=Reason.EXIT, error="it broke"), retry_base_ms=0)
    start_all(ledger)
    message_id = send(ledger, fleet_id, a)["message_id"]
    detail = ledger.read(lambda view: agent_detail(view, a))
    assert [attempt["number"] for attempt in detail.attempts] == [1, 2]
    assert [message["id"] for message in detail.unread] == [message_id]
    assert (detail.summary.attempt, detail.summary.unread, detail.summary.status) == (2, 1, "running")
    assert "secret" not in repr(detail)


def test_an_agent_runs_from_its_first_start_to_its_end(ledger: Ledger) -> None:
    fleet_id, (a, _) = fleet_of(ledger, "A", "B")
    assert ledger.read(lambda view: [one.runtime_ms(9) for one in agent_summaries(view, fleet_id)]) == [None, None]
    changed(ledger, "agents", a, started_at=1_000)
    assert ledger.read(lambda view: agent_summaries(view, fleet_id)[0].runtime_ms(1_500)) == 500
    changed(ledger, "agents", a, completed_at=1_200)
    assert ledger.read(lambda view: agent_summaries(view, fleet_id)[0].runtime_ms(1_500)) == 200


def test_an_agent_whose_supervisor_is_gone_is_unsupervised(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_with(ledger, "A")
    start_all(ledger)
    summary, detail = ledger.read(
        lambda view: (
            fleet_summary(view, fleet_id, left=lambda _: True),
            agent_detail(view, a, left=lambda _: True),
        )
    )
    assert summary.conditions == {"unsupervised": 1}
    assert detail.summary.condition == detail.row["condition"] == "unsupervised"
    assert kinds_of(ledger, lambda _: True) == {("unsupervised", "A")}


def test_a_trail_tells_of_each_recipient_how_far_the_message_has_come(ledger: Ledger) -> None:
    fleet_id, (a, b, c) = fleet_of(ledger, "A", "B", "C")
    draft = Draft(a, "*", fleet_id, "handoff", "look", correlation_id="earlier")
    message_id = send_message(ledger, draft)["message_id"]
    write_receipt(ledger, b, message_id, "delivered")
    write_receipt(ledger, b, message_id, "seen")
    write_receipt(ledger, b, message_id, "rated", "good")
    ack_message(ledger, b, message_id)
    write_receipt(ledger, c, message_id, "seen")
    write_receipt(ledger, "me", message_id, "seen")
    trail = ledger.read(lambda view: message_trail(view, message_id))
    assert (trail.from_role, trail.to_agent_id, trail.to_role, trail.correlation_id) == ("A", "*", None, "earlier")
    one, other = trail.deliveries
    assert (one.agent_id, one.role, one.state, one.waits) == (b, "B", "acked", False)
    assert one.delivered_at is not None
    assert [receipt["note"] for receipt in one.others] == ["good"]
    assert (other.state, other.acked_at, other.waits) == ("seen", None, True)
    assert [receipt["agent_id"] for receipt in trail.witnesses] == ["me"]
    assert not trail.acknowledged


def test_the_last_messages_of_a_fleet_are_the_newest_in_order(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_of(ledger, "A")
    for number in range(4):
        send(ledger, fleet_id, a, str(number))

    def told(view: View, last: int | None) -> list[str]:
        return [trail.payload for trail in message_trails(view, fleet_id, last=last)]

    assert ledger.read(lambda view: [told(view, last) for last in (2, 0, 9, None)]) == [
        ["2", "3"],
        [],
        ["0", "1", "2", "3"],
        ["0", "1", "2", "3"],
    ]


def test_a_timeline_has_everything_in_the_order_of_time(ledger: Ledger) -> None:
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    start_all(ledger)
    message_id = send(ledger, fleet_id, b, sender=a)["message_id"]
    ack_message(ledger, b, message_id)
    settle_attempt(ledger, a, 1, Outcome(ok=False, reason=Reason.EXIT, error="broke"))
    settle_attempt(ledger, b, 1, Outcome(ok=True))
    # all of one instant: then in the order in which one follows from the other
    for table, key in (("fleets", fleet_id), ("agents", a), ("agents", b)):
        changed(ledger, table, key, created_at=5, completed_at=5)
    for agent_id in (a, b):
        changed(ledger, "attempts", f"{agent_id}/1", started_at=5, ended_at=5)
    changed(ledger, "messages", message_id, timestamp=5)
    changed(ledger, "receipts", f"{message_id}:{b}:ack", timestamp=5)
    moments = ledger.read(lambda view: timeline(view, fleet_id))
    assert [(moment.kind, moment.role) for moment in moments] == [
        (MomentKind.FLEET_CREATED, None),
        (MomentKind.ATTEMPT_STARTED, "A"),
        (MomentKind.ATTEMPT_STARTED, "B"),
        (MomentKind.MESSAGE, "A"),
        (MomentKind.RECEIPT, "B"),
        (MomentKind.ATTEMPT_ENDED, "A"),
        (MomentKind.ATTEMPT_ENDED, "B"),
        (MomentKind.AGENT_ENDED, "A"),
        (MomentKind.AGENT_ENDED, "B"),
        (MomentKind.FLEET_ENDED, None),
    ]
    changed(ledger, "receipts", f"{message_id}:{b}:ack", timestamp=4)
    assert ledger.read(lambda view: timeline(view, fleet_id)[0].kind) is MomentKind.RECEIPT


def test_a_healthy_mesh_has_no_problems(ledger: Ledger) -> None:
    fleet_id, (a, b) = fleet_of(ledger, "A", "B")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    send(ledger, fleet_id, b)
    assert ledger.read(problems) == []


def test_everything_that_goes_wrong_is_a_problem(ledger: Ledger) -> None:
    options = FleetOptions(max_attempts=2)
    fleet_id, (failed, retried, stalled, gone) = fleet_with(
        ledger, "Failed", "Retried", "Stalled", "Gone", options=options
    )
    start_all(ledger)
    settle_attempt(ledger, failed, 1, Outcome(ok=False, reason=Reason.EXIT, error="it broke"))
    settle_attempt(ledger, retried, 1, Outcome(ok=False, reason=Reason.EXIT, error="not yet"), retry_base_ms=60_000)
    note_progress(ledger, [Progress(stalled, 1, None, tokens(0), 0, 7)])
    settle_attempt(ledger, gone, 1, Outcome(ok=False, interrupted=True, error="gone"))
    messages = [send(ledger, fleet_id, failed)["message_id"] for _ in range(2)]
    changed(ledger, "fleets", fleet_id, over_budget="it has used too much")
    found = ledger.read(problems)
    assert {(problem.kind, problem.role, problem.what) for problem in found} == {
        (ProblemKind.FAILED, "Failed", "it broke"),
        (ProblemKind.RETRYING, "Retried", "attempt 1 failed: not yet"),
        (ProblemKind.STALLED, "Stalled", "neither says nor does anything"),
        (ProblemKind.INTERRUPTED, "Gone", "gone"),
        (ProblemKind.UNDELIVERABLE, "Failed", "2 messages wait for an agent that is failed"),
        (ProblemKind.OVER_BUDGET, None, "it has used too much"),
    }
    times = [problem.since for problem in found if problem.since is not None]
    assert times == sorted(times, reverse=True)
    assert found[0].kind is ProblemKind.OVER_BUDGET, "what has no time comes first"
    assert [one.message_ids for one in found if one.kind is ProblemKind.UNDELIVERABLE] == [tuple(messages)]


def test_an_agent_is_retrying_while_its_next_attempt_runs_and_no_longer_once_it_was_resumed(ledger: Ledger) -> None:
    _, (agent,) = fleet_with(ledger, "A", options=FleetOptions(max_attempts=3))
    start_all(ledger)
    settle_attempt(ledger, agent, 1, Outcome(ok=False, reason=Reason.EXIT, error="not yet"), retry_base_ms=0)
    [(agent, number)] = start_all(ledger)
    [found] = ledger.read(problems)
    ended_at = ledger.read(lambda view: view.get("attempts", f"{agent}/1") or {})["ended_at"]
    assert (found.kind, found.role, found.since) == (ProblemKind.RETRYING, "A", ended_at)
    assert found.what == "attempt 2 runs, after attempt 1 failed: not yet"
    changed(ledger, "agents", agent, attempts_before=number - 1)
    assert ledger.read(problems) == []


@pytest.mark.parametrize(("is_over", "how"), [(False, "goes on"), (True, "its process has ended")])
def test_of_an_agent_that_nobody_supervises_it_is_said_whether_it_goes_on(
    ledger: Ledger, is_over: bool, how: str
) -> None:
    fleet_with(ledger, "A", "B")
    start_all(ledger)
    [found, _] = ledger.read(lambda view: problems(view, left=lambda _: True, over=lambda _: is_over))
    assert (found.kind, found.since) == (ProblemKind.UNSUPERVISED, None)
    assert found.what.startswith(f"{how}, but whoever looked after it is gone")


@pytest.mark.parametrize(("is_over", "how"), [(False, "it goes on"), (True, "its process has ended")])
def test_of_a_cancelled_agent_that_nobody_supervises_it_is_said_so_and_what_to_run(
    ledger: Ledger, is_over: bool, how: str
) -> None:
    fleet_id, (a, b) = fleet_with(ledger, "A", "B")
    start_all(ledger)
    cancel(ledger, agent_id=a)
    found = ledger.read(lambda view: problems(view, left=lambda _: True, over=lambda _: is_over))
    told = {problem.agent_id: problem.what for problem in found}
    why = f"to be stopped, since it was cancelled, but whoever looked after it is gone and {how}"
    assert told[a] == f"{why}; run meshfleet cancel {a}"
    assert "cancel" not in told[b]
    cancel(ledger, fleet_id=fleet_id)
    found = ledger.read(lambda view: problems(view, left=lambda _: True, over=lambda _: is_over))
    told = {problem.agent_id: problem.what for problem in found}
    assert told[b].startswith("to be stopped, since its fleet was cancelled")


def test_an_agent_that_waits_for_others_is_dormant_and_says_for_whom(ledger: Ledger) -> None:
    specs = [AgentSpec("A", "go"), AgentSpec("B", "go", after=("A",)), AgentSpec("C", "go", start="on_message")]
    fleet_id, _ = create_fleet(ledger, specs, cwd="/project")
    fleet, agents = ledger.read(lambda view: (fleet_summary(view, fleet_id), agent_summaries(view, fleet_id)))
    assert (fleet.agents, fleet.conditions) == ({"pending": 3}, {"dormant": 2})
    assert [(one.condition, one.waiting_for) for one in agents] == [
        (None, None),
        ("dormant", "A to complete"),
        ("dormant", "a message from a peer"),
    ]


def test_a_message_that_an_agent_had_before_it_ended_is_no_problem(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    write_receipt(ledger, a, send(ledger, fleet_id, a)["message_id"], "seen")
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    assert kinds_of(ledger) == set()


def test_a_message_for_an_agent_that_it_calls_back_is_no_problem(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    changed(ledger, "agents", a, wake=True)
    send_message(ledger, Draft("me", a, fleet_id, "question", "why?"))
    assert kinds_of(ledger) == set()


def test_a_message_that_only_tells_something_is_one_for_an_agent_that_has_ended(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_of(ledger, "A")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=True))
    changed(ledger, "agents", a, wake=True)
    send(ledger, fleet_id, a)
    assert kinds_of(ledger) == {("undeliverable", "A")}


def test_a_fleet_that_uses_more_than_it_may_is_a_problem_before_it_is_stopped(ledger: Ledger) -> None:
    _, (a,) = fleet_with(ledger, "A", options=FleetOptions(max_tokens=5))
    start_all(ledger)
    note_progress(ledger, [Progress(a, 1, None, tokens(6), 0, None)])
    assert kinds_of(ledger) == {("over_budget", None)}


def test_the_figures_are_those_of_the_rows(ledger: Ledger) -> None:
    fleet_id, (a, b) = fleet_with(ledger, "A", "B")
    start_all(ledger)
    settle_attempt(ledger, a, 1, Outcome(ok=True, tokens=tokens(4), cost=0.5))
    sent = [send(ledger, fleet_id, b)["message_id"] for _ in range(20)]
    for place, message_id in enumerate(sent):
        ack_message(ledger, b, message_id)
        changed(ledger, "messages", message_id, timestamp=0)
        changed(ledger, "receipts", f"{message_id}:{b}:ack", timestamp=place)
    send(ledger, fleet_id, "orchestrator")
    changed(ledger, "attempts", f"{a}/1", started_at=3, ended_at=10)
    found = ledger.read(metrics)
    assert (found.fleets, found.agents) == ({"running": 1}, {"complete": 1, "running": 1})
    assert (found.messages, found.acknowledged, found.waiting) == ({"result": 21}, 20, 1)
    assert (found.attempts, found.receipts) == ({"ok": 1, "running": 1}, {"ack": 20})
    assert (found.used.tokens, found.used.cost) == (4, 0.5)
    assert found.attempt_ms is not None
    assert (found.attempt_ms.count, found.attempt_ms.median_ms) == (1, 7)
    assert found.acknowledged_ms is not None
    assert (found.acknowledged_ms.median_ms, found.acknowledged_ms.p95_ms, found.acknowledged_ms.longest_ms) == (
        9,
        18,
        19,
    )


def test_an_empty_ledger_has_figures_too(ledger: Ledger) -> None:
    found = ledger.read(metrics)
    assert (found.fleets, found.attempt_ms, found.waiting) == ({}, None, 0)


def test_an_id_or_a_beginning_that_only_one_has_names_a_row(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_of(ledger, "A")
    message_id = send(ledger, fleet_id, a)["message_id"]
    for table, key in (("fleets", fleet_id), ("agents", a), ("messages", message_id)):
        for name in (key, key[:14]):
            found = require_named(ledger, name)
            assert (found.table, found.id) == (table, key)


@pytest.mark.parametrize("name", ["", "zz", "\x1b"])
def test_a_name_that_nothing_has_is_refused(ledger: Ledger, name: str) -> None:
    fleet_of(ledger, "A")
    with pytest.raises(NotFound, match=r"is no fleet, agent or message of .*; meshfleet inspect shows what there is$"):
        require_named(ledger, name)


def test_an_id_of_something_else_than_is_wanted_is_refused_by_what_it_is(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_of(ledger, "A")
    message_id = send(ledger, fleet_id, a)["message_id"]
    for name, wanted, told in (
        (fleet_id, ("agents",), f"{fleet_id} (fleet, running) is no agent; meshfleet inspect {fleet_id} shows more"),
        (a[:14], ("fleets",), f"{a} (agent A, pending) is no fleet; meshfleet inspect {a} shows more"),
        (message_id, ("fleets", "agents"), f"{message_id} (message, result) is no fleet or agent; meshfleet inspect"),
    ):
        with pytest.raises(NotFound) as refused:
            require_named(ledger, name, wanted)
        assert told in str(refused.value)


def test_a_beginning_that_several_have_is_refused_with_what_they_are(ledger: Ledger) -> None:
    fleet_id, (a,) = fleet_of(ledger, "A")
    twin = f"{fleet_id[:8]}-twin"
    ledger.transact(
        lambda transaction: transaction.put("agents", twin, {**(transaction.get("agents", a) or {}), "id": twin})
    )
    with pytest.raises(Invalid) as refused:
        require_named(ledger, fleet_id[:8])
    assert f"2 ids: {fleet_id} (fleet, running); {twin} (agent A, pending)" in str(refused.value)
    assert require_named(ledger, fleet_id[:8], ("fleets",)).id == fleet_id


@pytest.mark.parametrize(
    "query", [fleet_summary, agent_summaries, message_trails, timeline, agent_detail, message_trail]
)
def test_what_is_not_there_is_not_found(ledger: Ledger, query: Callable[[View, str], object]) -> None:
    with pytest.raises(NotFound):
        ledger.read(lambda view: query(view, "nothing"))
