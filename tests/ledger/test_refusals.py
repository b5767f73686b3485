"""What a ledger does when the disk or another process won't let it: refuse with the reason, and go on afterwards."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.errors import Busy, Unavailable
from meshfleet.ledger import Ledger
from meshfleet.ledger.exchange import write_exported
from meshfleet.ledger.files import Files
from meshfleet.settings import Durability
from tests.descriptors import open_descriptors, opened_since
from tests.ledger.confined import run_confined
from tests.ledger.journals import write_behind, written_in
from tests.ledger.rows import quiet_ledger, send, waiting
from tests.ledger.watched_files import Step, WatchedFiles
from tests.ledgers import closing_ledgers, ledger_at


class FullDisk(Files):
    """A disk on which only so many more bytes have room."""

    room: int | None = None

    def write(self, fd: int, data: bytes, offset: int) -> int:
        if self.room is None:
            return super().write(fd, data, offset)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(fd, data[: self.room], offset)


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_full_disk_fails_the_call_and_leaves_nothing_behind(ledger_file: Path, room: int) -> None:
    files = FullDisk()
    ledger = ledger_at(ledger_file, files=files)
    send(ledger, "m1")
    (journal,) = ledger_file.parent.glob("*.ndjson")
    before = written_in(journal)
    files.room = room
    with pytest.raises(Unavailable, match="free some space"):
        send(ledger, "m2")
    assert written_in(journal) == before
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1"]
    files.room = None
    send(ledger, "m3")
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1", "m3"]


def test_a_lock_that_stays_held_is_refused_within_the_deadline(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file, lock_timeout_ms=50)
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
    one, two = ledger_at(ledger_file, lock_timeout_ms=50), ledger_at(ledger_file)
    send(one, "m1")
    ledger_file.with_name("agent-mesh.lock").unlink()

    def let_the_one_try_that_has_the_deleted_file_open(_: object) -> None:
        with pytest.raises(Busy):
            send(one, "m2")

    two.transact(let_the_one_try_that_has_the_deleted_file_open)
    send(one, "m3")
    send(two, "m4")
    assert waiting(one) == waiting(two) == ["m1", "m3", "m4"]


def test_a_lock_whose_file_is_deleted_while_it_is_held_loses_nothing(ledger_file: Path) -> None:
    one, two = ledger_at(ledger_file), ledger_at(ledger_file, lock_timeout_ms=50)
    send(one, "m1")
    one.transact(lambda _: ledger_file.with_name("agent-mesh.lock").unlink())
    send(two, "m2")
    send(one, "m3")
    assert waiting(one) == waiting(two) == ["m1", "m2", "m3"]


def test_an_export_to_a_disk_that_may_only_be_read_is_refused_by_name(tmp_path: Path) -> None:
    class ReadOnly(Files):
        def unlink(self, path: Path) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with pytest.raises(Unavailable, match=r"can't write .*backup.json: read-only file system; the folder is read-only"):
        write_exported(tmp_path / "backup.json", [b"{}"], tmp_path / "agent-mesh.json", files=ReadOnly())


def test_a_folder_that_can_not_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"can't create .*MESHFLEET_DATA_FILE"):
        send(ledger_at(tmp_path / "file" / "agent-mesh.json"), "m1")


# -- whichever step is refused --------------------------------------------------------------------------------------

Deed = Callable[[Ledger], object]


class RefusingDisk(WatchedFiles):
    """A disk that refuses one operation, the nth from when it is told to."""

    def __init__(self, number: int) -> None:
        self.left: int | None = None
        self.number = number
        self.short = False
        self.refused = False

    def refuse(self, *, short: bool = False) -> None:
        """Refuse from now on; with `short`, a write takes half of the bytes instead."""
        self.left = self.number
        self.short = short

    def around(self, name: str, step: Step, *args: Any) -> Any:
        if self.left is None or name == "close":
            return step(*args)
        self.left -= 1
        if self.left != -1:
            return step(*args)
        self.refused = True
        if name == "write" and self.short:
            fd, data, offset = args
            return step(fd, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, "No space left on device")


def nothing_before(_: Ledger) -> None:
    """No ledger yet."""


def a_message(ledger: Ledger) -> None:
    send(ledger, "m1")


def a_message_and_a_compaction_by_somebody_else(ledger: Ledger) -> None:
    other = quiet_ledger(ledger.data_file)
    for message_id in ("m1", "m2"):
        send(other, message_id)
        assert waiting(ledger)[-1] == message_id
    send(other, "m3")
    assert other.compact()
    other.close()


def a_rewriting_by_v090(ledger: Ledger) -> None:
    send(ledger, "m1")
    ledger.data_file.write_text('{"schema_version": 2, "messages": {}, "inboxes": {}}')


def a_torn_tail(ledger: Ledger) -> None:
    send(ledger, "m1")
    (path,) = ledger.data_file.parent.glob("*.ndjson")
    write_behind(path, b'{"seq":2,"ops":[')


def send_one_more(ledger: Ledger) -> None:
    send(ledger, "new")


def refuse_one_step(ledger_file: Path, disk: RefusingDisk, before: Deed, deed: Deed, *, short: bool) -> None:
    """Have a disk refuse it, and see that everybody agrees on what is there, and goes on."""
    ledger_file.parent.mkdir()
    ledger = quiet_ledger(ledger_file, disk, Durability.POWER)
    before(ledger)
    stood = set(waiting(quiet_ledger(ledger_file)))
    disk.refuse(short=short)
    # what may fail without harm is not refused: a tail cut back, a leftover swept
    with suppress(Unavailable):
        deed(ledger)
    disk.left = None
    assert waiting(ledger) == waiting(quiet_ledger(ledger_file))
    assert stood <= set(waiting(ledger)) <= stood | {"new"}
    send(ledger, "last")
    assert ledger.compact()
    assert waiting(ledger) == waiting(quiet_ledger(ledger_file))
    assert waiting(ledger).count("last") == 1


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("deed", [send_one_more, waiting, Ledger.compact])
@pytest.mark.parametrize(
    "before",
    [
        nothing_before,
        a_message,
        a_message_and_a_compaction_by_somebody_else,
        a_rewriting_by_v090,
        a_torn_tail,
    ],
)
def test_whichever_step_is_refused_the_call_says_so_memory_and_disk_agree_and_nothing_stays_open(
    tmp_path: Path, before: Deed, deed: Deed, short: bool
) -> None:
    for number in range(100):
        disk = RefusingDisk(number)
        held = open_descriptors()
        with closing_ledgers():
            refuse_one_step(tmp_path / str(number) / "agent-mesh.json", disk, before, deed, short=short)
        assert opened_since(held) == [], f"after step {number} was refused"
        if not disk.refused:
            return
    pytest.fail("it takes more than a hundred steps")


# -- a disk that is really full -------------------------------------------------------------------------------------

LIMIT: Final = """
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def agree(ledger, wanted):
    assert waiting(ledger) == waiting(quiet_ledger(FILE)) == wanted, waiting(ledger)
"""


def test_a_file_that_may_not_grow_fails_the_write_and_is_cut_back(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        LIMIT
        + """
ledger = quiet_ledger(FILE)
send(ledger, "m1")
(journal,) = FOLDER.glob("*.ndjson")
for more in (0, 1, 100):
    before = written_in(journal)
    limit(journal.stat().st_size + more)
    with pytest.raises(Unavailable, match="ulimit -f|only a part fitted"):
        send(ledger, "m2", "x" * 60_000)
    assert written_in(journal) == before
    agree(ledger, ["m1"])
limit(resource.RLIM_INFINITY)
send(ledger, "m3")
agree(ledger, ["m1", "m3"])
""",
    )


def test_a_first_snapshot_that_does_not_fit_leaves_no_ledger(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        LIMIT
        + """
ledger = quiet_ledger(FILE)
for size in (0, 50):
    limit(size)
    with pytest.raises(Unavailable, match="agent-mesh"):
        send(ledger, "m1")
    assert [path.name for path in FOLDER.iterdir()] == ["agent-mesh.lock"]
    agree(ledger, [])
limit(resource.RLIM_INFINITY)
send(ledger, "m2")
agree(ledger, ["m2"])
""",
    )


def test_a_compaction_whose_snapshot_or_journal_does_not_fit_changes_nothing(ledger_file: Path) -> None:
    run_confined(
        ledger_file.parent,
        LIMIT
        + """
LARGE = "x" * 100_000

class Late(Files):
    other = None

    def create(self, path):
        if self.other and path.name == "agent-mesh.snapshot.tmp":
            send(self.other, "m3", LARGE)
            limit(50_000)
        return super().create(path)

files = Late()
ledger = quiet_ledger(FILE, files)
send(ledger, "m1")
send(ledger, "m2")
before = bytes_of(FOLDER)
limit(100)
with pytest.raises(Unavailable, match="snapshot.tmp"):
    ledger.compact()
limit(resource.RLIM_INFINITY)
assert bytes_of(FOLDER) | {"agent-mesh.compact.lock": b""} == before | {"agent-mesh.compact.lock": b""}
agree(ledger, ["m1", "m2"])

files.other = quiet_ledger(FILE)
with pytest.raises(Unavailable, match="journal.2"):
    ledger.compact()
limit(resource.RLIM_INFINITY)
assert not FOLDER.joinpath("agent-mesh.journal.2.ndjson").exists()
files.other = None
agree(ledger, ["m1", "m2", "m3"])
send(ledger, "m4")
assert ledger.compact()
agree(ledger, ["m1", "m2", "m3", "m4"])
""",
    )


def test_a_disk_that_is_full_indeed_fails_each_kind_of_call_and_nothing_else(ledger_file: Path) -> None:
    """A file system of 256 KiB; where none can be mounted, the file size limits above are the proof."""
    in_a_namespace = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    in_a_namespace = in_a_namespace or ["unshare", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(ledger_file.parent)]
    tried = shutil.which("unshare") and subprocess.run([*in_a_namespace, *mount], check=False, capture_output=True)
    if not tried or tried.returncode != 0:
        pytest.skip("no tmpfs can be mounted here; the tests with a file size limit stand in for this one")
    run_confined(
        ledger_file.parent,
        LIMIT
        + """
import subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", "."], check=True, cwd=sys.argv[1])
os.chdir(sys.argv[1])
FILLER = FOLDER / "filler"

def fill(leave=0):
    free()
    with FILLER.open("wb", buffering=0) as file:
        status = os.statvfs(".")
        file.write(b"x" * (status.f_bavail * status.f_frsize - leave))

def free():
    FILLER.unlink(missing_ok=True)

ledger = quiet_ledger(FILE)
fill()
with pytest.raises(Unavailable, match="free some space"):
    send(ledger, "m1")
agree(ledger, [])
assert sorted(path.name for path in FOLDER.iterdir()) == ["agent-mesh.lock", "filler"]
fill(4096)
with pytest.raises(Unavailable, match="free some space"):
    send(ledger, "m1")
agree(ledger, [])
free()
send(ledger, "m1", "x" * 10_000)

fill()
(journal,) = FOLDER.glob("*.ndjson")
before = written_in(journal)
with pytest.raises(Unavailable, match="free some space"):
    send(ledger, "m2", "x" * 60_000)
assert written_in(journal) == before
agree(ledger, ["m1"])

for leave in (0, 4096, 12_288):
    fill(leave)
    with pytest.raises(Unavailable, match="free some space"):
        ledger.compact()
    assert written_in(journal) == before
    assert sorted(path.name for path in FOLDER.glob("*.ndjson")) == [journal.name]
    agree(ledger, ["m1"])

free()
send(ledger, "m3")
assert ledger.compact()
agree(ledger, ["m1", "m3"])
""",
        wrapped_in=in_a_namespace,
    )
