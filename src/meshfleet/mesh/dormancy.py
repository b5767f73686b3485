"""Agents that are not to start yet: until a peer writes to them, or until those they come after are complete."""

from __future__ import annotations

from collections.abc import Iterator

from meshfleet.ledger import View
from meshfleet.mesh.texts import listed
from meshfleet.model import AgentStatus, Reason, Row, Start


def is_dormant(view: View, agent: Row) -> bool:
    """Tell whether a waiting agent is not to start, whatever room there is; one that has had its turn never is."""
    if agent["status"] != AgentStatus.PENDING or "attempt" in agent or agent.get("called"):
        return False
    # asked every moment of every agent that waits, so no further than to the first of those it comes after
    return agent.get("start") == Start.ON_MESSAGE or next(_not_complete(view, agent), None) is not None


def comes_after(agent: Row) -> Iterator[str]:
    """The ids of those an agent comes after; what somebody wrote into the row by hand names nobody."""
    after = agent.get("after")
    if isinstance(after, list):
        yield from (agent_id for agent_id in after if isinstance(agent_id, str))


def _not_complete(view: View, agent: Row) -> Iterator[Row]:
    """Those an agent comes after that have not done their work, or not yet."""
    for agent_id in comes_after(agent):
        other = view.get("agents", agent_id)
        if other is not None and other["status"] != AgentStatus.COMPLETE:
            yield other


def what_it_waits_for(view: View, agent: Row) -> str:
    """What has to happen before a dormant agent starts, for a person."""
    if agent.get("start") == Start.ON_MESSAGE:
        return "a message from a peer"
    return f"{listed([other['role'] for other in _not_complete(view, agent)])} to complete"


def was_never_called(agent: Row) -> bool:
    """Tell whether an agent ended because nobody was left who could have called it; its fleet loses nothing by it."""
    return agent["status"] == AgentStatus.CANCELLED and agent.get("reason") == Reason.NEVER_CALLED


def left_behind(view: View, agent: Row) -> list[Row]:
    """The agents that were never called because they come after this one, or after one of those."""
    never_called = [other for other in view.agents_of(agent["fleet_id"]) if was_never_called(other)]
    found: list[Row] = []
    reached = {agent["id"]}
    while more := [one for one in never_called if one["id"] not in reached and reached & {*comes_after(one)}]:
        found += more
        reached |= {one["id"] for one in more}
    return found
