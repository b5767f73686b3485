"""Who acts: an agent only as itself, the orchestrator under any name; and who an agent's peers are."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.errors import Invalid, NotFound
from meshfleet.mesh.identity import Caller, identify_agent
from tests.mesh.fleets import fleet_of, open_ledger


def test_an_agent_acts_as_itself() -> None:
    assert Caller("a-1").acting_as("agent_id", "a-1") == "a-1"


@pytest.mark.parametrize("claimed", ["a-2", "orchestrator", "*", "", " a-1", "A-1", "a-1\n"])
def test_an_agent_that_names_somebody_else_is_refused_by_the_argument_s_name(claimed: str) -> None:
    with pytest.raises(Invalid) as refusal:
        Caller("a-1").acting_as("from_agent_id", claimed)
    assert str(refusal.value) == (
        f"from_agent_id is {claimed!r}, but you are agent 'a-1' and act as yourself only; leave it out"
    )


@pytest.mark.parametrize("claimed", ["a-2", "orchestrator", "a person"])
def test_the_orchestrator_goes_by_any_name(claimed: str) -> None:
    assert Caller().acting_as("from_agent_id", claimed) == claimed


def test_peers_are_the_other_agents_of_the_fleet_in_the_order_spawned(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_of(ledger, "elsewhere")
    _, (a, b, c) = fleet_of(ledger, "A", "B", "C")
    identity = identify_agent(ledger, b)
    assert (identity.agent["id"], identity.agent["role"]) == (b, "B")
    assert [peer["id"] for peer in identity.peers] == [a, c]


def test_an_agent_nobody_spawned_is_not_found(ledger_file: Path) -> None:
    with pytest.raises(NotFound, match="agent_id 'ghost' is no agent"):
        identify_agent(open_ledger(ledger_file), "ghost")
