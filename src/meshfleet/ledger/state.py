"""The ledger in memory: its tables, the indexes over them, and the four operations that change them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from sys import getsizeof, intern
from types import MappingProxyType
from typing import Any, Final

from meshfleet.errors import Corrupt
from meshfleet.ledger.journal import Operation
from meshfleet.ledger.schema import HEADER, TABLES
from meshfleet.model import SCHEMA_VERSION, Row

PUT: Final = "put"
DROP: Final = "drop"
APPEND: Final = "append"
TAKE: Final = "take"

_SHARED_FIELDS: Final = {
    "fleets": ("id", "status"),
    "agents": ("id", "fleet_id", "status"),
    "messages": ("id", "from_agent_id", "to_agent_id", "fleet_id", "type"),
    "capabilities": ("agent_id", "fleet_id"),
    "receipts": ("message_id", "agent_id", "action"),
    "attempts": ("agent_id",),
}
"""What many rows hold alike, and is stored once in memory."""
_IDS: Final = frozenset().union(*_SHARED_FIELDS.values())
_ROOM_PER_ID: Final = 200
"""How many bytes an inbox may have for each id in it; one that has only grown has less than half of that."""
_INDEXED: Final = {"agents": ("fleet_id", "status"), "messages": ("fleet_id",), "receipts": ("message_id",)}

Version = tuple[int, int]
"""Two equal ones mean that nothing has changed in between, whoever wrote: the last transaction, of which lineage."""

_NOTHING: Final[Mapping[str, None]] = MappingProxyType({})

_Index = dict[str, dict[str, None]]
"""The keys of rows by the value of a field."""


class _Indexes(dict[tuple[str, str], _Index]):
    """The indexes by table and field; one that is not there is made when it is asked for, and kept up from then on."""

    def __init__(self, tables: Mapping[str, Mapping[str, Row]]) -> None:
        super().__init__()
        self._tables = tables

    def __missing__(self, which: tuple[str, str]) -> _Index:
        table, field = which
        made = self[which] = _index(self._tables[table], field)
        return made


class State:
    """All rows, keyed; an inbox is an ordered set of message ids."""

    def __init__(self) -> None:
        self.schema_version = SCHEMA_VERSION
        self.lineage = 0
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in TABLES if name != "inboxes"}
        self.inboxes: dict[str, dict[str, None]] = {}
        self.extras: dict[str, Any] = {}
        self.index = _Indexes(self.tables)
        self._make_indexes()

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, briefly: bool = False) -> State:
        """Build the state of a checked and upgraded document, whose tables become the state's own.

        Args:
            document: The document.
            briefly: Whether it is not kept for long, so that neither making it small is worth the time nor an index
                that nobody asks for.
        """
        state = cls()
        state.index.clear()
        state.schema_version = document["schema_version"]
        state.lineage = document.get("lineage", 0)
        known: dict[str, str] = {}
        for table in state.tables:
            rows: dict[str, Row] = document[table]
            if not briefly:
                known.update(zip(rows, rows, strict=True) if table in {"fleets", "agents", "messages"} else ())
                _share(table, rows, known)
            state.tables[table] = rows
        if not briefly:
            state._make_indexes()
        for agent_id, ids in document["inboxes"].items():
            state.inboxes[agent_id] = {known.get(item, item): None for item in ids}
        state.extras = {key: value for key, value in document.items() if key not in {*TABLES, *HEADER}}
        return state

    def _make_indexes(self) -> None:
        for table, fields in _INDEXED.items():
            for field in fields:
                self.index[table, field] = _index(self.tables[table], field)

    @property
    def is_empty(self) -> bool:
        """True when there is no row at all."""
        return not (any(self.tables.values()) or any(self.inboxes.values()) or self.extras)

    def begin_lineage(self) -> None:
        """Give the state a past of its own, so that every running process loads it afresh."""
        self.lineage = int.from_bytes(os.urandom(4))

    def copy(self) -> State:
        """A copy that later transactions leave alone; rows are shared, since nobody changes one in place."""
        other = State()
        other.schema_version, other.lineage = self.schema_version, self.lineage
        other.tables = {name: dict(rows) for name, rows in self.tables.items()}
        other.inboxes = {agent_id: dict(ids) for agent_id, ids in self.inboxes.items()}
        other.extras = dict(self.extras)
        other.index = _Indexes(other.tables)
        return other

    def put(self, table: str, key: str, row: Row) -> None:
        """Set a row; one that is there is replaced in its place."""
        rows = self.tables[table]
        for field, index in self._indexes_of(table):
            old = rows.get(key)
            if old is not None and old[field] != row[field]:
                _unindex(index, old[field], key)
            index.setdefault(row[field], {})[key] = None
        rows[key] = row

    def drop(self, table: str, key: str) -> None:
        """Remove a row, if it is there."""
        row = self.tables[table].get(key)
        if row is not None:
            for field, index in self._indexes_of(table):
                _unindex(index, row[field], key)
            del self.tables[table][key]

    def _indexes_of(self, table: str) -> Iterator[tuple[str, _Index]]:
        """The indexes over a table that there are, with their fields."""
        for field in _INDEXED.get(table, ()):
            index = self.index.get((table, field))
            if index is not None:
                yield field, index

    def apply(self, operations: Iterable[Operation]) -> None:
        """Carry out a transaction's operations.

        Raises:
            Corrupt: An operation is none of the four, or names an unknown table.
        """
        for operation in operations:
            try:
                self._apply(operation)
            except (KeyError, TypeError, ValueError):
                raise Corrupt(
                    f"the journal holds the unknown operation {str(operation)[:80]}; a newer meshfleet may have "
                    "written it: upgrade this one"
                ) from None

    def _apply(self, operation: Operation) -> None:
        match operation:
            case ["put", table, key, row]:
                self.put(table, key, row)
            case ["append", agent_id, message_id]:
                self.inboxes.setdefault(agent_id, {})[message_id] = None
            case ["take", agent_id, message_id]:
                self._take(agent_id, message_id)
            case ["drop", table, key]:
                self.drop(table, key)
            case _:
                raise ValueError

    def _take(self, agent_id: str, message_id: str) -> None:
        ids = self.inboxes.get(agent_id)
        if ids is None:
            return
        ids.pop(message_id, None)
        if getsizeof(ids) > _ROOM_PER_ID * (len(ids) + 8):
            # a dict keeps the places of what was taken, and whoever walks through it passes all of them
            self.inboxes[agent_id] = dict.fromkeys(ids)


def _share(table: str, rows: Mapping[str, Row], known: dict[str, str]) -> None:
    """Have rows of a document just read hold the same text for equal ids and the like, in place.

    Their keys are shared already: the decoder sees to that within a document.
    """
    share = known.setdefault
    for field in _SHARED_FIELDS.get(table, ()):
        for row in rows.values():
            value = row.get(field)
            if type(value) is str:
                row[field] = share(value, value)


def _index(rows: Mapping[str, Row], field: str) -> _Index:
    index: _Index = {}
    for key, row in rows.items():
        index.setdefault(row[field], {})[key] = None
    return index


def _unindex(index: _Index, value: str, key: str) -> None:
    # it may be out already: what was cut off in the middle is done once more
    keys = index.get(value)
    if keys is not None:
        keys.pop(key, None)
        if not keys:
            index.pop(value, None)


def shared_operations(operations: list[Operation]) -> list[Operation]:
    """Operations just read, of which the rows' keys, and the ids, are stored once in memory."""
    for operation in operations:
        for place, value in enumerate(operation):
            if type(value) is str:
                operation[place] = intern(value)
            elif type(value) is dict:
                operation[place] = {
                    intern(key): intern(item) if key in _IDS and type(item) is str else item
                    for key, item in value.items()
                }
    return operations


class View:
    """What rules and queries may see of the ledger. Rows handed out are shared: never change one."""

    def __init__(self, state: State, seq: int) -> None:
        self._state = state
        self.seq = seq

    @property
    def version(self) -> Version:
        """Which state this is of all that the ledger has had."""
        return self.seq, self._state.lineage

    @property
    def schema_version(self) -> int:
        """The schema of the rows; one that is newer than ours is only read."""
        return self._state.schema_version

    @property
    def lineage(self) -> int:
        """Which past the rows have: another number than before is another ledger in the place of the one there was."""
        return self._state.lineage

    def get(self, table: str, key: str) -> Row | None:
        """A row by its key."""
        return self._state.tables[table].get(key)

    def rows(self, table: str) -> Iterable[Row]:
        """Every row of a table, in order of arrival."""
        return self._state.tables[table].values()

    def last_rows(self, table: str, count: int) -> list[Row]:
        """The last rows of a table, at most so many, in order of arrival."""
        rows = self._state.tables[table]
        return list(rows.values()) if count >= len(rows) else list(islice(reversed(rows.values()), max(count, 0)))[::-1]

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return len(self._state.tables[table])

    def agents_of(self, fleet_id: str) -> list[Row]:
        """The agents of a fleet, in the order they were spawned."""
        return self._indexed("agents", "fleet_id", fleet_id)

    def agents_that_are(self, *statuses: str) -> list[Row]:
        """The agents with one of these statuses, in the order in which they came to have it."""
        return [row for status in statuses for row in self._indexed("agents", "status", status)]

    def messages_of(self, fleet_id: str) -> list[Row]:
        """The messages of a fleet, in order of arrival."""
        return self._indexed("messages", "fleet_id", fleet_id)

    def last_messages_of(self, fleet_id: str, count: int) -> list[Row]:
        """The last messages of a fleet, at most so many, in order of arrival."""
        keys = reversed(self._state.index["messages", "fleet_id"].get(fleet_id, {}))
        found = (self.get("messages", key) for key in islice(keys, max(count, 0)))
        return [row for row in found if row is not None][::-1]

    def count_of(self, table: str, field: str, value: str) -> int:
        """How many rows of a table have this value in a field it is indexed by."""
        return len(self._state.index[table, field].get(value, _NOTHING))

    def receipts_of(self, message_id: str) -> list[Row]:
        """The receipts of a message, in order of arrival."""
        return self._indexed("receipts", "message_id", message_id)

    def inbox(self, agent_id: str) -> Collection[str]:
        """The ids of the messages that wait for an agent, oldest first."""
        return self._state.inboxes.get(agent_id, _NOTHING)

    def _indexed(self, table: str, field: str, value: str) -> list[Row]:
        rows = self._state.tables[table]
        return [rows[key] for key in self._state.index[table, field].get(value, _NOTHING)]


class Transaction(View):
    """A view that collects changes and shows them to its own rule; they take effect when the rule returns."""

    def __init__(self, state: State, seq: int) -> None:
        super().__init__(state, seq)
        self.operations: list[Operation] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._changed: dict[tuple[str, str], Row | None] = {}
        self._moved_to_the_end: set[tuple[str, str]] = set()

    def get(self, table: str, key: str) -> Row | None:
        """A row by its key, as this transaction leaves it."""
        if (table, key) in self._changed:
            return self._changed[table, key]
        return self._state.tables[table].get(key)

    def put(self, table: str, key: str, row: Row) -> None:
        """Set a row; it must not be changed afterwards."""
        self.operations.append([PUT, table, key, row])
        if self._changed.get((table, key), row) is None:
            del self._changed[table, key]
            self._moved_to_the_end.add((table, key))
        self._changed[table, key] = row

    def drop(self, table: str, key: str) -> None:
        """Remove a row."""
        self.operations.append([DROP, table, key])
        self._changed[table, key] = None

    def deliver(self, agent_id: str, message_id: str) -> None:
        """Append a message to an inbox."""
        self.operations.append([APPEND, agent_id, message_id])

    def take(self, agent_id: str, message_id: str) -> None:
        """Take a message out of an inbox."""
        self.operations.append([TAKE, agent_id, message_id])

    def event(self, name: str, /, **fields: Any) -> None:
        """Have a line written to the event log once the transaction stands."""
        self.events.append((name, fields))

    def inbox(self, agent_id: str) -> Collection[str]:
        """The ids that wait for an agent, as this transaction leaves them."""
        ids = dict.fromkeys(super().inbox(agent_id))
        for operation in self.operations:
            if operation[:2] == [APPEND, agent_id]:
                ids[operation[2]] = None
            elif operation[:2] == [TAKE, agent_id]:
                ids.pop(operation[2], None)
        return ids

    def last_rows(self, table: str, count: int) -> list[Row]:
        """The last rows of a table, at most so many, as this transaction leaves them."""
        rows = list(self.rows(table))
        return rows[max(len(rows) - max(count, 0), 0) :]

    def last_messages_of(self, fleet_id: str, count: int) -> list[Row]:
        """The last messages of a fleet, at most so many, as this transaction leaves them."""
        messages = self.messages_of(fleet_id)
        return messages[max(len(messages) - max(count, 0), 0) :]

    def count_of(self, table: str, field: str, value: str) -> int:
        """How many rows of a table have this value in an indexed field, as this transaction leaves them."""
        return len(self._indexed(table, field, value))

    def _indexed(self, table: str, field: str, value: str) -> list[Row]:
        before = self._state.index[table, field].get(value, _NOTHING)
        return [row for row in self._those_of(table, before) if row[field] == value]

    def rows(self, table: str) -> Iterable[Row]:
        """Every row of a table, as this transaction leaves it."""
        return self._those_of(table, self._state.tables[table])

    def _those_of(self, table: str, before: Collection[str]) -> Iterator[Row]:
        """The rows that were there and stay in their places, and then the others this transaction has put."""
        for key in before:
            row = self.get(table, key)
            if row is not None and (table, key) not in self._moved_to_the_end:
                yield row
        for (changed_table, key), row in self._changed.items():
            stays = key in before and (table, key) not in self._moved_to_the_end
            if changed_table == table and row is not None and not stays:
                yield row
