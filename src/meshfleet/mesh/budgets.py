"""What fleets have used of tokens and money, and which have used more than they may."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from meshfleet.ledger import Ledger, View
from meshfleet.mesh.lifecycle import AT_WORK, attempt_of
from meshfleet.model import Row

LIMITS = ("max_tokens", "max_cost_usd")


@dataclass(frozen=True, slots=True)
class Usage:
    """What agents have used.

    Attributes:
        tokens: In all, each step billed for its whole context.
        cost: In US dollars, as OpenCode reckons it; a model whose price it does not know costs nothing.
    """

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(self.tokens + other.tokens, self.cost + other.cost)


def usage_of_agent(view: View, agent: Row) -> Usage:
    """What an agent's attempts have used, the running one as far as it was noted."""
    used = _usage_in(agent)
    attempt = attempt_of(view, agent)
    return used if attempt is None or "ended_at" in attempt else used + _usage_in(attempt)


def usage_of_fleet(view: View, fleet_id: str) -> Usage:
    """What a fleet's agents have used together, and with them those of the fleets they spawned."""
    below, usage = fleets_by_parent(view), Usage()
    left = [fleet_id]
    while left:
        for agent in view.agents_of(left.pop()):
            usage += usage_of_agent(view, agent)
            left += [fleet["id"] for fleet in below.get(agent["id"], ())]
    return usage


def fleets_by_parent(view: View) -> dict[str, list[Row]]:
    """The fleets that agents have spawned, by the agent's id."""
    found: dict[str, list[Row]] = {}
    for fleet in view.rows("fleets"):
        if isinstance(parent := fleet.get("parent_agent_id"), str):
            found.setdefault(parent, []).append(fleet)
    return found


def over_budget(ledger: Ledger) -> list[tuple[str, str]]:
    """The fleets at work that have used more than they may, each with what and how much, for a person."""

    def query(view: View) -> list[tuple[str, str]]:
        found = []
        for fleet_id in _at_work(view):
            excess = excess_of(view, fleet_id)
            if excess is not None and "over_budget" not in (view.get("fleets", fleet_id) or {}):
                found.append((fleet_id, excess))
        return found

    return ledger.read(query)


def excess_of(view: View, fleet_id: str) -> str | None:
    """What a fleet has used beyond its budget, for a person; None while it keeps to it, or has none."""
    fleet = view.get("fleets", fleet_id)
    return _excess(fleet, usage_of_fleet(view, fleet_id)) if fleet is not None and has_budget(fleet) else None


def may_start_more(view: View, fleet_id: str) -> bool:
    """Tell whether neither a fleet nor any that it is below is cancelled, or has used more than it may."""
    found: set[str] = set()
    fleet = view.get("fleets", fleet_id)
    while fleet is not None and fleet["id"] not in found:
        # whoever writes it down that a fleet is over its budget looks only now and then, and at none that has ended
        if fleet.keys() & {"cancelled_at", "over_budget"} or excess_of(view, fleet["id"]) is not None:
            return False
        found.add(fleet["id"])
        parent = view.get("agents", fleet.get("parent_agent_id", ""))
        fleet = None if parent is None else view.get("fleets", parent["fleet_id"])
    return True


def _at_work(view: View) -> list[str]:
    """The fleets with an agent that has not ended, and those above them."""
    found: dict[str, None] = {}
    for agent in view.agents_that_are(*AT_WORK):
        fleet_id: str | None = agent["fleet_id"]
        while fleet_id is not None and fleet_id not in found:
            found[fleet_id] = None
            parent = view.get("agents", (view.get("fleets", fleet_id) or {}).get("parent_agent_id", ""))
            fleet_id = None if parent is None else parent["fleet_id"]
    return list(found)


def has_budget(fleet: Row) -> bool:
    """Tell whether a fleet may use only so much."""
    return any(limit in fleet for limit in LIMITS)


def _excess(fleet: Row, used: Usage) -> str | None:
    max_tokens, max_cost = _number(fleet.get("max_tokens")), _number(fleet.get("max_cost_usd"))
    if max_tokens is not None and used.tokens > max_tokens:
        return f"it has used {used.tokens} tokens and may use {max_tokens} (max_tokens)"
    if max_cost is not None and used.cost > max_cost:
        return f"it has cost ${used.cost:.4f} and may cost ${max_cost:.4f} (max_cost_usd)"
    return None


def _usage_in(row: Row) -> Usage:
    tokens = row.get("tokens")
    total = _number(tokens.get("total")) if isinstance(tokens, dict) else None
    return Usage(int(total or 0), float(_number(row.get("cost")) or 0.0))


def _number(value: object) -> int | float | None:
    """A figure; None for what another program may have put in its place."""
    return value if isinstance(value, int | float) and isfinite(value) else None
