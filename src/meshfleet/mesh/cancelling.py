"""Ending agents before they have done their work: because somebody says so, or since their fleet used too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshfleet.errors import Conflict, Invalid
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.budgets import fleets_by_parent
from meshfleet.mesh.fleets import is_being_ended, require_fleet
from meshfleet.mesh.lifecycle import AT_WORK, attempt_of, end_agent, mark_stopping, require_agent
from meshfleet.mesh.texts import shown
from meshfleet.model import AgentStatus, Reason, Row, now_ms


@dataclass(slots=True)
class Cancelled:
    """What a cancel did.

    Attributes:
        ended: Agents that were waiting, and have ended with it.
        stopping: Agents that run, and are being stopped.
        before: Agents that had ended before.
    """

    ended: list[str] = field(default_factory=list)
    stopping: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)

    def as_result(self) -> dict[str, Any]:
        """The same as callers get it."""
        return {"cancelled": self.ended, "stopping": self.stopping, "ended_before": self.before}


def cancel(ledger: Ledger, *, fleet_id: str | None = None, agent_id: str | None = None) -> Cancelled:
    """Cancel a fleet or one agent, and whatever fleets they spawned; a repeat changes nothing.

    Those that run are stopped by whoever supervises them.

    Raises:
        Invalid: Neither or both are named.
        NotFound: There is no such fleet, or agent.
    """
    if (fleet_id is None) == (agent_id is None):
        raise Invalid("name either fleet_id or agent_id: the fleet, or the one agent, that is to be cancelled")

    def rule(transaction: Transaction) -> Cancelled:
        cancelling = _Cancelling(transaction, fleets_by_parent(transaction))
        if agent_id is not None:
            cancelling.end_agent(require_agent(transaction, agent_id), "it was cancelled")
        elif fleet_id is not None:
            cancelling.end_fleet(require_fleet(transaction, fleet_id), "its fleet was cancelled")
        return cancelling.done

    return ledger.transact(rule)


def require_own_fleet(view: View, caller_id: str, fleet_id: str) -> None:
    """Let an agent that goes on add to the fleet it is of, and to those that `require_offspring` lets it name.

    Raises:
        Conflict: It has ended, or is being stopped.
        Invalid: It is somebody else's.
        NotFound: There is no such fleet, or agent.
    """
    caller = require_agent(view, caller_id)
    if is_being_ended(view, caller):
        raise Conflict("you have been cancelled or have ended, so you start nothing more")
    if caller["fleet_id"] != fleet_id:
        require_offspring(view, caller_id, fleet_id=fleet_id, agent_id=None)


def require_offspring(view: View, caller_id: str, *, fleet_id: str | None, agent_id: str | None) -> None:
    """Let an agent name only fleets that it spawned, or that what it spawned did, and their agents.

    Raises:
        Invalid: It is somebody else's.
        NotFound: There is no such fleet, or agent.
    """
    if agent_id is not None:
        fleet_id = require_agent(view, agent_id)["fleet_id"]
    if fleet_id is None or caller_id not in _ancestors(view, require_fleet(view, fleet_id)):
        named = f"fleet_id {shown(fleet_id)}" if agent_id is None else f"agent_id {shown(agent_id)}"
        raise Invalid(f"{named} is not of a fleet you spawned, and only those are yours to command")


def stop_over_budget(ledger: Ledger, fleet_id: str, what: str) -> None:
    """Stop what runs of a fleet that has used more than it may, and of those its agents spawned; nothing more starts.

    Args:
        ledger: Where it is written.
        fleet_id: The fleet.
        what: What it has used and what it may, for a person.
    """

    def rule(transaction: Transaction) -> None:
        below = fleets_by_parent(transaction)
        left = [require_fleet(transaction, fleet_id)]
        while left:
            fleet = left.pop()
            if "over_budget" in fleet:
                continue
            transaction.put("fleets", fleet["id"], {**fleet, "over_budget": what})
            transaction.event("fleet_over_budget", fleet_id=fleet["id"], what=what)
            for agent in transaction.agents_of(fleet["id"]):
                _stop(transaction, agent, Reason.BUDGET, f"its fleet is over its budget: {what}")
                left += below.get(agent["id"], ())

    ledger.transact(rule)


class _Cancelling:
    """One cancel: what it has done so far, and the fleets that agents have spawned."""

    def __init__(self, transaction: Transaction, spawned: Mapping[str, Sequence[Row]]) -> None:
        self.done = Cancelled()
        self._transaction = transaction
        self._spawned = spawned

    def end_fleet(self, fleet: Row, why: str) -> None:
        """Cancel every agent of a fleet."""
        if "completed_at" not in fleet and "cancelled_at" not in fleet:
            self._transaction.put("fleets", fleet["id"], {**fleet, "cancelled_at": now_ms()})
            self._transaction.event("fleet_cancelled", fleet_id=fleet["id"])
        for agent in self._transaction.agents_of(fleet["id"]):
            self.end_agent(agent, why)

    def end_agent(self, agent: Row, why: str) -> None:
        """Cancel an agent, and the fleets it spawned."""
        for fleet in self._spawned.get(agent["id"], ()):
            self.end_fleet(fleet, "the agent that spawned its fleet was cancelled")
        match agent["status"]:
            case AgentStatus.PENDING:
                self.done.ended.append(agent["id"])
            case AgentStatus.RUNNING:
                self.done.stopping.append(agent["id"])
            case _:
                self.done.before.append(agent["id"])
        _stop(self._transaction, agent, Reason.CANCELLED, why)


def _stop(transaction: Transaction, agent: Row, reason: Reason, error: str) -> None:
    if agent["status"] not in AT_WORK:
        return
    attempt = attempt_of(transaction, agent) if agent["status"] == AgentStatus.RUNNING else None
    if attempt is not None:
        mark_stopping(transaction, attempt, reason=reason, error=error)
        return
    # one that waits, or that v0.9.0 left running: nobody stops what may be left of that
    status = AgentStatus.CANCELLED if reason is Reason.CANCELLED else AgentStatus.FAILED
    end_agent(transaction, agent, status, {"reason": str(reason), "error": error}, now_ms())


def _ancestors(view: View, fleet: Row) -> set[str]:
    """The agents above a fleet: the one that spawned it, the one that spawned the fleet of that one, and so on."""
    found: set[str] = set()
    above: Row | None = fleet
    while above is not None and (parent := above.get("parent_agent_id")) is not None and parent not in found:
        found.add(parent)
        agent = view.get("agents", parent)
        above = None if agent is None else view.get("fleets", agent["fleet_id"])
    return found
