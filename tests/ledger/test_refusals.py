"""What a ledger does when the disk or another process won't let it: refuse with the reason, and go on afterwards."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from meshfleet.errors import Busy, Unavailable
from meshfleet.ledger import Ledger
from meshfleet.ledger.files import Files
from tests.ledger.rows import send, waiting


class FullDisk(Files):
    """A disk on which only so many more bytes have room."""

    room: int | None = None

    def append(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return super().append(fd, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().append(fd, data[: self.room])


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_full_disk_fails_the_call_and_leaves_nothing_behind(ledger_file: Path, room: int) -> None:
    files = FullDisk()
    ledger = Ledger(ledger_file, files=files)
    send(ledger, "m1")
    (journal,) = ledger_file.parent.glob("*.ndjson")
    before = journal.read_bytes()
    files.room = room
    with pytest.raises(Unavailable, match="free some space"):
        send(ledger, "m2")
    assert journal.read_bytes() == before
    assert waiting(ledger) == waiting(Ledger(ledger_file)) == ["m1"]
    files.room = None
    send(ledger, "m3")
    assert waiting(ledger) == waiting(Ledger(ledger_file)) == ["m1", "m3"]


def test_a_lock_that_stays_held_is_refused_within_the_deadline(ledger_file: Path) -> None:
    ledger = Ledger(ledger_file, lock_timeout_ms=50)
    send(ledger, "m1")
    fd = os.open(ledger_file.with_name("agent-mesh.lock"), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(Busy, match="for 50 ms"):
        send(ledger, "m2")
    assert waiting(ledger) == ["m1"]
    os.close(fd)
    send(ledger, "m3")
    assert waiting(ledger) == ["m1", "m3"]


def test_a_lock_whose_file_was_deleted_still_excludes(ledger_file: Path) -> None:
    one, two = Ledger(ledger_file), Ledger(ledger_file, lock_timeout_ms=50)
    send(one, "m1")

    def delete_the_lock_and_let_the_other_try(_: object) -> None:
        ledger_file.with_name("agent-mesh.lock").unlink()

    one.transact(delete_the_lock_and_let_the_other_try)
    send(two, "m2")
    send(one, "m3")
    assert waiting(one) == waiting(two) == ["m1", "m2", "m3"]


def test_a_folder_that_can_not_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"can't create .*MESHFLEET_DATA_FILE"):
        send(Ledger(tmp_path / "file" / "agent-mesh.json"), "m1")
