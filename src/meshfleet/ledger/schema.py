"""The tables of the ledger, what their rows must look like, and how older documents become current ones."""

from __future__ import annotations

from operator import itemgetter
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
    "outcomes",
)
HEADER: Final = ("schema_version", "generation", "seq", "lineage")
"""The fields ahead of the tables. `lineage` changes whenever somebody else rewrote the snapshot."""
_ADDED_LATER: Final = frozenset({"outcomes"})
"""Tables that the first snapshots of ours had not."""
BACKFILL_NOTE: Final = "backfilled_from_v1_acknowledged_flag"

_TEXT: Final = (str,)
_NUMBER: Final = (int, float)
_FIELDS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
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
    "outcomes": {"agent_id": _TEXT, "capability_key": _TEXT, "successes": _NUMBER, "failures": _NUMBER},
}
_REQUIRED: Final = {table: tuple(fields.items()) for table, fields in _FIELDS.items()}


class Malformed(ValueError):
    """The document is no JSON, or no ledger; the text says why.

    Attributes:
        line: The line it is about, from 1, where that is known.
        key: The key of the row it is about.
    """

    def __init__(self, what: str, *, line: int | None = None, key: str | None = None) -> None:
        super().__init__(what)
        self.line = line
        self.key = key


def check_document(document: Any) -> dict[str, Any]:
    """Return the document once every table and row has the form its readers rely on.

    Raises:
        Malformed: A table or a row has not.
    """
    if not isinstance(document, dict):
        raise Malformed("the document is no JSON object")
    if not document.keys() & {*TABLES, "schema_version"}:
        raise Malformed("it has neither a schema_version nor any of a ledger's tables")
    _check_heading(document)
    for table in TABLES:
        rows = document.get(table, {})
        if not isinstance(rows, dict):
            raise Malformed(f"the table {table} is no JSON object", key=table)
        if table != "inboxes" and _are_sound(table, rows):
            continue
        for key, row in rows.items():
            if problem := problems_of_row(table, key, row):
                raise Malformed(problem, key=key)
    return document


def _are_sound(table: str, rows: dict[str, Any]) -> bool:
    """True when no row has a problem: a column at a time, since there may be a hundred thousand rows."""
    try:
        return all({*map(type, map(itemgetter(field), rows.values()))} <= {*types} for field, types in _REQUIRED[table])
    except (KeyError, TypeError):
        return False


def _check_heading(document: dict[str, Any]) -> None:
    """Refuse numbers that are none, and a snapshot of ours that lacks one of its names.

    A name that a flipped byte made another one would otherwise be a table nobody knows, and its rows gone; without its
    generation a snapshot of ours would pass for one that v0.9.0 rewrote, and its journal be put aside.
    """
    for name in HEADER:
        value = document.get(name, 0)
        if type(value) is not int or value < 0:
            raise Malformed(f"{name} is {value!r}, not a whole number", key=name)
    ours = [name for name in HEADER[1:] if name in document]
    if not ours:
        return
    for name in (*HEADER, *TABLES):
        if name not in document and (name not in _ADDED_LATER or any(_may_have_been(name, key) for key in document)):
            raise Malformed(f"it has {ours[0]} but no {name}", line=1)
    if document["generation"] == 0:
        raise Malformed("generation is 0; the first one is 1", key="generation")
    if document["schema_version"] < SCHEMA_VERSION:
        what = f"schema_version is {document['schema_version']}, but {ours[0]} came with {SCHEMA_VERSION}"
        raise Malformed(what, key="schema_version")


def _may_have_been(name: str, other: str) -> bool:
    """Whether one flipped byte could have made the other name of this one."""
    return len(name) == len(other) and sum(map(str.__ne__, name, other)) == 1


def problems_of_row(table: str, key: str, row: Any) -> str | None:
    """What keeps a row from having the form its readers rely on; None when nothing does."""
    if table == "inboxes":
        sound = isinstance(row, list) and all(isinstance(item, str) for item in row)
        return None if sound else f"the inbox of {key} is no list of message ids"
    if not isinstance(row, dict):
        return f"{table} {key} is no JSON object"
    for field, types in _REQUIRED[table]:
        value = row.get(field)
        if not isinstance(value, types) or value is True or value is False:
            return f"{table} {key}: {field} is {_shown(value)}"
    return None


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
