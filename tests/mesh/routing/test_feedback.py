"""Outcomes: how they are counted, which count in a ranking, and what they make of an agent's weight."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.errors import Invalid, MeshfleetError, NotFound
from meshfleet.mesh.routing import Router, record_routing_outcome
from meshfleet.mesh.routing.feedback import feedback_of
from tests.mesh.fleets import bytes_of, events_in, open_ledger, row
from tests.mesh.routing.routes import agents_with, ranked, weight

COUNTS = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("successes", "failures", "factor"), [(0, 0, 1), (1, 0, 1.1), (0, 1, 0.9), (4, 0, 1.25), (3, 3, 1), (0, 12, 0.625)]
)
def test_feedback_is_the_contract_s(successes: int, failures: int, factor: float) -> None:
    assert feedback_of(successes, failures) == pytest.approx(factor)


@given(COUNTS, COUNTS)
def test_a_success_never_lowers_and_a_failure_never_raises_a_weight(successes: int, failures: int) -> None:
    now = feedback_of(successes, failures)
    assert 0.5 <= feedback_of(successes, failures + 1) <= now <= feedback_of(successes + 1, failures) <= 1.5


def test_an_outcome_is_counted_and_told(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    [agent] = agents_with(ledger, ["sql"])
    said = record_routing_outcome(ledger, agent, "sql", success=True)
    assert said == {"ok": True, "agent_id": agent, "capability_key": "sql", "success": True}
    record_routing_outcome(ledger, agent, "sql", success=False)
    record_routing_outcome(ledger, agent, "sql", success=False)
    found = row(ledger, "outcomes", f"{agent}:sql")
    assert found.pop("updated_at") >= row(ledger, "capabilities", agent)["registered_at"]
    assert found == {"agent_id": agent, "capability_key": "sql", "successes": 1, "failures": 2}
    assert [event["success"] for event in events_in(ledger_file) if event["event"] == "routing_outcome_recorded"] == [
        True,
        False,
        False,
    ]


def test_outcomes_of_several_processes_are_all_counted_and_survive_a_restart(ledger_file: Path) -> None:
    ledgers = [open_ledger(ledger_file) for _ in range(3)]
    [agent] = agents_with(ledgers[0], ["sql"])
    for ledger in ledgers * 4:
        record_routing_outcome(ledger, agent, "sql", success=True)
    for ledger in ledgers:
        ledger.close()
    fresh = open_ledger(ledger_file)
    assert row(fresh, "outcomes", f"{agent}:sql")["successes"] == 12
    assert weight(fresh, "sql", agent) == 1.375


def test_an_agent_that_fails_at_sql_keeps_its_standing_for_react(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    agent, other = agents_with(ledger, ["react", "sql"], ["react", "sql"])
    for _ in range(6):
        record_routing_outcome(ledger, agent, "sql", success=False)
    assert ranked(ledger, "sql") == [other, agent]
    assert weight(ledger, "sql", agent) == 0.7
    assert ranked(ledger, "react") == sorted([agent, other])
    assert weight(ledger, "react", agent) == 1
    assert weight(ledger, "react sql", agent) == 1.4


@pytest.mark.parametrize(
    ("key", "description", "counts"),
    [
        ("sql", "sql", True),
        ("SQL", "tune this query", True),
        ("sql", "postgres", True),
        ("postgresql", "database", True),
        ("frontend", "ui", True),
        ("React expert", "ui bug", True),
        ("React expert", "sql expert", False),
        ("sql", "react", False),
        ("frobnicate", "frobnicate the sql", True),
        ("frobnicate", "sql", False),
        ("*", "react", True),
        ("!", "react", False),
        ("c", "react", False),
    ],
)
def test_an_outcome_counts_where_its_key_has_to_do_with_the_description(
    ledger_file: Path, key: str, description: str, counts: bool
) -> None:
    ledger = open_ledger(ledger_file)
    [agent] = agents_with(ledger, ["sql", "react", "expert"])
    before = weight(ledger, description, agent)
    record_routing_outcome(ledger, agent, key, success=False)
    assert weight(ledger, description, agent) == pytest.approx(before * (0.9 if counts else 1), abs=1e-6)


def test_outcomes_of_all_the_keys_that_a_description_is_about_add_up(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    [agent] = agents_with(ledger, ["sql", "react"])
    for key in ("sql", "react", "*", "css"):
        record_routing_outcome(ledger, agent, key, success=True)
    assert weight(ledger, "sql", agent) == round(feedback_of(2, 0), 6)
    assert weight(ledger, "sql and react", agent) == round(2 * feedback_of(3, 0), 6)


def test_feedback_decides_the_order_before_the_ranking_is_cut(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    agents = sorted(agents_with(ledger, *[["react"]] * 5))
    record_routing_outcome(ledger, agents[4], "react", success=True)
    assert ranked(ledger, "react", 1) == [agents[4]]
    record_routing_outcome(ledger, agents[0], "react", success=False)
    assert ranked(ledger, "react") == [agents[4], agents[1], agents[2], agents[3], agents[0]]


def test_feedback_may_lift_an_agent_over_one_of_a_higher_score(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    literal, synonym = agents_with(ledger, ["react", "css"], ["jsx", "css"])
    for _ in range(40):
        record_routing_outcome(ledger, synonym, "css", success=True)
        record_routing_outcome(ledger, literal, "css", success=False)
    assert ranked(ledger, "css in react") == [synonym, literal]


def test_an_outcome_that_is_taken_back_no_longer_counts(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    [agent] = agents_with(ledger, ["sql"])
    record_routing_outcome(ledger, agent, "sql", success=True)
    router = Router()
    assert ranked(ledger, "sql", router=router) == [agent]
    ledger.transact(lambda transaction: transaction.drop("outcomes", f"{agent}:sql"))
    ranked(ledger, "sql", router=router)
    assert list(router._outcomes.agents) == []


@pytest.mark.parametrize(
    ("agent", "key", "error", "told"),
    [
        ("nobody", "sql", NotFound, "agent_id 'nobody' is no agent; fleet_status lists"),
        ("", "sql", Invalid, "agent_id is blank"),
        (None, "", Invalid, "capability_key is blank"),
        (None, " ", Invalid, "capability_key is blank"),
        (None, "sq\0l", Invalid, "capability_key holds a NUL at character 2"),
        (None, "\udc00", Invalid, "capability_key holds a lone surrogate"),
        (None, "x" * 257, Invalid, "capability_key has 257 bytes; at most 256"),
    ],
)
def test_an_outcome_that_cannot_be_is_refused_and_nothing_is_written(
    ledger_file: Path, agent: str | None, key: str, error: type[MeshfleetError], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    [somebody] = agents_with(ledger, ["sql"])
    before = bytes_of(ledger_file.parent)
    with pytest.raises(error, match=f"^{told}"):
        record_routing_outcome(ledger, somebody if agent is None else agent, key, success=True)
    assert bytes_of(ledger_file.parent) == before


def test_a_snapshot_from_before_outcomes_were_kept_is_read_and_goes_on(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    [agent] = agents_with(ledger, ["sql"])
    ledger.close()
    text = ledger_file.read_text()
    assert ',\n"outcomes":{\n}' in text
    ledger_file.write_text(text.replace(',\n"outcomes":{\n}', ""))
    older = open_ledger(ledger_file)
    assert weight(older, "sql", agent) == 1
    record_routing_outcome(older, agent, "sql", success=True)
    older.close()
    assert weight(open_ledger(ledger_file), "sql", agent) == 1.1
