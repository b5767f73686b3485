"""Who supervises which agent, what is to be started next, and what supervisors note of those that run."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from typing import Final

from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.budgets import excess_of
from meshfleet.mesh.dormancy import is_dormant
from meshfleet.mesh.lifecycle import AT_WORK, attempt_of, begin_attempt, end_agent
from meshfleet.mesh.retries import is_due
from meshfleet.model import AgentStatus, Row, SupervisorRow, TokensRow, attempt_key, now_ms

LONGEST_TIMEOUT_MS: Final = 2**53 - 1
"""The largest whole number that every reader of the ledger reads as it was written, those in JavaScript too."""


ITS_TURN: Final = "its turn: agents are started one after the other"
"""What an agent that is left to anyone waits for where somebody will start it; any other reason says more."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running attempt has come to so far.

    Attributes:
        agent_id: Whose attempt it is.
        number: The attempt's number.
        session_id: Of the OpenCode session, once there is one.
        tokens: What it has used.
        cost: What that cost, in US dollars.
        silent_since: Since when it neither says nor does anything, ms since the epoch; None where it does.
    """

    agent_id: str
    number: int
    session_id: str | None
    tokens: TokensRow
    cost: float
    silent_since: int | None


def next_to_start(view: View, supervisor: SupervisorRow, now: int, *, of_anyone: bool = True) -> Row | None:
    """The first agent that waits to be started by this supervisor, or by anyone, and whose time has come.

    Args:
        view: Where it is looked for.
        supervisor: Who asks.
        now: The time, in ms since the epoch.
        of_anyone: Whether one that is left to anyone counts.
    """
    too_dear: set[str] = set()
    for agent in view.agents_that_are(AgentStatus.PENDING):
        # what v0.9.0 left pending has no folder to run in, and nobody who remembers why
        mine = agent.get("supervisor", supervisor if of_anyone else None) == supervisor and "cwd" in agent
        if not mine or agent["fleet_id"] in too_dear or not is_due(agent, now) or is_dormant(view, agent):
            continue
        if excess_of(view, agent["fleet_id"]) is None:
            return agent
        too_dear.add(agent["fleet_id"])
    return None


def running_agents(view: View) -> int:
    """How many agents run, whoever supervises them."""
    return len(view.agents_that_are(AgentStatus.RUNNING))


def begin_next_attempt(
    ledger: Ledger,
    supervisor: SupervisorRow,
    *,
    now: int | None = None,
    most_running: int | None = None,
    of_anyone: bool = True,
) -> tuple[Row, int] | None:
    """Make a supervisor responsible for the next attempt of an agent that waits for one, from now on.

    Args:
        ledger: Where it is written.
        supervisor: Who is to be responsible.
        now: The time, in ms since the epoch, where it is not the clock's.
        most_running: How many agents may run at once, whoever supervises them; None is no limit.
        of_anyone: Whether one that is left to anyone may be taken.

    Returns:
        The agent's row and the attempt's number, the first being 1; None when no agent waits, or none may start.
    """

    def found(view: View) -> Row | None:
        if most_running is not None and running_agents(view) >= most_running:
            return None
        return next_to_start(view, supervisor, now_ms() if now is None else now, of_anyone=of_anyone)

    def rule(transaction: Transaction) -> tuple[Row, int] | None:
        agent = found(transaction)
        return None if agent is None else begin_attempt(transaction, agent, {"supervisor": dict(supervisor)})

    if ledger.read(found) is None:
        return None
    return ledger.transact(rule)


def begun_without_process(
    ledger: Ledger, supervisor: SupervisorRow, looked_after: Container[str]
) -> tuple[Row, int] | None:
    """The first attempt that a supervisor began and has not started, nor looks after: its row, and its number."""
    for agent, attempt in attempts_of(ledger, supervisor):
        key = attempt_key(agent["id"], agent["attempt"])
        if key not in looked_after and not attempt.keys() & {"pid", "ended_at"}:
            return agent, agent["attempt"]
    return None


def attempts_of(ledger: Ledger, supervisor: SupervisorRow) -> list[tuple[Row, Row]]:
    """The running agents of a supervisor, each with its attempt."""

    def query(view: View) -> list[tuple[Row, Row]]:
        own = [one for one in view.agents_that_are(AgentStatus.RUNNING) if one.get("supervisor") == supervisor]
        return [(agent, attempt) for agent in own if (attempt := attempt_of(view, agent)) is not None]

    return ledger.read(query)


def supervisors_at_work(ledger: Ledger) -> list[SupervisorRow]:
    """Everybody who is to look after an agent that has not ended."""

    def query(view: View) -> list[SupervisorRow]:
        found: list[SupervisorRow] = []
        for agent in view.agents_that_are(*AT_WORK):
            supervisor = agent.get("supervisor")
            if supervisor is not None and supervisor not in found:
                found.append(supervisor)
        return found

    return ledger.read(query)


def adopt(
    ledger: Ledger,
    supervisor: SupervisorRow,
    orphaned_by: Collection[SupervisorRow],
    *,
    statuses: Sequence[AgentStatus] = AT_WORK,
) -> list[str]:
    """Make a supervisor responsible for the agents of others that are gone; returns those it was not too late for.

    Args:
        ledger: Where it is written.
        supervisor: Who is to be responsible.
        orphaned_by: Those that are gone.
        statuses: Which agents it takes.
    """

    def rule(transaction: Transaction) -> list[str]:
        adopted = []
        for agent in transaction.agents_that_are(*statuses):
            if agent.get("supervisor") in orphaned_by:
                transaction.put("agents", agent["id"], {**agent, "supervisor": dict(supervisor)})
                about = {"fleet_id": agent["fleet_id"], "agent_id": agent["id"], "role": agent["role"]}
                transaction.event("agent_adopted", **about, supervisor_pid=supervisor["pid"])
                adopted.append(agent["id"])
        return adopted

    return ledger.transact(rule) if orphaned_by else []


def unsupervised(ledger: Ledger) -> list[Row]:
    """Agents that v0.9.0 left at work: nobody is said to look after them, and nobody can start them."""
    return ledger.read(lambda view: [agent for agent in view.agents_that_are(*AT_WORK) if "cwd" not in agent])


def interrupt(ledger: Ledger, agent_ids: Sequence[str]) -> None:
    """Mark agents that v0.9.0 left at work, and whose processes are gone, as interrupted."""

    def rule(transaction: Transaction) -> None:
        for agent_id in agent_ids:
            agent = transaction.get("agents", agent_id)
            if agent is not None and agent["status"] in AT_WORK and "cwd" not in agent:
                error = "the server that ran it ended, and so did its process; spawn it again"
                end_agent(transaction, agent, AgentStatus.INTERRUPTED, {"error": error}, now_ms())

    if agent_ids:
        ledger.transact(rule)


def note_progress(ledger: Ledger, progress: Sequence[Progress]) -> None:
    """Note how far running attempts have come, all in one transaction."""

    def rule(transaction: Transaction) -> None:
        for one in progress:
            key = attempt_key(one.agent_id, one.number)
            attempt = transaction.get("attempts", key)
            if attempt is None or "ended_at" in attempt:
                continue
            row = {**attempt, "tokens": one.tokens, "cost": one.cost}
            if one.session_id is not None:
                row["session_id"] = one.session_id
            if one.silent_since is None:
                row.pop("silent_since", None)
            else:
                if "silent_since" not in attempt:
                    _tell_of_silence(transaction, one)
                row["silent_since"] = one.silent_since
            transaction.put("attempts", key, row)

    if progress:
        ledger.transact(rule)


def _tell_of_silence(transaction: Transaction, progress: Progress) -> None:
    agent = transaction.get("agents", progress.agent_id) or {}
    about = {key: agent[key] for key in ("fleet_id", "role") if key in agent}
    transaction.event("agent_stalled", **about, agent_id=progress.agent_id, attempt=progress.number)


def note_waiting(ledger: Ledger, supervisor: SupervisorRow, why: str) -> None:
    """Note on every agent that could start now what its start waits for."""

    def told_otherwise(agent: Row) -> bool:
        # what belongs to nobody waits for several, who would tell it different things by turns
        owner, told = agent.get("supervisor"), agent.get("waiting_for")
        if why == ITS_TURN:
            return owner is None and told is None
        return told in {None, ITS_TURN} if owner is None else owner == supervisor and told != why

    def waiting(view: View) -> list[Row]:
        now = now_ms()
        return [
            agent
            for agent in view.agents_that_are(AgentStatus.PENDING)
            if "cwd" in agent and is_due(agent, now) and told_otherwise(agent) and not is_dormant(view, agent)
        ]

    def rule(transaction: Transaction) -> None:
        for agent in waiting(transaction):
            transaction.put("agents", agent["id"], {**agent, "waiting_for": why})

    if ledger.read(waiting):
        ledger.transact(rule)


def time_limit_ms(view: View, fleet_id: str, otherwise: int | None) -> int | None:
    """How long an attempt of a fleet's agents may run, in ms: the fleet's limit, else that of all; None is no limit."""
    limit = (view.get("fleets", fleet_id) or {}).get("timeout_ms")
    # v0.9.0 stored whatever it was given
    return limit if type(limit) is int and 1 <= limit <= LONGEST_TIMEOUT_MS else otherwise


def stops_of(ledger: Ledger, supervisor: SupervisorRow) -> list[str]:
    """The attempts of a supervisor that somebody wants stopped, by their markers."""
    return [
        attempt_key(agent["id"], agent["attempt"])
        for agent, attempt in attempts_of(ledger, supervisor)
        if "stopping" in attempt
    ]
