"""A flipped byte in the snapshot: what is left is either a sound ledger, edited by hand as it were, or it is refused.

Sound means that not one row and not one transaction of the journal is missing. Nothing is written by looking.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from meshfleet.errors import Conflict, Corrupt, MeshfleetError
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.ledger.files import Files
from meshfleet.ledger.schema import TABLES
from meshfleet.model import Row, attempt_key, receipt_key
from tests.ledger.rows import bytes_of, message, send, waiting
from tests.ledgers import ledger_at

pytestmark = pytest.mark.in_memory

REFUSAL: Final = re.compile(
    r"agent-mesh\.(json|journal\.\d+\.ndjson) is damaged: .*(line \d+|continues in|starts after).*; nothing is written"
    r" until it is mended: run meshfleet verify",
    re.DOTALL,
)
HEADER_LINES: Final = {"schema_version": 2, "generation": 3, "seq": 4, "lineage": 5}
NUMBERS: Final = [0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 21, 111, 113, 1000]

AGENT: Final[Row] = {"id": "a", "fleet_id": "f", "role": "Räuber", "prompt": "p", "status": "running", "created_at": 1}
CAPABILITY: Final[Row] = {"agent_id": "a", "fleet_id": "f", "role": "R", "skills": ["x"], "registered_at": 1}
TEMPLATE: Final[Row] = {"name": "t", "description": "", "agents": [], "created_at": 1, "version": 1}
RECEIPT: Final[Row] = {"message_id": "m1", "agent_id": "b", "action": "ack", "timestamp": 2}


def one_row_of_each(transaction: Transaction) -> None:
    transaction.put("fleets", "f", {"id": "f", "status": "running", "created_at": 1})
    transaction.put("agents", "a", AGENT)
    transaction.put("agents", "b", {**AGENT, "id": "b"})
    transaction.put("capabilities", "a", CAPABILITY)
    transaction.put("receipts", receipt_key("m1", "b", "ack"), RECEIPT)
    transaction.put("templates", "t@v1", TEMPLATE)
    transaction.put("attempts", attempt_key("a", 1), {"agent_id": "a", "number": 1, "started_at": 1})


@pytest.fixture
def pending(ledger_file: Path) -> Ledger:
    """A ledger at generation 3, of which transactions 11 and 12 are in the journal alone; it stays open."""
    ledger_file.write_text(json.dumps({"schema_version": 2, "votes": {"v": 1}}))
    ledger = ledger_at(ledger_file)
    ledger._compactor.written = lambda: None  # type: ignore[method-assign]
    ledger.transact(one_row_of_each)
    assert ledger.compact()
    for _ in range(2, 9):
        ledger.transact(lambda transaction: transaction.put("agents", "a", AGENT))
    send(ledger, "m9")
    send(ledger, "m10")
    assert ledger.compact()
    send(ledger, "m11")
    send(ledger, "m12")
    return ledger


def content(ledger: Ledger) -> dict[str, Any]:
    """Everything a ledger holds, as a document."""

    def query(view: View) -> dict[str, Any]:
        state = view._state
        return {**state.tables, "inboxes": {key: list(ids) for key, ids in state.inboxes.items()}, **state.extras}

    return ledger.read(query)


def content_or_refusal(ledger: Ledger) -> dict[str, Any] | str:
    """Everything a ledger holds, or why it is refused; any other exception is nobody's."""
    try:
        return content(ledger)
    except Corrupt as refusal:
        return str(refusal)


def expected(document: dict[str, Any]) -> dict[str, Any]:
    """The content of a snapshot that reads so, followed by the transactions 11 and 12."""
    said = {key: value for key, value in document.items() if key not in HEADER_LINES}
    for number in (11, 12):
        said["messages"][f"m{number}"] = message(f"m{number}")
        said["inboxes"].setdefault("b", []).append(f"m{number}")
    said["inboxes"] = {key: list(dict.fromkeys(ids)) for key, ids in said["inboxes"].items()}
    return said


def rows_in(document: dict[str, Any]) -> dict[str, int]:
    """How many rows each table has."""
    return {table: len(document[table]) for table in TABLES}


def damaged_copies(data: bytes, mask: int) -> Iterator[tuple[int, bytes]]:
    """The bytes with each one changed in turn."""
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= mask
        yield place, bytes(damaged)


@pytest.mark.parametrize("mask", [1, 2, 4, 8, 16, 32, 64, 128])
def test_a_flipped_byte_is_refused_by_name_or_leaves_a_ledger_with_every_row(
    ledger_file: Path, pending: Ledger, mask: int
) -> None:
    whole = ledger_file.read_bytes()
    counts = rows_in(json.loads(whole))
    refused = 0
    for place, damaged in damaged_copies(whole, mask):
        ledger_file.write_bytes(damaged)
        before = bytes_of(ledger_file.parent)
        ledger = Ledger(ledger_file)
        found = content_or_refusal(ledger)
        if isinstance(found, str):
            assert REFUSAL.search(found), (place, found)
            with pytest.raises(Corrupt):
                send(ledger, "m13")
            refused += 1
        else:
            document = json.loads(damaged)
            assert rows_in(document) == counts, f"byte {place}"
            assert found == expected(document), f"byte {place}"
        ledger.close()
        assert bytes_of(ledger_file.parent) == before, f"byte {place}"
    assert refused > len(whole) / 20
    ledger_file.write_bytes(whole)
    assert content(pending) == content(ledger_at(ledger_file)) == expected(json.loads(whole))


@pytest.mark.parametrize("name", list(HEADER_LINES))
@pytest.mark.parametrize("number", NUMBERS)
def test_a_wrong_number_in_the_heading_loses_no_transaction(
    ledger_file: Path, pending: Ledger, name: str, number: int
) -> None:
    whole = ledger_file.read_bytes()
    ledger_file.write_bytes(re.sub(rb'"%b":\d+' % name.encode(), b'"%b":%d' % (name.encode(), number), whole))
    both = (pending, ledger_at(ledger_file))
    if name in {"generation", "seq"} and number != json.loads(whole)[name]:
        _refused(both, rf"{number}\b|whole number|generation")
    elif name == "schema_version" and number < 2:
        _refused(both, "line 2: schema_version")
    else:
        assert content(both[0]) == content(both[1]) == expected(json.loads(whole))
        if name == "schema_version" and number > 2:
            with pytest.raises(Conflict, match="upgrade meshfleet"):
                send(both[0], "m13")
            ledger_file.write_bytes(whole)
        send(both[1], "m13")
        assert both[0].compact()
        assert waiting(both[0]) == waiting(both[1]) == waiting(ledger_at(ledger_file))
        assert waiting(both[0])[-3:] == ["m11", "m12", "m13"]
        return
    ledger_file.write_bytes(whole)
    send(pending, "m13")
    assert waiting(pending) == waiting(ledger_at(ledger_file))
    assert waiting(pending)[-3:] == ["m11", "m12", "m13"]


def _refused(ledgers: tuple[Ledger, Ledger], text: str) -> None:
    for ledger in ledgers:
        with pytest.raises(Corrupt, match=text):
            content(ledger)


@pytest.mark.parametrize("name", [*HEADER_LINES, *TABLES])
def test_a_ledger_of_ours_without_one_of_its_names_is_refused(ledger_file: Path, pending: Ledger, name: str) -> None:
    whole = ledger_file.read_bytes()
    ledger_file.write_bytes(whole.replace(b'\n"%b":' % name.encode(), b'\n"%bx":' % name[:-1].encode()))
    for ledger in (pending, ledger_at(ledger_file)):
        with pytest.raises(Corrupt, match=f"line 1: .*no {name}"):
            content(ledger)


def test_a_leftover_journal_does_not_make_a_wrong_generation_right(ledger_file: Path, pending: Ledger) -> None:
    """What a compaction that crashed just before its rename left belongs to no snapshot, whatever one says."""

    class Died(BaseException):
        pass

    class Dying(Files):
        def rename(self, source: Path, target: Path) -> None:
            raise Died(source, target)

        def unlink(self, path: Path) -> None:
            """Nobody is left who could clean up."""

    with pytest.raises(Died):
        ledger_at(ledger_file, files=Dying()).compact()
    assert ledger_file.with_name("agent-mesh.journal.4.ndjson").exists()
    send(pending, "m13")
    ledger_file.write_bytes(ledger_file.read_bytes().replace(b'"generation":3', b'"generation":4'))
    for ledger in (pending, ledger_at(ledger_file)):
        with pytest.raises(Corrupt, match=r"journal\.4\.ndjson is damaged"):
            waiting(ledger)


@pytest.mark.parametrize("reformatted", [False, True])
def test_a_row_that_is_there_twice_is_refused(ledger_file: Path, pending: Ledger, reformatted: bool) -> None:
    text = ledger_file.read_text()
    if reformatted:
        text = json.dumps(json.loads(text), indent=2).replace('"m9": {', '"m10": {')
    else:
        text = text.replace('"m9":{', '"m10":{')
    ledger_file.write_text(text)
    for ledger in (pending, ledger_at(ledger_file)):
        with pytest.raises(Corrupt, match="m10 is there twice"):
            content(ledger)


def test_a_ledger_may_be_reformatted_by_hand(ledger_file: Path, pending: Ledger) -> None:
    document = json.loads(ledger_file.read_text())
    ledger_file.write_text(json.dumps(dict(reversed(document.items())), indent=2))
    for ledger in (pending, ledger_at(ledger_file)):
        assert content(ledger) == expected(document)


def test_a_flipped_byte_is_noticed_at_once_by_a_running_ledger_and_forgotten_once_mended(
    ledger_file: Path, pending: Ledger, tmp_path: Path
) -> None:
    copy = shutil.copy2(ledger_file, tmp_path / "copy.json")
    ledger_file.write_bytes(ledger_file.read_bytes().replace(b'"inboxes":{', b'"inboxes":['))
    with pytest.raises(MeshfleetError, match=r"line \d+, column \d+"):
        waiting(pending)
    shutil.copy2(copy, ledger_file)
    send(pending, "m13")
    assert waiting(pending)[-3:] == ["m11", "m12", "m13"]
