"""The event log: what many processes write to it is there once and whole, also while it is renamed under them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.ledger.event_lines import EventReader, parsed
from meshfleet.ledger.events import EventLog, older_log

WRITER = """
import sys
from pathlib import Path
from meshfleet.ledger.events import EventLog
path, name, count, full = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log = EventLog(path, full)
print("ready", flush=True)
sys.stdin.read(1)
for number in range(count):
    log.append("written", writer=name, number=number, padding="x" * (number % 50))
log.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent-mesh.events.log"


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The events of one file, of which every line has to be whole."""
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def write_at_once(path: Path, writers: int, count: int, full_bytes: int) -> None:
    """Have several processes write to a log, all beginning at the same moment."""
    command = [sys.executable, "-c", WRITER, str(path)]
    started = []
    for number in range(writers):
        arguments = [*command, f"w{number}", str(count), str(full_bytes)]
        started.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        process.communicate(b"go", timeout=60)
        assert process.returncode == 0


def test_a_log_that_is_full_is_renamed_once_and_no_line_of_four_processes_is_lost_torn_or_doubled(path: Path) -> None:
    write_at_once(path, writers=4, count=400, full_bytes=100_000)
    older, newer = lines_of(older_log(path)), lines_of(path)
    assert older
    assert newer
    written = Counter((line["writer"], line["number"]) for line in older + newer)
    assert written == Counter((f"w{writer}", number) for writer in range(4) for number in range(400))


def test_a_log_that_is_renamed_again_and_again_keeps_each_writer_s_latest_lines_without_a_gap(path: Path) -> None:
    write_at_once(path, writers=4, count=500, full_bytes=3_000)
    lines = lines_of(older_log(path)) + lines_of(path)
    for writer in {line["writer"] for line in lines}:
        numbers = [line["number"] for line in lines if line["writer"] == writer]
        assert all(after == before + 1 for before, after in pairwise(numbers))
        assert numbers[-1] == 499
    assert path.stat().st_size < 4_000
    assert sorted(file.name for file in path.parent.glob("agent-mesh*")) == [path.name, older_log(path).name]


def test_a_log_that_is_full_replaces_the_older_one(path: Path) -> None:
    log = EventLog(path, 200)
    for number in range(12):
        log.append("written", number=number)
    log.close()
    numbers = [line["number"] for line in lines_of(older_log(path)) + lines_of(path)]
    assert numbers == list(range(numbers[0], 12))
    assert numbers[0] > 0
    assert path.stat().st_mode & 0o777 == older_log(path).stat().st_mode & 0o777 == 0o600


def test_a_line_is_not_lost_when_others_fill_the_log_just_before_it_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick, write = EventLog(path, 200), EventLog(path, 200), os.write
    slow.append("begun")

    def write_late(fd: int, line: bytes) -> int:
        patched.undo()
        for number in range(20):
            quick.append("written", number=number)
        return write(fd, line)

    with monkeypatch.context() as patched:
        patched.setattr("meshfleet.ledger.events.os.write", write_late)
        slow.append("late")
    slow.close()
    quick.close()
    assert "late" in [line["event"] for line in lines_of(path)]


def test_a_log_that_somebody_moved_away_is_begun_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshfleet.ledger.events.LOOK_INTERVAL_S", 0)
    log = EventLog(path)
    log.append("one")
    path.rename(path.with_name("elsewhere"))
    log.append("two")
    log.close()
    assert [line["event"] for line in lines_of(path)] == ["two"]


def test_a_log_that_can_not_be_renamed_grows_on_and_says_so_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (older_log(path) / "in the way").mkdir(parents=True)
    log = EventLog(path, 100)
    for number in range(10):
        log.append("written", number=number)
    log.close()
    assert [line["number"] for line in lines_of(path)] == list(range(10))
    assert [record.message[:31] for record in caplog.records] == ["could not rename the event log "]


def test_a_process_stopped_while_it_renames_the_log_keeps_nobody_from_writing(path: Path) -> None:
    log = EventLog(path)
    log.append("one")
    stopped = os.open(path, os.O_RDONLY)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    log.append("two")
    os.close(stopped)
    log.close()
    assert [line["event"] for line in lines_of(path)] == ["one", "two"]


def test_a_line_the_disk_had_no_room_for_spoils_none_that_comes_after(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log, write = EventLog(path), os.write
    log.append("one")
    with monkeypatch.context() as patched:
        patched.setattr("meshfleet.ledger.events.os.write", lambda fd, line: write(fd, line[:9]))
        log.append("two")
    log.append("three")
    log.close()
    assert "only 9 of" in caplog.text
    assert [event.name for event in reader_of(path).last(5)] == ["one", "three"]


# -- reading -----------------------------------------------------------------------------------------------------------


_opened: Final[list[EventReader]] = []


def reader_of(path: Path) -> EventReader:
    """A reader of a log, which the end of the test closes."""
    _opened.append(EventReader(path))
    return _opened[-1]


@pytest.fixture(autouse=True)
def closed_readers() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while _opened:
        _opened.pop().close()


def write_numbers(path: Path, first: int, last: int, full_bytes: int = 10**9) -> None:
    log = EventLog(path, full_bytes)
    for number in range(first, last):
        log.append("written", number=number)
    log.close()


def numbers(reader: EventReader, count: int) -> list[int]:
    return [event.fields["number"] for event in reader.last(count)]


def new_numbers(reader: EventReader) -> list[int]:
    return [event.fields["number"] for event in reader.new()]


@pytest.mark.parametrize("count", [0, 1, 5, 30, 1000])
def test_the_last_events_are_read_over_the_renaming(path: Path, count: int) -> None:
    write_numbers(path, 0, 10)
    path.rename(older_log(path))
    write_numbers(path, 10, 20)
    assert numbers(reader_of(path), count) == list(range(20))[20 - min(count, 20) :]


def test_lines_longer_than_a_block_are_read_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshfleet.ledger.event_lines.BLOCK_BYTES", 7)
    write_numbers(path, 0, 5)
    reader = reader_of(path)
    assert numbers(reader, 3) == [2, 3, 4]
    write_numbers(path, 5, 7)
    assert new_numbers(reader) == [5, 6]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b'{"event":1,"timestamp":2}',
        b'{"event":"x"}',
        b"\xff\xfe",
        b"9" * 5000,
        b"[" * 99999,
    ],
)
def test_a_broken_line_is_passed_over(path: Path, broken: bytes) -> None:
    write_numbers(path, 0, 2)
    with path.open("ab") as file:
        file.write(broken + b"\n")
    write_numbers(path, 2, 3)
    assert parsed(broken) is None
    assert numbers(reader_of(path), 2) == [1, 2]


def test_new_events_are_read_as_they_come_and_half_a_line_once_it_is_whole(path: Path) -> None:
    reader = reader_of(path)
    assert reader.last(5) == []
    assert reader.new() == []
    write_numbers(path, 0, 2)
    assert new_numbers(reader) == [0, 1]
    with path.open("ab") as file:
        file.write(b'{"event":"x","times')
        file.flush()
        assert reader.new() == []
        file.write(b'tamp":1,"number":2}\n')
    assert new_numbers(reader) == [2]
    assert reader.new() == []


@pytest.mark.parametrize("renamings", [1, 2])
def test_following_goes_on_over_the_renaming(path: Path, renamings: int) -> None:
    write_numbers(path, 0, 3)
    reader = reader_of(path)
    assert numbers(reader, 1) == [2]
    write_numbers(path, 3, 5)
    for number in range(renamings):
        path.replace(older_log(path))
        write_numbers(path, 5 + number, 6 + number)
    assert new_numbers(reader) == list(range(3, 5 + renamings))


def test_following_a_log_that_was_emptied_begins_at_its_start(path: Path) -> None:
    write_numbers(path, 0, 3)
    reader = reader_of(path)
    reader.last(1)
    os.truncate(path, 0)
    write_numbers(path, 7, 8)
    assert new_numbers(reader) == [7]
