"""Reading a snapshot that is damaged: every row that is whole by itself, wherever something else went wrong.

It is read from left to right, a table at a time. Where that fails, it goes on with the next row of the table, or the
next table, that can be read. `salvage` adds what the journal holds.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from meshfleet.ledger.jsontext import STRICT
from meshfleet.ledger.schema import HEADER, TABLES, Malformed, problems_of_row
from meshfleet.model import SCHEMA_VERSION, Row, attempt_key, receipt_key

_KEY: Final = re.compile(r'("(?:[^"\\\n]|\\.)*")\s*:\s*')
_GAP: Final = re.compile(r"[\s,]*")
_CANDIDATE: Final = re.compile(r'\n[ \t]*(?=\S)|[{,][ \t]*(?=")')
_AFTER_A_NUMBER: Final = frozenset({"", ",", "}", "\n", "\r", " "})
_NO_TEXT: Final = re.compile("[\udc80-\udcff]")
"""Bytes that were no UTF-8."""
_LEAST_TABLES: Final = 2
"""How many tables make a ledger of what has no schema_version."""


class Fault(NamedTuple):
    """Something wrong in a snapshot: its kind, its line where known, a sentence, whether all is read nevertheless."""

    kind: str
    line: int | None
    what: str
    lossless: bool = False


@dataclass(slots=True)
class BrokenSnapshot:
    """What a damaged snapshot still says.

    Attributes:
        document: Its numbers, tables and other fields, as far as they can be read.
        damages: What can't.
        is_ledger: Whether it was a ledger at all.
        is_foreign: Whether it is one that v0.9.0 wrote: there are tables, and before them none of the numbers of ours.
    """

    document: dict[str, Any] = field(default_factory=dict)
    damages: list[Fault] = field(default_factory=list)
    is_ledger: bool = False
    is_foreign: bool = False

    @property
    def is_ours(self) -> bool:
        """True when it has one of the numbers that v0.9.0 doesn't write, or what is left of one."""
        return any(name in self.document for name in HEADER[1:])


def read_broken(data: bytes, malformed: Malformed) -> BrokenSnapshot:
    """Read what can be read of a snapshot that was refused."""
    reader = _Reader(data.decode(errors="surrogateescape"))
    reader.read()
    found = reader.found
    _give_names_back(found)
    found.is_ledger = "schema_version" in found.document or found.is_ours
    tables = sum(table in found.document for table in TABLES)
    found.is_ledger = found.is_ledger or tables >= (1 if reader.is_whole else _LEAST_TABLES)
    found.is_foreign = found.is_ledger and tables > 0 and not found.is_ours
    if found.is_ours and found.document.get("schema_version", 0) < SCHEMA_VERSION:
        found.document["schema_version"] = SCHEMA_VERSION
    if not (reader.is_whole and reader.has_ended):
        found.damages.insert(0, Fault("snapshot-json", malformed.line, str(malformed), lossless=reader.has_ended))
    elif not found.damages:
        found.damages.append(Fault("snapshot-header", malformed.line, str(malformed), lossless=True))
    for table in TABLES:
        found.document.setdefault(table, {})
    return found


def _give_names_back(found: BrokenSnapshot) -> None:
    """Have what one wrong byte made an unknown field be again what it was, where that is missing."""
    for name in (*HEADER, *TABLES):
        if name in found.document:
            continue
        for other in [other for other in found.document if _differ_by_one(name, other)]:
            value = found.document[other]
            kind = "snapshot-table" if name in TABLES else "snapshot-header"
            if name in HEADER and type(value) is int:
                found.document[name] = value
            elif name in TABLES and isinstance(value, dict):
                found.document[name] = _sound_rows(found, name, value)
            else:
                continue
            found.damages.append(Fault(kind, None, f"{name} is called {other}", lossless=True))
            del found.document[other]
            break


def _sound_rows(found: BrokenSnapshot, table: str, rows: dict[str, Any]) -> dict[str, Any]:
    sound = {}
    for key, row in rows.items():
        if problem := problems_of_row(table, key, row):
            found.damages.append(Fault("snapshot-row", None, problem))
        else:
            sound[key] = row
    return sound


def _differ_by_one(name: str, other: str) -> bool:
    return len(name) == len(other) and sum(map(str.__ne__, name, other)) <= 1


class _Reader:
    """Goes through a text; `at` is where it is, and `table` what it is in, None between tables.

    Attributes:
        found: What was read until now.
        is_whole: Whether nothing had to be left out so far but rows of a wrong form.
        has_ended: Whether the end of the document was the last that was read.
    """

    def __init__(self, text: str) -> None:
        self.found = BrokenSnapshot()
        self.is_whole = True
        self.has_ended = False
        self._text = text
        self._at = 0
        self._table: str | None = None
        self._indent = ""
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._decode = json.JSONDecoder(**STRICT).raw_decode

    def read(self) -> None:
        """Read all of it."""
        self._at = self._after_gap(0) + 1
        if self._text[self._at - 1 : self._at] != "{":
            self._at -= 1
        while (at := self._after_gap(self._at)) < len(self._text):
            self._at = at
            if not self._read_next():
                self._recover()

    def _after_gap(self, at: int) -> int:
        match = _GAP.match(self._text, at)
        return match.end() if match else at

    def _read_next(self) -> bool:
        """Read the next row, field, or beginning or end of a table; False where there is none."""
        self.has_ended = self._text[self._at] == "}" and self._table is None
        if self._text[self._at] == "}":
            self._table = None
            self._at += 1
            return True
        return self._begin_table(self._at) or self._read_pair(self._at)

    def _begin_table(self, at: int) -> bool:
        begun = self._table_at(at)
        if begun is None or (self._table is not None and self._is_row(at)):
            return False
        self._enter(begun[0], at, begun[1])
        return True

    def _table_at(self, at: int) -> tuple[str, int] | None:
        """The table that begins here, and where its rows do."""
        match = _KEY.match(self._text, at)
        if match is None or match[1][1:-1] not in TABLES or not self._text.startswith("{", match.end()):
            return None
        return match[1][1:-1], match.end() + 1

    def _enter(self, table: str, at: int, after: int) -> None:
        self._table, self._at = table, after
        self._indent = self._text[self._text.rfind("\n", 0, at) + 1 : at]
        self.found.document.setdefault(table, {})

    def _read_pair(self, at: int) -> bool:
        pair = self._pair(at)
        if pair is None:
            return False
        key, value, end = pair
        if self._table is None:
            self._take_field(key, value, at)
        else:
            self._take_row(self._table, key, value, at)
        self._at = end
        return True

    def _pair(self, at: int) -> tuple[str, Any, int] | None:
        """The key and the value that begin here, and where they end; None when they can't be read."""
        match = _KEY.match(self._text, at)
        if match is None:
            return None
        try:
            key = json.loads(match[1])
            value, end = self._decode(self._text, match.end())
        except (ValueError, RecursionError):
            return None
        if _NO_TEXT.search(self._text, at, end):
            return None
        if not isinstance(value, dict | list | str) and self._text[end : end + 1] not in _AFTER_A_NUMBER:
            # a wrong byte behind a number may be within it
            return (key, value, end) if self._reads_on(self._after_gap(end + 1)) else None
        return key, value, end

    def _is_row(self, at: int) -> bool:
        pair = self._pair(at)
        return pair is not None and self._table is not None and problems_of_row(self._table, *pair[:2]) is None

    def _take_field(self, key: str, value: Any, at: int) -> None:
        if key in TABLES:
            self._damage("snapshot-table", at, f"the table {key} is no JSON object")
        elif key in HEADER and (type(value) is not int or value < 0):
            self._damage("snapshot-header", at, f"{key} is no whole number")
        elif key in self.found.document:
            self._damage("snapshot-header", at, f"{key} is there twice")
        else:
            self.found.document[key] = value

    def _take_row(self, table: str, key: str, value: Any, at: int) -> None:
        problem = problems_of_row(table, key, value)
        if problem is not None:
            self._damage("snapshot-row", at, problem)
            return
        rows: dict[str, Any] = self.found.document[table]
        if key in rows:
            self._damage("snapshot-row", at, f"{key} is there twice")
            _put_beside(table, key, rows, value)
        else:
            rows[key] = value

    # -- where it can't be read -------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Note what can't be read here, and go to where it can be again."""
        self.is_whole = False
        start = self._at
        if self._begin_damaged_table(start):
            self._damage("snapshot-table", start, f"the table {self._table} begins with a wrong byte", lossless=True)
        elif self._is_damaged_end(start):
            self._damage("snapshot-table", start, f"the table {self._table} ends with a wrong byte", lossless=True)
            self._table = None
            self._at += 1
        elif self._reads_on(self._after_gap(start + 1)):
            # one wrong byte where nothing belongs but a comma or the end of a line
            self._at = start + 1
        else:
            self._damage("snapshot-row", start, "what is on it can't be read")
            self._at = next(filter(self._continues, self._candidates(start)), len(self._text))

    def _begin_damaged_table(self, at: int) -> bool:
        # its first byte may have become a space, which was passed over
        for start in (at, max(at - 1, 0)):
            if begun := self._damaged_table(start):
                self._enter(begun[0], start, start + begun[1])
                return True
        return False

    def _damaged_table(self, at: int) -> tuple[str, int] | None:
        """The table that would begin here if one byte were another, and how long its beginning is."""
        for name in TABLES:
            for beginning in (f'"{name}":{{', f'"{name}": {{'):
                if _differ_by_one(beginning, self._text[at : at + len(beginning)]):
                    return name, len(beginning)
        return None

    def _is_damaged_end(self, at: int) -> bool:
        """True when one wrong byte stands alone on its line, as the end of a table does."""
        starts_line = self._text[:at].endswith("\n" + self._indent)
        return self._table is not None and starts_line and self._text[at + 1 : at + 3] in {",\n", ",\r", "\n", "\n}"}

    def _reads_on(self, at: int) -> bool:
        return self._text[at : at + 1] == "}" or self._table_at(at) is not None or self._pair(at) is not None

    def _candidates(self, start: int) -> Iterator[int]:
        return (match.end() for match in _CANDIDATE.finditer(self._text, start))

    def _continues(self, at: int) -> bool:
        """True where a row of the table, another table, or the table's end can be read."""
        starts_line = self._text[at - len(self._indent) - 1 : at] == "\n" + self._indent
        if starts_line and (self._text[at] == "}" or self._damaged_table(at) is not None):
            return True
        if self._table is not None:
            return self._table_at(at) is not None or self._is_row(at)
        return self._table_at(at) is not None or (starts_line and self._is_field(at))

    def _is_field(self, at: int) -> bool:
        """True when something can be read here that is no row of a table whose beginning can't be found."""
        pair = self._pair(at)
        return pair is not None and all(problems_of_row(table, *pair[:2]) for table in TABLES)

    def _damage(self, kind: str, at: int, what: str, *, lossless: bool = False) -> None:
        self.found.damages.append(Fault(kind, bisect_right(self._ends, at - 1) + 1, what, lossless))


def _put_beside(table: str, key: str, rows: dict[str, Any], value: Any) -> None:
    """Add a row whose key is taken: the one it belongs to keeps it, the other gets its own if that is free."""
    if table == "inboxes":
        rows[key] = list(dict.fromkeys([*rows[key], *value]))
        return
    other = value
    if _own_key(table, value) == key and _own_key(table, rows[key]) != key:
        other, rows[key] = rows[key], value
    own = _own_key(table, other)
    if own is not None:
        rows.setdefault(own, other)


def _own_key(table: str, row: Row) -> str | None:
    """The key under which a row belongs, where its fields say."""
    match table:
        case "fleets" | "agents" | "messages":
            key = row["id"]
        case "receipts":
            key = receipt_key(row["message_id"], row["agent_id"], row["action"])
        case "attempts":
            key = attempt_key(row["agent_id"], row["number"])
        case "templates":
            key = f"{row['name']}@v{row['version']}"
        case "capabilities":
            key = row["agent_id"]
        case _:
            return None
    return str(key)
