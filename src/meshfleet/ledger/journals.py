"""The journals that lie beside a snapshot: which there are, what they say of themselves, and opening one."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Final, NamedTuple

from meshfleet.errors import Corrupt
from meshfleet.ledger import journal
from meshfleet.ledger.files import Files
from meshfleet.settings import beside

HEADER_SIZE: Final = 512
"""More bytes than a journal's header has."""


class Moved(Exception):
    """The snapshot and its journal could not be caught together."""


class OpenJournal(NamedTuple):
    """A journal's descriptor, its header and the offset of its first record, in bytes."""

    fd: int
    header: journal.Header
    offset: int


class Journals:
    """The journals of a ledger, by their generations."""

    def __init__(self, data_file: Path, files: Files) -> None:
        self._data_file = data_file
        self._files = files

    def path(self, generation: int) -> Path:
        """Where the journal of a generation lies."""
        return beside(self._data_file, f"journal.{generation}.ndjson")

    def all(self) -> list[tuple[int, Path]]:
        """The journals in the folder, by generation."""
        found = []
        for path in self._data_file.parent.glob(glob.escape(beside(self._data_file, "journal").name) + ".*.ndjson"):
            generation = path.name.split(".")[-2]
            if generation.isdigit():
                found.append((int(generation), path))
        return sorted(found)

    def last_seq_in(self, path: Path) -> int:
        """The number of the last whole transaction in a journal; 0 when it holds none that can be read."""
        try:
            fd = self._files.open_existing(path)
        except FileNotFoundError:
            return 0
        try:
            lines = self._files.read(fd, 0, self._files.size(fd)).split(b"\n")[1:-1]
        finally:
            self._files.close(fd)
        for line in reversed(lines):
            try:
                return journal.decode_record(line).seq
            except journal.Damaged:
                continue
        return 0

    def base_of(self, path: Path) -> int:
        """After which transaction a journal goes on; 0 when that can't be read."""
        try:
            fd = self._files.open_existing(path)
        except FileNotFoundError:
            return 0
        try:
            return journal.decode_header(self._files.read(fd, 0, HEADER_SIZE).partition(b"\n")[0]).base
        except journal.Damaged:
            return 0
        finally:
            self._files.close(fd)

    def open(self, generation: int) -> OpenJournal:
        """Open the journal of a generation.

        Raises:
            Moved: It is not there.
            Corrupt: Its header is not as it was written.
            OSError: It can't be read.
        """
        path = self.path(generation)
        try:
            fd = self._files.open_existing(path)
        except FileNotFoundError:
            raise Moved(f"it continues in {path.name}, which is not there") from None
        try:
            head = self._files.read(fd, 0, HEADER_SIZE)
        except OSError:
            self._files.close(fd)
            raise
        end = head.find(b"\n")
        try:
            header = journal.decode_header(head[: end if end >= 0 else len(head)])
        except journal.Damaged as damage:
            self._files.close(fd)
            raise damaged(path, f"line 1: {damage}") from None
        if header.generation != generation or end < 0:
            self._files.close(fd)
            raise damaged(path, "line 1: it is not the header of this journal")
        return OpenJournal(fd, header, end + 1)


def damaged(path: Path, what: str) -> Corrupt:
    """The error that says of a file of the ledger that it is not as it was written, and what to do."""
    return Corrupt(
        f"{path} is damaged: {what}; nothing is written until it is mended: run meshfleet verify to see "
        "all of it, then meshfleet repair, which keeps a copy"
    )
