"""What goes wrong right now: what failed, stalled, is tried again, can't be delivered, or has used too much."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from meshfleet.ledger import View
from meshfleet.mesh.budgets import excess_of
from meshfleet.mesh.fleets import UNSUPERVISED
from meshfleet.mesh.inboxes import undeliverable
from meshfleet.mesh.lifecycle import AT_WORK, attempt_of
from meshfleet.mesh.overview.fields import Left, nobody, text, whole
from meshfleet.mesh.overview.fleets import condition
from meshfleet.mesh.texts import messages_waiting
from meshfleet.model import AgentStatus, Reason, Row, attempt_key

_GOES_ON: Final = "goes on"


class ProblemKind(StrEnum):
    """What is wrong."""

    FAILED = "failed"
    INTERRUPTED = "interrupted"
    STALLED = "stalled"
    RETRYING = "retrying"
    UNSUPERVISED = "unsupervised"
    OVER_BUDGET = "over_budget"
    UNDELIVERABLE = "undeliverable"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong.

    Attributes:
        kind: What.
        fleet_id: The fleet it is about.
        agent_id: The agent it is about; None where it is the fleet.
        role: That agent's.
        since: Since when, in ms since the epoch; None where nobody could note it, such as that a supervisor went.
        what: The same for a person.
        message_ids: The messages that can't be delivered, oldest first.
    """

    kind: ProblemKind
    fleet_id: str
    agent_id: str | None
    role: str | None
    since: int | None
    what: str
    message_ids: tuple[str, ...] = ()


def problems(view: View, *, left: Left = nobody, over: Left = nobody) -> list[Problem]:
    """Everything that is wrong, the newest first; what nobody knows since when comes before.

    Args:
        view: The mesh.
        left: Tells whether an agent is at work and its supervisor gone.
        over: Tells of an attempt that is not settled whether its process has ended.
    """
    found = [*_of_fleets(view), *_at_work(view, left, over), *_ended_badly(view), *_undeliverable(view)]
    return sorted(found, key=lambda problem: math.inf if problem.since is None else problem.since, reverse=True)


def _of_fleets(view: View) -> Iterable[Problem]:
    for fleet in view.rows("fleets"):
        told = text(fleet, "over_budget")
        if told is None and fleet["status"] == "running":
            told = excess_of(view, fleet["id"])
        if told is not None:
            yield Problem(ProblemKind.OVER_BUDGET, fleet["id"], None, None, whole(fleet, "completed_at"), told)


def _at_work(view: View, left: Left, over: Left) -> Iterable[Problem]:
    for agent in view.agents_that_are(*AT_WORK):
        attempt = attempt_of(view, agent) or {}
        match condition(view, agent, left):
            case ProblemKind.STALLED:
                what = "neither says nor does anything"
                yield _of_agent(ProblemKind.STALLED, agent, whole(attempt, "silent_since"), what)
            case ProblemKind.RETRYING:
                what = f"attempt {agent.get('attempt', 0)} failed: {_why(agent)}"
                yield _of_agent(ProblemKind.RETRYING, agent, whole(attempt, "ended_at"), what)
            case told if told == UNSUPERVISED:
                yield _of_agent(ProblemKind.UNSUPERVISED, agent, None, _left_alone(agent, attempt, over))
            case None if agent["status"] == AgentStatus.RUNNING:
                yield from _tried_again(view, agent)


def _left_alone(agent: Row, attempt: Row, over: Left) -> str:
    """How an agent stands whose supervisor is gone, and what is to be done."""
    how = _how_it_is(agent, attempt, over)
    if agent["status"] == AgentStatus.RUNNING and attempt.get("stopping") == Reason.CANCELLED:
        why = text(attempt, "error") or "it was cancelled"
        goes_on = "it goes on" if how == _GOES_ON else how
        return (
            f"to be stopped, since {why}, but whoever looked after it is gone and {goes_on}; "
            f"run meshfleet cancel {agent['id']}"
        )
    return f"{how}, but whoever looked after it is gone; start a meshfleet server, which adopts it"


def _how_it_is(agent: Row, attempt: Row, over: Left) -> str:
    if agent["status"] == AgentStatus.PENDING:
        return "waits to be started"
    return "its process has ended" if over(attempt) else _GOES_ON


def _tried_again(view: View, agent: Row) -> Iterable[Problem]:
    """That an agent which runs does so because the attempt before failed."""
    number = whole(agent, "attempt") or 0
    before = view.get("attempts", attempt_key(agent["id"], number - 1)) or {}
    began_anew = number - 1 <= (whole(agent, "attempts_before") or 0)
    if before.get("ok") is False and not began_anew:
        what = f"attempt {number} runs, after attempt {number - 1} failed: {_why(before)}"
        yield _of_agent(ProblemKind.RETRYING, agent, whole(before, "ended_at"), what)


def _ended_badly(view: View) -> Iterable[Problem]:
    for kind in (ProblemKind.FAILED, ProblemKind.INTERRUPTED):
        for agent in view.agents_that_are(kind):
            yield _of_agent(kind, agent, whole(agent, "completed_at"), _why(agent))


def _undeliverable(view: View) -> Iterable[Problem]:
    """Agents that have ended with messages that were never put before them."""
    found: dict[str, tuple[Row, list[str]]] = {}
    for message, agent in undeliverable(view):
        found.setdefault(agent["id"], (agent, []))[1].append(message["id"])
    for agent, waiting in found.values():
        what = f"{messages_waiting(len(waiting))} for an agent that is {agent['status']}"
        latest = whole(view.get("messages", waiting[-1]) or {}, "timestamp")
        whose = (agent["fleet_id"], agent["id"], agent["role"])
        yield Problem(ProblemKind.UNDELIVERABLE, *whose, latest, what, tuple(waiting))


def _of_agent(kind: ProblemKind, agent: Row, since: int | None, what: str) -> Problem:
    return Problem(kind, agent["fleet_id"], agent["id"], agent["role"], since, what)


def _why(row: Row) -> str:
    return text(row, "error") or text(row, "reason") or "nobody noted why"
