"""What has happened in a fleet, in one order of time: messages, receipts, attempts, and where agents and it ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from itertools import chain
from operator import attrgetter

from meshfleet.ledger import View
from meshfleet.mesh.fleets import require_fleet
from meshfleet.mesh.overview.fields import whole
from meshfleet.mesh.overview.fleets import attempts_made
from meshfleet.mesh.overview.messages import role_of
from meshfleet.model import Row


class MomentKind(StrEnum):
    """What happened; of one instant, in this order."""

    FLEET_CREATED = "fleet_created"
    ATTEMPT_STARTED = "attempt_started"
    MESSAGE = "message"
    RECEIPT = "receipt"
    ATTEMPT_ENDED = "attempt_ended"
    AGENT_ENDED = "agent_ended"
    FLEET_ENDED = "fleet_ended"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened.

    Attributes:
        at: When, in ms since the epoch.
        kind: What.
        agent_id: Who did it, or whom it happened to: a message's is its sender, a receipt's whoever wrote it; None of
            what happened to the fleet.
        role: That agent's; None of one that is no agent.
        row: The row that tells of it: the fleet's, the attempt's, the message's, the receipt's; of an agent's end, its
            `status`, `reason` and `error`.
    """

    at: int
    kind: MomentKind
    agent_id: str | None
    role: str | None
    row: Row


def timeline(view: View, fleet_id: str) -> list[Moment]:
    """What has happened in a fleet, oldest first.

    Raises:
        NotFound: There is no such fleet.
    """
    fleet = require_fleet(view, fleet_id)
    found: dict[MomentKind, list[Moment]] = {kind: [] for kind in MomentKind}
    _take_messages(view, fleet_id, found[MomentKind.MESSAGE], found[MomentKind.RECEIPT])
    for moment in chain(_of_fleet(fleet), *(_of_agent(view, agent) for agent in view.agents_of(fleet_id))):
        found[moment.kind].append(moment)
    return sorted(chain.from_iterable(found.values()), key=attrgetter("at"))


def _of_fleet(fleet: Row) -> Iterable[Moment]:
    for field, kind in (("created_at", MomentKind.FLEET_CREATED), ("completed_at", MomentKind.FLEET_ENDED)):
        if (at := whole(fleet, field)) is not None:
            yield Moment(at, kind, None, None, fleet)


def _of_agent(view: View, agent: Row) -> Iterable[Moment]:
    for attempt in attempts_made(view, agent):
        for field, kind in (("started_at", MomentKind.ATTEMPT_STARTED), ("ended_at", MomentKind.ATTEMPT_ENDED)):
            if (at := whole(attempt, field)) is not None:
                yield Moment(at, kind, agent["id"], agent["role"], attempt)
    if (at := whole(agent, "completed_at")) is not None:
        told: Row = {field: agent[field] for field in ("id", "status", "reason", "error") if field in agent}
        yield Moment(at, MomentKind.AGENT_ENDED, agent["id"], agent["role"], told)


def _take_messages(view: View, fleet_id: str, messages: list[Moment], receipts: list[Moment]) -> None:
    # there may be many more messages than there are agents
    known = cache(partial(role_of, view))

    def of_somebody(kind: MomentKind, agent_id: str, row: Row) -> Moment:
        return Moment(whole(row, "timestamp") or 0, kind, agent_id, known(agent_id), row)

    for message in view.messages_of(fleet_id):
        messages.append(of_somebody(MomentKind.MESSAGE, message["from_agent_id"], message))
        receipts += [of_somebody(MomentKind.RECEIPT, one["agent_id"], one) for one in view.receipts_of(message["id"])]
