"""Reading a ledger that may be damaged: everything that still checks out, and what does not, line by line.

Nothing is written here. `meshfleet verify` tells what was found; `repair` puts what was salvaged in place. A damaged
snapshot is read by `broken_snapshot`. Where anything is damaged every journal in the folder is read, since one that a
crash left may hold what another has lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshfleet.errors import Busy, Corrupt, NotFound
from meshfleet.ledger import journal, snapshot
from meshfleet.ledger.broken_snapshot import BrokenSnapshot, read_broken
from meshfleet.ledger.files import Files, explained
from meshfleet.ledger.replica import Replica
from meshfleet.ledger.schema import Malformed, upgrade
from meshfleet.ledger.state import State, shared_operations
from meshfleet.model import SCHEMA_VERSION

_LOOKS: Final = 20
"""How often a ledger that changes is looked at again before giving up."""


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
        is_newer: Whether something in it is only known to a newer meshfleet.
    """

    state: State = field(default_factory=State)
    seq: int = 0
    generation: int = 0
    damages: list[Damage] = field(default_factory=list)
    read: list[Path] = field(default_factory=list)
    is_newer: bool = False


def salvage(data_file: Path, files: Files | None = None) -> Salvage:
    """Read a ledger, whatever its condition; a live one is read as of one moment.

    Raises:
        NotFound: There is no ledger, or the file is something else.
        Busy: It changed faster than it could be read.
    """
    files = files or Files()
    last: Salvage | None = None
    for _ in range(_LOOKS):
        before = files.identify(data_file)
        found = _Reader(data_file, files).read()
        if files.identify(data_file) != before or not all(path.exists() for path in found.read):
            continue
        # what looks damaged may be a write of which one part was seen and another was not yet
        if not found.damages or (last is not None and last.damages == found.damages):
            return found
        last = found
    if last is not None:
        return last
    raise Busy(f"{data_file} is being rewritten over and over; try again when less is going on")


@dataclass(frozen=True, slots=True)
class _Place:
    """A transaction that can be read, and where it stands."""

    record: journal.Record
    path: Path
    line: int


class _Reader:
    def __init__(self, data_file: Path, files: Files) -> None:
        self._data_file = data_file
        self._files = files
        self._replica = Replica(data_file, files)
        self._found = Salvage()
        self._places: dict[int, _Place] = {}
        self._is_continued = True
        self._last_base = 0

    def read(self) -> Salvage:
        found = self._found
        journals = dict(self._replica.journals.all())
        data = self._content(self._data_file)
        if data is None and not journals:
            raise NotFound(f"there is no ledger at {self._data_file}; name one, or set MESHFLEET_DATA_FILE")
        generation, seq = self._read_snapshot(
            data, is_alone=not any(map(self._replica.journals.last_seq_in, journals.values()))
        )
        if generation is not None:
            seq = self._read_own_journal(generation, seq)
        if found.damages:
            for other in sorted(journals.keys() - {generation}, reverse=True):
                self._read_journal(journals[other], other)
        found.generation = max([generation or 0, *journals])
        if self._is_continued:
            self._apply(seq)
        found.is_newer = found.is_newer or found.state.schema_version > SCHEMA_VERSION
        return found

    def _damage(self, kind: str, path: Path, line: int | None, what: str, *, lossless: bool = False) -> None:
        self._found.damages.append(Damage(kind, path.name, line, what, lossless))

    def _content(self, path: Path) -> bytes | None:
        try:
            fd = self._files.open_existing(path)
        except FileNotFoundError:
            return None
        try:
            content = self._files.read(fd, 0, self._files.size(fd))
        except OSError as error:
            raise explained(error, "read", path) from None
        finally:
            self._files.close(fd)
        self._found.read.append(path)
        return content

    # -- the snapshot -----------------------------------------------------------------------------------------------

    def _read_snapshot(self, data: bytes | None, *, is_alone: bool) -> tuple[int | None, int | None]:
        """Read the snapshot; returns its generation and its last transaction, None where they are not known."""
        if data is None:
            self._damage("snapshot-missing", self._data_file, None, "it is gone, but its journal is there")
            return None, None
        try:
            heading, self._found.state = snapshot.read(data)
        except Malformed as malformed:
            broken = read_broken(data, malformed)
            if not broken.is_ledger and is_alone:
                raise NotFound(f"{self._data_file} is no ledger: {malformed}") from None
            return self._take_broken_snapshot(broken)
        self._is_continued = heading is not None
        return (None, None) if heading is None else (heading.generation, heading.seq)

    def _take_broken_snapshot(self, broken: BrokenSnapshot) -> tuple[int | None, int | None]:
        for kind, line, what, lossless in broken.damages:
            self._damage(kind, self._data_file, line, what, lossless=lossless)
        # what v0.9.0 wrote, journals that were there before don't continue
        self._is_continued = not broken.is_foreign
        generation, seq = broken.document.get("generation"), broken.document.get("seq")
        self._found.state = State.from_document(upgrade(broken.document))
        return generation or None, seq

    # -- the journals -----------------------------------------------------------------------------------------------

    def _read_own_journal(self, generation: int, seq: int | None) -> int | None:
        """Read the journal that the snapshot names; returns after which transaction the journals are to be applied."""
        path = self._replica.journals.path(generation)
        if not path.exists():
            self._damage("journal-missing", path, None, "the snapshot continues in it, but it is not there")
            return seq
        base = self._read_journal(path, generation)
        if base is None or seq is None or base == seq:
            return seq if base is None else base
        if base > seq:
            what = f"it continues after transaction {base}, but the snapshot ends with {seq}"
            self._damage("journal-gap", path, 1, what)
        else:
            what = f"it ends with transaction {seq}, but its journal continues after {base}"
            self._damage("snapshot-header", self._data_file, None, what, lossless=True)
        return min(seq, base)

    def _read_journal(self, path: Path, generation: int) -> int | None:
        """Read a journal; returns after which transaction it begins, None where that is not known."""
        data = self._content(path)
        if data is None:
            return None
        written = data.rstrip(b"\0")
        *lines, tail = written.split(b"\n")
        if not tail and lines and journal.is_torn(lines[-1] + b"\n", len(written) - len(lines[-1]) - 1):
            tail = lines.pop()
        base = self._read_header(path, lines[0], generation) if lines else None
        for number, line in enumerate(lines[1:], start=2):
            self._read_line(path, number, line)
        if tail or not lines:
            self._read_tail(path, len(lines) + 1, tail, len(written.rstrip(b"\n")) - len(tail))
        self._last_base = max(self._last_base, base or 0)
        return base

    def _read_header(self, path: Path, line: bytes, generation: int) -> int | None:
        first, *records = _pieces(line)
        try:
            header = journal.decode_header(first)
        except journal.Damaged as damage:
            self._damage("journal-header", path, 1, str(damage), lossless=True)
            return None
        if header.generation != generation:
            self._damage("journal-header", path, 1, "it is the header of another journal")
            return None
        if records:
            self._damage("journal-line-end", path, 1, "its end is wrong, and the next line is on it", lossless=True)
            self._take_records(path, 1, records)
        return header.base

    def _read_line(self, path: Path, number: int, line: bytes) -> None:
        try:
            self._take_record(path, number, line)
        except journal.Damaged as damage:
            first, *records = _pieces(line)
            if records:
                self._damage(
                    "journal-line-end", path, number, "its end is wrong, and the next line is on it", lossless=True
                )
                self._take_records(path, number, [first, *records])
            else:
                self._damage("journal-record", path, number, str(damage))

    def _take_records(self, path: Path, number: int, pieces: list[bytes]) -> None:
        for piece in pieces:
            try:
                self._take_record(path, number, piece)
            except journal.Damaged as damage:
                self._damage("journal-record", path, number, str(damage))

    def _take_record(self, path: Path, number: int, line: bytes) -> None:
        record = journal.decode_record(line)
        self._places.setdefault(record.seq, _Place(record, path, number))

    def _read_tail(self, path: Path, number: int, tail: bytes, offset: int) -> None:
        if journal.is_torn(tail, offset):
            what = (
                f"a crash tore its last {len(tail)} bytes, which were never acknowledged; the next write cuts them off"
            )
            self._damage("journal-torn", path, number, what, lossless=True)
            return
        self._damage("journal-last-byte", path, number, "its last byte is wrong", lossless=True)
        first, *rest = _pieces(tail)
        self._take_records(path, number, [first])
        if rest and len(rest[0]) > 1:
            self._read_tail(path, number, tail[len(first) + 1 :], offset + len(first) + 1)

    def _apply(self, after: int | None) -> None:
        """Carry out what the journals hold behind a transaction, or all of it; what is missing in between is noted."""
        found = self._found
        found.seq = after or 0
        for seq, place in sorted(self._places.items()):
            if after is not None and seq <= after:
                continue
            if seq != found.seq + 1 and found.seq:
                missing = f"transaction {found.seq + 1}"
                if seq > found.seq + 2:
                    missing = f"transactions {found.seq + 1} to {seq - 1}"
                self._damage("journal-gap", place.path, place.line, f"{missing} before it can't be read")
            self._carry_out(place)
            found.seq = seq
        found.seq = max(found.seq, self._last_base)

    def _carry_out(self, place: _Place) -> None:
        try:
            self._found.state.apply(shared_operations(place.record.operations))
        except Corrupt as unknown:
            self._damage("journal-operation", place.path, place.line, str(unknown))
            self._found.is_newer = True


def _pieces(line: bytes) -> list[bytes]:
    """The records on a line, of which a wrong byte may have joined several; bytes that are no record are one piece."""
    pieces = []
    while True:
        piece = journal.whole_record(line)
        pieces.append(piece)
        if len(piece) == len(line):
            return pieces
        line = line[len(piece) + 1 :]
