"""Torn tails are cut, damage is refused: what a crash leaves and what a disk or a person does to the bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from meshfleet.errors import Corrupt, Invalid
from meshfleet.ledger import Ledger
from tests.ledger.rows import send, waiting

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


def test_a_tail_torn_at_any_byte_is_cut_and_the_next_send_succeeds(
    ledger_file: Path, journal_file: Path, tmp_path: Path
) -> None:
    whole = journal_file.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for size in range(start, len(whole)):
        journal_file.write_bytes(whole[:size])
        with copied(ledger_file, tmp_path / "copy") as copy:
            ledger, fresh = Ledger(copy), Ledger(copy)
            assert waiting(ledger) == ["m1", "m2"]
            send(ledger, "m4")
            assert waiting(ledger) == waiting(fresh) == ["m1", "m2", "m4"]
            assert ledger.torn_tails_cut == (size > start)
            ledger.close()
            fresh.close()


def test_a_flipped_byte_anywhere_in_the_journal_is_refused_and_nothing_is_written(
    ledger_file: Path, journal_file: Path
) -> None:
    whole = journal_file.read_bytes()
    snapshot = ledger_file.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x04
        journal_file.write_bytes(damaged)
        ledger = Ledger(ledger_file)
        with pytest.raises(Corrupt, match=r"journal\.1\.ndjson is damaged: line \d.*nothing is written"):
            send(ledger, "m4")
        ledger.close()
        assert journal_file.read_bytes() == damaged, f"byte {place}"
        assert ledger_file.read_bytes() == snapshot


def test_a_running_ledger_notices_damage_behind_its_back(ledger_file: Path) -> None:
    one, two = Ledger(ledger_file), Ledger(ledger_file)
    send(one, "m1")
    assert waiting(two) == ["m1"]
    (path,) = ledger_file.parent.glob("*.journal.*.ndjson")
    with path.open("ab") as file:
        file.write(b'{"seq":2,"ops":[],"crc":"00000000"}\n')
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
    ledger = Ledger(ledger_file)
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
        send(Ledger(ledger_file), "m4")
    assert b'"m3"' in journal_file.read_bytes()


def test_a_journal_deleted_beside_its_snapshot_is_noticed(ledger_file: Path, journal_file: Path) -> None:
    journal_file.unlink()
    with pytest.raises(Corrupt, match="which is not there"):
        waiting(Ledger(ledger_file))


def test_a_snapshot_edited_by_hand_is_taken_over_by_every_process(ledger_file: Path) -> None:
    one, two, three = Ledger(ledger_file), Ledger(ledger_file), Ledger(ledger_file)
    send(one, "m1")
    assert one.compact()
    send(two, "m2")
    assert waiting(three) == ["m1", "m2"]
    document = json.loads(ledger_file.read_text())
    document["messages"]["m1"]["payload"] = "edited"
    ledger_file.write_text(json.dumps(document))
    assert one.compact()
    send(two, "m3")
    for ledger in (one, two, three, Ledger(ledger_file)):
        assert waiting(ledger) == ["m1", "m2", "m3"]
        assert ledger.read(lambda view: (view.get("messages", "m1") or {})["payload"]) == "edited"


def test_a_ledger_that_v090_rewrote_is_taken_over_and_the_old_journal_is_kept(
    ledger_file: Path, journal_file: Path
) -> None:
    running = Ledger(ledger_file)
    assert waiting(running) == ["m1", "m2", "m3"]
    old = journal_file.read_bytes()
    ledger_file.write_text(json.dumps({"schema_version": 2, "messages": {}, "inboxes": {}}))
    send(running, "m4")
    assert waiting(running) == waiting(Ledger(ledger_file)) == ["m4"]
    assert [path.read_bytes() for path in ledger_file.parent.glob("*.kept-*")] == [old]


@pytest.mark.parametrize("name", ["agent-mesh.json", "agent-mesh.lock"])
def test_a_symlink_in_place_of_a_file_is_refused(ledger_file: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("{}")
    ledger_file.with_name(name).symlink_to(target)
    with pytest.raises(Invalid, match="symlink"):
        send(Ledger(ledger_file), "m1")
    assert target.read_text() == "{}"


def test_all_files_removed_under_a_running_ledger_leave_an_empty_one(ledger_file: Path) -> None:
    ledger = Ledger(ledger_file)
    send(ledger, "m1")
    for path in ledger_file.parent.iterdir():
        path.unlink()
    assert waiting(ledger) == []
    send(ledger, "m2")
    assert waiting(ledger) == waiting(Ledger(ledger_file)) == ["m2"]
