"""Folding the journal into the snapshot: when it happens, who follows how, and that nothing is lost by it."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from meshfleet.ledger.compaction import QUIET_S, Compactor
from meshfleet.ledger.files import Files
from tests.ledger.rows import send, waiting
from tests.ledgers import ledger_at


class Watched(Files):
    """Files that tell when a snapshot was put into place."""

    def __init__(self) -> None:
        super().__init__()
        self.renamed = threading.Event()

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        if source.name == "agent-mesh.snapshot.tmp":
            self.renamed.set()


def test_compaction_folds_the_journal_and_everybody_follows(ledger_file: Path) -> None:
    one, two = ledger_at(ledger_file), ledger_at(ledger_file)
    send(one, "m1")
    assert waiting(two) == ["m1"]
    assert one.compact()
    assert json.loads(ledger_file.read_text())["inboxes"] == {"b": ["m1"]}
    assert [path.name for path in ledger_file.parent.glob("*.ndjson")] == ["agent-mesh.journal.2.ndjson"]
    send(two, "m2")
    assert waiting(one) == waiting(two) == ["m1", "m2"]
    assert not two.compact() or waiting(one) == ["m1", "m2"]


def test_there_is_nothing_to_compact_twice(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    assert not ledger.compact()
    send(ledger, "m1")
    assert ledger.compact()
    assert not ledger.compact()


def test_a_ledger_compacts_by_itself_when_nobody_writes(ledger_file: Path) -> None:
    files = Watched()
    ledger = ledger_at(ledger_file, files=files)
    send(ledger, "m1")
    assert files.renamed.wait(10)
    ledger.close()
    assert "m1" in json.loads(ledger_file.read_text())["messages"]


def test_where_no_thread_can_be_started_a_call_succeeds_and_a_later_one_tries_again(
    ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one, files = ledger_at(ledger_file), Watched()
    two = ledger_at(ledger_file, files=files)
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        send(one, "m1")
        one.close()
        send(two, "m2")
    send(two, "m3")
    assert files.renamed.wait(10)
    assert waiting(two) == ["m1", "m2", "m3"]


def test_a_ledger_is_folded_when_it_is_closed(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    send(ledger, "m1")
    ledger.close()
    assert "m1" in json.loads(ledger_file.read_text())["messages"]


def test_a_journal_that_outgrows_its_snapshot_is_folded_though_somebody_writes_on(ledger_file: Path) -> None:
    files = Watched()
    ledger = ledger_at(ledger_file, files=files)
    # never quiet for as long as a compaction would otherwise wait for
    for number in range(500):
        send(ledger, f"m{number}", "x" * 65_536)
        if files.renamed.wait(QUIET_S / 20):
            break
    assert files.renamed.is_set()


def test_what_is_written_while_the_snapshot_is_written_is_carried_over(ledger_file: Path) -> None:
    other = ledger_at(ledger_file)

    class Interrupted(Files):
        def create(self, path: Path) -> int:
            if path.name == "agent-mesh.snapshot.tmp":
                send(other, "m2")
            return super().create(path)

    ledger = ledger_at(ledger_file, files=Interrupted())
    send(ledger, "m1")
    assert ledger.compact()
    assert "m2" not in json.loads(ledger_file.read_text())["messages"]
    for each in (ledger, other, ledger_at(ledger_file)):
        assert waiting(each) == ["m1", "m2"]


def test_a_ledger_that_slept_through_several_compactions_wakes_up_right(ledger_file: Path) -> None:
    sleeper, writer = ledger_at(ledger_file), ledger_at(ledger_file)
    send(writer, "m0")
    assert waiting(sleeper) == ["m0"]
    for number in range(1, 6):
        send(writer, f"m{number}")
        assert writer.compact()
    assert waiting(sleeper) == [f"m{number}" for number in range(6)]
    send(sleeper, "m6")
    assert waiting(writer)[-1] == "m6"


def test_a_leftover_of_a_crashed_compaction_is_swept(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    send(ledger, "m1")
    (current,) = ledger_file.parent.glob("*.ndjson")
    ledger_file.with_name("agent-mesh.journal.2.ndjson").write_bytes(current.read_bytes())
    ledger_file.with_name("agent-mesh.snapshot.tmp").write_bytes(b"half a snap")
    assert ledger.compact()
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1"]
    assert sorted(path.name for path in ledger_file.parent.iterdir() if "json" in path.name) == [
        "agent-mesh.journal.2.ndjson",
        "agent-mesh.json",
    ]


class Failing(Files):
    """A disk that is full at one kind of step."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.broken = False

    def _reach(self, step: str) -> None:
        if self.broken and step == self.step:
            raise OSError(errno.ENOSPC, "No space left on device")

    def sync(self, fd: int) -> None:
        self._reach("sync")
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._reach("rename")
        super().rename(source, target)

    def create(self, path: Path) -> int:
        self._reach("create")
        return super().create(path)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        self._reach("write")
        return super().write(fd, data, offset)


@pytest.mark.parametrize("step", ["sync", "rename", "create", "write"])
def test_a_compaction_that_fails_leaves_the_ledger_as_it_was(ledger_file: Path, step: str) -> None:
    files = Failing(step)
    ledger = ledger_at(ledger_file, files=files)
    send(ledger, "m1")
    files.broken = True
    with pytest.raises(Exception, match="free some space"):
        ledger.compact()
    files.broken = False
    send(ledger, "m2")
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1", "m2"]
    assert ledger.compact()
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1", "m2"]


def test_who_closes_a_ledger_as_its_folding_falls_due_does_not_wait_for_ever() -> None:
    asked = threading.Event()

    class Due(threading.Event):
        def set(self) -> None:
            super().set()
            if compactor._stopping.is_set():
                asked.set()

    def sizes() -> tuple[int, int]:
        if threading.current_thread() is compactor._thread and not asked.is_set():
            # between the thread's look whether it is to stop and its taking up the work
            closing.start()
            assert asked.wait(20)
        return 0, 0

    compactor = Compactor(lambda: True, sizes)
    compactor._due = Due()
    compactor._quiet_s = 0.0
    closing = threading.Thread(target=compactor.stop, daemon=True)
    compactor.written()
    assert asked.wait(20)
    closing.join(5)
    assert not closing.is_alive()
