"""Fleets: what creating one writes and refuses, and how it stands as its agents do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.errors import Invalid, NotFound
from meshfleet.mesh.fleets import collect_results, create_fleet, fleet_status, list_fleets, set_fleet_timeout
from meshfleet.mesh.lifecycle import status_of_fleet
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.supervision import LONGEST_TIMEOUT_MS, time_limit_ms
from meshfleet.model import AgentStatus, FleetStatus
from tests.mesh.fleets import bytes_of, events_in, fleet_of, open_ledger, row, start_all, supervisor


def test_a_fleet_s_agents_come_in_the_order_given_each_with_its_task(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    specs = [AgentSpec("Explorer", "look"), AgentSpec("Analyst", "think", "plan"), AgentSpec("Explorer", "again")]
    fleet_id, agent_ids = create_fleet(ledger, specs, cwd="/project", supervisor=supervisor(7))

    status = fleet_status(ledger, fleet_id)
    assert status["fleet"].keys() == {"id", "status", "created_at"}
    assert (status["fleet"]["id"], status["fleet"]["status"]) == (fleet_id, "running")
    assert [agent["id"] for agent in status["agents"]] == agent_ids
    assert len(set(agent_ids)) == 3
    assert [(agent["role"], agent["prompt"], agent.get("agent_file")) for agent in status["agents"]] == [
        ("Explorer", "look", None),
        ("Analyst", "think", "plan"),
        ("Explorer", "again", None),
    ]
    for agent in status["agents"]:
        assert agent["fleet_id"] == fleet_id
        assert agent["status"] == "pending"
        assert agent["cwd"] == "/project"
        assert agent["supervisor"] == supervisor(7)


def test_a_fleet_is_told_of_in_the_event_log(ledger_file: Path) -> None:
    fleet_id, agent_ids = fleet_of(open_ledger(ledger_file), "A", "B")
    created, called = events_in(ledger_file)
    assert (created["event"], created["fleet_id"]) == ("fleet_created", fleet_id)
    assert (called["event"], called["fleet_id"], called["agent_ids"]) == ("spawn_fleet_called", fleet_id, agent_ids)


@pytest.mark.parametrize(
    ("specs", "told"),
    [
        ([], "agents is empty"),
        ([AgentSpec(" \n", "go")], r"agents\[0\]\.role is blank"),
        ([AgentSpec("A", "go"), AgentSpec("B", "\t")], r"agents\[1\]\.prompt is blank"),
        ([AgentSpec("A" * 257, "go")], r"agents\[0\]\.role has 257 bytes"),
        ([AgentSpec("A", "go\0")], r"agents\[0\]\.prompt holds a NUL"),
        ([AgentSpec("A\ud800", "go")], r"agents\[0\]\.role holds a lone surrogate"),
        ([AgentSpec("A", "x" * (4 * 1024 * 1024 + 1))], r"agents\[0\]\.prompt has 4194305 bytes"),
        ([AgentSpec("A", "go", "")], r"agents\[0\]\.agent is blank"),
        ([AgentSpec("A", "go", "--dir=/")], r"agents\[0\]\.agent is '--dir=/'; the name of an agent"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_and_nothing_is_written(
    ledger_file: Path, specs: list[AgentSpec], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, "A")
    before = bytes_of(ledger_file.parent)
    with pytest.raises(Invalid, match=told):
        create_fleet(ledger, specs, cwd="/project")
    assert bytes_of(ledger_file.parent) == before


def test_an_unknown_fleet_is_no_empty_one(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    for ask in (fleet_status, collect_results):
        with pytest.raises(NotFound, match="fleet_id 'nowhere' is no fleet; list_fleets"):
            ask(ledger, "nowhere")


def test_a_refusal_does_not_repeat_a_long_id_in_full(ledger_file: Path) -> None:
    with pytest.raises(NotFound) as refusal:
        fleet_status(open_ledger(ledger_file), "x" * 1_000_000)
    assert len(str(refusal.value)) < 200


def test_fleets_are_listed_oldest_first_with_their_agents_counted(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    first, _ = fleet_of(ledger, "A", "B", "C")
    for agent_id, outcome in zip(
        [agent_id for agent_id, _ in start_all(ledger)][:2], [Outcome(ok=True), Outcome(ok=False)], strict=True
    ):
        settle_attempt(ledger, agent_id, 1, outcome)
    second, _ = fleet_of(ledger, "D")

    one, two = list_fleets(ledger)["fleets"]
    assert (one["id"], two["id"]) == (first, second)
    assert {key: value for key, value in one.items() if key.startswith("agent")} == {
        "agent_count": 3,
        "agents_complete": 1,
        "agents_failed": 1,
        "agents_running": 1,
    }
    assert (one["status"], "completed_at" in one) == ("running", False)
    assert (two["agent_count"], two["agents_running"]) == (1, 0)


def test_a_fleet_that_has_ended_says_when(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, "A")
    [(agent_id, number)] = start_all(ledger)
    settle_attempt(ledger, agent_id, number, Outcome(ok=True))
    [fleet] = list_fleets(ledger)["fleets"]
    assert fleet["status"] == "complete"
    assert fleet["completed_at"] == row(ledger, "agents", agent_id)["completed_at"]


def test_results_come_in_the_order_spawned_whoever_ended_first(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, agent_ids = fleet_of(ledger, "A", "B", "C")
    start_all(ledger)
    settle_attempt(ledger, agent_ids[2], 1, Outcome(ok=False, error="it broke"))
    settle_attempt(ledger, agent_ids[0], 1, Outcome(ok=True, output="done"))

    results = collect_results(ledger, fleet_id)
    assert results["fleet_id"] == fleet_id
    assert results["results"] == [
        {"agent_id": agent_ids[0], "role": "A", "status": "complete", "output": "done", "error": None},
        {"agent_id": agent_ids[1], "role": "B", "status": "running", "output": None, "error": None},
        {"agent_id": agent_ids[2], "role": "C", "status": "failed", "output": "", "error": "it broke"},
    ]


@given(st.lists(st.sampled_from(AgentStatus), min_size=1))
def test_a_fleet_is_complete_when_every_agent_is_and_failed_when_all_have_ended_and_one_is_not(
    statuses: list[AgentStatus],
) -> None:
    ended = {"complete", "failed", "interrupted", "cancelled"}
    if {str(status) for status in statuses} == {"complete"}:
        expected = FleetStatus.COMPLETE
    elif {str(status) for status in statuses} <= ended:
        expected = FleetStatus.FAILED
    else:
        expected = FleetStatus.RUNNING
    assert status_of_fleet({"status": status} for status in statuses) is expected


@given(st.lists(st.sampled_from(AgentStatus), min_size=1), st.randoms())
def test_a_fleet_s_status_does_not_depend_on_the_order_of_its_agents(
    statuses: list[AgentStatus], chance: object
) -> None:
    shuffled = list(statuses)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert status_of_fleet({"status": one} for one in shuffled) is status_of_fleet({"status": one} for one in statuses)


@pytest.mark.parametrize("limit", [0, -1, LONGEST_TIMEOUT_MS + 1, 10**30, 10**4000], ids=lambda n: str(n)[:40])
def test_a_time_limit_that_no_clock_reaches_is_refused_and_nothing_is_written(ledger_file: Path, limit: int) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A")
    before = bytes_of(ledger_file.parent)
    with pytest.raises(
        Invalid, match=r"^timeout_ms is -?\d{1,81}(\.\.\.)?; it has to be a number of milliseconds from 1"
    ):
        set_fleet_timeout(ledger, fleet_id, limit)
    assert bytes_of(ledger_file.parent) == before
    set_fleet_timeout(ledger, fleet_id, LONGEST_TIMEOUT_MS)
    assert ledger.read(lambda view: time_limit_ms(view, fleet_id, None)) == LONGEST_TIMEOUT_MS


@pytest.mark.parametrize("limit", ["soon", 0, -5, 1.5, True, None, [], 10**30])
def test_a_time_limit_of_another_program_that_is_none_counts_as_none(ledger_file: Path, limit: object) -> None:
    fleet = {"id": "f", "status": "running", "created_at": 1, "timeout_ms": limit}
    ledger_file.write_text(json.dumps({"schema_version": 2, "fleets": {"f": fleet}}))
    assert open_ledger(ledger_file).read(lambda view: time_limit_ms(view, "f", 70)) == 70
