"""An agent's life as a state machine: which status follows which, attempts, and what they make of the fleet's status.

Every change goes through here and happens in one transaction. How a process is started and judged is the business of
`meshfleet.agents`; this module only knows what it came to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshfleet.errors import Conflict, NotFound
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.briefing import messages_to_show
from meshfleet.mesh.dormancy import is_dormant, was_never_called, what_it_waits_for
from meshfleet.mesh.receipts import DELIVERED, note_shown
from meshfleet.mesh.retries import tries_of
from meshfleet.mesh.texts import shown
from meshfleet.model import AgentStatus, FleetStatus, Reason, Row, attempt_key, now_ms

AT_WORK: Final = (AgentStatus.RUNNING, AgentStatus.PENDING)


_ENDED: Final = frozenset(
    {AgentStatus.COMPLETE, AgentStatus.FAILED, AgentStatus.INTERRUPTED, AgentStatus.CANCELLED},
)
TRANSITIONS: Final[dict[AgentStatus, frozenset[AgentStatus]]] = {
    AgentStatus.PENDING: (_ENDED - {AgentStatus.COMPLETE}) | {AgentStatus.RUNNING},
    AgentStatus.RUNNING: _ENDED | {AgentStatus.PENDING},
    AgentStatus.COMPLETE: frozenset({AgentStatus.PENDING}),
    AgentStatus.FAILED: frozenset({AgentStatus.PENDING}),
    AgentStatus.INTERRUPTED: frozenset({AgentStatus.PENDING}),
    AgentStatus.CANCELLED: frozenset({AgentStatus.PENDING}),
}
"""From running back to pending goes an agent whose attempt failed and is tried again (`retry_at` says when), and from
an end back to pending one that is resumed, or woken by a message."""

_OF_WAITING: Final = ("retry_at", "retry_delay_ms", "waiting_for")
"""Fields of an agent that waits to be started."""
_OF_AN_END: Final = ("completed_at", "error", "reason", "ending")


def require_agent(view: View, agent_id: str) -> Row:
    """The agent's row.

    Raises:
        NotFound: There is no such agent.
    """
    agent = view.get("agents", agent_id)
    if agent is None:
        raise NotFound(f"agent_id {shown(agent_id)} is no agent; fleet_status lists the agents of a fleet")
    return agent


def require_attempt(view: View, agent_id: str, number: int) -> Row:
    """An attempt's row.

    Raises:
        NotFound: There is no such attempt.
    """
    attempt = view.get("attempts", attempt_key(agent_id, number))
    if attempt is None:
        raise NotFound(f"agent {agent_id} has no attempt {number}")
    return attempt


def attempt_of(view: View, agent: Row) -> Row | None:
    """The row of an agent's latest attempt, if it has had one."""
    return view.get("attempts", attempt_key(agent["id"], agent["attempt"])) if "attempt" in agent else None


def begin_attempt(transaction: Transaction, agent: Row, about: Row) -> tuple[Row, int]:
    """Have a waiting agent run from now on; returns its row and the attempt's number, the first being 1.

    Args:
        transaction: Where it is written.
        agent: The agent's row.
        about: More to say of the agent from now on.
    """
    agent_id, number, now = agent["id"], int(agent.get("attempt", 0)) + 1, now_ms()
    row = moved(agent, AgentStatus.RUNNING) | about | {"attempt": number}
    row["retry_count"] = tries_of(row) - 1
    row.setdefault("started_at", now)
    transaction.put("agents", agent_id, row)
    attempt: Row = {"agent_id": agent_id, "number": number, "started_at": now}
    if shows := messages_to_show(transaction, agent):
        attempt["shows"] = shows
    transaction.put("attempts", attempt_key(agent_id, number), attempt)
    told = {"fleet_id": agent["fleet_id"], "agent_id": agent_id, "role": agent["role"]}
    transaction.event("attempt_started", **told, attempt=number)
    return row, number


def record_process(
    ledger: Ledger,
    agent_id: str,
    number: int,
    pid: int,
    start_time: float,
    boot_id: str,
) -> None:
    """Note which process carries out an attempt, and that its prompt puts messages before the agent."""

    def rule(transaction: Transaction) -> None:
        attempt = require_attempt(transaction, agent_id, number)
        process = {"pid": pid, "start_time": start_time, "boot_id": boot_id}
        row = note_delivered(transaction, attempt) | process
        transaction.put("attempts", attempt_key(agent_id, number), row)
        agent = require_agent(transaction, agent_id)
        if agent["status"] == AgentStatus.RUNNING and agent.get("attempt") == number:
            transaction.put("agents", agent_id, {**agent, "pid": pid})
        transaction.event(
            "agent_spawned",
            fleet_id=agent["fleet_id"],
            agent_id=agent_id,
            attempt=number,
            role=agent["role"],
            pid=pid,
        )

    ledger.transact(rule)


def note_delivered(transaction: Transaction, attempt: Row) -> Row:
    """Note that the messages of an attempt's prompt were put before its agent; returns its row without them."""
    note_shown(transaction, attempt["agent_id"], attempt.get("shows", ()), DELIVERED)
    return {key: value for key, value in attempt.items() if key != "shows"}


def note_stop(ledger: Ledger, agent_id: str, number: int, reason: Reason, error: str) -> None:
    """Note why an attempt is about to be stopped, before anything is done to it: whoever finds it dead knows then."""
    ledger.transact(
        lambda transaction: mark_stopping(
            transaction, require_attempt(transaction, agent_id, number), reason=reason, error=error
        )
    )


def mark_stopping(transaction: Transaction, attempt: Row, *, reason: Reason, error: str) -> None:
    """Have an attempt be stopped by whoever supervises it; the first reason stands, unless somebody cancels it."""
    if "ended_at" in attempt or ("stopping" in attempt and reason is not Reason.CANCELLED):
        return
    key = attempt_key(attempt["agent_id"], attempt["number"])
    if attempt.get("stopping") != reason:
        transaction.put("attempts", key, {**attempt, "stopping": str(reason), "error": error})


def end_agent(transaction: Transaction, agent: Row, status: AgentStatus, facts: Row, now: int) -> None:
    """Have an agent come to an end, and its fleet, when it was the last one; and say so."""
    _put_end(transaction, agent, status, facts, now)
    fleet = transaction.get("fleets", agent["fleet_id"])
    if fleet is not None and not fleet.keys() & {"cancelled_at", "over_budget"}:
        _end_those_never_called(transaction, fleet["id"], now)
    settle_fleet(transaction, agent["fleet_id"], now)


def _put_end(transaction: Transaction, agent: Row, status: AgentStatus, facts: Row, now: int) -> None:
    fleet = transaction.get("fleets", agent["fleet_id"])
    ending = 1 if fleet is None else int(fleet.get("endings", 0)) + 1
    row = moved(agent, status) | {"completed_at": now, "ending": ending} | facts
    row.pop("pid", None)
    transaction.put("agents", agent["id"], row)
    if fleet is not None:
        transaction.put("fleets", fleet["id"], {**fleet, "endings": ending})
    about = {"fleet_id": agent["fleet_id"], "agent_id": agent["id"], "role": agent["role"]}
    if "attempt" in agent:
        about["attempt"] = agent["attempt"]
    why = {key: facts[key] for key in ("reason", "error") if key in facts}
    transaction.event(_ENDS[status], **about, **why)


def _end_those_never_called(transaction: Transaction, fleet_id: str, now: int) -> None:
    """End what is dormant where nobody is left who could start it."""
    left = [agent for agent in transaction.agents_of(fleet_id) if agent["status"] in AT_WORK]
    if not all(is_dormant(transaction, agent) for agent in left):
        return
    why = [f"it waited for {what_it_waits_for(transaction, agent)}, and all others have ended" for agent in left]
    for agent, error in zip(left, why, strict=True):
        facts = {"reason": str(Reason.NEVER_CALLED), "error": error}
        _put_end(transaction, agent, AgentStatus.CANCELLED, facts, now)


_ENDS: Final = {
    AgentStatus.COMPLETE: "agent_completed",
    AgentStatus.FAILED: "agent_failed_permanent",
    AgentStatus.INTERRUPTED: "agent_interrupted_recovered",
    AgentStatus.CANCELLED: "agent_cancelled",
}
"""What the event log calls it when an agent ends."""


def settle_fleet(transaction: Transaction, fleet_id: str, now: int) -> None:
    """Give the fleet the status its agents make it have."""
    fleet = transaction.get("fleets", fleet_id)
    if fleet is None:
        return
    status = status_of_fleet(transaction.agents_of(fleet_id))
    if status == fleet["status"]:
        return
    row = {**fleet, "status": str(status)}
    if status in {FleetStatus.COMPLETE, FleetStatus.FAILED}:
        row["completed_at"] = now
        transaction.event("fleet_ended", fleet_id=fleet_id, status=str(status))
    else:
        row.pop("completed_at", None)
    transaction.put("fleets", fleet_id, row)


def status_of_fleet(agents: Iterable[Row]) -> FleetStatus:
    """Complete when every agent is, or was never called; failed when all have ended otherwise; else running."""
    status = FleetStatus.COMPLETE
    for agent in agents:
        # a status that a newer version brought is none that has ended
        if agent["status"] not in _ENDED:
            return FleetStatus.RUNNING
        if agent["status"] != AgentStatus.COMPLETE and not was_never_called(agent):
            status = FleetStatus.FAILED
    return status


def moved(agent: Row, status: AgentStatus) -> Row:
    """The agent's row with another status, and without what only belonged to the one before.

    Raises:
        Conflict: The one does not follow the other.
    """
    before = AgentStatus(agent["status"])
    if status not in TRANSITIONS[before]:
        raise Conflict(f"agent {agent['id']} is {before} and can't become {status}")
    gone = {*_OF_WAITING, *_OF_AN_END}
    return {**{key: value for key, value in agent.items() if key not in gone}, "status": str(status)}
