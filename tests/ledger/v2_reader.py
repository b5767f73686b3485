"""A reader of ledgers as strict as v0.9's could be: every field of the contract's rows has to be there, of its type.

It knows nothing of meshfleet, and passes over fields and tables it doesn't know, as v0.9 does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

Check = Callable[[Any], bool]

MESSAGE_TYPES: Final = {"handoff", "question", "result", "alert", "request_help"}
FLEET_STATUSES: Final = {"pending", "running", "complete", "failed"}
AGENT_STATUSES: Final = {"pending", "running", "complete", "failed", "interrupted"}


def text(value: Any) -> bool:
    return isinstance(value, str)


def whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def yes_or_no(value: Any) -> bool:
    return isinstance(value, bool)


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def one_of(words: set[str]) -> Check:
    return lambda value: isinstance(value, str) and value in words


def roles(value: Any) -> bool:
    return isinstance(value, list) and all(text(item["role"]) and text(item["prompt"]) for item in value)


REQUIRED: Final[dict[str, dict[str, Check]]] = {
    "fleets": {"id": text, "status": one_of(FLEET_STATUSES), "created_at": whole},
    "agents": {"id": text, "fleet_id": text, "role": text, "prompt": text, "status": one_of(AGENT_STATUSES)},
    "messages": {
        "id": text,
        "from_agent_id": text,
        "to_agent_id": text,
        "fleet_id": text,
        "type": one_of(MESSAGE_TYPES),
        "payload": text,
        "timestamp": whole,
        "acknowledged": yes_or_no,
    },
    "receipts": {"message_id": text, "agent_id": text, "action": text, "timestamp": whole},
    "capabilities": {"agent_id": text, "fleet_id": text, "role": text, "skills": texts, "registered_at": whole},
    "templates": {"name": text, "description": text, "agents": roles, "created_at": whole, "version": whole},
}
OPTIONAL: Final[dict[str, dict[str, Check]]] = {
    "fleets": {"completed_at": whole, "timeout_ms": whole},
    "agents": {
        "agent_file": text,
        "pid": whole,
        "output": text,
        "error": text,
        "started_at": whole,
        "completed_at": whole,
        "retry_count": whole,
    },
    "messages": {"correlation_id": text, "recipients": texts},
    "receipts": {"note": text},
    "capabilities": {"model": text, "context_window": whole},
    "templates": {},
}
KEYS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "fleets": lambda row: str(row["id"]),
    "agents": lambda row: str(row["id"]),
    "messages": lambda row: str(row["id"]),
    "receipts": lambda row: f"{row['message_id']}:{row['agent_id']}:{row['action']}",
    "capabilities": lambda row: str(row["agent_id"]),
    "templates": lambda row: f"{row['name']}@v{row['version']}",
}


def read_as_v2(file: Path) -> dict[str, Any]:
    """The document, once every row of it is what a v0.9 reader relies on."""
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert document["schema_version"] == 2
    for table, required in REQUIRED.items():
        for key, row in document[table].items():
            assert KEYS[table](row) == key
            assert required.keys() <= row.keys(), (table, key)
            for field, is_right in (required | OPTIONAL[table]).items():
                assert field not in row or is_right(row[field]), (table, key, field, row[field])
    for agent_id, waiting in document["inboxes"].items():
        assert text(agent_id)
        assert texts(waiting)
        assert set(waiting) <= document["messages"].keys()
    return document
