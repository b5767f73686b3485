"""The disk begins to write a transaction while its process does what need not wait for the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from meshfleet.errors import Unavailable
from meshfleet.ledger import Ledger, Transaction
from meshfleet.ledger.files import Files
from meshfleet.settings import Durability
from tests.ledger.rows import quiet_ledger, send, waiting
from tests.ledger.watched_files import Step, WatchedFiles


class Noting(WatchedFiles):
    """File operations that note their names, and what the event log held by then."""

    def __init__(self, event_log: Path) -> None:
        self._event_log = event_log
        self.steps: list[str] = []
        self.logged: dict[str, str] = {}

    def around(self, name: str, step: Step, *args: Any) -> Any:
        self.steps.append(name)
        self.logged[name] = self._event_log.read_text() if self._event_log.exists() else ""
        return step(*args)


class Failing(WatchedFiles):
    """File operations of which one fails."""

    def __init__(self, name: str) -> None:
        self._name = name

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if name == self._name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return step(*args)


def noted_ledger(file: Path, durability: Durability) -> tuple[Ledger, Noting]:
    """A ledger with a transaction behind it, and the steps it takes from then on."""
    files = Noting(file.with_name("agent-mesh.events.log"))
    ledger = quiet_ledger(file, files, durability)
    send(ledger, "m1")
    files.steps.clear()
    return ledger, files


def send_with_event(ledger: Ledger) -> None:
    """Write a row and tell the event log of it."""

    def rule(transaction: Transaction) -> None:
        transaction.deliver("b", "m2")
        transaction.event("told", of="m2")

    ledger.transact(rule)


def test_the_disk_begins_before_anybody_waits_for_it(ledger_file: Path) -> None:
    ledger, files = noted_ledger(ledger_file, Durability.POWER)
    send(ledger, "m2")
    assert files.steps[-3:] == ["write", "begin_sync", "sync"]


def test_what_is_not_synced_is_not_begun_either(ledger_file: Path) -> None:
    ledger, files = noted_ledger(ledger_file, Durability.PROCESS)
    send(ledger, "m2")
    assert files.steps[-1] == "write"


def test_the_event_log_is_written_while_the_disk_writes(ledger_file: Path) -> None:
    ledger, files = noted_ledger(ledger_file, Durability.POWER)
    send_with_event(ledger)
    assert "told" not in files.logged["begin_sync"]
    assert "told" in files.logged["sync"]


def test_a_disk_that_takes_no_advice_fails_no_call(ledger_file: Path) -> None:
    ledger = quiet_ledger(ledger_file, Failing("begin_sync"), Durability.POWER)
    send(ledger, "m1")
    assert waiting(quiet_ledger(ledger_file)) == ["m1"]


def test_a_sync_that_fails_fails_the_call_though_the_disk_had_begun(ledger_file: Path) -> None:
    send(quiet_ledger(ledger_file), "m1")
    ledger = quiet_ledger(ledger_file, Failing("sync"), Durability.POWER)
    with pytest.raises(Unavailable, match="the change is written, but a power cut may still lose it"):
        send(ledger, "m2")
    assert waiting(quiet_ledger(ledger_file)) == waiting(ledger) == ["m1", "m2"]


@pytest.mark.parametrize("size", [1, 100, 4_096, 70_000])
def test_a_journal_whose_pages_were_begun_is_read_as_it_was_written(tmp_path: Path, size: int) -> None:
    files = Files()
    fd = files.create(tmp_path / "journal")
    try:
        data = os.urandom(size)
        for offset in range(0, 5 * size, size):
            files.write(fd, data, offset)
            files.begin_sync(fd, offset + size - 1)
        files.sync(fd)
        assert files.read(fd, 0, 6 * size) == data * 5
    finally:
        files.close(fd)
