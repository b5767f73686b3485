"""The journal that a process follows, as an open file: read on, written behind, and brought to the disk.

What is read and written here is done by whoever holds the store's mutex. Waiting for a line to be on the disk is not:
each transaction holds the journal it was written to, waits outside the mutex, and gives it back. So a thread that reads
does not wait for those that write, those that write together share one sync, and a journal that a compaction replaced
meanwhile is closed by whoever held it last.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from meshfleet.errors import Unavailable
from meshfleet.ledger import journal
from meshfleet.ledger.files import Files, explained

log = logging.getLogger(__name__)

LOOK_SIZE: Final = 1024
"""Bytes of the journal that are read at first to see whether others wrote."""
_EMPTY_ROOM: Final = bytes(LOOK_SIZE)


class JournalFile:
    """A journal, open, and how far this process has it.

    Args:
        path: Where it lies.
        fd: Its descriptor, which is closed with it.
        files: The file operations.
        first_record: Where its records begin, in bytes.
        offset: The end of those that memory holds already, in bytes.

    Attributes:
        offset: The end of the last line that memory holds, in bytes.
        tail: What lies behind that line and is no whole line.
        failed_syncs: How many syncs have failed.
    """

    def __init__(self, path: Path, fd: int, files: Files, first_record: int, offset: int) -> None:
        self.path = path
        self.offset = offset
        self.tail = b""
        self.failed_syncs = 0
        self._fd = fd
        self._files = files
        self._first_record = first_record
        self._end = 0
        self._room_is_empty = False
        self._names_synced = False
        self._synced_to = 0
        self._written_again = 0
        self._syncing = threading.Lock()
        self._holders = 1
        self._counting = threading.Lock()

    @property
    def has_records(self) -> bool:
        """True when it holds transactions that the snapshot before it has not."""
        return self.offset > self._first_record

    @property
    def is_on_the_disk(self) -> bool:
        """True when everything taken in is known to be on the disk; somebody else's transaction may not be yet."""
        return self._names_synced and self._synced_to == self.offset

    @property
    def line(self) -> int:
        """The number of the line behind those that were taken in, the header being 1."""
        return self.records_from(0).count(b"\n") + 1

    def records_from(self, offset: int) -> bytes:
        """The bytes from an offset to the end of what was taken in."""
        return self._files.read(self._fd, offset, self.offset - offset)

    # -- reading on --------------------------------------------------------------------------------------------------

    def room_goes_on(self) -> bool:
        """Whether the room is as it was last seen: nobody wrote, and nobody cut the file."""
        return self._room_is_empty and self._files.read(self._fd, self.offset, LOOK_SIZE) == _EMPTY_ROOM

    def lines_behind(self) -> Iterator[bytes]:
        """The whole lines that others wrote, without their newlines; each is taken in when the next is asked for.

        Raises:
            Damaged: The file is shorter than what was taken in.
        """
        self._end = self._files.size(self._fd)
        if self._end < self.offset:
            raise journal.Damaged(f"the file has {self._end} bytes, but had {self.offset}")
        data = self._behind()
        position, end = 0, data.rfind(b"\n", 0, journal.end_of_lines(data)) + 1
        while position < end:
            stop = data.index(b"\n", position)
            yield data[position:stop]
            self.offset += stop + 1 - position
            position = stop + 1
        self.tail = data[position:].rstrip(b"\0")
        self._room_is_empty = not self.tail

    def _behind(self) -> bytes:
        """What lies behind what was taken in: at first all of it, later as far as it is not room."""
        if not self._room_is_empty:
            return self._files.read(self._fd, self.offset, self._end - self.offset)
        data, length = b"", LOOK_SIZE
        while True:
            part = self._files.read(self._fd, self.offset + len(data), length)
            data += part
            if len(part) < length or part.endswith(b"\0"):
                return data
            length *= 2

    def cut_torn_tail(self) -> int:
        """Cut off what a crash tore, while nobody else can write; returns how many bytes that was.

        Raises:
            Damaged: It is nothing that a crash leaves.
            OSError: It can't be cut off.
        """
        tail = self._files.read(self._fd, self.offset, self._end - self.offset).rstrip(b"\0")
        if not journal.is_torn(tail, self.offset):
            raise journal.Damaged(journal.problem_behind_lines(tail))
        self._truncate()
        self.tail, self._room_is_empty = b"", True
        return len(tail)

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, line: bytes) -> None:
        """Write a line behind the last one, while nobody else can; the caller moves `offset` when memory has it too.

        Raises:
            Unavailable: The disk refused; the journal is as it was.
        """
        try:
            if not self._names_synced:
                # whoever renamed the snapshot into place may have died before the rename was on the disk, and then a
                # power cut would leave what is written now beside the snapshot of before
                self.sync_names()
            written = self._write(line)
        except OSError as error:
            self._cut_back()
            raise explained(error, "write to", self.path) from None
        if written < len(line):
            self._cut_back()
            # without numbers: what goes on being refused is to be told once, in the same words
            raise Unavailable(f"can't write to {self.path}: only a part fitted; free some space and try again")

    def _write(self, line: bytes) -> int:
        """Write a line, and room for others behind it where there is none left; returns how many bytes went."""
        end = self.offset + len(line)
        if end > self._end:
            self._end = journal.end_with_room(end)
            line += bytes(self._end - end)
        try:
            return self._files.write(self._fd, line, self.offset)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
        # it could only be read when it was opened; it may have become writable since
        fd = self._files.open_to_write(self.path)
        with self._syncing:
            self._files.close(self._fd)
            self._fd = fd
        return self._files.write(fd, line, self.offset)

    def _truncate(self) -> None:
        self._files.truncate(self._fd, self.offset)
        self._end = self.offset

    def _cut_back(self) -> None:
        try:
            self._truncate()
        except OSError:
            log.warning("could not cut the journal back; the next writer will", exc_info=True)

    # -- the disk ----------------------------------------------------------------------------------------------------

    def sync_names(self) -> None:
        """Return once the journal, and the snapshot it continues, have their names on the disk; raises OSError."""
        self._files.sync_folder(self.path.parent)
        self._names_synced = True

    def begin_sync(self, end: int) -> None:
        """Have the disk begin to write what ends at `end` bytes, while there is something else to do; never fails."""
        if self._syncing.locked():
            # the disk is at work for another thread, and the next sync will be for all that wait by then
            return
        with suppress(OSError):
            self._files.begin_sync(self._fd, end - 1)

    def sync(self, end: int, failed_before: int) -> None:
        """Return once everything up to `end` bytes is on the disk, and whatever else was written by then.

        Args:
            end: The end of a line that memory holds, in bytes.
            failed_before: How many syncs had failed when memory held all that was in the file.

        Raises:
            Unavailable: The disk refused; the change is in the file, but a power cut may lose it.
        """
        with self._syncing:
            if self._names_synced and self._synced_to >= end:
                # a thread that waited before this one has synced for both
                return
            try:
                self._sync(failed_before)
            except OSError as error:
                self.failed_syncs += 1
                with suppress(OSError):
                    # whoever opens the file from now on is not told that a sync failed; theirs is to be for this, too
                    self._write_again(self.offset)
                reason = explained(error, "sync", self.path)
                raise Unavailable(f"{reason}; the change is written, but a power cut may still lose it") from None

    def _sync(self, failed_before: int) -> None:
        if not self._names_synced:
            self.sync_names()
        end = self.offset
        if self.failed_syncs > self._written_again:
            self._write_again(end)
        self._files.sync(self._fd)
        self._synced_to = end
        # one that failed later may have left off more than this: what others wrote and memory has not taken in
        self._written_again = max(self._written_again, failed_before)

    def _write_again(self, end: int) -> None:
        """Write what a failed sync left off the disk, which the system takes for written; the bytes are the same."""
        data = self._files.read(self._fd, self._synced_to, end - self._synced_to)
        if b"\0" in data or len(data) < end - self._synced_to:
            # some file systems forget what they could not write; memory has it, and the next snapshot will
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        while data:
            written = self._files.write(self._fd, data, end - len(data))
            data = data[written:]

    # -- who holds it ------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Keep it open until `let_go`, whatever becomes of it."""
        with self._counting:
            self._holders += 1

    def let_go(self) -> None:
        """Need it no longer; the last one closes it."""
        with self._counting:
            self._holders -= 1
            if self._holders:
                return
        self._files.close(self._fd)


class PendingSync:
    """What a transaction waits for: that a journal is on the disk as far as memory has it now.

    Made under the ledger's lock and the store's mutex, waited for without them. `end` has to follow.
    """

    __slots__ = ("_end", "_failed_before", "_journal")

    def __init__(self, journal_file: JournalFile) -> None:
        journal_file.hold()
        self._journal = journal_file
        self._end = journal_file.offset
        self._failed_before = journal_file.failed_syncs

    def begin(self) -> None:
        """Have the disk begin, while there is something else to do; never fails."""
        self._journal.begin_sync(self._end)

    def wait(self) -> None:
        """Return once it is so.

        Raises:
            Unavailable: The disk refused; the change is in the file, but a power cut may lose it.
        """
        self._journal.sync(self._end, self._failed_before)

    def end(self) -> None:
        """Give the journal back."""
        self._journal.let_go()
