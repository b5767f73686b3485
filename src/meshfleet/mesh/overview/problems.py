"""What goes wrong right now: what failed, stalled, is tried again, can't be delivered, or has used too much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from meshfleet.ledger import View
from meshfleet.mesh.budgets import excess_of
from meshfleet.mesh.fleets import UNSUPERVISED
from meshfleet.mesh.inboxes import undeliverable
from meshfleet.mesh.lifecycle import AT_WORK
from meshfleet.mesh.overview.fields import Left, nobody, text, whole
from meshfleet.mesh.overview.fleets import condition
from meshfleet.model import Row, attempt_key


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
        since: Since when, in ms since the epoch; None where nobody noted it.
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


def problems(view: View, *, left: Left = nobody) -> list[Problem]:
    """Everything that is wrong, the newest first."""
    found = [*_of_fleets(view), *_at_work(view, left), *_ended_badly(view), *_undeliverable(view)]
    return sorted(found, key=lambda problem: problem.since or 0, reverse=True)


def _of_fleets(view: View) -> Iterable[Problem]:
    for fleet in view.rows("fleets"):
        told = text(fleet, "over_budget")
        if told is None and fleet["status"] == "running":
            told = excess_of(view, fleet["id"])
        if told is not None:
            yield Problem(ProblemKind.OVER_BUDGET, fleet["id"], None, None, whole(fleet, "completed_at"), told)


def _at_work(view: View, left: Left) -> Iterable[Problem]:
    for agent in view.agents_that_are(*AT_WORK):
        attempt = view.get("attempts", attempt_key(agent["id"], agent.get("attempt", 0))) or {}
        match condition(view, agent, left):
            case ProblemKind.STALLED:
                what = "neither says nor does anything"
                yield _of_agent(ProblemKind.STALLED, agent, whole(attempt, "silent_since"), what)
            case ProblemKind.RETRYING:
                what = f"attempt {agent.get('attempt', 0)} failed: {_why(agent)}"
                yield _of_agent(ProblemKind.RETRYING, agent, whole(attempt, "ended_at"), what)
            case told if told == UNSUPERVISED:
                what = "goes on, but whoever looked after it is gone; start a meshfleet server, which adopts it"
                yield _of_agent(ProblemKind.UNSUPERVISED, agent, whole(agent, "started_at"), what)


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
        count = "1 message waits" if len(waiting) == 1 else f"{len(waiting)} messages wait"
        what = f"{count} for an agent that is {agent['status']}"
        latest = whole(view.get("messages", waiting[-1]) or {}, "timestamp")
        whose = (agent["fleet_id"], agent["id"], agent["role"])
        yield Problem(ProblemKind.UNDELIVERABLE, *whose, latest, what, tuple(waiting))


def _of_agent(kind: ProblemKind, agent: Row, since: int | None, what: str) -> Problem:
    return Problem(kind, agent["fleet_id"], agent["id"], agent["role"], since, what)


def _why(agent: Row) -> str:
    return text(agent, "error") or text(agent, "reason") or "nobody noted why"
