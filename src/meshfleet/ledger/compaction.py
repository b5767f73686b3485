"""Folding the journal into a new snapshot, so that opening stays fast and the snapshot stays readable by others.

The long part, writing the snapshot, happens without the ledger's lock. The rename is the commit point: before it the
old snapshot and journal are whole, after it the new ones are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from meshfleet.errors import Busy, MeshfleetError, Unavailable
from meshfleet.ledger import journal, snapshot
from meshfleet.ledger.files import explained, sync_name_of
from meshfleet.ledger.journals import Moved
from meshfleet.ledger.lock import LedgerLock
from meshfleet.ledger.replica import Replica
from meshfleet.ledger.state import State
from meshfleet.model import SCHEMA_VERSION, now_ms
from meshfleet.settings import beside

log = logging.getLogger(__name__)

QUIET_S: Final = 0.5
"""How long nobody writes before the journal is folded."""
QUIET_FACTOR: Final = 20
"""A compaction that took long is not repeated before this many times its duration has passed in quiet."""
LEAST_JOURNAL: Final = 8 * 1024 * 1024
"""The journal is folded without waiting for quiet when it outgrows this, and the snapshot, in bytes."""
LARGE: Final = 8 * 1024 * 1024
"""A snapshot larger than this, in bytes, is rewritten only for a journal that is worth it, and not at the end."""
WORTH: Final = 16
"""A journal is worth it when a large snapshot is not more than this many times its size."""
PAUSE_S: Final = 0.001
"""How long a compaction rests after each piece of the snapshot while this process writes."""


def compact(
    replica: Replica,
    mutex: threading.RLock,
    lock: LedgerLock,
    timeout_ms: int,
    rest: Callable[[], None] = lambda: None,
) -> bool:
    """Fold the journal into the next snapshot; False when there was nothing to fold or somebody else was at it.

    Args:
        replica: What the process holds in memory, and the files it follows.
        mutex: Held while the replica is looked at or changed.
        lock: The ledger's lock.
        timeout_ms: How long to wait for it.
        rest: Called after each piece of the snapshot.

    Raises:
        Busy: The ledger's lock was held past the deadline; the ledger is as it was.
        Unavailable: The disk refused; the ledger is as it was.
    """
    try:
        if not replica.data_file.exists():
            return False
        with ExitStack() as stack:
            compacting = LedgerLock(beside(replica.data_file, "compact.lock"))
            stack.callback(compacting.close)
            try:
                stack.enter_context(compacting.held(0))
            except Busy:
                return False
            return _compact_alone(replica, mutex, lock, timeout_ms, rest)
    except OSError as error:
        raise explained(error, "compact", replica.data_file) from None


def _compact_alone(
    replica: Replica, mutex: threading.RLock, lock: LedgerLock, timeout_ms: int, rest: Callable[[], None]
) -> bool:
    with mutex:
        try:
            replica.refresh()
        except (Moved, journal.Damaged):
            return False
        if not replica.records_since_snapshot or replica.state.schema_version > SCHEMA_VERSION:
            return False
        state, seq, offset = replica.state.copy(), replica.seq, replica.offset
        generation, identity = replica.generation, replica.identity
    target = beside(replica.data_file, "snapshot.tmp")
    fd = _write_snapshot(replica, target, state, generation + 1, seq, rest)
    try:
        with lock.held(timeout_ms), mutex:
            replica.refresh_under_lock()
            if replica.identity != identity:
                replica.files.unlink(target)
                return False
            _commit(replica, target, fd, generation + 1, seq, replica.records_from(offset))
            _sweep(replica)
    finally:
        if not replica.follows(fd):
            replica.files.close(fd)
    return True


def establish(replica: Replica) -> None:
    """Give a ledger that has no journal its first one; the caller holds the ledger's lock.

    That is a ledger which does not exist yet, or one that v0.9.0 wrote or rewrote. Journals that lie about belong to
    what was there before, and are kept aside under a name of their own.

    Raises:
        Unavailable: The disk refused; nothing has changed.
    """
    generation = 1
    try:
        for older, path in replica.journals.all():
            generation = max(generation, older + 1)
            if older == replica.generation:
                continue
            if replica.journals.last_seq_in(path):
                # a power cut must not bring back the snapshot that this journal continues
                replica.sync_snapshot()
                replica.files.rename(path, path.with_name(f"{path.name}.kept-{now_ms()}"))
            else:
                replica.files.unlink(path)
    except OSError as error:
        raise explained(error, "create", replica.data_file) from None
    if replica.identity is None:
        # whoever made the folder may have died before its name was on the disk
        sync_name_of(replica.data_file.parent)
    replace_snapshot(replica, beside(replica.data_file, "first.tmp"), generation)


def replace_snapshot(replica: Replica, target: Path, generation: int) -> None:
    """Write what a replica holds as the snapshot of a generation, with an empty journal, and follow it.

    The caller holds the ledger's lock.

    Raises:
        Unavailable: The disk refused; nothing has changed.
    """
    try:
        fd = _write_snapshot(replica, target, replica.state, generation, replica.seq)
        try:
            _commit(replica, target, fd, generation, replica.seq, b"")
        finally:
            if not replica.follows(fd):
                replica.files.close(fd)
    except OSError as error:
        raise explained(error, "create", replica.data_file) from None


def _write_snapshot(
    replica: Replica,
    target: Path,
    state: State,
    generation: int,
    seq: int,
    rest: Callable[[], None] = lambda: None,
) -> int:
    """Write and sync a snapshot under a temporary name; returns its open descriptor."""
    files = replica.files
    files.unlink(target)
    fd = files.create(target)
    try:
        size = 0
        for chunk in snapshot.write(state, generation, seq):
            written = files.write(fd, chunk, size)
            if written != len(chunk):
                raise Unavailable(f"can't write {target}: the disk is full; free some space")
            size += written
            rest()
        files.sync(fd)
    except BaseException:
        files.close(fd)
        files.unlink(target)
        raise
    return fd


def _commit(replica: Replica, target: Path, snapshot_fd: int, generation: int, base: int, records: bytes) -> None:
    """Put a written snapshot in place, with a journal that holds what came after it."""
    files = replica.files
    path = replica.journals.path(generation)
    _clear(replica, path)
    header = journal.encode_header(journal.Header(generation, base, files.identify_open(snapshot_fd)[1:]))
    journal_fd = files.create(path)
    try:
        if files.write(journal_fd, header + records, 0) != len(header) + len(records):
            raise Unavailable(f"can't write {path}: the disk is full; free some space")
        files.sync(journal_fd)
        files.sync_folder(path.parent)
        files.rename(target, replica.data_file)
    except BaseException:
        files.close(journal_fd)
        files.unlink(path)
        raise
    old = replica.journals.path(replica.generation)
    replica.switch(snapshot_fd, generation, journal_fd, len(header), len(header) + len(records))
    replica.sync_names()
    if old != path:
        files.unlink(old)


def _clear(replica: Replica, path: Path) -> None:
    """Make room for a journal: what a crashed compaction left there is in the ledger, anything else is kept aside."""
    if replica.journals.last_seq_in(path) > replica.seq:
        replica.files.rename(path, path.with_name(f"{path.name}.kept-{now_ms()}"))
    replica.files.unlink(path)


def _sweep(replica: Replica) -> None:
    """Remove the journals that crashed compactions left; one that holds anything the ledger has not is left alone."""
    for generation, path in replica.journals.all():
        if generation < replica.generation and replica.journals.last_seq_in(path) <= replica.seq:
            replica.files.unlink(path)
    replica.files.unlink(beside(replica.data_file, "first.tmp"))


class Compactor:
    """Compacts in a thread of its own when the ledger has been quiet for a while, and once more at the end.

    Args:
        compact: Does it, and lets others go on now and then by calling `rest`.
        sizes: Tells the journal's and the snapshot's size, in bytes.
    """

    def __init__(self, compact: Callable[[], bool], sizes: Callable[[], tuple[int, int]]) -> None:
        self._compact = compact
        self._sizes = sizes
        self._thread: threading.Thread | None = None
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._last_write = 0.0
        self._quiet_s = QUIET_S

    def written(self) -> None:
        """Note that this process has written."""
        self._last_write = time.monotonic()
        if not self._due.is_set() and (self._thread is not None or self._started()):
            self._due.set()

    def rest(self) -> None:
        """Let the threads that write have the interpreter; they would wait for it at each of their system calls."""
        if not self._stopping.is_set() and time.monotonic() < self._last_write + QUIET_S:
            time.sleep(PAUSE_S)

    def stop(self) -> None:
        """End the thread; what is still due is done now, unless it would keep a process from ending promptly."""
        self._stopping.set()
        self._due.set()
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        if self._sizes()[1] <= LARGE:
            self._try()

    def _started(self) -> bool:
        """Start the thread; where that is refused, what was written stands, and the next write tries again."""
        thread = threading.Thread(target=self._run, name="meshfleet-compaction", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.warning("the journal is not folded into the snapshot for now: %s", error)
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._stopping.wait(max(0.0, self._last_write + self._quiet_s - time.monotonic())):
                return
            if self._outgrown() or time.monotonic() >= self._last_write + self._quiet_s:
                self._due.clear()
                if self._stopping.is_set():
                    # what was cleared may have been set by `stop`, and nobody would set it again
                    return
                if not self._is_worth_it():
                    continue
                started = time.monotonic()
                self._try()
                self._quiet_s = max(QUIET_S, QUIET_FACTOR * (time.monotonic() - started))

    def _outgrown(self) -> bool:
        journal_size, snapshot_size = self._sizes()
        return journal_size > max(LEAST_JOURNAL, snapshot_size)

    def _is_worth_it(self) -> bool:
        journal_size, snapshot_size = self._sizes()
        return snapshot_size <= max(LARGE, WORTH * journal_size)

    def _try(self) -> None:
        try:
            self._compact()
        except MeshfleetError as error:
            log.warning("the journal was not folded into the snapshot: %s", error)
