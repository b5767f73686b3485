"""Who acts: the orchestrator, who may name anyone, or an agent, who can only be itself."""

from __future__ import annotations

from dataclasses import dataclass

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.lifecycle import require_agent
from meshfleet.mesh.texts import shown
from meshfleet.model import Row


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf this process acts.

    Attributes:
        agent_id: The agent, or None for the orchestrator.
    """

    agent_id: str | None = None

    def acting_as(self, argument: str, claimed: str) -> str:
        """Return the name the caller acts under.

        Raises:
            Invalid: An agent named somebody else.
        """
        if self.agent_id is not None and claimed != self.agent_id:
            raise Invalid(
                f"{argument} is {shown(claimed)}, but you are agent {self.agent_id!r} and act as yourself only"
            )
        return claimed


@dataclass(frozen=True, slots=True)
class Identity:
    """An agent as it stands among its peers.

    Attributes:
        agent: Its row.
        peers: The rows of the other agents of its fleet, in the order they were spawned.
    """

    agent: Row
    peers: list[Row]


def identify_agent(ledger: Ledger, agent_id: str) -> Identity:
    """Who an agent is, and who its peers are.

    Raises:
        NotFound: There is no such agent.
    """

    def query(view: View) -> Identity:
        agent = require_agent(view, agent_id)
        others = [other for other in view.agents_of(agent["fleet_id"]) if other["id"] != agent_id]
        return Identity(agent, others)

    return ledger.read(query)
