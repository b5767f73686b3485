"""Who acts: the orchestrator, who may name anyone, or an agent, who can only be itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.inboxes import unreached_of
from meshfleet.mesh.lifecycle import require_agent
from meshfleet.mesh.texts import listed, shown
from meshfleet.model import Row

MOST_PEERS: Final = 50
"""More peers than this are counted, not listed: whatever a model is told is paid for in every turn."""
MOST_LOST: Final = 50
"""More of its own messages that reach nobody than this are counted, too; the latest are listed."""


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf this process acts.

    Attributes:
        agent_id: The agent, or None for the orchestrator.
        role: What its peers call it.
        fleet_id: The fleet it is of.
    """

    agent_id: str | None = None
    role: str | None = None
    fleet_id: str | None = None

    def acting_as(self, argument: str, claimed: str | None) -> str:
        """Return the name the caller acts under: an agent's own id, whether it says so or not.

        Raises:
            Invalid: An agent named somebody else, or an orchestrator nobody.
        """
        if self.agent_id is None:
            return _given(argument, claimed)
        if claimed not in {None, self.agent_id, self.role}:
            raise Invalid(
                f"{argument} is {shown(claimed)}, but you are agent {self.agent_id!r} and act as yourself only; "
                "leave it out"
            )
        return self.agent_id

    def in_fleet(self, named: str | None) -> str:
        """Return the fleet that is meant: an agent's own, where it names none.

        Raises:
            Invalid: An orchestrator named none.
        """
        return _given("fleet_id", named or self.fleet_id)


def _given(argument: str, value: str | None) -> str:
    if value is None:
        raise Invalid(f"{argument} is missing; it has to be given")
    return value


def agent_called(view: View, fleet_id: str, argument: str, named: str) -> str:
    """The id of the agent that a name means within a fleet: an id, or a role that one of its agents alone has.

    What is neither is returned as it is.

    Raises:
        Invalid: Several agents of the fleet have that role.
    """
    if view.get("agents", named) is not None:
        return named
    of_role = [agent["id"] for agent in view.agents_of(fleet_id) if agent["role"] == named]
    if len(of_role) > 1:
        raise Invalid(f"{argument} {shown(named)} is the role of {len(of_role)} agents, {listed(of_role)}; name one")
    return of_role[0] if of_role else named


@dataclass(frozen=True, slots=True)
class Identity:
    """An agent as it stands among its peers.

    Attributes:
        agent: Its row.
        peers: The rows of the other agents of its fleet, in the order they were spawned.
    """

    agent: Row
    peers: list[Row]

    @property
    def caller(self) -> Caller:
        """The agent as the one on whose behalf a process acts."""
        return Caller(self.agent["id"], self.agent["role"], self.agent["fleet_id"])


def identify_agent(ledger: Ledger, agent_id: str) -> Identity:
    """Who an agent is, and who its peers are.

    Raises:
        NotFound: There is no such agent.
    """
    return ledger.read(lambda view: _identity(view, agent_id))


def _identity(view: View, agent_id: str) -> Identity:
    agent = require_agent(view, agent_id)
    return Identity(agent, [other for other in view.agents_of(agent["fleet_id"]) if other["id"] != agent_id])


def whoami(ledger: Ledger, agent_id: str) -> dict[str, Any]:
    """Who an agent is, who its peers are and what they can do, and what of its messages waits or reaches nobody.

    Raises:
        NotFound: There is no such agent.
    """

    def query(view: View) -> dict[str, Any]:
        me = _identity(view, agent_id)
        lost = unreached_of(view, me.agent)
        return {
            "agent_id": agent_id,
            "role": me.agent["role"],
            "fleet_id": me.agent["fleet_id"],
            "peers": [_peer(view, peer) for peer in me.peers[:MOST_PEERS]],
            **({"more_peers": len(me.peers) - MOST_PEERS} if len(me.peers) > MOST_PEERS else {}),
            "unread": len(view.inbox(agent_id)),
            **({"undeliverable": lost[-MOST_LOST:]} if lost else {}),
            **({"more_undeliverable": len(lost) - MOST_LOST} if len(lost) > MOST_LOST else {}),
        }

    return ledger.read(query)


def _peer(view: View, agent: Row) -> Row:
    registered = view.get("capabilities", agent["id"])
    skills = [] if registered is None else registered["skills"]
    return {"agent_id": agent["id"], "role": agent["role"], "status": agent["status"], "skills": skills}
