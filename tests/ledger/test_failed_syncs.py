"""A sync that failed: the system takes what it could not write for written, and the next sync says nothing of it."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from meshfleet.errors import Unavailable
from meshfleet.ledger import Ledger
from meshfleet.settings import Durability
from tests.ledger.journals import written_in
from tests.ledger.rows import quiet_ledger, send, waiting
from tests.ledger.watched_files import Step, WatchedFiles


class ForgetfulDisk(WatchedFiles):
    """A disk of a system that forgets, when a sync fails, what was still to be written.

    Attributes:
        fails: How many syncs still fail.
        kept: What is on the disk for good, by inode.
        writes: How often something was written.
    """

    def __init__(self) -> None:
        self.fails = self.writes = 0
        self.kept: dict[int, bytearray] = defaultdict(bytearray)
        self._to_be_written: dict[int, list[tuple[int, bytes]]] = defaultdict(list)

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if name == "sync":
            return self._sync(args[0])
        result = step(*args)
        if name == "write":
            fd, data, offset = args
            self.writes += 1
            self._to_be_written[os.fstat(fd).st_ino].append((offset, data[:result]))
        elif name == "create":
            inode = os.fstat(result).st_ino
            self.kept.pop(inode, None)
            self._to_be_written.pop(inode, None)
        return result

    def _sync(self, fd: int) -> None:
        inode = os.fstat(fd).st_ino
        parts = self._to_be_written.pop(inode, [])
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        kept = self.kept[inode]
        for offset, data in parts:
            kept.extend(bytes(max(0, offset + len(data) - len(kept))))
            kept[offset : offset + len(data)] = data

    def has_all_of(self, file: Path) -> bool:
        """Whether what is in a ledger's journal is on the disk."""
        (journal,) = file.parent.glob("*.ndjson")
        return bytes(self.kept[journal.stat().st_ino]).rstrip(b"\0") == written_in(journal)


def ledger_whose_sync_failed(file: Path, disk: ForgetfulDisk) -> Ledger:
    """A ledger with m0 on the disk, and m1 written and not synced."""
    ledger = quiet_ledger(file, disk, Durability.POWER)
    send(ledger, "m0")
    disk.fails = 1
    with pytest.raises(Unavailable):
        send(ledger, "m1")
    return ledger


@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("size", [10, 20_000])
def test_once_a_later_call_is_acknowledged_all_before_it_is_on_the_disk_too(
    ledger_file: Path, size: int, failures: int
) -> None:
    disk = ForgetfulDisk()
    ledger = quiet_ledger(ledger_file, disk, Durability.POWER)
    send(ledger, "m0")
    disk.fails = failures
    for number in range(failures):
        with pytest.raises(Unavailable, match="the change is written, but a power cut may still lose it"):
            send(ledger, f"failed{number}", "x" * size)
    send(ledger, "last")
    assert disk.has_all_of(ledger_file)
    assert waiting(quiet_ledger(ledger_file)) == waiting(ledger)
    assert waiting(ledger)[-1] == "last"


def test_another_process_that_opens_the_ledger_after_the_failure_acknowledges_nothing_behind_it(
    ledger_file: Path,
) -> None:
    disk = ForgetfulDisk()
    ledger_whose_sync_failed(ledger_file, disk)
    send(quiet_ledger(ledger_file, disk, Durability.POWER), "m2")
    assert disk.has_all_of(ledger_file)


def test_what_a_failed_sync_left_off_is_written_once_more_and_not_with_every_call(ledger_file: Path) -> None:
    disk = ForgetfulDisk()
    ledger = ledger_whose_sync_failed(ledger_file, disk)
    before = disk.writes
    send(ledger, "m2")
    send(ledger, "m3")
    assert disk.writes == before + 3


def test_a_file_system_that_forgot_what_it_could_not_write_is_believed_again_once_a_snapshot_has_it(
    ledger_file: Path,
) -> None:
    class Forgetting(ForgetfulDisk):
        forgot = False

        def around(self, name: str, step: Step, *args: Any) -> Any:
            result = super().around(name, step, *args)
            return bytes(len(result)) if name == "read" and self.forgot and b'"m1"' in result else result

    disk = Forgetting()
    ledger = ledger_whose_sync_failed(ledger_file, disk)
    disk.forgot = True
    with pytest.raises(Unavailable, match="the change is written, but a power cut may still lose it"):
        send(ledger, "m2")
    disk.forgot = False
    assert ledger.compact()
    send(ledger, "m3")
    assert waiting(quiet_ledger(ledger_file)) == ["m0", "m1", "m2", "m3"]
