"""What becomes of an attempt that has ended: decided once, in one transaction, with what it means for its agent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, cast

from meshfleet.errors import Conflict
from meshfleet.ledger import Ledger, Transaction
from meshfleet.mesh.lifecycle import end_agent, moved, note_delivered, require_agent, require_attempt
from meshfleet.mesh.retries import backoff_ms, may_try_again, tries_of
from meshfleet.mesh.texts import end_of
from meshfleet.mesh.waking import call_left_unread, wake
from meshfleet.model import AgentStatus, Reason, Row, TokensRow, attempt_key, now_ms

LONGEST_OUTPUT: Final = 256 * 1024
"""Bytes of an agent's words kept in the ledger; its run folder has all of them."""


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
        interrupted: Whether nobody can say what became of it: its process is gone and left no exit status.
        survivors: What of it can't be ended, for a person; then no other attempt may follow, whatever the reason.
        whole: Whether nothing of it is left that would have to be ended, should somebody want it stopped.
    """

    ok: bool
    output: str = ""
    reason: Reason | None = None
    error: str | None = None
    exit_code: int | None = None
    session_id: str | None = None
    tokens: TokensRow | None = None
    cost: float | None = None
    interrupted: bool = False
    survivors: str | None = None
    whole: bool = True


def settle_attempt(
    ledger: Ledger, agent_id: str, number: int, outcome: Outcome, *, retry_base_ms: int | None = None
) -> bool:
    """Decide an attempt, its agent and, when that was the last one, its fleet; False when it was decided before.

    Whoever comes second (a timer that meets an exit, an adopter that meets the old supervisor) finds it settled and
    changes nothing. A good answer stands, whatever it was to be stopped for, unless somebody has cancelled it.

    Args:
        ledger: Where it is written.
        agent_id: Whose attempt it is.
        number: The attempt's number.
        outcome: What became of it.
        retry_base_ms: After how long it is tried again for the first time, where it failed; None is never.

    Raises:
        Conflict: It was cancelled meanwhile, and what it left behind has to be ended first.
        NotFound: There is no such attempt.
    """

    def rule(transaction: Transaction) -> bool:
        attempt = require_attempt(transaction, agent_id, number)
        if "ended_at" in attempt:
            return False
        if not outcome.whole and attempt.get("stopping") == Reason.CANCELLED:
            raise Conflict(f"attempt {number} of agent {agent_id} was cancelled, so what it left behind ends first")
        now, came_to = now_ms(), _as_stopped(attempt, outcome)
        if outcome.reason is not Reason.SPAWN:
            # nobody may have lived to note its process
            note_delivered(transaction, attempt)
        transaction.put("attempts", attempt_key(agent_id, number), _settled_attempt(attempt, came_to, now))
        agent = require_agent(transaction, agent_id)
        about = {"fleet_id": agent["fleet_id"], "agent_id": agent_id, "attempt": number, "role": agent["role"]}
        transaction.event("attempt_ended", **about, ok=came_to.ok, **_failure(came_to))
        if agent["status"] == AgentStatus.RUNNING and agent.get("attempt") == number:
            _settle_agent(transaction, agent, came_to, retry_base_ms, now)
        return True

    return ledger.transact(rule)


def last_words(output: str) -> str:
    """The end of an agent's words, as much as the ledger keeps, marked when something was cut off."""
    return end_of(output, LONGEST_OUTPUT, "the run folder")


def added(before: TokensRow | None, more: TokensRow | None) -> TokensRow | None:
    """Tokens, summed."""
    if before is None or more is None:
        return before or more
    one, other = cast("dict[str, int]", before), cast("dict[str, int]", more)
    return cast("TokensRow", {key: one.get(key, 0) + other.get(key, 0) for key in one | other})


def _settle_agent(transaction: Transaction, agent: Row, outcome: Outcome, retry_base_ms: int | None, now: int) -> None:
    fleet = transaction.get("fleets", agent["fleet_id"])
    tries_again = (
        retry_base_ms is not None
        and not (outcome.ok or outcome.interrupted or outcome.survivors)
        and may_try_again(agent, fleet, outcome.reason)
    )
    if tries_again and retry_base_ms is not None:
        _retry(transaction, agent, outcome, backoff_ms(retry_base_ms, tries_of(agent)), now)
        return
    # what it said before it was resumed or woken stays, where it says nothing any more
    said = {"output": last_words(outcome.output)} if outcome.output or "output" not in agent else {}
    facts = {**said, **_failure(outcome), **_spent(agent, outcome)}
    if outcome.ok and (call := call_left_unread(transaction, {**agent, **facts})) is not None:
        # it came too late for this attempt, and nobody would come back to it
        wake(transaction, {**agent, **facts}, call)
        return
    end_agent(transaction, agent, _end_of(outcome), facts, now)


def _end_of(outcome: Outcome) -> AgentStatus:
    if outcome.ok:
        return AgentStatus.COMPLETE
    if outcome.reason is Reason.CANCELLED:
        return AgentStatus.CANCELLED
    return AgentStatus.INTERRUPTED if outcome.interrupted else AgentStatus.FAILED


def _retry(transaction: Transaction, agent: Row, outcome: Outcome, delay_ms: int, now: int) -> None:
    row = moved(agent, AgentStatus.PENDING) | {"retry_at": now + delay_ms, "retry_delay_ms": delay_ms}
    row.pop("pid", None)
    transaction.put("agents", agent["id"], row | _failure(outcome) | _spent(agent, outcome))
    transaction.event(
        "agent_retry_scheduled",
        fleet_id=agent["fleet_id"],
        agent_id=agent["id"],
        role=agent["role"],
        attempt=agent["attempt"],
        delay_ms=delay_ms,
        **_failure(outcome),
    )


def _as_stopped(attempt: Row, outcome: Outcome) -> Outcome:
    """The outcome of an attempt, which is what it was stopped for, if it was and had not done its work all the same."""
    stopping = attempt.get("stopping")
    if stopping is None or (outcome.ok and stopping != Reason.CANCELLED):
        return _with_survivors(outcome, outcome.error)
    # a newer version may stop for reasons unknown here
    reason = Reason(stopping) if stopping in set(Reason) else Reason.KILLED
    failed = replace(outcome, ok=False, reason=reason, interrupted=False)
    return _with_survivors(failed, attempt.get("error") or outcome.error)


def _with_survivors(outcome: Outcome, error: str | None) -> Outcome:
    if outcome.ok or outcome.survivors is None:
        return replace(outcome, error=error)
    said = f"{error}; " if error else ""
    return replace(outcome, error=f"{said}its processes {outcome.survivors} can't be killed, so it is not tried again")


def _usage(outcome: Outcome) -> Row:
    known = {"session_id": outcome.session_id, "tokens": outcome.tokens, "cost": outcome.cost}
    return {key: value for key, value in known.items() if value is not None}


def _spent(agent: Row, outcome: Outcome) -> Row:
    """What the agent's attempts used together, and the session to go on in."""
    cost = None if outcome.cost is None else agent.get("cost", 0) + outcome.cost
    tokens = None if outcome.tokens is None else added(agent.get("tokens"), outcome.tokens)
    return _usage(replace(outcome, tokens=tokens, cost=cost))


def _failure(outcome: Outcome) -> dict[str, str]:
    if outcome.ok:
        return {}
    known = {"reason": outcome.reason and str(outcome.reason), "error": outcome.error}
    return {key: value for key, value in known.items() if value is not None}


def _settled_attempt(attempt: Row, outcome: Outcome, now: int) -> Row:
    exit_code = {} if outcome.exit_code is None else {"exit": outcome.exit_code}
    row = {**attempt, "ended_at": now, "ok": outcome.ok, **exit_code, **_failure(outcome), **_usage(outcome)}
    for name in ("silent_since", "shows"):
        row.pop(name, None)
    return row
