"""Agents that can be asked for, and what asking for them returns."""

from __future__ import annotations

from collections.abc import Sequence

from meshfleet.ledger import Ledger
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.routing import Router, register_capability, route_work
from meshfleet.mesh.specs import AgentSpec
from meshfleet.model import Row
from tests.mesh.fleets import supervisor


def agents_with(ledger: Ledger, *skills: Sequence[str]) -> list[str]:
    """A fleet of agents whose role says nothing, each with these skills; returns their ids.

    They are somebody's who lives, so that no server that runs beside starts them.
    """
    specs = [AgentSpec("somebody", "wait") for _ in skills]
    fleet_id, agent_ids = create_fleet(ledger, specs, cwd="/project", supervisor=supervisor())
    for agent_id, own in zip(agent_ids, skills, strict=True):
        register_capability(ledger, agent_id=agent_id, fleet_id=fleet_id, role="somebody", skills=own)
    return agent_ids


def matches(ledger: Ledger, description: str, top_n: int = 1000, router: Router | None = None) -> list[Row]:
    """Everything a ranking returns."""
    found: list[Row] = route_work(ledger, router or Router(), description, top_n)["matches"]
    return found


def ranked(ledger: Ledger, description: str, top_n: int = 1000, router: Router | None = None) -> list[str]:
    """The ids of the agents, best first."""
    return [match["agent_id"] for match in matches(ledger, description, top_n, router)]


def weight(ledger: Ledger, description: str, agent_id: str) -> float:
    """What one agent weighs."""
    [found] = [match["weight"] for match in matches(ledger, description) if match["agent_id"] == agent_id]
    return float(found)


def hows(ledger: Ledger, description: str, agent_id: str) -> dict[str, str]:
    """How one agent matched each word that it matched."""
    [found] = [match["matched"] for match in matches(ledger, description) if match["agent_id"] == agent_id]
    return {match["term"]: match["how"] for match in found}
