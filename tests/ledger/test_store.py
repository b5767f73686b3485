"""Transactions and reads: what an acknowledged write means to the same process, to others, and to the next open."""

from __future__ import annotations

import json
import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from meshfleet.errors import Conflict, Corrupt, Invalid
from meshfleet.ledger import Ledger, Transaction
from tests.ledger.rows import message, send, waiting
from tests.ledgers import ledger_at


def test_what_was_written_is_read_by_the_same_ledger_by_another_and_by_a_fresh_one(ledger_file: Path) -> None:
    one, two = ledger_at(ledger_file), ledger_at(ledger_file)
    send(one, "m1")
    send(two, "m2")
    assert waiting(one) == waiting(two) == waiting(ledger_at(ledger_file)) == ["m1", "m2"]


def test_a_ledger_that_is_opened_briefly_answers_alike_and_follows_what_others_write(ledger_file: Path) -> None:
    other = ledger_at(ledger_file)
    send(other, "m1")
    other.compact()
    with closing(Ledger(ledger_file, briefly=True)) as brief:
        assert waiting(brief) == ["m1"]
        send(other, "m2")
        send(brief, "m3")
        assert waiting(brief) == waiting(other) == ["m1", "m2", "m3"]


def test_a_rule_that_raises_leaves_nothing_behind(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    send(ledger, "m1")
    before = _bytes_of(ledger_file.parent)

    def rule(transaction: Transaction) -> None:
        transaction.put("messages", "m2", message("m2"))
        transaction.deliver("b", "m2")
        transaction.event("never_told")
        raise Invalid("no")

    with pytest.raises(Invalid):
        ledger.transact(rule)
    assert waiting(ledger) == ["m1"]
    assert _bytes_of(ledger_file.parent) == before


def test_a_rule_sees_its_own_changes(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    send(ledger, "m1")

    def rule(transaction: Transaction) -> tuple[list[str], list[str], list[str]]:
        transaction.put("messages", "m2", message("m2"))
        transaction.deliver("b", "m2")
        transaction.take("b", "m1")
        transaction.drop("messages", "m1")
        return (
            list(transaction.inbox("b")),
            [row["id"] for row in transaction.rows("messages")],
            [row["id"] for row in transaction.messages_of("f")],
        )

    assert ledger.transact(rule) == (["m2"], ["m2"], ["m2"])
    assert ledger.read(lambda view: [row["id"] for row in view.messages_of("f")]) == ["m2"]


def test_a_transaction_inside_a_transaction_is_refused(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    with pytest.raises(RuntimeError, match="of its own"):
        ledger.transact(lambda _: ledger.transact(lambda _: None))
    send(ledger, "m1")
    assert waiting(ledger) == ["m1"]


def test_reading_a_ledger_that_does_not_exist_creates_nothing(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path / "nowhere" / "agent-mesh.json")
    assert waiting(ledger) == []
    ledger.close()
    assert not (tmp_path / "nowhere").exists()


def test_the_snapshot_is_readable_json_with_its_numbers_first_and_everything_private(
    ledger_file: Path,
) -> None:
    ledger = ledger_at(ledger_file)
    send(ledger, "m1", "ünï\u2028code")
    ledger.close()
    document = json.loads(ledger_file.read_text())
    assert list(document)[:3] == ["schema_version", "generation", "seq"]
    assert document["messages"]["m1"]["payload"] == "ünï\u2028code"
    assert document["inboxes"] == {"b": ["m1"]}
    lines = ledger_file.read_bytes().split(b"\n")
    assert [line.partition(b":")[0] for line in lines[1:4]] == [b'"schema_version"', b'"generation"', b'"seq"']
    assert [json.loads(line[len('"m1":') :])["id"] for line in lines if line.startswith(b'"m1":')] == ["m1"]
    files = list(ledger_file.parent.iterdir())
    assert len(files) >= 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_events_are_told_once_the_transaction_stands(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)

    def rule(transaction: Transaction) -> None:
        transaction.put("messages", "m1", message("m1"))
        transaction.event("message_sent", message_id="m1")

    ledger.transact(rule)
    lines = ledger_file.with_name("agent-mesh.events.log").read_text().splitlines()
    event = json.loads(lines[-1])
    assert (event["event"], event["message_id"]) == ("message_sent", "m1")
    assert isinstance(event["timestamp"], int)


def test_a_ledger_of_a_newer_schema_is_read_and_never_written(ledger_file: Path) -> None:
    document = {"schema_version": 3, "messages": {"m1": message("m1")}, "inboxes": {"b": ["m1"]}}
    ledger_file.write_text(json.dumps(document))
    ledger = ledger_at(ledger_file)
    assert waiting(ledger) == ["m1"]
    with pytest.raises(Conflict, match="upgrade meshfleet"):
        send(ledger, "m2")
    ledger.close()
    assert json.loads(ledger_file.read_text()) == document


def test_unknown_fields_and_tables_survive_a_load_a_transaction_and_a_compaction(ledger_file: Path) -> None:
    document = {
        "schema_version": 2,
        "messages": {"m1": {**message("m1"), "colour": "green"}},
        "votes": {"v1": {"yes": 3}},
        "novelty": [1, 2],
    }
    ledger_file.write_text(json.dumps(document))
    ledger = ledger_at(ledger_file)
    send(ledger, "m2")
    assert ledger.compact()
    ledger.close()
    after = json.loads(ledger_file.read_text())
    assert after["messages"]["m1"]["colour"] == "green"
    assert (after["votes"], after["novelty"]) == ({"v1": {"yes": 3}}, [1, 2])
    assert waiting(ledger_at(ledger_file)) == ["m2"]


def test_a_lone_surrogate_in_an_old_ledger_survives(ledger_file: Path) -> None:
    document = {"schema_version": 2, "messages": {"m1": message("m1", "\ud800")}}
    ledger_file.write_text(json.dumps(document))
    ledger = ledger_at(ledger_file)
    send(ledger, "m2")
    ledger.transact(lambda tx: tx.put("messages", "m1", {**(tx.get("messages", "m1") or {}), "acknowledged": True}))
    ledger.close()
    assert json.loads(ledger_file.read_text())["messages"]["m1"]["payload"] == "\ud800"


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_name_with_the_signs_of_a_pattern_is_a_name_like_any_other(tmp_path: Path) -> None:
    ledger_file = tmp_path / "m[1]*.json"
    send(ledger_at(ledger_file), "m1")
    assert waiting(ledger_at(ledger_file)) == ["m1"]
    ledger_file.unlink()
    with pytest.raises(Corrupt, match="is gone, but"):
        waiting(ledger_at(ledger_file))


def test_a_named_pipe_in_place_of_the_event_log_keeps_nobody_waiting(ledger_file: Path) -> None:
    os.mkfifo(ledger_file.with_name("agent-mesh.events.log"))
    ledger = ledger_at(ledger_file)

    def rule(transaction: Transaction) -> None:
        transaction.put("messages", "m1", message("m1"))
        transaction.event("message_sent", message_id="m1")

    ledger.transact(rule)
    assert ledger.read(lambda view: view.count("messages")) == 1
