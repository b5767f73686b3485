"""Numbers that JSON has no word for: a row with one is refused before it is written, a file with one by its line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import pytest

from meshfleet.errors import Corrupt, Invalid
from meshfleet.ledger.journal import Damaged, decode_record, encode_record
from meshfleet.ledger.repair import repair
from meshfleet.ledger.salvage import salvage
from tests.ledger.journals import write_behind
from tests.ledger.rows import message, quiet_ledger, send, waiting
from tests.ledgers import ledger_at

NO_NUMBERS: Final = [math.nan, math.inf, -math.inf]
TOO_LONG: Final = "1" * 5000
IN_A_FILE: Final = {
    "NaN": "NaN is no JSON value",
    "Infinity": "Infinity is no JSON value",
    "-Infinity": "-Infinity is no JSON value",
    "1e999": "1e999 is larger than a number can be",
    TOO_LONG: "a number has more than 4300 digits",
}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("payload", ["plain", "a lone \ud800 surrogate"])
def test_a_row_with_a_number_that_json_has_no_word_for_is_refused_and_nothing_is_written(
    ledger_file: Path, value: float, payload: str
) -> None:
    ledger = quiet_ledger(ledger_file)
    send(ledger, "m1")
    before = bytes_of(ledger_file.parent)
    with pytest.raises(Invalid, match="no JSON number"):
        ledger.transact(lambda t: t.put("messages", "m2", {**message("m2", payload), "extra": [{"deep": value}]}))
    assert bytes_of(ledger_file.parent) == before
    send(ledger, "m2")
    assert waiting(ledger) == waiting(ledger_at(ledger_file)) == ["m1", "m2"]


def test_a_text_may_hold_the_words(ledger_file: Path) -> None:
    ledger = quiet_ledger(ledger_file)
    send(ledger, "m1", "NaN, Infinity and späť")
    assert ledger.compact()
    row = ledger_at(ledger_file).read(lambda view: view.get("messages", "m1"))
    assert row is not None
    assert row["payload"] == "NaN, Infinity and späť"
    assert "späť".encode() in ledger_file.read_bytes()


def test_an_event_with_such_a_number_fails_no_call(ledger_file: Path) -> None:
    ledger = quiet_ledger(ledger_file)

    def rule(transaction: Any) -> str:
        transaction.put("messages", "m1", message("m1"))
        transaction.event("message_sent", cost=math.nan)
        return "done"

    assert ledger.transact(rule) == "done"
    assert ledger_at(ledger_file).read(lambda view: view.count("messages")) == 1


@pytest.mark.parametrize(("number", "said"), IN_A_FILE.items(), ids=[number[:9] for number in IN_A_FILE])
@pytest.mark.parametrize("where", ['"timestamp":1,', '"acknowledged":false'])
def test_a_snapshot_with_such_a_number_is_refused_by_its_line_and_costs_one_row(
    ledger_file: Path, number: str, said: str, where: str
) -> None:
    ledger = quiet_ledger(ledger_file)
    for name in ("m1", "m2", "m3"):
        send(ledger, name, 'says "NaN" and 1e999')
    ledger.compact()
    name, _, rest = where.partition(":")
    lines = ledger_file.read_text().splitlines(keepends=True)
    at = next(place for place, line in enumerate(lines) if line.startswith('"m2":'))
    lines[at] = lines[at].replace(where, f"{name}:{number}{',' if rest.endswith(',') else ''}")
    ledger_file.write_text("".join(lines))

    edited = bytes_of(ledger_file.parent)
    with pytest.raises(Corrupt, match=f"line {at + 1}: {said}"):
        send(ledger, "m4")
    with pytest.raises(Corrupt, match="meshfleet repair"):
        ledger_at(ledger_file).read(waiting_for_b)
    assert bytes_of(ledger_file.parent) == edited
    assert salvage(ledger_file).damages[0].where == f"agent-mesh.json line {at + 1}"
    repair(ledger_file)
    rows = ledger_at(ledger_file).read(lambda view: [row["id"] for row in view.rows("messages")])
    assert rows == ["m1", "m3"]
    assert any(edited["agent-mesh.json"] == path.read_bytes() for path in ledger_file.parent.glob("*.corrupt-*"))


def waiting_for_b(view: Any) -> list[str]:
    return list(view.inbox("b"))


@pytest.mark.parametrize("number", IN_A_FILE, ids=[number[:9] for number in IN_A_FILE])
def test_a_journal_line_with_such_a_number_is_damage_though_its_checksum_is_right(
    ledger_file: Path, number: str
) -> None:
    ledger = quiet_ledger(ledger_file)
    send(ledger, "m1")
    line = with_number(2, number)
    with pytest.raises(Damaged):
        decode_record(line[:-1])
    (journal,) = ledger_file.parent.glob("*.ndjson")
    write_behind(journal, line)
    with pytest.raises(Corrupt, match=r"ndjson is damaged: line 3: .* run meshfleet verify"):
        send(ledger, "m2")
    assert [damage.where for damage in salvage(ledger_file).damages] == [f"{journal.name} line 3"]
    repair(ledger_file)
    assert waiting(ledger_at(ledger_file)) == ["m1"]


def with_number(seq: int, number: str) -> bytes:
    """A transaction's line as one would write it who knows no better."""
    body, _, _ = encode_record(seq, [["put", "messages", "m9", {**message("m9"), "extra": 777}]]).rpartition(b',"crc"')
    body = body.replace(b"777", number.encode())
    return b'%b,"crc":"%08x"}\n' % (body, crc32(body))
