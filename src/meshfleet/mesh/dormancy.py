"""Agents that are not to start yet: until a peer writes to them, or until those they come after are complete."""

from __future__ import annotations

from meshfleet.ledger import View
from meshfleet.model import AgentStatus, Reason, Row, Start


def is_dormant(view: View, agent: Row) -> bool:
    """Tell whether a waiting agent is not to start, whatever room there is; one that has had its turn never is."""
    if agent["status"] != AgentStatus.PENDING or "attempt" in agent or agent.get("called"):
        return False
    return agent.get("start") == Start.ON_MESSAGE or bool(agent.get("after") and not_complete(view, agent))


def not_complete(view: View, agent: Row) -> list[Row]:
    """Those an agent comes after that have not done their work, or not yet."""
    before = (view.get("agents", agent_id) for agent_id in agent.get("after", ()))
    return [other for other in before if other is not None and other["status"] != AgentStatus.COMPLETE]


def what_it_waits_for(view: View, agent: Row) -> str:
    """What has to happen before a dormant agent starts, for a person."""
    if agent.get("start") == Start.ON_MESSAGE:
        return "a message from a peer"
    return f"{', '.join(other['role'] for other in not_complete(view, agent))} to complete"


def was_never_called(agent: Row) -> bool:
    """Tell whether an agent ended because nobody was left who could have called it; its fleet loses nothing by it."""
    return agent["status"] == AgentStatus.CANCELLED and agent.get("reason") == Reason.NEVER_CALLED
