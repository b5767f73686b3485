"""Whatever byte is wrong, wherever a file ends: what a ledger is refused for is found, and a repair saves the rest.

The rest is every row that stands on other lines, and every transaction. What is said to be lossless is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.errors import Corrupt
from meshfleet.ledger.files import Files
from meshfleet.ledger.repair import repair
from meshfleet.ledger.salvage import salvage
from meshfleet.ledger.schema import TABLES
from tests.ledger.journals import written_in
from tests.ledger.power import Remains
from tests.ledger.rows import message, quiet_ledger, send, waiting
from tests.ledger.test_flipped_snapshot import content, one_row_of_each
from tests.ledger.watched_files import UnsyncedFiles
from tests.ledgers import closing_ledgers

pytestmark = pytest.mark.in_memory

MASKS: Final = (1, 2, 128)
"""In turn: a letter becomes another, a quote a space, and a byte no UTF-8. More of them cost time and show the same."""
IN_JOURNAL: Final = ("m3", "m4", "m5")
_ROW: Final = re.compile(r'^"(?:[^"\\]|\\.)*":[{\[].*[}\]],?$')


class Whole:
    """A ledger with a row in each table and two messages in its snapshot, three more in its journal, and its bytes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_text(json.dumps({"schema_version": 2, "votes": {"v": 1}}))
        ledger = quiet_ledger(file)
        ledger.transact(one_row_of_each)
        for message_id in ("m1", "m2"):
            send(ledger, message_id)
        assert ledger.compact()
        for message_id in IN_JOURNAL:
            send(ledger, message_id)
        self.content = content(ledger)
        self.content_repaired: dict[object, dict[str, Any]] = {}
        ledger.close()
        (self.journal,) = file.parent.glob("*.ndjson")
        self.snapshot_bytes, self.journal_bytes = file.read_bytes(), written_in(self.journal)

    def put_back(self) -> None:
        """Have nothing in the folder but the ledger, undamaged."""
        for path in self.file.parent.iterdir():
            path.unlink()
        self.file.write_bytes(self.snapshot_bytes)
        self.journal.write_bytes(self.journal_bytes)

    def rows_by_line(self) -> dict[int, tuple[str, str, Any]]:
        """Table, key and row of each line of the snapshot that is one, by its number from 0; a field has no table."""
        rows, table = {}, ""
        for number, line in enumerate(self.snapshot_bytes.decode().split("\n")):
            opened = re.fullmatch('"([a-z]+)":{', line)
            if line.startswith("}"):
                table = ""
            elif opened and opened[1] in TABLES:
                table = opened[1]
            elif _ROW.match(line):
                ((key, row),) = json.loads("{" + line.removesuffix(",") + "}").items()
                rows[number] = (table, key, row)
        return rows


@pytest.fixture
def whole(ledger_file: Path) -> Whole:
    return Whole(ledger_file)


def refused(file: Path) -> bool:
    ledger = quiet_ledger(file, UnsyncedFiles())
    try:
        content(ledger)
        # what is wrong with the last byte only a writer finds out
        ledger.transact(lambda _: None)
    except Corrupt:
        return True
    finally:
        ledger.close()
    return False


def repaired(whole: Whole, place: int) -> tuple[dict[str, Any], bool]:
    """What a repair saves of a ledger that was refused, and whether it said that nothing is lost."""
    damaged = {path.read_bytes() for path in (whole.file, whole.journal)}
    salvaged, kept = repair(whole.file, files=UnsyncedFiles())
    assert salvaged.damages, f"byte {place}: it is refused, and nothing is found"
    lossless = all(damage.lossless for damage in salvaged.damages)
    assert damaged <= {path.read_bytes() for path in kept}
    # whichever byte of a row was wrong, the row is gone: what is there now is looked at once
    now = Remains.of(whole.file.parent, Files()).essence()
    if now not in whole.content_repaired:
        assert not refused(whole.file), f"byte {place}: it is refused again"
        ledger = quiet_ledger(whole.file)
        whole.content_repaired[now] = content(ledger)
        ledger.close()
    return whole.content_repaired[now], lossless


def has(found: dict[str, Any], table: str, key: str, row: Any) -> bool:
    """Whether a row was saved; an inbox may have gained what the journal delivered."""
    if table == "inboxes":
        inbox: list[str] = found[table].get(key, [])
        return bool([each for each in inbox if each in row] == row)
    return bool((found[table] if table else found).get(key) == row)


def has_message(found: dict[str, Any], message_id: str) -> bool:
    return message_id in found["inboxes"]["b"] and found["messages"].get(message_id) == message(message_id)


@pytest.mark.slow
def test_a_byte_flipped_in_the_snapshot_costs_no_more_than_its_line(whole: Whole) -> None:
    rows = whole.rows_by_line()
    assert {table for table, _, _ in rows.values()} == {"", *TABLES} - {"outcomes"}
    repairs = 0
    for place, byte in enumerate(whole.snapshot_bytes):
        whole.put_back()
        damaged = bytearray(whole.snapshot_bytes)
        damaged[place] ^= MASKS[place % len(MASKS)]
        whole.file.write_bytes(damaged)
        with closing_ledgers():
            if not refused(whole.file):
                continue
            found, lossless = repaired(whole, place)
        line = whole.snapshot_bytes.count(b"\n", 0, place)
        touched = {line} if byte != ord("\n") else set()
        for number, (table, key, row) in rows.items():
            assert number in touched or has(found, table, key, row), f"byte {place}: {table} {key} is lost"
        assert all(has_message(found, message_id) for message_id in IN_JOURNAL), f"byte {place}"
        assert not lossless or found == whole.content, f"byte {place}: it was said that nothing is lost"
        repairs += 1
    assert repairs > len(whole.snapshot_bytes) / 20


@pytest.mark.slow
def test_a_byte_flipped_in_the_journal_costs_no_more_than_its_transaction(whole: Whole) -> None:
    for place, byte in enumerate(whole.journal_bytes):
        whole.put_back()
        damaged = bytearray(whole.journal_bytes)
        damaged[place] ^= MASKS[place % len(MASKS)]
        whole.journal.write_bytes(damaged)
        with closing_ledgers():
            assert refused(whole.file)
            found, lossless = repaired(whole, place)
        line = whole.journal_bytes.count(b"\n", 0, place)
        touched = IN_JOURNAL[line - 1] if line and byte != ord("\n") else None
        assert all(has_message(found, each) for each in ("m1", "m2", *IN_JOURNAL) if each != touched), f"byte {place}"
        assert not lossless or found == whole.content, f"byte {place}: it was said that nothing is lost"


@pytest.mark.slow
def test_a_snapshot_that_ends_too_early_costs_no_more_than_what_is_not_there(whole: Whole) -> None:
    rows = whole.rows_by_line()
    for size in range(len(whole.snapshot_bytes) - 1):
        whole.put_back()
        whole.file.write_bytes(whole.snapshot_bytes[:size])
        with closing_ledgers():
            assert refused(whole.file)
            found, lossless = repaired(whole, size)
        last = whole.snapshot_bytes.count(b"\n", 0, size)
        for number, (table, key, row) in rows.items():
            assert number >= last or has(found, table, key, row), f"{size} bytes: {table} {key} is lost"
        assert all(has_message(found, message_id) for message_id in IN_JOURNAL), f"{size} bytes"
        assert not lossless, f"{size} bytes: it was said that nothing is lost"


def test_a_row_under_the_key_of_another_gets_its_own_back(whole: Whole) -> None:
    whole.file.write_bytes(whole.snapshot_bytes.replace(b'\n"m1":', b'\n"m2":'))
    assert refused(whole.file)
    found, _ = repaired(whole, 0)
    assert all(has_message(found, message_id) for message_id in ("m1", "m2"))


def test_the_rows_of_a_ledger_of_v090_are_saved_around_a_damaged_one(ledger_file: Path) -> None:
    rows = {message_id: message(message_id, 'with "quotes" and {"braces": [1]}') for message_id in ("m1", "m2", "m3")}
    document = {"schema_version": 2, "messages": rows, "inboxes": {"b": list(rows)}, "votes": {"v": 1}}
    whole = json.dumps(document, indent=2)
    ledger_file.write_text(whole.replace('"to_agent_id": "b"', '"to_agent_id": b', 2))
    repair(ledger_file)
    ledger = quiet_ledger(ledger_file)
    found = content(ledger)
    assert list(found["messages"]) == ["m3"]
    assert waiting(ledger) == ["m1", "m2", "m3"]
    assert found["votes"] == {"v": 1}


def test_what_an_older_journal_holds_counts_where_the_newer_one_has_lost_it(whole: Whole) -> None:
    """A compaction that crashed left the journal it would have gone on with."""
    header, third, fourth, fifth = whole.journal_bytes.splitlines(keepends=True)
    whole.journal.write_bytes(header + third + fourth[:20] + b"x" + fourth[21:] + fifth)
    generation = int(whole.journal.name.split(".")[-2])
    leftover = whole.journal.with_name(whole.journal.name.replace(f".{generation}.", f".{generation + 1}."))
    leftover.write_bytes(fourth.join([header, b""]))
    assert refused(whole.file)
    found, _ = repaired(whole, 0)
    assert all(has_message(found, message_id) for message_id in IN_JOURNAL)
    assert not leftover.exists()


@pytest.mark.parametrize("records", [0, 1])
def test_a_snapshot_that_is_gone_is_noticed_even_when_all_was_folded_into_it(ledger_file: Path, records: int) -> None:
    ledger = quiet_ledger(ledger_file)
    send(ledger, "m1")
    assert ledger.compact()
    for number in range(records):
        send(ledger, f"n{number}")
    ledger_file.unlink()
    for each in (ledger, quiet_ledger(ledger_file)):
        with pytest.raises(Corrupt, match=r"it is gone, but .*run meshfleet verify"):
            send(each, "m2")
    assert [damage.id for damage in salvage(ledger_file).damages] == ["snapshot-missing"]
    _, kept = repair(ledger_file)
    assert len(kept) == 1
    send(ledger, "m2")
    assert waiting(ledger)[-1] == "m2"
