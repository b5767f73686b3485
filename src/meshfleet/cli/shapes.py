"""What `--json` prints of a mesh; docs/cli.md documents every field, and `version` changes when one goes or changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from meshfleet.mesh.overview import (
    AgentDetail,
    AgentSummary,
    Delivery,
    FleetSummary,
    Metrics,
    Moment,
    MomentKind,
    Problem,
    Trail,
)
from meshfleet.model import Row

VERSION: Final = 1


def versioned(**told: Any) -> str:
    """The one object a command prints."""
    return json.dumps({"version": VERSION, **told})


def fleet(one: FleetSummary) -> Row:
    """A fleet."""
    row = asdict(one)
    row["tokens"], row["cost_usd"] = one.used.tokens, one.used.cost
    row["tokens_in_all"], row["cost_usd_in_all"] = one.used_in_all.tokens, one.used_in_all.cost
    row["cancelled"] = row.pop("is_cancelled")
    return _without(row, "used", "used_in_all")


def agent(one: AgentSummary) -> Row:
    """An agent."""
    row = asdict(one)
    row["tokens"], row["cost_usd"] = one.used.tokens, one.used.cost
    return _without(row, "used")


def agent_in_full(detail: AgentDetail) -> dict[str, Any]:
    """An agent with all that its row holds, its attempts, and what waits for it."""
    return {
        "agent": {**_without(detail.row, "used"), **agent(detail.summary)},
        "attempts": detail.attempts,
        "unread": detail.unread,
        "spawned_fleets": detail.spawned,
    }


def message(trail: Trail) -> Row:
    """A message with its trail."""
    row = {name: getattr(trail, name) for name in _OF_A_MESSAGE}
    row["recipients"] = [_delivery(one) for one in trail.deliveries]
    row["witnesses"] = list(trail.witnesses)
    return row


def moment(one: Moment) -> Row:
    """Something that happened."""
    told = {"at": one.at, "what": str(one.kind), "agent_id": one.agent_id, "role": one.role}
    kept = {new: one.row[old] for new, old in _OF_A_MOMENT[one.kind].items() if old in one.row}
    return {**told, **kept}


def metrics(found: Metrics) -> Row:
    """The figures."""
    row = asdict(found)
    row["tokens"], row["cost_usd"] = found.used.tokens, found.used.cost
    return _without(row, "used")


def problems(found: Sequence[Problem]) -> list[Row]:
    """What is wrong."""
    return [asdict(problem) for problem in found]


def _delivery(one: Delivery) -> Row:
    return {
        "agent_id": one.agent_id,
        "role": one.role,
        "state": one.state,
        "delivered_at": one.delivered_at,
        "seen_at": one.seen_at,
        "acked_at": one.acked_at,
        "waits": one.waits,
        "receipts": list(one.others),
    }


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


_OF_A_MESSAGE: Final = (
    "id",
    "fleet_id",
    "from_agent_id",
    "from_role",
    "to_agent_id",
    "to_role",
    "type",
    "payload",
    "correlation_id",
    "sent_at",
    "acknowledged",
)
_OF_AN_ATTEMPT: Final = {"attempt": "number", "ok": "ok", "reason": "reason", "error": "error"}
_OF_A_MOMENT: Final[dict[MomentKind, dict[str, str]]] = {
    MomentKind.FLEET_CREATED: {},
    MomentKind.FLEET_ENDED: {"status": "status"},
    MomentKind.ATTEMPT_STARTED: {"attempt": "number"},
    MomentKind.ATTEMPT_ENDED: _OF_AN_ATTEMPT,
    MomentKind.AGENT_ENDED: {"status": "status", "reason": "reason", "error": "error"},
    MomentKind.MESSAGE: {
        "message_id": "id",
        "to_agent_id": "to_agent_id",
        "type": "type",
        "payload": "payload",
        "correlation_id": "correlation_id",
    },
    MomentKind.RECEIPT: {"message_id": "message_id", "action": "action", "note": "note"},
}
"""What of a moment's row is told, by the names it is told under."""
