"""Torn tails are cut, damage is refused: what a crash leaves and what a disk or a person does to the bytes."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from meshfleet.errors import Corrupt, Invalid
from meshfleet.ledger import Ledger
from meshfleet.ledger.journal import SECTOR, encode_record
from meshfleet.ledger.salvage import salvage
from tests.ledger.journals import write_behind, written_in
from tests.ledger.rows import message, quiet_ledger, send, waiting
from tests.ledgers import ledger_at

pytestmark = pytest.mark.in_memory

LEAVE_THREE_TRANSACTIONS: Final = """
import os, sys
from pathlib import Path
from meshfleet.ledger import Ledger
from tests.ledger.rows import send
ledger = Ledger(Path(sys.argv[1]))
for number in (1, 2, 3):
    send(ledger, f"m{number}")
os._exit(0)
"""


@pytest.fixture
def journal_file(ledger_file: Path) -> Path:
    """A journal with the transactions m1 to m3, none of them in the snapshot, left by a process that died."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", LEAVE_THREE_TRANSACTIONS, str(ledger_file)], check=True, timeout=60, cwd=root)
    (path,) = ledger_file.parent.glob("*.journal.*.ndjson")
    return path


@contextmanager
def copied(ledger_file: Path, folder: Path) -> Iterator[Path]:
    """A copy of the ledger in a folder of its own, for as long as it is wanted."""
    shutil.copytree(ledger_file.parent, folder)
    yield folder / ledger_file.name
    shutil.rmtree(folder)


@pytest.mark.parametrize("room", [0, 20_000])
def test_a_tail_torn_at_any_byte_is_cut_and_the_next_send_succeeds(
    ledger_file: Path, journal_file: Path, room: int
) -> None:
    whole = written_in(journal_file)
    start = whole[:-1].rfind(b"\n") + 1
    for size in range(start, len(whole)):
        journal_file.write_bytes(whole[:size] + bytes(room))
        with copied(ledger_file, ledger_file.parent.with_name("copy")) as copy:
            ledger, fresh = Ledger(copy), Ledger(copy)
            assert waiting(ledger) == ["m1", "m2"]
            send(ledger, "m4")
            assert waiting(ledger) == waiting(fresh) == ["m1", "m2", "m4"]
            assert ledger.torn_tails_cut == (size > start)
            ledger.close()
            fresh.close()


def test_a_line_of_which_a_power_cut_left_only_some_sectors_is_cut(ledger_file: Path, journal_file: Path) -> None:
    whole = written_in(journal_file)
    line = encode_record(4, [["put", "messages", "m4", message("m4", payload="x" * 4 * SECTOR)], ["append", "b", "m4"]])
    end = len(whole) + len(line)
    sectors = range(len(whole) // SECTOR, (end - 1) // SECTOR + 1)
    assert len(sectors) >= 5
    for lost in range(1, 2 ** len(sectors)):
        content = bytearray(whole + line + bytes(5_000))
        for sector in itertools.compress(sectors, map(int, reversed(f"{lost:b}"))):
            begin = max(sector * SECTOR, len(whole))
            content[begin : (sector + 1) * SECTOR] = bytes((sector + 1) * SECTOR - begin)
        journal_file.write_bytes(content)
        assert {damage.id for damage in salvage(ledger_file).damages} <= {"journal-torn"}
        ledger = quiet_ledger(ledger_file)
        assert waiting(ledger) == ["m1", "m2", "m3"]
        send(ledger, "m5")
        ledger.close()
        fresh = quiet_ledger(ledger_file)
        assert waiting(fresh) == ["m1", "m2", "m3", "m5"]
        fresh.close()


@pytest.mark.parametrize("flip", [lambda byte: byte ^ 0x04, lambda _: 0], ids=["one bit", "a zero"])
@pytest.mark.parametrize("room", [0, 20_000])
def test_a_flipped_byte_anywhere_in_the_journal_is_refused_and_nothing_is_written(
    ledger_file: Path, journal_file: Path, flip: Callable[[int], int], room: int
) -> None:
    whole = written_in(journal_file)
    snapshot = ledger_file.read_bytes()
    # a zero for the last newline is what a crash before the last byte leaves in the room
    for place in range(len(whole) - (flip(0) == 0)):
        damaged = bytearray(whole + bytes(room))
        damaged[place] = flip(whole[place])
        journal_file.write_bytes(damaged)
        ledger = Ledger(ledger_file)
        with pytest.raises(Corrupt, match=r"journal\.1\.ndjson is damaged: line \d.*nothing is written"):
            send(ledger, "m4")
        ledger.close()
        assert journal_file.read_bytes() == damaged, f"byte {place}"
        assert ledger_file.read_bytes() == snapshot


def test_a_flipped_byte_in_the_room_behind_the_last_line_costs_nothing(ledger_file: Path, journal_file: Path) -> None:
    whole = written_in(journal_file)
    for place in range(1_500):
        journal_file.write_bytes(whole + bytes(place) + b"x" + bytes(400))
        ledger = quiet_ledger(ledger_file)
        assert waiting(ledger) == ["m1", "m2", "m3"]
        send(ledger, "m4")
        assert waiting(ledger) == ["m1", "m2", "m3", "m4"]
        ledger.close()
    assert salvage(ledger_file).damages == []


def test_a_running_ledger_notices_damage_behind_its_back(ledger_file: Path) -> None:
    one, two = ledger_at(ledger_file), ledger_at(ledger_file)
    send(one, "m1")
    assert waiting(two) == ["m1"]
    (path,) = ledger_file.parent.glob("*.journal.*.ndjson")
    write_behind(path, b'{"seq":2,"ops":[],"crc":"00000000"}\n')
    for ledger in (one, two):
        with pytest.raises(Corrupt, match="checksum"):
            waiting(ledger)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"mcp": {}, "model": "some/model"}',
        b'{"schema_version": "2"}',
        b'{"messages": []}',
        b'{"messages": {"m": 1}}',
        b'{"messages": {"m": {"id": "m"}}}',
        b'{"inboxes": {"b": [1]}}',
        b'{"novelty": NaN}',
        b"\xff\xfe",
    ],
)
def test_a_snapshot_that_is_no_ledger_is_refused_and_kept(ledger_file: Path, content: bytes) -> None:
    ledger_file.write_bytes(content)
    ledger = ledger_at(ledger_file)
    with pytest.raises(Corrupt, match=r"agent-mesh\.json is damaged"):
        waiting(ledger)
    with pytest.raises(Corrupt):
        send(ledger, "m1")
    ledger.close()
    assert ledger_file.read_bytes() == content


def test_a_snapshot_deleted_beside_its_journal_is_no_reason_to_start_afresh(
    ledger_file: Path, journal_file: Path
) -> None:
    ledger_file.unlink()
    with pytest.raises(Corrupt, match="is gone, but"):
        send(ledger_at(ledger_file), "m4")
    assert b'"m3"' in journal_file.read_bytes()


def test_a_journal_deleted_beside_its_snapshot_is_noticed(ledger_file: Path, journal_file: Path) -> None:
    journal_file.unlink()
    with pytest.raises(Corrupt, match="which is not there"):
        waiting(ledger_at(ledger_file))


def test_a_snapshot_edited_by_hand_is_taken_over_by_every_process(ledger_file: Path) -> None:
    one, two, three = ledger_at(ledger_file), ledger_at(ledger_file), ledger_at(ledger_file)
    send(one, "m1")
    assert one.compact()
    send(two, "m2")
    assert waiting(three) == ["m1", "m2"]
    document = json.loads(ledger_file.read_text())
    document["messages"]["m1"]["payload"] = "edited"
    ledger_file.write_text(json.dumps(document))
    assert one.compact()
    send(two, "m3")
    for ledger in (one, two, three, ledger_at(ledger_file)):
        assert waiting(ledger) == ["m1", "m2", "m3"]
        assert ledger.read(lambda view: (view.get("messages", "m1") or {})["payload"]) == "edited"


def test_a_ledger_that_v090_rewrote_is_taken_over_and_the_old_journal_is_kept(
    ledger_file: Path, journal_file: Path
) -> None:
    running = ledger_at(ledger_file)
    assert waiting(running) == ["m1", "m2", "m3"]
    old = journal_file.read_bytes()
    ledger_file.write_text(json.dumps({"schema_version": 2, "messages": {}, "inboxes": {}}))
    send(running, "m4")
    assert waiting(running) == waiting(ledger_at(ledger_file)) == ["m4"]
    assert [path.read_bytes() for path in ledger_file.parent.glob("*.kept-*")] == [old]


@pytest.mark.parametrize("name", ["agent-mesh.json", "agent-mesh.lock"])
def test_a_symlink_in_place_of_a_file_is_refused(ledger_file: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("{}")
    ledger_file.with_name(name).symlink_to(target)
    with pytest.raises(Invalid, match="symlink"):
        send(ledger_at(ledger_file), "m1")
    assert target.read_text() == "{}"


def test_all_files_removed_under_a_running_ledger_leave_an_empty_one(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    send(ledger, "m1")
    for path in ledger_file.parent.iterdir():
        path.unlink()
    assert waiting(ledger) == []
    send(ledger, "m2")
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m2"]
