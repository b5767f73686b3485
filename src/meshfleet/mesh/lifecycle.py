"""An agent's life as a state machine: which status follows which, attempts, and what they make of the fleet's status.

Every change goes through here and happens in one transaction. How a process is started and judged is the business of
`meshfleet.agents`; this module only knows what it came to.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final, cast

from meshfleet.errors import Conflict, NotFound
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.texts import shown
from meshfleet.model import (
    AgentStatus,
    FleetStatus,
    Reason,
    Row,
    SupervisorRow,
    TokensRow,
    attempt_key,
    now_ms,
)

LONGEST_OUTPUT: Final = 256 * 1024
"""Bytes of an agent's words kept in the ledger; its run folder has all of them."""

LONGEST_TIMEOUT_MS: Final = 2**53 - 1
"""The largest whole number that every reader of the ledger reads as it was written, those in JavaScript too."""

TRANSITIONS: Final[dict[AgentStatus, frozenset[AgentStatus]]] = {
    AgentStatus.PENDING: frozenset({AgentStatus.RUNNING, AgentStatus.FAILED, AgentStatus.CANCELLED}),
    AgentStatus.RUNNING: frozenset(
        {
            AgentStatus.PENDING,
            AgentStatus.COMPLETE,
            AgentStatus.FAILED,
            AgentStatus.INTERRUPTED,
            AgentStatus.CANCELLED,
        }
    ),
    AgentStatus.COMPLETE: frozenset(),
    AgentStatus.FAILED: frozenset(),
    AgentStatus.INTERRUPTED: frozenset(),
    AgentStatus.CANCELLED: frozenset(),
}
"""From running back to pending goes an agent whose attempt failed and is tried again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt.

    Attributes:
        ok: Whether the agent did its work.
        output: The agent's words, all of them.
        reason: Why it failed.
        error: The same for a person: what went wrong and what to do.
        exit_code: Of OpenCode, where it is known.
        session_id: Of the OpenCode session, to continue it.
        tokens: What the run used.
        cost: What the run cost, in US dollars.
    """

    ok: bool
    output: str = ""
    reason: Reason | None = None
    error: str | None = None
    exit_code: int | None = None
    session_id: str | None = None
    tokens: TokensRow | None = None
    cost: float | None = None


def require_agent(view: View, agent_id: str) -> Row:
    """The agent's row.

    Raises:
        NotFound: There is no such agent.
    """
    agent = view.get("agents", agent_id)
    if agent is None:
        raise NotFound(f"agent_id {shown(agent_id)} is no agent; fleet_status lists the agents of a fleet")
    return agent


def next_to_start(view: View, supervisor: SupervisorRow) -> Row | None:
    """The first agent that waits to be started by this supervisor, or by anyone."""
    for agent in view.rows("agents"):
        # what v0.9.0 left pending has no folder to run in, and nobody who remembers why
        mine = agent.get("supervisor", supervisor) == supervisor and "cwd" in agent
        if mine and agent["status"] == AgentStatus.PENDING:
            return agent
    return None


def begin_next_attempt(ledger: Ledger, supervisor: SupervisorRow) -> tuple[Row, int] | None:
    """Make a supervisor responsible for the next attempt of an agent that waits for one, from now on.

    Returns:
        The agent's row and the attempt's number, the first being 1; None when no agent waits.
    """

    def rule(transaction: Transaction) -> tuple[Row, int] | None:
        agent = next_to_start(transaction, supervisor)
        if agent is None:
            return None
        agent_id, number, now = agent["id"], int(agent.get("attempt", 0)) + 1, now_ms()
        row = _moved(agent, AgentStatus.RUNNING)
        row |= {"supervisor": dict(supervisor), "attempt": number, "retry_count": number - 1}
        row.setdefault("started_at", now)
        transaction.put("agents", agent_id, row)
        attempt = {"agent_id": agent_id, "number": number, "started_at": now}
        transaction.put("attempts", attempt_key(agent_id, number), attempt)
        about = {"fleet_id": agent["fleet_id"], "agent_id": agent_id, "role": agent["role"]}
        transaction.event("attempt_started", **about, attempt=number)
        return row, number

    if ledger.read(lambda view: next_to_start(view, supervisor)) is None:
        return None
    return ledger.transact(rule)


def begun_without_process(
    ledger: Ledger, supervisor: SupervisorRow, looked_after: Container[str]
) -> tuple[Row, int] | None:
    """The first attempt that a supervisor began and has not started, nor looks after: its row, and its number."""

    def query(view: View) -> tuple[Row, int] | None:
        for agent in view.rows("agents"):
            if agent["status"] != AgentStatus.RUNNING or agent.get("supervisor") != supervisor:
                continue
            key = attempt_key(agent["id"], agent["attempt"])
            attempt = view.get("attempts", key)
            if key not in looked_after and attempt is not None and not attempt.keys() & {"pid", "ended_at"}:
                return agent, agent["attempt"]
        return None

    return ledger.read(query)


def record_process(ledger: Ledger, agent_id: str, number: int, pid: int, start_time: float, boot_id: str) -> None:
    """Note which process carries out an attempt."""

    def rule(transaction: Transaction) -> None:
        attempt = _require_attempt(transaction, agent_id, number)
        process = {"pid": pid, "start_time": start_time, "boot_id": boot_id}
        transaction.put("attempts", attempt_key(agent_id, number), {**attempt, **process})
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


def time_limit_ms(ledger: Ledger, fleet_id: str, otherwise: int | None) -> int | None:
    """How long an attempt of a fleet's agents may run, in ms: the fleet's limit, else that of all; None is no limit."""
    fleet = ledger.read(lambda view: view.get("fleets", fleet_id))
    limit = None if fleet is None else fleet.get("timeout_ms")
    # v0.9.0 stored whatever it was given
    return limit if type(limit) is int and 1 <= limit <= LONGEST_TIMEOUT_MS else otherwise


def note_stop(ledger: Ledger, agent_id: str, number: int, reason: Reason) -> None:
    """Note why an attempt is about to be stopped, before anything is done to it: whoever finds it dead knows then."""

    def rule(transaction: Transaction) -> None:
        attempt = _require_attempt(transaction, agent_id, number)
        if "ended_at" not in attempt:
            transaction.put("attempts", attempt_key(agent_id, number), {**attempt, "stopping": str(reason)})

    ledger.transact(rule)


def settle_attempt(ledger: Ledger, agent_id: str, number: int, outcome: Outcome) -> bool:
    """Decide an attempt, its agent and, when that was the last one, its fleet; False when it was decided before.

    Whoever comes second (a timer that meets an exit, an adopter that meets the old supervisor) finds it settled and
    changes nothing.
    """

    def rule(transaction: Transaction) -> bool:
        attempt = _require_attempt(transaction, agent_id, number)
        if "ended_at" in attempt:
            return False
        now = now_ms()
        transaction.put("attempts", attempt_key(agent_id, number), _settled_attempt(attempt, outcome, now))
        agent = require_agent(transaction, agent_id)
        decides = agent["status"] == AgentStatus.RUNNING and agent.get("attempt") == number
        _tell(transaction, agent, number, outcome, decides=decides)
        if decides:
            transaction.put("agents", agent_id, _settled_agent(agent, outcome, now))
            settle_fleet(transaction, agent["fleet_id"], now)
        return True

    return ledger.transact(rule)


def settle_fleet(transaction: Transaction, fleet_id: str, now: int) -> None:
    """Give the fleet the status its agents make it have."""
    fleet = transaction.get("fleets", fleet_id)
    if fleet is None:
        return
    known = set(AgentStatus)
    statuses = [agent["status"] for agent in transaction.agents_of(fleet_id)]
    # a status that a newer version brought is none that has ended
    status = status_of_fleet(AgentStatus(status if status in known else AgentStatus.RUNNING) for status in statuses)
    if status == fleet["status"]:
        return
    row = {**fleet, "status": str(status)}
    if status in {FleetStatus.COMPLETE, FleetStatus.FAILED}:
        row["completed_at"] = now
        transaction.event("fleet_ended", fleet_id=fleet_id, status=str(status))
    else:
        row.pop("completed_at", None)
    transaction.put("fleets", fleet_id, row)


def status_of_fleet(statuses: Iterable[AgentStatus]) -> FleetStatus:
    """Complete when every agent is; failed when all have ended and one did not complete; else running."""
    agents = list(statuses)
    if not all(status.has_ended for status in agents):
        return FleetStatus.RUNNING
    return FleetStatus.COMPLETE if all(status is AgentStatus.COMPLETE for status in agents) else FleetStatus.FAILED


def last_words(output: str) -> str:
    """The end of an agent's words, as much as the ledger keeps, marked when something was cut off."""
    data = output.encode(errors="replace")
    if len(data) <= LONGEST_OUTPUT:
        return data.decode()
    kept = data[-LONGEST_OUTPUT:].decode(errors="ignore")
    return f"[the first {len(data) - len(kept.encode())} bytes are in the run folder]\n{kept}"


def _moved(agent: Row, status: AgentStatus) -> Row:
    before = AgentStatus(agent["status"])
    if status not in TRANSITIONS[before]:
        raise Conflict(f"agent {agent['id']} is {before} and can't become {status}")
    return {**agent, "status": str(status)}


def _require_attempt(transaction: Transaction, agent_id: str, number: int) -> Row:
    attempt = transaction.get("attempts", attempt_key(agent_id, number))
    if attempt is None:
        raise NotFound(f"agent {agent_id} has no attempt {number}")
    return attempt


def _usage(outcome: Outcome) -> Row:
    known = {"session_id": outcome.session_id, "tokens": outcome.tokens, "cost": outcome.cost}
    return {key: value for key, value in known.items() if value is not None}


def _failure(outcome: Outcome) -> Row:
    known = {"reason": outcome.reason and str(outcome.reason), "error": outcome.error}
    return {} if outcome.ok else {key: value for key, value in known.items() if value is not None}


def _settled_attempt(attempt: Row, outcome: Outcome, now: int) -> Row:
    exit_code = {} if outcome.exit_code is None else {"exit": outcome.exit_code}
    return {**attempt, "ended_at": now, "ok": outcome.ok, **exit_code, **_failure(outcome), **_usage(outcome)}


def _settled_agent(agent: Row, outcome: Outcome, now: int) -> Row:
    row = _moved(agent, AgentStatus.COMPLETE if outcome.ok else AgentStatus.FAILED)
    row.pop("pid", None)
    row |= {"completed_at": now, "output": last_words(outcome.output), **_failure(outcome), **_usage(outcome)}
    return row


def _tell(transaction: Transaction, agent: Row, number: int, outcome: Outcome, *, decides: bool) -> None:
    about = {"fleet_id": agent["fleet_id"], "agent_id": agent["id"], "attempt": number, "role": agent["role"]}
    why = cast("dict[str, str]", _failure(outcome))
    transaction.event("attempt_ended", **about, ok=outcome.ok, **why)
    if decides and outcome.ok:
        transaction.event("agent_completed", **about)
    elif decides:
        transaction.event("agent_failed_permanent", **about, **why)
