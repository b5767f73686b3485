"""The mesh in figures: how many rows of each kind there are, what was used, how long things took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from meshfleet.ledger import View
from meshfleet.ledger.schema import BACKFILL_NOTE
from meshfleet.mesh.budgets import Usage, usage_of_agent
from meshfleet.mesh.overview.fields import Left, nobody, whole
from meshfleet.mesh.overview.fleets import condition
from meshfleet.mesh.receipts import ACK
from meshfleet.model import ORCHESTRATOR


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, of all the times it happened.

    Attributes:
        count: How often it happened.
        median_ms: What half of them took at most.
        p95_ms: What 95 of 100 took at most.
        longest_ms: What the longest took.
    """

    count: int
    median_ms: int
    p95_ms: int
    longest_ms: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """The mesh in figures.

    Attributes:
        fleets: How many there are by status.
        agents: The same of agents.
        conditions: How many agents there is more to say of than their status, by what it is.
        attempts: How many there are by what became of them: `ok`, `failed`, `running`.
        messages: How many there are by their type.
        acknowledged: How many messages everybody has acted on whom they were for.
        waiting: How many wait in inboxes; one that waits for two agents counts twice.
        receipts: How many there are by their action.
        used: What all agents have used.
        attempt_ms: How long attempts ran that have ended; None where there was none.
        acknowledged_ms: How long it took from a message's sending to an `ack` of it.
    """

    fleets: dict[str, int]
    agents: dict[str, int]
    conditions: dict[str, int]
    attempts: dict[str, int]
    messages: dict[str, int]
    acknowledged: int
    waiting: int
    receipts: dict[str, int]
    used: Usage
    attempt_ms: Spread | None
    acknowledged_ms: Spread | None


def metrics(view: View, *, left: Left = nobody) -> Metrics:
    """The mesh in figures; every table is walked through once."""
    agents = list(view.rows("agents"))
    told = [condition(view, agent, left) for agent in agents]
    attempts, attempt_ms = _attempts(view)
    receipts, acknowledged_ms = _receipts(view)
    return Metrics(
        fleets=_counted(fleet["status"] for fleet in view.rows("fleets")),
        agents=_counted(agent["status"] for agent in agents),
        conditions=_counted(one for one in told if one is not None),
        attempts=attempts,
        messages=_counted(message["type"] for message in view.rows("messages")),
        acknowledged=sum(message.get("acknowledged") is True for message in view.rows("messages")),
        waiting=sum(len(view.inbox(one)) for one in [*(agent["id"] for agent in agents), ORCHESTRATOR]),
        receipts=receipts,
        used=sum((usage_of_agent(view, agent) for agent in agents), Usage()),
        attempt_ms=attempt_ms,
        acknowledged_ms=acknowledged_ms,
    )


def _attempts(view: View) -> tuple[dict[str, int], Spread | None]:
    came_to: Counter[str] = Counter()
    took = []
    for attempt in view.rows("attempts"):
        ended, started = whole(attempt, "ended_at"), whole(attempt, "started_at")
        came_to["running" if ended is None else "ok" if attempt.get("ok") is True else "failed"] += 1
        if ended is not None and started is not None:
            took.append(ended - started)
    return _counted(came_to), _spread(took)


def _receipts(view: View) -> tuple[dict[str, int], Spread | None]:
    took = []
    for receipt in view.rows("receipts"):
        # what v0.9.0 acknowledged before there were receipts has no time of its own
        if receipt["action"] == ACK and receipt.get("note") != BACKFILL_NOTE:
            message = view.get("messages", receipt["message_id"])
            if message is not None:
                took.append((whole(receipt, "timestamp") or 0) - (whole(message, "timestamp") or 0))
    return _counted(receipt["action"] for receipt in view.rows("receipts")), _spread(took)


def _counted(words: Iterable[str] | Counter[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _spread(took: list[int]) -> Spread | None:
    if not took:
        return None
    took = sorted(max(0, one) for one in took)
    return Spread(len(took), *(took[max(0, ceil(len(took) * part) - 1)] for part in (0.5, 0.95, 1.0)))
