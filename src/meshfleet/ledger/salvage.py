"""Reading a ledger that may be damaged: everything that still checks out, and what does not, line by line.

Nothing is written here. `meshfleet verify` tells what was found; `repair` puts what was salvaged in place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import Busy, NotFound
from meshfleet.ledger import journal, snapshot
from meshfleet.ledger.files import Files
from meshfleet.ledger.replica import Replica
from meshfleet.ledger.schema import HEADER, TABLES, Malformed, problems_of_row, upgrade
from meshfleet.ledger.state import State, shared_operations

_LOOKS: Final = 20
"""How often a ledger that is being compacted is looked at again before giving up."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A place where the files are not what was once written.

    Attributes:
        id: Which kind, stable over versions.
        file: The file's name.
        line: Its line, from 1; None where the whole file is meant.
        what: What is wrong there.
        lossless: Whether repairing it loses nothing that was acknowledged.
    """

    id: str
    file: str
    line: int | None
    what: str
    lossless: bool = False

    @property
    def where(self) -> str:
        """The file and, where known, the line."""
        return self.file if self.line is None else f"{self.file} line {self.line}"


@dataclass(slots=True)
class Salvage:
    """What a ledger's files still hold.

    Attributes:
        state: Every row that checks out, with every transaction that does.
        seq: The number of the last transaction in it.
        generation: The highest that any file in the folder names.
        damages: What does not check out.
        read: The files it was read from.
    """

    state: State = field(default_factory=State)
    seq: int = 0
    generation: int = 0
    damages: list[Damage] = field(default_factory=list)
    read: list[Path] = field(default_factory=list)


def salvage(data_file: Path, files: Files | None = None) -> Salvage:
    """Read a ledger, whatever its condition; a live one is read as of one moment.

    Raises:
        NotFound: There is no ledger, or the file is something else.
        Busy: It changed faster than it could be read.
    """
    files = files or Files()
    for _ in range(_LOOKS):
        before = files.identify(data_file)
        result = _Reader(data_file, files).read()
        if files.identify(data_file) == before and all(path.exists() for path in result.read):
            return result
    raise Busy(f"{data_file} is being rewritten over and over; try again when less is going on")


class _Reader:
    def __init__(self, data_file: Path, files: Files) -> None:
        self._data_file = data_file
        self._files = files
        self._replica = Replica(data_file, files)
        self._found = Salvage()

    def read(self) -> Salvage:
        journals = self._replica.journals()
        self._found.generation = max((generation for generation, _ in journals), default=0)
        data = self._content(self._data_file)
        if data is None and not journals:
            raise NotFound(f"there is no ledger at {self._data_file}; name one, or set MESHFLEET_DATA_FILE")
        heading = None if data is None else self._read_snapshot(data)
        if data is None:
            self._damage("snapshot-missing", self._data_file, None, "it is gone, but its journal is there")
        if heading is not None and heading.generation > 0:
            self._found.seq = heading.seq
            self._found.generation = max(self._found.generation, heading.generation)
            self._read_journal(self._replica.journal_path(heading.generation), heading)
        elif journals and (data is None or self._found.damages):
            self._read_journal(journals[-1][1], None)
        return self._found

    def _damage(self, kind: str, path: Path, line: int | None, what: str, *, lossless: bool = False) -> None:
        self._found.damages.append(Damage(kind, path.name, line, what, lossless))

    def _content(self, path: Path) -> bytes | None:
        try:
            fd = self._files.open_existing(path)
        except FileNotFoundError:
            return None
        try:
            content = self._files.read(fd, 0, self._files.size(fd))
        finally:
            self._files.close(fd)
        self._found.read.append(path)
        return content

    # -- the snapshot -----------------------------------------------------------------------------------------------

    def _read_snapshot(self, data: bytes) -> snapshot.Heading | None:
        try:
            heading, self._found.state = snapshot.read(data)
        except Malformed as malformed:
            return self._read_broken_snapshot(data, malformed)
        return heading

    def _read_broken_snapshot(self, data: bytes, malformed: Malformed) -> snapshot.Heading | None:
        heading = snapshot.peek(data[: snapshot.PEEK_SIZE])
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or not document.keys() & {*TABLES, "schema_version"}:
            if heading is None and not (document is None and b'"schema_version"' in data[: snapshot.PEEK_SIZE]):
                raise NotFound(f"{self._data_file} is no ledger: {malformed}") from None
            self._damage("snapshot-json", self._data_file, malformed.line, str(malformed))
            document = self._rows_of_lines(data)
        self._found.state = State.from_document(upgrade(self._sound_rows(document, data)))
        return heading or _heading_of(document)

    def _rows_of_lines(self, data: bytes) -> dict[str, Any]:
        """The document as far as its lines, one a row, are JSON by themselves."""
        document: dict[str, Any] = {}
        table: dict[str, Any] | None = None
        for number, line in enumerate(data.split(b"\n"), start=1):
            text = line.rstrip(b",")
            opened = text.removesuffix(b":{").strip(b'"').decode(errors="replace") if text.endswith(b":{") else None
            if opened in TABLES:
                table = document.setdefault(opened, {})
            elif text in {b"", b"{", b"}"}:
                table = None if text == b"}" else table
            else:
                try:
                    pair = json.loads(b"{" + text + b"}")
                except ValueError:
                    self._damage("snapshot-row", self._data_file, number, "the row on it can't be read")
                    continue
                (document if table is None else table).update(pair)
        return document

    def _sound_rows(self, document: dict[str, Any], data: bytes) -> dict[str, Any]:
        """The document without the rows that have not the form they need; each of those is noted."""
        for name in HEADER:
            if type(document.get(name, 0)) is not int or document.get(name, 0) < 0:
                self._damage("snapshot-header", self._data_file, None, f"{name} is no whole number")
                document.pop(name)
        for table in TABLES:
            rows = document.get(table, {})
            if not isinstance(rows, dict):
                self._damage("snapshot-table", self._data_file, None, f"the table {table} is no JSON object")
                rows = {}
            document[table] = sound = {}
            for key, row in rows.items():
                problem = problems_of_row(table, key, row)
                if problem is None:
                    sound[key] = row
                else:
                    self._damage("snapshot-row", self._data_file, snapshot.line_of(data, key), problem)
        return document

    # -- the journal ------------------------------------------------------------------------------------------------

    def _read_journal(self, path: Path, heading: snapshot.Heading | None) -> None:
        data = self._content(path)
        if data is None:
            self._damage("journal-missing", path, None, "the snapshot continues in it, but it is not there")
            return
        *lines, tail = data.split(b"\n")
        if lines:
            self._read_header(path, lines[0], heading)
        for number, line in enumerate(lines[1:], start=2):
            self._read_record(path, number, line)
        if tail or not lines:
            self._read_tail(path, len(lines) + 1, tail)

    def _read_header(self, path: Path, line: bytes, heading: snapshot.Heading | None) -> None:
        try:
            header = journal.decode_header(line)
        except journal.Damaged as damage:
            self._damage("journal-header", path, 1, str(damage), lossless=True)
            return
        if header.generation != int(path.name.split(".")[-2]):
            self._damage("journal-header", path, 1, "it is the header of another journal")
        elif heading is not None and header.base > heading.seq:
            what = f"it continues after transaction {header.base}, but the snapshot ends with {heading.seq}"
            self._damage("journal-gap", path, 1, what)

    def _read_record(self, path: Path, number: int, line: bytes) -> None:
        try:
            record = journal.decode_record(line)
        except journal.Damaged as damage:
            self._damage("journal-record", path, number, str(damage))
            return
        if record.seq <= self._found.seq:
            return
        if record.seq != self._found.seq + 1 and self._found.seq:
            missing = f"transaction {self._found.seq + 1}"
            if record.seq > self._found.seq + 2:
                missing = f"transactions {self._found.seq + 1} to {record.seq - 1}"
            self._damage("journal-gap", path, number, f"{missing} before it can't be read")
        self._found.state.apply(shared_operations(record.operations))
        self._found.seq = record.seq

    def _read_tail(self, path: Path, number: int, tail: bytes) -> None:
        if journal.is_torn(tail):
            what = (
                f"a crash tore its last {len(tail)} bytes, which were never acknowledged; the next write cuts them off"
            )
            self._damage("journal-torn", path, number, what, lossless=True)
            return
        self._damage("journal-last-byte", path, number, "its last byte is wrong", lossless=True)
        self._read_record(path, number, journal.whole_record(tail))


def _heading_of(document: dict[str, Any]) -> snapshot.Heading | None:
    if "generation" not in document:
        return None
    return snapshot.Heading(*(document.get(name, 0) for name in HEADER))
