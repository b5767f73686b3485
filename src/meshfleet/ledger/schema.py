"""The tables of the ledger, what their rows must look like, and how older documents become current ones."""

from __future__ import annotations

from typing import Any, Final

from meshfleet.model import SCHEMA_VERSION, Row, receipt_key, recipients_of

TABLES: Final = (
    "fleets",
    "agents",
    "messages",
    "inboxes",
    "capabilities",
    "receipts",
    "templates",
    "attempts",
)
HEADER: Final = ("schema_version", "generation", "seq", "lineage")
"""The fields ahead of the tables. `lineage` changes whenever somebody else rewrote the snapshot."""
BACKFILL_NOTE: Final = "backfilled_from_v1_acknowledged_flag"

_TEXT: Final = (str,)
_NUMBER: Final = (int, float)
_REQUIRED: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "fleets": {"id": _TEXT, "status": _TEXT, "created_at": _NUMBER},
    "agents": {"id": _TEXT, "fleet_id": _TEXT, "role": _TEXT, "prompt": _TEXT, "status": _TEXT},
    "messages": {
        "id": _TEXT,
        "from_agent_id": _TEXT,
        "to_agent_id": _TEXT,
        "fleet_id": _TEXT,
        "type": _TEXT,
        "payload": _TEXT,
        "timestamp": _NUMBER,
    },
    "capabilities": {"agent_id": _TEXT, "fleet_id": _TEXT, "role": _TEXT, "skills": (list,)},
    "receipts": {"message_id": _TEXT, "agent_id": _TEXT, "action": _TEXT, "timestamp": _NUMBER},
    "templates": {"name": _TEXT, "agents": (list,), "version": _NUMBER},
    "attempts": {"agent_id": _TEXT, "number": _NUMBER},
}


class Malformed(ValueError):
    """The document is JSON but no ledger; the text says where."""


def check_document(document: Any) -> dict[str, Any]:
    """Return the document once every table and row has the form its readers rely on.

    Raises:
        Malformed: A table or a row has not.
    """
    if not isinstance(document, dict):
        raise Malformed("the document is no JSON object")
    for name in HEADER:
        value = document.get(name, 0)
        if type(value) is not int or value < 0:
            raise Malformed(f"{name} is {value!r}, not a whole number")
    for table in TABLES:
        rows = document.get(table, {})
        if not isinstance(rows, dict):
            raise Malformed(f"the table {table} is no JSON object")
        if table == "inboxes":
            _check_inboxes(rows)
        else:
            _check_rows(table, rows)
    return document


def _check_inboxes(rows: dict[str, Any]) -> None:
    for agent_id, ids in rows.items():
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            raise Malformed(f"the inbox of {agent_id} is no list of message ids")


def _check_rows(table: str, rows: dict[str, Any]) -> None:
    required = list(_REQUIRED[table].items())
    for key, row in rows.items():
        if not isinstance(row, dict):
            raise Malformed(f"{table} {key} is no JSON object")
        for field, types in required:
            value = row.get(field)
            if not isinstance(value, types) or isinstance(value, bool):
                raise Malformed(f"{table} {key}: {field} is {_shown(value)}")


def _shown(value: Any) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"


def upgrade(document: dict[str, Any]) -> dict[str, Any]:
    """Bring a checked document of an older schema up to date, in place; one of a newer schema stays as it is."""
    version = document.get("schema_version", 0)
    for table in TABLES:
        document.setdefault(table, {})
    if version < SCHEMA_VERSION:
        _backfill_receipts(document)
        document["schema_version"] = SCHEMA_VERSION
    return document


def _backfill_receipts(document: dict[str, Any]) -> None:
    receipts: dict[str, Row] = document["receipts"]
    for message in document["messages"].values():
        if message.get("acknowledged") is not True:
            continue
        for agent_id in recipients_of(message):
            key = receipt_key(message["id"], agent_id, "ack")
            receipts.setdefault(
                key,
                {
                    "message_id": message["id"],
                    "agent_id": agent_id,
                    "action": "ack",
                    "timestamp": message["timestamp"],
                    "note": BACKFILL_NOTE,
                },
            )
