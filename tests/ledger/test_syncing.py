"""Threads of one process wait for the disk side by side: none holds up another that reads, and one sync is for many."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.errors import Busy, Unavailable
from meshfleet.ledger import Ledger, Transaction
from meshfleet.ledger.lock import LedgerLock
from meshfleet.settings import Durability
from tests.descriptors import open_descriptors, opened_since
from tests.ledger.journals import written_in
from tests.ledger.rows import quiet_ledger, send, waiting
from tests.ledger.test_failed_syncs import ForgetfulDisk
from tests.ledger.watched_files import Step, WatchedFiles

PATIENCE_S: Final = 20.0
"""How long anything here is waited for."""


class SlowDisk(WatchedFiles):
    """A disk that takes its time for one file: its syncs end when they are told to.

    Attributes:
        slow: The file's inode.
        under_way: One permit for each of its syncs that has begun.
        may_end: One permit for each that may end.
        fails: Whether those that end have failed.
        kept: What of it is on the disk.
    """

    def __init__(self) -> None:
        self.slow = 0
        self.under_way = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.fails = False
        self.kept = b""

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if name != "sync" or os.fstat(args[0]).st_ino != self.slow:
            return step(*args)
        # what is written from now on need not be on the disk when this sync ends
        content = os.pread(args[0], os.fstat(args[0]).st_size, 0)
        self.under_way.release()
        assert self.may_end.acquire(timeout=PATIENCE_S)
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.kept = content.rstrip(b"\0")
        return None

    def has_begun(self) -> None:
        """Return when one more sync has begun."""
        assert self.under_way.acquire(timeout=PATIENCE_S)


@contextmanager
def slow_ledger(file: Path) -> Iterator[tuple[Ledger, SlowDisk, ThreadPoolExecutor]]:
    """A ledger with m0 in it, whose syncs are slow from now on, and threads to call it from."""
    disk = SlowDisk()
    ledger = quiet_ledger(file, disk, Durability.POWER)
    send(ledger, "m0")
    (journal,) = file.parent.glob("*.ndjson")
    disk.slow = journal.stat().st_ino
    with ThreadPoolExecutor(10) as threads:
        try:
            yield ledger, disk, threads
        finally:
            disk.may_end.release(100)


def until_written(ledger: Ledger, *message_ids: str) -> None:
    """Return when messages are in the journal; a look at the ledger takes in what other threads wrote."""
    met = threading.Event()

    def look() -> None:
        while not met.is_set():
            if set(message_ids) <= set(waiting(ledger)):
                met.set()

    looking = threading.Thread(target=look)
    looking.start()
    there = met.wait(PATIENCE_S)
    met.set()
    looking.join()
    assert there


def test_who_reads_does_not_wait_for_the_disk_of_who_writes(ledger_file: Path) -> None:
    with slow_ledger(ledger_file) as (ledger, disk, threads):
        writing = threads.submit(send, ledger, "m1")
        disk.has_begun()
        assert threads.submit(waiting, ledger).result(PATIENCE_S) == ["m0", "m1"]
        assert not writing.done()
        disk.may_end.release()
        writing.result(PATIENCE_S)


def test_those_who_write_while_the_disk_is_at_work_share_the_next_sync(ledger_file: Path) -> None:
    with slow_ledger(ledger_file) as (ledger, disk, threads):
        first = threads.submit(send, ledger, "m1")
        disk.has_begun()
        others = [threads.submit(send, ledger, f"o{number}") for number in range(5)]
        until_written(ledger, *(f"o{number}" for number in range(5)))
        disk.may_end.release(2)
        for each in (first, *others):
            each.result(PATIENCE_S)
        disk.has_begun()
        assert not disk.under_way.acquire(blocking=False), "there were more than two syncs"


def test_nothing_is_acknowledged_by_a_sync_that_began_before_it_was_written(ledger_file: Path) -> None:
    with slow_ledger(ledger_file) as (ledger, disk, threads):
        first = threads.submit(send, ledger, "m1")
        disk.has_begun()
        second = threads.submit(send, ledger, "m2")
        until_written(ledger, "m2")
        disk.may_end.release()
        first.result(PATIENCE_S)
        disk.has_begun()
        assert not second.done()
        disk.may_end.release()
        second.result(PATIENCE_S)
        assert b'"m2"' in disk.kept


def test_who_finds_done_what_another_thread_wrote_waits_for_its_sync(ledger_file: Path) -> None:
    def is_there(transaction: Transaction) -> bool:
        return "m1" in transaction.inbox("b")

    with slow_ledger(ledger_file) as (ledger, disk, threads):
        first = threads.submit(send, ledger, "m1")
        disk.has_begun()
        second = threads.submit(ledger.transact, is_there)
        disk.fails = True
        disk.may_end.release()
        with pytest.raises(Unavailable, match="a power cut may still lose it"):
            first.result(PATIENCE_S)
        disk.has_begun()
        disk.fails = False
        assert not second.done()
        disk.may_end.release()
        assert second.result(PATIENCE_S)
        assert b'"m1"' in disk.kept


def test_a_sync_that_fails_is_tried_again_by_each_that_waited_with_it(ledger_file: Path) -> None:
    with slow_ledger(ledger_file) as (ledger, disk, threads):
        disk.fails = True
        writing = [threads.submit(send, ledger, f"m{number}") for number in (1, 2, 3)]
        until_written(ledger, "m1", "m2", "m3")
        disk.may_end.release(3)
        for each in writing:
            with pytest.raises(Unavailable, match="a power cut may still lose it"):
                each.result(PATIENCE_S)
        disk.fails = False
        disk.may_end.release()
        send(ledger, "m4")
        (journal,) = ledger_file.parent.glob("*.ndjson")
        assert disk.kept == written_in(journal)
    assert sorted(waiting(quiet_ledger(ledger_file))) == ["m0", "m1", "m2", "m3", "m4"]


class SlowlyForgettingDisk(ForgetfulDisk):
    """A disk whose syncs take their time to fail.

    Attributes:
        under_way: Set once such a sync has begun.
        may_fail: Set once it may end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.under_way, self.may_fail = threading.Event(), threading.Event()

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if name == "sync" and self.fails:
            self.under_way.set()
            assert self.may_fail.wait(PATIENCE_S)
        return super().around(name, step, *args)


def test_nothing_is_acknowledged_behind_what_another_process_wrote_before_a_sync_failed(ledger_file: Path) -> None:
    disk = SlowlyForgettingDisk()
    ledger = quiet_ledger(ledger_file, disk, Durability.POWER)
    another = quiet_ledger(ledger_file, disk)
    send(ledger, "m0")
    disk.fails = 1
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(send, ledger, "m1")
        assert disk.under_way.wait(PATIENCE_S)
        second = threads.submit(send, ledger, "m2")
        until_written(ledger, "m2")
        send(another, "a1")
        disk.may_fail.set()
        with pytest.raises(Unavailable, match="a power cut may still lose it"):
            first.result(PATIENCE_S)
        # it waited while that sync failed, and has synced again: for all that memory had, which is less than was lost
        second.result(PATIENCE_S)
    send(ledger, "m3")
    assert disk.has_all_of(ledger_file)


def fold_here(ledger: Ledger) -> None:
    assert ledger.compact()


def fold_elsewhere(ledger: Ledger) -> None:
    another = quiet_ledger(ledger.data_file)
    assert another.compact()
    another.close()
    assert "m1" in waiting(ledger)


def close(ledger: Ledger) -> None:
    ledger.close()


@pytest.mark.parametrize("meanwhile", [fold_here, fold_elsewhere, close])
def test_a_journal_that_is_left_meanwhile_is_on_the_disk_before_the_call_returns_and_then_closed(
    ledger_file: Path, meanwhile: Callable[[Ledger], None]
) -> None:
    before = open_descriptors()
    with slow_ledger(ledger_file) as (ledger, disk, threads):
        writing = threads.submit(send, ledger, "m1")
        disk.has_begun()
        meanwhile(ledger)
        assert not writing.done()
        disk.may_end.release()
        writing.result(PATIENCE_S)
        assert b'"m1"' in disk.kept
        ledger.close()
    assert opened_since(before) == []
    assert waiting(quiet_ledger(ledger_file)) == ["m0", "m1"]


def test_the_event_log_has_the_order_of_the_ledger_whichever_thread_wrote(ledger_file: Path) -> None:
    ledger = quiet_ledger(ledger_file)
    numbers: list[int] = []

    def count(transaction: Transaction) -> None:
        numbers.append(len(numbers))
        transaction.event("counted", number=numbers[-1])
        transaction.deliver("b", f"m{numbers[-1]}")

    with ThreadPoolExecutor(8) as threads:
        for each in [threads.submit(ledger.transact, count) for _ in range(400)]:
            each.result(PATIENCE_S)
    lines = ledger.events.path.read_text().splitlines()
    assert [line.partition('"number":')[2] for line in lines] == [f"{number}}}" for number in range(400)]


def test_who_closes_a_ledger_lets_a_thread_that_is_at_it_finish(ledger_file: Path) -> None:
    before = open_descriptors()
    ledger = quiet_ledger(ledger_file)
    begun, may_end = threading.Event(), threading.Event()

    def rule(transaction: Transaction) -> None:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        transaction.deliver("b", "m1")
        transaction.event("told")

    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(ledger.transact, rule)
        assert begun.wait(PATIENCE_S)
        closing = threads.submit(ledger.close)
        assert not closing.done()
        may_end.set()
        writing.result(PATIENCE_S)
        closing.result(PATIENCE_S)
    assert opened_since(before) == []
    assert waiting(quiet_ledger(ledger_file)) == ["m1"]


def test_a_lock_that_a_thread_holds_for_ever_is_left_to_it_by_who_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshfleet.ledger.lock.LONGEST_CLOSING_S", 0.01)
    lock = LedgerLock(tmp_path / "lock")
    with lock.held(0):
        lock.close()
        with pytest.raises(Busy), LedgerLock(tmp_path / "lock").held(0):
            pass
    lock.close()


class CheckedDisk(WatchedFiles):
    """A disk that has of each file what was in it when its last successful sync began; every fifth sync fails."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}
        self._syncs = itertools.count(1)

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if name != "sync":
            return step(*args)
        status = os.fstat(args[0])
        content = os.pread(args[0], status.st_size, 0)
        # others go on meanwhile
        step(*args)
        if next(self._syncs) % 5 == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.kept[status.st_ino] = content
        return None

    def has(self, message_id: str) -> bool:
        """Whether a message is on the disk, in whichever file."""
        return any(b'"%b"' % message_id.encode() in content for content in self.kept.values())


def test_whatever_threads_and_folds_do_at_once_what_is_acknowledged_is_on_the_disk(ledger_file: Path) -> None:
    disk = CheckedDisk()
    ledger = quiet_ledger(ledger_file, disk, Durability.POWER)
    send(ledger, "m0")
    acknowledged: list[str] = []

    def write(thread: int) -> None:
        for number in range(60):
            message_id = f"t{thread}n{number}"
            with suppress(Unavailable):
                send(ledger, message_id)
                assert disk.has(message_id), message_id
                acknowledged.append(message_id)
            if number % 10 == thread:
                with suppress(Unavailable):
                    ledger.compact()

    with ThreadPoolExecutor(6) as threads:
        for each in [threads.submit(write, thread) for thread in range(6)]:
            each.result(PATIENCE_S)
    assert len(acknowledged) > 100
    assert set(acknowledged) <= set(waiting(quiet_ledger(ledger_file)))
