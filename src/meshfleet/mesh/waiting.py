"""What has ended in a fleet since somebody looked last; when to look again is left to who waits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from meshfleet.errors import Conflict, Invalid
from meshfleet.ledger import View
from meshfleet.mesh.fleets import require_fleet
from meshfleet.model import AgentStatus, FleetStatus, Row

MOST_OUTPUT: Final = 256 * 1024
"""Characters of agents' words after which an answer tells of no further agent; the next one goes on there."""

_OVER: Final = frozenset({FleetStatus.COMPLETE, FleetStatus.FAILED})


class Until(StrEnum):
    """What is waited for: any agent that ends, or the end of the fleet."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Endings:
    """How a fleet stands, and which agents have ended since.

    Attributes:
        fleet: Its row.
        ended: Those that have ended, as they may be shown, in the order in which they did.
        cursor: What to give the next time, so that only later ones are told.
        more: Whether there are more than `ended` holds.
        left: How many agents have not ended.
    """

    fleet: Row
    ended: list[Row]
    cursor: int
    more: bool
    left: int

    def is_what(self, until: Until) -> bool:
        """Tell whether there is what is waited for."""
        return self.fleet["status"] in _OVER or (until is Until.ANY and bool(self.ended))

    def as_result(self, *, timed_out: bool) -> dict[str, Any]:
        """The same as callers get it."""
        return {
            "fleet_id": self.fleet["id"],
            "status": self.fleet["status"],
            "ended": self.ended,
            "cursor": self.cursor,
            "more": self.more,
            "timed_out": timed_out,
        }


def endings_since(view: View, fleet_id: str, cursor: int = 0) -> Endings:
    """How a fleet stands, and which of its agents have ended since a cursor; 0 is since ever.

    Raises:
        Invalid: The cursor is none that the fleet has given.
        NotFound: There is no such fleet.
    """
    fleet = require_fleet(view, fleet_id)
    latest = int(fleet.get("endings", 0))
    if not 0 <= cursor <= latest:
        raise Invalid(f"cursor is {cursor}, and the fleet has had {latest} endings; give the last answer's, or 0")
    agents = view.agents_of(fleet_id)
    known = set(AgentStatus)
    over = [agent for agent in agents if agent["status"] in known and AgentStatus(agent["status"]).has_ended]
    # what v0.9.0 ended has no number
    new = sorted((one for one in over if cursor == 0 or _number(one) > cursor), key=_number)
    told: list[Row] = []
    room = MOST_OUTPUT
    for agent in new:
        if told and room <= 0:
            break
        told.append(agent)
        room -= len(agent.get("output") or "")
    more = len(told) < len(new)
    reached = max(cursor, *map(_number, told)) if more else latest
    return Endings(fleet, [_shown(agent) for agent in told], reached, more, len(agents) - len(over))


def refuse_waiting_for_oneself(view: View, caller_id: str, fleet_id: str, until: Until) -> None:
    """Refuse an agent that would wait for the end of its own fleet, which can't end before it does.

    Raises:
        Conflict: So it would.
    """
    agent = view.get("agents", caller_id)
    if until is Until.ALL and agent is not None and agent["fleet_id"] == fleet_id:
        raise Conflict("this is your own fleet, which can't end before you do; wait until any, or for one you spawned")


def _number(agent: Row) -> int:
    return int(agent.get("ending") or 0)


def _shown(agent: Row) -> Row:
    said = {name: agent[name] for name in ("output", "error") if agent.get(name) is not None}
    return {"agent_id": agent["id"], "role": agent["role"], "status": agent["status"], **said}
