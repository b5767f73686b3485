"""Repair: what is salvaged of damaged files, what is kept of them, and that running processes go on with the result."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from meshfleet.errors import Conflict, Corrupt, NotFound
from meshfleet.ledger.journal import encode_record
from meshfleet.ledger.repair import repair
from meshfleet.ledger.salvage import salvage
from tests.ledger.journals import write_behind, written_in
from tests.ledger.rows import bytes_of, send, waiting
from tests.ledgers import ledger_at

LEAVE: Final = """
import os, sys
from pathlib import Path
from meshfleet.ledger import Ledger
from tests.ledger.rows import send
ledger = Ledger(Path(sys.argv[1]))
send(ledger, "m1")
send(ledger, "m2")
ledger.compact()
send(ledger, "m3")
send(ledger, "m4")
send(ledger, "m5")
os._exit(0)
"""


@pytest.fixture
def left(ledger_file: Path) -> Path:
    """A ledger with m1 and m2 in its snapshot and m3 to m5 in its journal, left by a process that died."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", LEAVE, str(ledger_file)], check=True, timeout=60, cwd=root)
    return ledger_file


def journal_of(ledger_file: Path) -> Path:
    (path,) = ledger_file.parent.glob("*.journal.*.ndjson")
    return path


def _replace(path: Path, text: bytes, instead: bytes) -> None:
    content = path.read_bytes()
    assert text in content
    path.write_bytes(content.replace(text, instead, 1))


def flip_record(ledger_file: Path) -> None:
    _replace(journal_of(ledger_file), b'"m4","from', b'"mX","from')


def lose_record(ledger_file: Path) -> None:
    path = journal_of(ledger_file)
    header, third, _, fifth = written_in(path).splitlines(keepends=True)
    path.write_bytes(header + third + fifth)


def join_records(ledger_file: Path) -> None:
    _replace(journal_of(ledger_file), b'}\n{"seq":4', b'}x{"seq":4')


def join_header(ledger_file: Path) -> None:
    _replace(journal_of(ledger_file), b'}\n{"seq":3', b'}x{"seq":3')


def flip_last_newline(ledger_file: Path) -> None:
    path = journal_of(ledger_file)
    path.write_bytes(written_in(path)[:-1] + b"x")


def flip_header(ledger_file: Path) -> None:
    _replace(journal_of(ledger_file), b'"base":2', b'"base":9')


def break_row(ledger_file: Path) -> None:
    _replace(ledger_file, b'"m1":{"id"', b'"m1":{"id')


def mistype_row(ledger_file: Path) -> None:
    _replace(ledger_file, b'"payload":"hello"', b'"payload":17')


def name_row_twice(ledger_file: Path) -> None:
    _replace(ledger_file, b'\n"m2":', b'\n"m1":')


def mistype_table(ledger_file: Path) -> None:
    _replace(ledger_file, b'"receipts":{\n}', b'"receipts":17')


def rename_table(ledger_file: Path) -> None:
    _replace(ledger_file, b'"inboxes"', b'"inbowes"')


def rename_generation(ledger_file: Path) -> None:
    _replace(ledger_file, b'"generation"', b'"Generation"')


def name_a_later_journal(ledger_file: Path) -> None:
    _replace(ledger_file, b'"generation":2', b'"generation":6')


def end_later(ledger_file: Path) -> None:
    _replace(ledger_file, b'"seq":2', b'"seq":1002')


def end_sooner(ledger_file: Path) -> None:
    _replace(ledger_file, b'"seq":2', b'"seq":0')


def empty_snapshot(ledger_file: Path) -> None:
    ledger_file.write_bytes(b"")


def delete_journal(ledger_file: Path) -> None:
    journal_of(ledger_file).unlink()


def delete_snapshot(ledger_file: Path) -> None:
    ledger_file.unlink()


ALL: Final = ["m1", "m2", "m3", "m4", "m5"]
DAMAGES: Final[list[tuple[Callable[[Path], None], str, list[str]]]] = [
    (flip_record, "journal-record", ["m1", "m2", "m3", "m5"]),
    (lose_record, "journal-gap", ["m1", "m2", "m3", "m5"]),
    (join_records, "journal-line-end", ALL),
    (join_header, "journal-line-end", ALL),
    (flip_last_newline, "journal-last-byte", ALL),
    (flip_header, "journal-header", ALL),
    (break_row, "snapshot-json", ALL),
    (mistype_row, "snapshot-row", ALL),
    (name_row_twice, "snapshot-row", ALL),
    (mistype_table, "snapshot-table", ALL),
    (rename_table, "snapshot-table", ALL),
    (rename_generation, "snapshot-header", ALL),
    (name_a_later_journal, "journal-missing", ALL),
    (end_later, "snapshot-header", ALL),
    (end_sooner, "journal-gap", ALL),
    (empty_snapshot, "snapshot-json", ["m3", "m4", "m5"]),
    (delete_journal, "journal-missing", ["m1", "m2"]),
    (delete_snapshot, "snapshot-missing", ["m3", "m4", "m5"]),
]


@pytest.mark.parametrize(
    ("damage", "kind", "left_over"), DAMAGES, ids=[f"{damage.__name__}-{kind}" for damage, kind, _ in DAMAGES]
)
def test_a_repair_saves_what_checks_out_and_keeps_the_damaged_bytes(
    left: Path, damage: Callable[[Path], None], kind: str, left_over: list[str]
) -> None:
    running = ledger_at(left)
    assert waiting(running) == ["m1", "m2", "m3", "m4", "m5"]
    damage(left)
    damaged = {path.name: path.read_bytes() for path in left.parent.iterdir() if "json" in path.name}
    with pytest.raises(Corrupt, match="meshfleet repair"):
        send(ledger_at(left), "m6")
    assert kind in [found.id for found in salvage(left).damages]
    found, kept = repair(left)
    assert kind in [damage.id for damage in found.damages]
    assert {path.name.partition(".corrupt-")[0]: path.read_bytes() for path in kept} == damaged
    assert salvage(left).damages == []
    send(running, "m6")
    assert waiting(running) == waiting(ledger_at(left)) == [*left_over, "m6"]


def test_a_ledger_that_is_whole_is_not_touched_by_a_repair(left: Path) -> None:
    before = {path.name: path.read_bytes() for path in left.parent.iterdir()}
    found, kept = repair(left)
    assert (found.damages, kept) == ([], [])
    assert {path.name: path.read_bytes() for path in left.parent.iterdir()} == before


def test_a_torn_tail_is_told_as_such_and_costs_nothing(left: Path) -> None:
    path = journal_of(left)
    write_behind(path, b'{"seq":6,"ops":[["put","mess')
    (damage,) = salvage(left).damages
    assert (damage.id, damage.line, damage.lossless) == ("journal-torn", 5, True)
    assert waiting(ledger_at(left)) == ["m1", "m2", "m3", "m4", "m5"]


def test_a_transaction_that_only_a_newer_meshfleet_understands_is_told_and_not_repaired_away(left: Path) -> None:
    write_behind(journal_of(left), encode_record(6, [["move", "b", "m1"]]))
    before = bytes_of(left.parent)
    (damage,) = salvage(left).damages
    assert (damage.id, damage.line) == ("journal-operation", 5)
    assert "upgrade this one" in damage.what
    with pytest.raises(Conflict, match=r"a newer meshfleet wrote .*; upgrade this one"):
        repair(left)
    assert bytes_of(left.parent) == before


def test_a_damaged_ledger_of_a_newer_schema_is_not_repaired(left: Path) -> None:
    _replace(left, b'"schema_version":2', b'"schema_version":3')
    mistype_row(left)
    before = bytes_of(left.parent)
    with pytest.raises(Conflict, match="a newer meshfleet wrote"):
        repair(left)
    assert bytes_of(left.parent) == before


def test_every_kind_of_damage_is_tested_and_documented() -> None:
    root = Path(__file__).parents[2]
    sources = [root / "src" / "meshfleet" / "ledger" / name for name in ("salvage.py", "broken_snapshot.py")]
    kinds = {kind for path in sources for kind in re.findall(r'"((?:journal|snapshot)-[a-z-]+)"', path.read_text())}
    assert kinds == {kind for _, kind, _ in DAMAGES} | {"journal-torn", "journal-operation"}
    documented = root.joinpath("docs", "cli.md").read_text()
    assert [kind for kind in kinds if kind not in documented] == []


def test_damage_is_told_with_its_file_and_line(left: Path) -> None:
    flip_record(left)
    places = [(damage.id, damage.file, damage.line) for damage in salvage(left).damages]
    name = journal_of(left).name
    assert places == [("journal-record", name, 3), ("journal-gap", name, 4)]


def test_only_the_damage_that_was_shown_is_repaired(left: Path) -> None:
    flip_record(left)
    shown = salvage(left).damages
    mistype_row(left)
    before = {path.name: path.read_bytes() for path in left.parent.iterdir()}
    with pytest.raises(Conflict, match="another way than was shown"):
        repair(left, shown)
    assert {path.name: path.read_bytes() for path in left.parent.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"[]", b'{"name": "something else"}', b"null", b"{" * 5000])
def test_what_is_no_ledger_is_said_to_be_none_and_left_alone(ledger_file: Path, content: bytes) -> None:
    ledger_file.write_bytes(content)
    with pytest.raises(NotFound, match="is no ledger"):
        repair(ledger_file)
    assert ledger_file.read_bytes() == content


def test_a_repair_that_the_disk_refuses_leaves_everything_as_it_was(left: Path) -> None:
    flip_record(left)
    before = {path.name: path.read_bytes() for path in left.parent.iterdir() if "json" in path.name}
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from meshfleet.ledger.repair import repair\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "repair(Path(sys.argv[1]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(left)], check=False, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "meshfleet.errors.Unavailable" in result.stderr
    after = {path.name: path.read_bytes() for path in left.parent.iterdir() if "json" in path.name}
    assert {name: after[name] for name in before} == before


def test_the_copies_are_private(left: Path) -> None:
    flip_record(left)
    left.chmod(0o644)
    _, kept = repair(left)
    assert {path.stat().st_mode & 0o777 for path in [*kept, left]} == {0o600}


def test_rows_of_a_foreign_document_are_salvaged_too(ledger_file: Path) -> None:
    fleet = {"id": "f", "status": "running", "created_at": 1}
    document = {"schema_version": 2, "fleets": {"f": fleet, "g": {"id": "g"}}, "inboxes": {"b": 7}, "agents": []}
    ledger_file.write_text(json.dumps(document))
    found, _ = repair(ledger_file)
    assert sorted(damage.id for damage in found.damages) == ["snapshot-row", "snapshot-row", "snapshot-table"]
    assert ledger_at(ledger_file).read(lambda view: list(view.rows("fleets"))) == [fleet]
