"""The event log: one JSON line for each thing that happens, beside the ledger, for people and scripts to read.

It is a log, not the ledger: a line is written after the transaction it tells of, is not synced, and a line that can't
be written is no reason to fail what has already happened. A log that has grown is renamed to `<log>.1`, by whoever
notices first; event_lines.py reads both.

Who writes a line shares a lock on the file it is written to, and who renames that file holds the lock alone. So no line
goes to a file that was renamed, which the next renaming but one would lose. A file that is still small was not renamed,
which costs less to see than whose name the path is now.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import Invalid
from meshfleet.ledger.files import PRIVATE_FILE
from meshfleet.ledger.jsontext import to_json
from meshfleet.model import now_ms

log = logging.getLogger(__name__)

FULL_BYTES: Final = 50 * 1024 * 1024
"""The size at which a log is renamed, in bytes."""
LOOK_INTERVAL_S: Final = 1.0
"""How often it is looked whether somebody else moved the log away."""
LONGEST_RENAMING_S: Final = 0.05
"""How long a line waits for somebody who renames the log; a process may be stopped in the middle of it."""
PAUSE_S: Final = 0.000_1
NEXT_TRY_BYTES: Final = 1024 * 1024
"""How much a log grows, in bytes, before renaming it is tried again where it failed."""


def older_log(path: Path) -> Path:
    """Where the log is kept that was full before the present one."""
    return path.with_name(f"{path.name}.1")


class EventLog:
    """Appends events to an NDJSON file; several processes may, since a line is one write.

    Args:
        path: The file.
        full_bytes: The size at which it is renamed.
    """

    def __init__(self, path: Path, full_bytes: int = FULL_BYTES) -> None:
        self.path = path
        self._full_bytes = self._rename_at = full_bytes
        self._fd: int | None = None
        self._file: tuple[int, int] | None = None
        self._next_look = 0.0
        self._is_torn = False
        self._mutex = threading.Lock()

    def append(self, event: str, /, **fields: Any) -> None:
        """Write `{event, timestamp, ...}`; `timestamp` is ms since the epoch."""
        self.append_all([(event, fields)])

    def append_all(self, events: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Write a line for each of several events, which no other line comes between."""
        now = now_ms()
        try:
            lines = b"".join(
                [to_json({"event": event, "timestamp": now, **fields}) + b"\n" for event, fields in events]
            )
            with self._mutex:
                self._write(lines)
        except (OSError, Invalid) as error:
            log.warning("could not write to the event log %s: %s", self.path, error)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._mutex:
            self._close()

    def _write(self, lines: bytes) -> None:
        fd = self._held()
        try:
            if self._is_torn:
                lines = b"\n" + lines
            written = os.write(fd, lines)
            # on a full disk; what comes next must not be one line with it
            self._is_torn = written < len(lines)
        finally:
            _give_lock_up(fd)
        if self._is_torn:
            raise OSError(f"only {written} of {len(lines)} bytes could be written")

    def _held(self) -> int:
        """The log that the path names, of which the lock is shared; one that is full is renamed before."""
        while True:
            fd = self._fd if self._fd is not None else self._open()
            if not _shares_lock(fd):
                return fd
            size = _size(fd)
            if size < self._rename_at and time.monotonic() < self._next_look:
                return fd
            self._next_look = time.monotonic() + LOOK_INTERVAL_S
            if size >= self._rename_at:
                self._rename(fd, size)
            if self._is_in_place():
                return fd
            self._close()

    def _rename(self, fd: int, size: int) -> None:
        """Make room for a new log, where nobody else writes to this one right now or has done it already."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # asking for more gave up what there was; the next line tries again
            _shares_lock(fd)
            return
        try:
            if self._is_in_place():
                self.path.rename(older_log(self.path))
        except OSError as error:
            log.warning("could not rename the event log %s, which grows on: %s", self.path, error)
            self._rename_at = size + NEXT_TRY_BYTES

    def _is_in_place(self) -> bool:
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._file

    def _open(self) -> int:
        # without waiting, should a named pipe lie there that nobody reads
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, PRIVATE_FILE)
        status = os.fstat(self._fd)
        self._file = (status.st_dev, status.st_ino)
        self._rename_at = self._full_bytes
        self._next_look = 0.0
        return self._fd

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _shares_lock(fd: int) -> bool:
    """Share the file's lock; False where that can't be, and the line is written without."""
    deadline = time.monotonic() + LONGEST_RENAMING_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(PAUSE_S)
        except OSError:
            # some file systems have no locks
            return False
        else:
            return True


def _give_lock_up(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        log.debug("the event log was not locked: %s", error)


def _size(fd: int) -> int:
    """How large a regular file is, in bytes; anything else never grows."""
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    except OSError:
        return 0
