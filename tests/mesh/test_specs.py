"""What a fleet and its agents may be asked to be, how deep they may go, and that a repeat starts nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meshfleet.errors import Conflict, Invalid, NotFound
from meshfleet.mesh.fleets import attach_agent, create_fleet
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from tests.mesh.fleets import bytes_of, fleet_of, open_ledger, row, start_all

SPEC = AgentSpec("A", "go")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": "gpt"}, "model is 'gpt'; it has to be provider/model"),
        ({"model": "/gpt/"}, "provider/model"),
        ({"model": " "}, "model is blank"),
        ({"cwd": "/no/such/folder"}, "cwd is '/no/such/folder', where there is no folder; make it, or name another"),
        ({"cwd": "."}, r"cwd is '\.'; it has to be the absolute path of a folder"),
        ({"cwd": "/dev/null"}, "cwd is '/dev/null', where there is no folder"),
        ({"cwd": "x" * 10_000}, "absolute path of a folder"),
        ({"cwd": "/\0"}, "cwd holds a NUL"),
        ({"env": {"A=B": "c"}}, "a variable's name is letters"),
        ({"env": {"": "c"}}, "a variable's name is letters"),
        ({"env": {"1A": "c"}}, "a variable's name is letters"),
        ({"env": {"MESHFLEET_AGENT_ID": "me"}}, "by which meshfleet tells an agent who it is"),
        ({"env": {"AGENT_MESH_DATA_FILE": "x"}}, "by which meshfleet tells an agent who it is"),
        ({"env": {"A": "b\0"}}, r"env\.A holds a NUL"),
    ],
)
def test_an_agent_that_cannot_be_is_refused_and_nothing_is_written(
    ledger_file: Path, change: dict[str, object], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A")
    before = bytes_of(ledger_file.parent)
    spec = replace(SPEC, **change)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match=rf"agents\[0\]\..*{told}"):
        create_fleet(ledger, [spec], cwd="/project")
    with pytest.raises(Invalid, match=told):
        attach_agent(ledger, fleet_id, spec, cwd="/project")
    assert bytes_of(ledger_file.parent) == before


@pytest.mark.parametrize(
    "options",
    [
        {"name": " "},
        {"name": "x" * 10_000},
        {"idempotency_key": ""},
        {"timeout_ms": 0},
        {"timeout_ms": 10**30},
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"max_cost_usd": 0.0},
        {"max_cost_usd": -1.0},
        {"max_cost_usd": float("nan")},
        {"max_cost_usd": float("inf")},
    ],
    ids=lambda options: str(options)[:40],
)
def test_a_fleet_that_cannot_be_is_refused_with_the_argument_named(
    ledger_file: Path, options: dict[str, object]
) -> None:
    ledger = open_ledger(ledger_file)
    with pytest.raises(Invalid, match=next(iter(options))):
        create_fleet(ledger, [SPEC], cwd="/project", options=FleetOptions(**options))  # type: ignore[arg-type]
    assert ledger.read(lambda view: view.count("fleets")) == 0


def test_what_was_asked_for_is_in_the_rows(ledger_file: Path, tmp_path: Path) -> None:
    ledger = open_ledger(ledger_file)
    spec = AgentSpec("A", "go", model="p/m", cwd=str(tmp_path), env={"X": "1"})
    options = FleetOptions("night run", 5_000, 2, 1.5, 900, allow_all=True)
    fleet_id, [a, b] = create_fleet(ledger, [spec, SPEC], cwd="/project", options=options)
    fleet, agent = row(ledger, "fleets", fleet_id), row(ledger, "agents", a)
    limits = (fleet["timeout_ms"], fleet["max_attempts"], fleet["max_cost_usd"], fleet["max_tokens"])
    assert (fleet["name"], *limits, fleet["allow_all"]) == ("night run", 5_000, 2, 1.5, 900, True)
    assert (agent["model"], agent["cwd"], agent["env"]) == ("p/m", str(tmp_path), {"X": "1"})
    assert row(ledger, "agents", b)["cwd"] == "/project"
    assert not row(ledger, "agents", b).keys() & {"model", "env"}


def test_a_repeated_spawn_returns_the_first_fleet_whatever_became_of_it(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    options = FleetOptions(idempotency_key="k")
    first = create_fleet(ledger, [SPEC, SPEC], cwd="/project", options=options)
    attach_agent(ledger, first[0], AgentSpec("B", "later"), cwd="/project")
    assert create_fleet(ledger, [SPEC, SPEC], cwd="/project", options=options) == first
    for agent_id, number in start_all(ledger):
        settle_attempt(ledger, agent_id, number, Outcome(ok=True))
    before = bytes_of(ledger_file.parent)
    assert create_fleet(ledger, [SPEC, SPEC], cwd="/elsewhere", options=options) == first
    assert bytes_of(ledger_file.parent) == before


@pytest.mark.parametrize(
    "others",
    [
        [SPEC],
        [SPEC, SPEC, SPEC],
        [SPEC, replace(SPEC, role="B")],
        [SPEC, replace(SPEC, prompt="else")],
        [SPEC, replace(SPEC, agent="critic")],
        [SPEC, replace(SPEC, model="p/m")],
        [SPEC, replace(SPEC, env={"A": "1"})],
        [SPEC, replace(SPEC, cwd="/")],
    ],
)
def test_a_key_that_was_used_for_something_else_is_refused(ledger_file: Path, others: list[AgentSpec]) -> None:
    ledger = open_ledger(ledger_file)
    options = FleetOptions(idempotency_key="k")
    fleet_id, _ = create_fleet(ledger, [SPEC, SPEC], cwd="/project", options=options)
    attach_agent(ledger, fleet_id, SPEC, cwd="/project", idempotency_key="one more")
    with pytest.raises(Conflict, match="'k' was used for something else"):
        create_fleet(ledger, others, cwd="/project", options=options)
    if others[-1] != SPEC:
        with pytest.raises(Conflict, match="'one more' was used for something else"):
            attach_agent(ledger, fleet_id, others[-1], cwd="/project", idempotency_key="one more")


def test_a_repeated_attach_returns_the_first_agent_even_when_the_fleet_has_ended(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A")
    other_id, _ = fleet_of(ledger, "A")
    agent_id = attach_agent(ledger, fleet_id, SPEC, cwd="/project", idempotency_key="k")
    assert attach_agent(ledger, other_id, SPEC, cwd="/project", idempotency_key="k") != agent_id
    for begun, number in start_all(ledger):
        settle_attempt(ledger, begun, number, Outcome(ok=True))
    assert attach_agent(ledger, fleet_id, SPEC, cwd="/project", idempotency_key="k") == agent_id
    with pytest.raises(Conflict, match="is complete, and only a running one"):
        attach_agent(ledger, fleet_id, SPEC, cwd="/project", idempotency_key="other")


def test_two_callers_may_use_the_same_key(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    first, [a] = create_fleet(ledger, [SPEC], cwd="/project", options=FleetOptions(idempotency_key="k"))
    mine = FleetOptions(idempotency_key="k", parent_agent_id=a)
    second, _ = create_fleet(ledger, [SPEC], cwd="/project", options=mine)
    assert second != first
    assert create_fleet(ledger, [SPEC], cwd="/project", options=mine)[0] == second


def test_agents_spawn_fleets_of_their_own_as_deep_as_is_allowed(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a,) = fleet_of(ledger, "A")
    below_id, [b] = create_fleet(ledger, [SPEC], cwd="/project", options=FleetOptions(parent_agent_id=a))
    assert (row(ledger, "fleets", below_id)["depth"], row(ledger, "fleets", below_id)["parent_agent_id"]) == (2, a)
    with pytest.raises(Conflict, match=r"your fleet is at level 2 of 2.*MESHFLEET_MAX_DEPTH"):
        create_fleet(ledger, [SPEC], cwd="/project", options=FleetOptions(parent_agent_id=b))
    deeper = FleetOptions(parent_agent_id=b, max_depth=3)
    deep_id, _ = create_fleet(ledger, [SPEC], cwd="/project", options=deeper)
    assert row(ledger, "fleets", deep_id)["depth"] == 3
    with pytest.raises(Conflict, match="level 1 of 1"):
        create_fleet(ledger, [SPEC], cwd="/project", options=FleetOptions(parent_agent_id=a, max_depth=1))
    with pytest.raises(NotFound, match="not in the ledger any more"):
        create_fleet(ledger, [SPEC], cwd="/project", options=FleetOptions(parent_agent_id="nobody"))
