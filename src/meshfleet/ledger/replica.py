"""One process's copy of the ledger in memory, and the files it follows; who may write when is the store's concern.

A replica holds open the snapshot it came from and the journal that continues it. `refresh` takes in what others
appended, and follows when somebody compacted: first the rest of the old journal through the descriptor still open,
then the new one, of which it skips what it has. Only what is not a continuation is loaded afresh.
"""

from __future__ import annotations

import logging
from pathlib import Path
from zlib import crc32

from meshfleet.errors import Unavailable
from meshfleet.ledger import journal, snapshot
from meshfleet.ledger.files import Files, Identity, explained
from meshfleet.ledger.journal_file import JournalFile, PendingSync
from meshfleet.ledger.journals import Journals, Moved, damaged
from meshfleet.ledger.schema import Malformed
from meshfleet.ledger.state import State, shared_operations

log = logging.getLogger(__name__)


class Replica:
    """The state of a ledger as of transaction `seq`, and how to go on from there.

    Attributes:
        generation: Of the snapshot followed; 0 while there is none that meshfleet wrote.
        journals: Those in the folder, the one that is followed and others.
        identity: Of the snapshot followed; None while there is none.
        torn_tails_cut: How many torn transactions were cut off by this process.
    """

    def __init__(self, data_file: Path, files: Files, *, briefly: bool = False) -> None:
        self.data_file = data_file
        self._briefly = briefly
        self._data_name = str(data_file)
        self.files = files
        self.journals = Journals(data_file, files)
        self.state = State()
        self.seq = 0
        self.generation = 0
        self.identity: Identity | None = None
        self.torn_tails_cut = 0
        self._snapshot_fd: int | None = None
        self._journal: JournalFile | None = None

    @property
    def has_journal(self) -> bool:
        """False while there is nothing to append to: no ledger yet, or one that another program wrote."""
        return self._journal is not None

    @property
    def offset(self) -> int:
        """The end of the last journal line taken in, in bytes."""
        return self._journal.offset if self._journal is not None else 0

    @property
    def records_since_snapshot(self) -> bool:
        """True when the journal holds transactions that the snapshot has not."""
        return self._journal is not None and self._journal.has_records

    @property
    def is_on_the_disk(self) -> bool:
        """True when everything taken in is known to be on the disk; somebody else's transaction may not be yet."""
        return self._journal is None or self._journal.is_on_the_disk

    def follows(self, snapshot_fd: int) -> bool:
        """True when this descriptor is the one held open for the snapshot followed."""
        return self._snapshot_fd == snapshot_fd

    def refresh(self) -> None:
        """Take in what others wrote, without the lock.

        Raises:
            Moved: Somebody compacted meanwhile; try again.
            Damaged: A line is not as it was written, or was not yet whole; the lock tells which.
            Corrupt: The files are damaged.
            Unavailable: The files can't be read.
        """
        self._follow()
        if self._journal is not None and b"\0" in self._journal.tail:
            raise journal.Damaged("a part of it is missing")

    def _follow(self) -> None:
        try:
            self._follow_snapshot()
            self._take_in()
        except OSError as error:
            raise explained(error, "read", self.data_file) from None

    def refresh_under_lock(self) -> None:
        """Take in what others wrote while nobody can write, and cut off what a crash tore.

        Raises:
            Corrupt: The files are damaged.
            Unavailable: The files can't be read, or what a crash tore can't be cut off.
        """
        try:
            self._follow()
            if self._journal is not None and self._journal.tail:
                self._cut_torn_tail(self._journal)
        except OSError as error:
            raise explained(error, "cut a torn transaction off", self.journals.path(self.generation)) from None
        except journal.Damaged as damage:
            raise damaged(self.journals.path(self.generation), f"line {self._open_journal().line}: {damage}") from None
        except Moved as moved:
            raise damaged(self.data_file, str(moved)) from None

    def append(self, operations: list[journal.Operation]) -> None:
        """Write a transaction behind the last one and take it in; the caller holds the lock.

        Raises:
            Invalid: A row holds what JSON has no word for; nothing was written.
            Unavailable: The disk refused; the journal is as it was.
        """
        line = journal.encode_record(self.seq + 1, operations)
        written_to = self._open_journal()
        written_to.write(line)
        self.state.apply(operations)
        self.seq += 1
        written_to.offset += len(line)

    def pending_sync(self) -> PendingSync:
        """What to wait for until everything taken in is on the disk.

        Raises:
            Unavailable: The files were closed.
        """
        return PendingSync(self._open_journal())

    def sync_names(self) -> None:
        """Return once the snapshot and the journal that are followed have their names on the disk."""
        if self._journal is not None:
            self._journal.sync_names()
        else:
            self.files.sync_folder(self.data_file.parent)

    def sync_snapshot(self) -> None:
        """Return once the snapshot that is followed is on the disk, whoever wrote it and under its name."""
        if self._snapshot_fd is not None:
            self.files.sync(self._snapshot_fd)
            self.sync_names()

    def records_from(self, offset: int) -> bytes:
        """The journal's bytes from an offset to the end of what was taken in."""
        return self._open_journal().records_from(offset)

    def switch(self, snapshot_fd: int, generation: int, journal_fd: int | None, first_record: int, offset: int) -> None:
        """Follow another snapshot and journal from now on; the old descriptors are given back.

        Args:
            snapshot_fd: The snapshot, open.
            generation: Its generation.
            journal_fd: The journal that continues it, open.
            first_record: Where the journal's records begin, in bytes.
            offset: The end of those that memory holds already, in bytes.
        """
        try:
            self.release()
        finally:
            # both are to be given back from here on, whatever is refused
            self._snapshot_fd = snapshot_fd
            if journal_fd is not None:
                path = self.journals.path(generation)
                self._journal = JournalFile(path, journal_fd, self.files, first_record, offset)
        self.identity = self.files.identify_open(snapshot_fd)
        self.generation = generation

    def release(self) -> None:
        """Give the descriptors back; each once, even if this is cut off, as its number may soon be another file's."""
        snapshot_fd, left = self._snapshot_fd, self._journal
        self._snapshot_fd = self._journal = self.identity = None
        try:
            if snapshot_fd is not None:
                self.files.close(snapshot_fd)
        finally:
            if left is not None:
                left.let_go()

    # -- following the snapshot -------------------------------------------------------------------------------------

    def _follow_snapshot(self) -> None:
        identity = self.files.identify(self._data_name)
        if identity is None:
            self._start_empty()
        elif identity != self.identity:
            self._drain()
            self._open_snapshot()

    def _drain(self) -> None:
        """Read the rest of the journal that the last snapshot had; damage in it has been dealt with by the new one."""
        try:
            self._take_in()
        except journal.Damaged:
            self.generation = 0

    def _start_empty(self) -> None:
        for _, path in self.journals.all():
            if self.journals.last_seq_in(path) or self.journals.base_of(path):
                if self.files.identify(self.data_file) is not None:
                    raise Moved(f"{self.data_file.name} has just been created")
                raise damaged(self.data_file, f"it is gone, but {path.name} continues it")
        if self.identity is not None:
            self.release()
            self.state, self.seq, self.generation = State(), 0, 0

    def _open_snapshot(self) -> None:
        try:
            fd = self.files.open_existing(self.data_file)
        except FileNotFoundError:
            raise Moved(f"{self.data_file.name} went away") from None
        try:
            self._take_over(fd, self.files.identify_open(fd))
        except BaseException:
            if fd != self._snapshot_fd:
                self.files.close(fd)
            raise

    def _take_over(self, fd: int, identity: Identity) -> None:
        heading = snapshot.peek(self.files.read(fd, 0, snapshot.PEEK_SIZE))
        if heading is None or heading.generation <= self.generation or self.generation == 0:
            self._load(fd, identity)
            return
        opened = self.journals.open(heading.generation)
        if (
            heading.lineage == self.state.lineage
            and opened.header.base <= self.seq
            and opened.header.snapshot == identity[1:]
        ):
            self.switch(fd, heading.generation, opened.fd, opened.offset, opened.offset)
        else:
            self.files.close(opened.fd)
            self._load(fd, identity)

    def _load(self, fd: int, identity: Identity) -> None:
        heading, state = self._read_snapshot(fd, identity)
        if heading is None or heading.generation == 0:
            state.lineage = _changed_lineage(0, identity)
            self.switch(fd, 0, None, 0, 0)
            self.state, self.seq = state, 0
            return
        opened = self.journals.open(heading.generation)
        if opened.header.base != heading.seq:
            self.files.close(opened.fd)
            raise damaged(
                self.journals.path(heading.generation),
                f"it starts after transaction {opened.header.base}, but the snapshot ends with {heading.seq}",
            )
        if opened.header.snapshot != identity[1:]:
            state.lineage = _changed_lineage(heading.lineage, identity)
        self.switch(fd, heading.generation, opened.fd, opened.offset, opened.offset)
        self.state, self.seq = state, heading.seq

    def _read_snapshot(self, fd: int, identity: Identity) -> tuple[snapshot.Heading | None, State]:
        data = self.files.read(fd, 0, identity.size)
        if self.files.identify_open(fd) != identity:
            raise Moved(f"{self.data_file.name} is being rewritten in place")
        try:
            return snapshot.read(data, briefly=self._briefly)
        except Malformed as damage:
            if self.files.identify(self.data_file) != identity:
                raise Moved(f"{self.data_file.name} is being replaced") from None
            raise damaged(self.data_file, str(damage)) from None

    # -- following the journal --------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        if self._journal is not None and not self._journal.room_goes_on():
            for line in self._journal.lines_behind():
                self._replay(line)

    def _replay(self, line: bytes) -> None:
        record = journal.decode_record(line)
        if record.seq <= self.seq:
            return
        if record.seq != self.seq + 1:
            raise journal.Damaged(f"transaction {self.seq + 1} is missing before {record.seq}")
        self.state.apply(shared_operations(record.operations))
        self.seq = record.seq

    def _cut_torn_tail(self, torn: JournalFile) -> None:
        cut = torn.cut_torn_tail()
        self.torn_tails_cut += 1
        log.warning("cut %d bytes of a torn transaction off the journal", cut)

    def _open_journal(self) -> JournalFile:
        if self._journal is None:
            raise Unavailable(f"{self.data_file} is not open; open it again")
        return self._journal


def _changed_lineage(lineage: int, identity: Identity) -> int:
    return crc32(repr((lineage, *identity)).encode())
