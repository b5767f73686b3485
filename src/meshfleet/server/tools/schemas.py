"""JSON schemas of what tools return; rows may hold more fields than are told here."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
NUMBER: Final[Schema] = {"type": "integer"}
NUMBER_OR_NULL: Final[Schema] = {"type": ["integer", "null"]}
AMOUNT: Final[Schema] = {"type": "number", "description": "US dollars"}
TIME: Final[Schema] = {"type": "number", "description": "ms since the epoch"}
TIME_OR_NULL: Final[Schema] = {"type": ["number", "null"], "description": "ms since the epoch"}
FLAG: Final[Schema] = {"type": "boolean"}


def array(items: Schema) -> Schema:
    """An array of these."""
    return {"type": "array", "items": items}


def record(required: Schema, optional: Schema | None = None) -> Schema:
    """An object with these fields, and maybe more; an optional one may be null too, as old ledgers have it."""
    maybe = {name: _or_null(schema) for name, schema in (optional or {}).items()}
    return {"type": "object", "properties": {**required, **maybe}, "required": list(required)}


def _or_null(schema: Schema) -> Schema:
    kind = schema["type"]
    return schema if isinstance(kind, list) else {**schema, "type": [kind, "null"]}


FLEET: Final = record(
    {"id": TEXT, "status": TEXT, "created_at": TIME},
    {
        "completed_at": TIME,
        "timeout_ms": NUMBER,
        "name": TEXT,
        "max_attempts": NUMBER,
        "max_cost_usd": AMOUNT,
        "max_tokens": NUMBER,
        "over_budget": {**TEXT, "description": "which limit it has passed; then nothing more of it starts"},
        "cancelled_at": TIME,
        "parent_agent_id": {**TEXT, "description": "the agent that spawned it"},
        "depth": NUMBER,
    },
)
AGENT: Final = record(
    {"id": TEXT, "fleet_id": TEXT, "role": TEXT, "prompt": TEXT, "status": TEXT},
    {
        "condition": {
            **TEXT,
            "description": "of one at work: dormant (not called yet), retrying, queued, stopping, stalled (it neither "
            "says nor does anything), or unsupervised (whoever looked after it is gone)",
        },
        "waiting_for": {**TEXT, "description": "what its start waits for"},
        "retry_at": {**TIME, "description": "when its next attempt is due, ms since the epoch"},
        "silent_since": {**TIME, "description": "since when it is stalled, ms since the epoch"},
        "supervised": {**FLAG, "description": "false where its supervisor is gone and no other has taken over yet"},
        "used": record({"tokens": NUMBER, "cost": AMOUNT}),
        "output": TEXT,
        "error": TEXT,
        "reason": TEXT,
        "started_at": TIME,
        "completed_at": TIME,
        "attempt": NUMBER,
        "model": TEXT,
        "cwd": TEXT,
        "start": TEXT,
        "after": array(TEXT),
        "wake": FLAG,
        "wakes": NUMBER,
    },
)
MESSAGE: Final = record(
    {
        "id": TEXT,
        "from_agent_id": TEXT,
        "to_agent_id": TEXT,
        "fleet_id": TEXT,
        "type": TEXT,
        "payload": TEXT,
        "timestamp": TIME,
    },
    {"acknowledged": FLAG, "correlation_id": TEXT, "recipients": array(TEXT)},
)
RECEIPT_ROW: Final = record({"message_id": TEXT, "agent_id": TEXT, "action": TEXT, "timestamp": TIME}, {"note": TEXT})
