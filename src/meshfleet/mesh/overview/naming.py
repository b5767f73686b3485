"""What a person means by an id or its beginning: the row, or the several it may be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.texts import shown
from meshfleet.model import Row

NAMEABLE: Final = ("fleets", "agents", "messages")
_MOST_LISTED: Final = 5
"""How many of those that a beginning may mean its refusal lists."""


@dataclass(frozen=True, slots=True)
class Named:
    """A row that a person may mean.

    Attributes:
        table: `fleets`, `agents` or `messages`.
        id: Its key.
    """

    table: str
    id: str


def candidates(view: View, name: str, tables: Collection[str] = NAMEABLE) -> list[tuple[str, Row]]:
    """The one row with this id, with its table; where there is none, all whose ids begin with it."""
    exact = [(table, row) for table in tables if (row := view.get(table, name)) is not None]
    return exact[:1] or [
        (table, row) for table in tables for row in view.rows(table) if name and row["id"].startswith(name)
    ]


def require_named(ledger: Ledger, name: str, tables: Collection[str] = NAMEABLE) -> Named:
    """What a person names by its id, or by a beginning that only one has.

    Raises:
        Invalid: Several have it.
        NotFound: None has, or there is no ledger.
    """
    found = ledger.read(lambda view: candidates(view, name, tables))
    if not (found or ledger.is_there):
        raise NotFound(f"there is no ledger at {ledger.data_file}; set MESHFLEET_DATA_FILE to one")
    if not found:
        raise NotFound(_why_none(ledger, name, tables))
    if len(found) > 1:
        some = "; ".join(f"{row['id']} ({_told(table, row)})" for table, row in found[:_MOST_LISTED])
        rest = "; ..." if len(found) > _MOST_LISTED else ""
        raise Invalid(f"{shown(name)} is the beginning of {len(found)} ids: {some}{rest}; give more of it")
    [(table, row)] = found
    return Named(table, row["id"])


def _why_none(ledger: Ledger, name: str, tables: Collection[str]) -> str:
    *first, last = (table.removesuffix("s") for table in tables)
    kinds = f"{', '.join(first)} or {last}" if first else last
    others = ledger.read(lambda view: candidates(view, name))
    if len(others) == 1:
        [(table, row)] = others
        return f"{row['id']} ({_told(table, row)}) is no {kinds}; meshfleet inspect {row['id']} shows more of it"
    where = f"{ledger.data_file}, nor the beginning of one's id"
    return f"{shown(name)} is no {kinds} of {where}; meshfleet inspect shows what there is"


def _told(table: str, row: Row) -> str:
    """What a row is, such as `agent Explorer, running`."""
    match table:
        case "fleets":
            return " ".join(["fleet", *([str(row["name"])] if "name" in row else [])]) + f", {row['status']}"
        case "agents":
            return f"agent {row['role']}, {row['status']}"
        case _:
            return f"message, {row['type']}"
