"""The ledger: transactions and reads over files that many processes share.

Everything above speaks to `Ledger` alone: `read` answers from memory after taking in what others wrote, `transact`
runs a rule under the lock and returns once its changes are on the disk. docs/ledger.md tells the commit protocol and
which orders of its steps lose data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from meshfleet.errors import Conflict, MeshfleetError
from meshfleet.ledger import journal, snapshot
from meshfleet.ledger.bells import Belfry
from meshfleet.ledger.compaction import Compactor, compact, establish
from meshfleet.ledger.events import EventLog
from meshfleet.ledger.files import Files, make_private_folder
from meshfleet.ledger.journal_file import PendingSync
from meshfleet.ledger.journals import Moved
from meshfleet.ledger.lock import LedgerLock
from meshfleet.ledger.replica import Replica
from meshfleet.ledger.state import State, Transaction, View
from meshfleet.model import SCHEMA_VERSION
from meshfleet.settings import Durability, Settings, beside

T = TypeVar("T")

_LOOKS_WITHOUT_LOCK: Final = 10
"""How often a reader tries to catch a snapshot and its journal together before it takes the lock."""


class Ledger:
    """One process's hold on a ledger. Threads may share it; processes open one each.

    Args:
        data_file: The snapshot's path; the journal, the locks and the event log lie beside it.
        durability: Whether `transact` waits for the disk.
        lock_timeout_ms: How long a call waits for other processes.
        files: The file operations, for tests that stop or fail one.
        briefly: Whether the process looks once and ends: it opens sooner, and takes more memory.
    """

    def __init__(
        self,
        data_file: Path,
        *,
        durability: Durability = Durability.POWER,
        lock_timeout_ms: int = 5_000,
        files: Files | None = None,
        briefly: bool = False,
    ) -> None:
        self.data_file = data_file
        self.events = EventLog(beside(data_file, "events.log"))
        self._belfry = Belfry(data_file)
        self._replica = Replica(data_file, files or Files(), briefly=briefly)
        self._durability = durability
        self._lock_timeout_ms = lock_timeout_ms
        # Nobody waits for another process while holding the mutex, so that a thread can always read.
        self._mutex = threading.RLock()
        self._lock = LedgerLock(beside(data_file, "lock"), self._take_in_while_waiting)
        self._thread_in_rule: int | None = None
        self._compactor = Compactor(lambda: self.compact(gently=True), self._journal_size)

    @classmethod
    def from_settings(cls, settings: Settings, *, briefly: bool = False) -> Ledger:
        """The ledger a process's settings name."""
        return cls(
            settings.data_file,
            durability=settings.durability,
            lock_timeout_ms=settings.lock_timeout_ms,
            briefly=briefly,
        )

    @property
    def is_there(self) -> bool:
        """Whether there was a file when it was last read; until the first write there is none."""
        return self._replica.identity is not None

    @property
    def torn_tails_cut(self) -> int:
        """How many torn transactions this process has cut off."""
        return self._replica.torn_tails_cut

    @property
    def is_free(self) -> bool:
        """Whether a transaction begun now would hardly wait for anybody."""
        return self._lock.is_free()

    @property
    def is_at_rest(self) -> bool:
        """Whether no other thread of this process is at a transaction, which a look would wait for."""
        return not self._lock.is_wanted_here()

    def read(self, query: Callable[[View], T]) -> T:
        """Answer a query from memory, after taking in what other processes have written.

        Raises:
            Corrupt: The files are damaged.
            Unavailable: The files can't be read.
        """
        with self._mutex:
            if self._refreshed():
                return query(View(self._replica.state, self._replica.seq))
        with self._lock.held(self._lock_timeout_ms), self._mutex:
            self._replica.refresh_under_lock()
            return query(View(self._replica.state, self._replica.seq))

    def transact(self, rule: Callable[[Transaction], T]) -> T:
        """Run a rule and make its changes stand, all or none; returns once they are durable.

        The rule sees the newest state, with every other writer kept out, and must only look at its transaction and
        change things through it. Whatever it raises is raised here, and then nothing has changed.

        Raises:
            Busy: Another process held the lock past the deadline; nothing has changed.
            Conflict: A newer meshfleet wrote the ledger, so this one only reads it.
            Corrupt: The files are damaged; nothing has changed.
            Invalid: A row holds what JSON has no word for, such as NaN; nothing has changed.
            Unavailable: The disk refused; nothing has changed, unless the text says that it may have.
        """
        if self._thread_in_rule == threading.get_ident():
            raise RuntimeError("a rule must not start a transaction of its own")
        if not self._replica.has_journal:
            make_private_folder(self.data_file.parent)
        pending: PendingSync | None = None
        try:
            with self._lock.held(self._lock_timeout_ms):
                with self._mutex:
                    transaction, result = self._run(rule)
                    if self._has_to_wait_for_the_disk(transaction):
                        pending = self._replica.pending_sync()
                self._lock.let_others_go_on()
                if pending is not None:
                    pending.begin()
                if transaction.operations:
                    self._compactor.written()
                if transaction.events:
                    # before another thread's transaction, so that the log has them in the order of the ledger
                    self.events.append_all(transaction.events)
            # while the disk is at work; whoever hears it may see what is not acknowledged yet, as any reader may
            if transaction.operations:
                self._belfry.ring_for(transaction.operations)
            if pending is not None:
                pending.wait()
            return result
        finally:
            if pending is not None:
                pending.end()

    def compact(self, *, gently: bool = False) -> bool:
        """Fold the journal into a new snapshot; False when there was nothing to fold or somebody else was at it.

        Args:
            gently: Rest in between while other threads of this process write.

        Raises:
            Busy: Another process held the lock past the deadline; the ledger is as it was.
            Unavailable: The disk refused; the ledger is as it was.
        """
        rest = self._compactor.rest if gently else (lambda: None)
        return compact(self._replica, self._mutex, self._lock, self._lock_timeout_ms, rest)

    def export(self) -> Iterator[bytes]:
        """The whole ledger, snapshot and journal, as one JSON document that v0.9.0 can read.

        Raises:
            Corrupt: The files are damaged.
        """
        return snapshot.write_plain(self.read(lambda _: self._replica.state.copy()))

    def fill(self, state: State) -> None:
        """Make an imported state the content of a ledger that has no rows yet.

        Raises:
            Conflict: The ledger has rows, or the state is of a newer schema; nothing has changed.
            Busy: Another process held the lock past the deadline.
            Unavailable: The disk refused; nothing has changed.
        """
        make_private_folder(self.data_file.parent)
        with self._lock.held(self._lock_timeout_ms), self._mutex:
            self._replica.refresh_under_lock()
            if not self._replica.state.is_empty:
                raise Conflict(
                    f"{self.data_file} is not empty; set MESHFLEET_DATA_FILE to a ledger that does not exist"
                )
            before, self._replica.state = self._replica.state, state
            try:
                self._refuse_newer_schema()
                state.begin_lineage()
                establish(self._replica)
            except BaseException:
                # what the files say by now is read afresh
                self._replica.release()
                self._replica.state = before
                raise

    def close(self) -> None:
        """Fold what was written into the snapshot and give every descriptor back; the ledger can't be used again."""
        self._compactor.stop()
        self._lock.close()
        with self._mutex:
            self._replica.release()
        self.events.close()

    def _run(self, rule: Callable[[Transaction], T]) -> tuple[Transaction, T]:
        self._replica.refresh_under_lock()
        transaction = Transaction(self._replica.state, self._replica.seq)
        self._thread_in_rule = threading.get_ident()
        try:
            result = rule(transaction)
        finally:
            self._thread_in_rule = None
        if transaction.operations:
            self._refuse_newer_schema()
            if not self._replica.has_journal:
                establish(self._replica)
            self._replica.append(transaction.operations)
        return transaction, result

    def _has_to_wait_for_the_disk(self, transaction: Transaction) -> bool:
        """A rule that finds done what it was to do says so, and whoever did it may have died before its sync."""
        return self._durability is Durability.POWER and (
            bool(transaction.operations) or not self._replica.is_on_the_disk
        )

    def _refreshed(self) -> bool:
        """Whether memory has what others wrote; if not, only a look under the lock tells why."""
        if self._thread_in_rule == threading.get_ident():
            return True
        for _ in range(_LOOKS_WITHOUT_LOCK):
            try:
                self._replica.refresh()
            except (Moved, journal.Damaged):
                continue
            else:
                return True
        return False

    def _take_in_while_waiting(self) -> None:
        """Read what others write before it is this process's turn, which keeps them waiting for less of its time."""
        with self._mutex, suppress(MeshfleetError, Moved, journal.Damaged):
            self._replica.refresh()

    def _refuse_newer_schema(self) -> None:
        version = self._replica.state.schema_version
        if version > SCHEMA_VERSION:
            raise Conflict(
                f"{self.data_file} is of schema {version}, which is newer than {SCHEMA_VERSION}; it can only be read: "
                "upgrade meshfleet to write it"
            )

    def _journal_size(self) -> tuple[int, int]:
        """The journal's and the snapshot's size, in bytes, as far as this process knows."""
        identity = self._replica.identity
        return self._replica.offset, identity.size if identity else 0
