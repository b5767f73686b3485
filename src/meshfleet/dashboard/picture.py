"""What a look at the mesh found: all that the dashboard's screens show, free of the ledger and of Textual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from sys import maxsize
from typing import Final

from meshfleet.agents.process import ProcessIdentity
from meshfleet.mesh.overview import AgentDetail, AgentSummary, FleetSummary, Problem, Trail

EVERY_MESSAGE: Final = maxsize


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at beside the fleets, the agents and the problems.

    Attributes:
        messages: How many of the last messages are.
        agent_id: The agent of which everything is told.
        message_id: The message whose trail is.
    """

    messages: int = 0
    agent_id: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A running attempt: its number, and its process where that is known."""

    attempt: int
    leader: ProcessIdentity | None


@dataclass(frozen=True, slots=True)
class Picture:
    """The mesh at one moment.

    Attributes:
        at: When it was looked at, ms since the epoch.
        seq: How many transactions the ledger had had.
        fleets: Every fleet, oldest first.
        agents: Every agent, those of the newest fleet first.
        problems: What is wrong.
        messages: The last messages, as many as were wanted, oldest first; None where nobody wanted any.
        message_count: How many there are in all.
        agent: The agent that was wanted; None where it is none.
        trail: The message that was wanted; None where it is none.
        names: What fleets are called, by their ids.
        runs: The attempts that run, by their agents' ids.
        is_there: Whether there is a ledger at all.
        trouble: Why this is older than it should be, for a person.
        replaced_at: When the ledger was seen to be another than before.
        why_read_only: Why nothing may be written to the ledger, for a person.
    """

    at: int
    seq: int = 0
    fleets: Sequence[FleetSummary] = ()
    agents: Sequence[AgentSummary] = ()
    problems: Sequence[Problem] = ()
    messages: Sequence[Trail] | None = None
    message_count: int = 0
    agent: AgentDetail | None = None
    trail: Trail | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    is_there: bool = True
    trouble: str | None = None
    replaced_at: int | None = None
    why_read_only: str | None = None

    def fleet(self, fleet_id: str | None) -> FleetSummary | None:
        """A fleet."""
        return next((fleet for fleet in self.fleets if fleet.id == fleet_id), None)

    def agent_line(self, agent_id: str | None) -> AgentSummary | None:
        """An agent in a line."""
        return next((agent for agent in self.agents if agent.id == agent_id), None)

    def agents_of(self, fleet_id: str) -> list[AgentSummary]:
        """The agents of a fleet, in the order they were spawned."""
        return [agent for agent in self.agents if agent.fleet_id == fleet_id]
