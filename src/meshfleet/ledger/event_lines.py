"""Reading the event log, past lines that are broken and over its renaming; events.py writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import Unavailable
from meshfleet.ledger.events import older_log

BLOCK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event.

    Attributes:
        raw: The line as it stands in the log, without its end.
        name: What happened.
        timestamp: When, in ms since the epoch.
        fields: The rest of it.
    """

    raw: bytes
    name: str
    timestamp: int
    fields: dict[str, Any]


class EventReader:
    """Reads an event log from its last lines on.

    Args:
        path: The log, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._offset = 0

    @property
    def is_there(self) -> bool:
        """Whether there was a log when it was looked for last."""
        return self._fd is not None

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def last(self, count: int) -> list[EventLine]:
        """The last events there are, oldest first, those of the log before this one included; `new` goes on from here.

        Raises:
            Unavailable: The log can't be read.
        """
        while True:
            self.close()
            older = self._begin()
            try:
                # while both were being opened the one may have become the other
                if self._fd is None or older is None or not _same_file(self._fd, older):
                    return self._last(count, older)
            finally:
                if older is not None:
                    os.close(older)

    def new(self) -> list[EventLine]:
        """The events written since those that were given last.

        Raises:
            Unavailable: The log can't be read.
        """
        found: list[EventLine] = []
        if self._fd is None:
            self._fd, self._offset = _open(self._path), 0
        if self._fd is None:
            return found
        moved_away = not self._is_in_place()
        found += self._read_on()
        if moved_away:
            found += self._in_between()
            self.close()
            self._fd, self._offset = _open(self._path), 0
            found += self._read_on()
        return found

    def _begin(self) -> int | None:
        self._fd = _open(self._path)
        # whatever is written from now on is new
        self._offset = 0 if self._fd is None else _end_of_lines(self._fd)
        return _open(older_log(self._path))

    def _last(self, count: int, older: int | None) -> list[EventLine]:
        found: list[EventLine] = []
        for fd, end in ((self._fd, self._offset), (older, None)):
            if fd is None:
                continue
            for line in _backwards(fd, _end_of_lines(fd) if end is None else end):
                if len(found) >= count:
                    break
                if (event := parsed(line)) is not None:
                    found.append(event)
        return found[::-1]

    def _is_in_place(self) -> bool:
        present = _open(self._path)
        if present is None or self._fd is None:
            return False
        try:
            return _same_file(self._fd, present)
        finally:
            os.close(present)

    def _in_between(self) -> list[EventLine]:
        """What stands in the log before the present one, should the one read so far be older still."""
        older = _open(older_log(self._path))
        if older is None or self._fd is None:
            return []
        try:
            return [] if _same_file(self._fd, older) else _events_in(_read(older, 0))
        finally:
            os.close(older)

    def _read_on(self) -> list[EventLine]:
        if self._fd is None:
            return []
        if os.fstat(self._fd).st_size < self._offset:
            # somebody emptied it
            self._offset = 0
        data = _read(self._fd, self._offset)
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        return _events_in(data[:whole])


def parsed(line: bytes) -> EventLine | None:
    """The event that a line tells of; None for a line that tells of none, such as half a one."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    name, timestamp = found.pop("event", None), found.pop("timestamp", None)
    if not isinstance(name, str) or type(timestamp) is not int:
        return None
    return EventLine(line, name, timestamp, found)


def _events_in(data: bytes) -> list[EventLine]:
    return [event for line in data.split(b"\n") if (event := parsed(line)) is not None]


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"can't read the event log {path}: {(error.strerror or str(error)).lower()}") from None


def _same_file(one: int, other: int) -> bool:
    return os.path.sameopenfile(one, other)


def _read(fd: int, offset: int) -> bytes:
    blocks = []
    while block := os.pread(fd, 16 * BLOCK_BYTES, offset):
        blocks.append(block)
        offset += len(block)
    return b"".join(blocks)


def _end_of_lines(fd: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _backwards(fd: int, end: int) -> Iterator[bytes]:
    """The lines before a place, the last one first."""
    # of the line that is being read, from its end on: joined once, however long it is
    pieces: list[bytes] = []
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        first, *lines = os.pread(fd, end - start, start).split(b"\n")
        if lines:
            *between, last = lines
            yield b"".join([last, *reversed(pieces)])
            yield from reversed(between)
            pieces = []
        pieces.append(first)
        end = start
    yield b"".join(reversed(pieces))
