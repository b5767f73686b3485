"""`meshfleet verify`, `repair`, `export` and `import` as people and scripts call them: words and exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import prepared
from tests.cli.terminals import in_terminal
from tests.ledger.journals import write_behind
from tests.ledger.rows import send, waiting
from tests.ledgers import ledger_at
from tests.mesh.fleets import bytes_of, fleet_of


def meshfleet(*arguments: str, ledger: Path) -> subprocess.CompletedProcess[str]:
    """Run the command with its own ledger and nobody to answer questions."""
    return prepared.run(*arguments, environ={**os.environ, "MESHFLEET_DATA_FILE": str(ledger)})


@pytest.fixture
def healthy(ledger_file: Path) -> Path:
    """A ledger with a fleet of two."""
    ledger = ledger_at(ledger_file)
    fleet_of(ledger, "A", "B")
    ledger.close()
    return ledger_file


@pytest.fixture
def damaged(healthy: Path) -> Path:
    """The same with a line in its journal that does not check out."""
    (journal,) = healthy.parent.glob("*.ndjson")
    write_behind(journal, b'{"seq":2,"ops":[],"crc":"00000000"}\n')
    return healthy


def test_a_clean_ledger_verifies_with_0(healthy: Path) -> None:
    result = meshfleet("verify", ledger=healthy)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "clean"


def test_a_damaged_ledger_verifies_with_1_and_says_where_and_what_next(damaged: Path) -> None:
    result = meshfleet("verify", str(damaged), ledger=damaged.with_name("other.json"))
    assert result.returncode == 1
    assert "journal-record  agent-mesh.journal.2.ndjson line 2: its checksum is wrong" in result.stdout
    assert "next: run meshfleet repair" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 error, 0 warnings"


def test_a_summary_that_a_terminal_has_no_room_for_is_broken_between_path_and_rows(healthy: Path) -> None:
    rows = "1 fleet, 2 agents, transaction 1"
    assert meshfleet("verify", ledger=healthy).stdout == f"{healthy}: {rows}\nclean\n"
    wide = len(f"{healthy}: {rows}")
    assert in_terminal(["verify"], healthy, columns=wide) == (0, f"{healthy}: {rows}\nclean\n")
    assert in_terminal(["verify"], healthy, columns=wide - 1) == (0, f"{healthy}:\n  {rows}\nclean\n")
    _, narrow = in_terminal(["verify"], healthy, columns=24)
    assert narrow == f"{healthy}:\n  1 fleet, 2 agents,\n  transaction 1\nclean\n"


def test_json_findings_have_a_stable_shape(damaged: Path) -> None:
    result = meshfleet("verify", "--json", ledger=damaged)
    (line,) = result.stdout.splitlines()
    report = json.loads(line)
    assert {key: report[key] for key in ("version", "ok", "seq")} == {"version": 1, "ok": False, "seq": 1}
    assert report["rows"]["agents"] == 2
    assert set(report["findings"][0]) == {"id", "severity", "where", "what", "next_step"}


@pytest.mark.parametrize("command", ["verify", "repair"])
@pytest.mark.parametrize("content", [None, "not a ledger"])
def test_what_is_no_ledger_exits_with_2(command: str, content: str | None, ledger_file: Path) -> None:
    if content is not None:
        ledger_file.write_text(content)
    result = meshfleet(command, ledger=ledger_file)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert str(ledger_file) in result.stderr


def test_a_repair_nobody_agreed_to_changes_nothing(damaged: Path) -> None:
    before = bytes_of(damaged.parent)
    result = meshfleet("repair", ledger=damaged)
    assert result.returncode == 1
    assert "pass --yes" in result.stderr
    assert "keep a copy" in result.stdout
    assert bytes_of(damaged.parent) == before


def test_a_repair_that_was_agreed_to_is_done_and_says_where_the_copies_are(damaged: Path) -> None:
    result = meshfleet("repair", "--yes", ledger=damaged)
    assert result.returncode == 0
    kept = [Path(line.strip()) for line in result.stdout.split("is kept in\n")[1].splitlines()]
    assert [path.exists() for path in kept] == [True, True]
    assert meshfleet("verify", ledger=damaged).returncode == 0
    assert meshfleet("repair", ledger=damaged).stdout.endswith("is not damaged; nothing to do\n")


def test_a_repair_says_how_many_contradictions_between_rows_it_leaves(damaged: Path) -> None:
    contradicting = damaged.with_name("other.json")
    ledger = ledger_at(contradicting)
    fleet_id, agent_ids = fleet_of(ledger, "A", "B")
    ledger.transact(lambda transaction: transaction.drop("fleets", fleet_id))
    ledger.close()
    left = "contradictions are left; meshfleet verify{} lists them\n"
    result = meshfleet("repair", str(contradicting), ledger=damaged)
    assert result.stdout.endswith(f"nothing to do\n{len(agent_ids)} " + left.format(f" {contradicting}"))
    (journal,) = damaged.parent.glob("other.journal.*")
    write_behind(journal, b'{"seq":3,"ops":[],"crc":"00000000"}\n')
    result = meshfleet("repair", "--yes", ledger=contradicting)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith(f"\n{len(agent_ids)} " + left.format(""))


@pytest.mark.parametrize(
    ("answer", "code", "clean"), [("y\n", 0, True), ("n\n", 1, False), ("\n", 1, False), ("\x04", 1, False)]
)
def test_a_person_at_a_terminal_is_asked(damaged: Path, answer: str, code: int, *, clean: bool) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "meshfleet", "repair", str(damaged)]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.write(ours, answer.encode())
    output, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code
    assert (b"do it?" in output, b"nothing was done" in output) == (True, not clean)
    assert (meshfleet("verify", ledger=damaged).returncode == 0) is clean


def test_what_is_exported_can_be_imported_into_an_empty_ledger(healthy: Path, tmp_path: Path) -> None:
    ledger = ledger_at(healthy)
    send(ledger, "m1", "späť")
    exported = tmp_path / "exported.json"
    result = meshfleet("export", str(exported), ledger=healthy)
    assert (result.returncode, result.stdout) == (0, f"wrote {exported}: 1 fleet, 2 agents, 1 message\n")
    assert exported.stat().st_mode & 0o777 == 0o600
    document = json.loads(exported.read_text())
    assert (document["schema_version"], "generation" in document, "seq" in document) == (2, False, False)
    target = tmp_path / "new" / "agent-mesh.json"
    result = meshfleet("import", str(exported), ledger=target)
    assert result.stdout == f"imported into {target}: 1 fleet, 2 agents, 1 message\n"
    assert waiting(ledger_at(target)) == ["m1"]
    assert json.loads(meshfleet("export", ledger=target).stdout) == document


def test_an_export_replaces_a_file_only_when_told_to(healthy: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious.txt"
    target.write_text("precious")
    result = meshfleet("export", str(target), ledger=healthy)
    assert (result.returncode, target.read_text()) == (1, "precious")
    assert "--force" in result.stderr
    assert meshfleet("export", str(target), "--force", ledger=healthy).returncode == 0
    assert json.loads(target.read_text())["schema_version"] == 2


def test_an_import_into_a_ledger_with_rows_is_refused(healthy: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported.json"
    meshfleet("export", str(exported), ledger=healthy)
    before = bytes_of(healthy.parent)
    result = meshfleet("import", str(exported), ledger=healthy)
    assert result.returncode == 1
    assert "is not empty" in result.stderr
    assert bytes_of(healthy.parent) == before


@pytest.mark.parametrize("content", ["", "[1]", '{"fleets": {"f": 1}}', '{"schema_version": 3}'])
def test_an_import_of_anything_else_is_refused_and_creates_nothing(tmp_path: Path, content: str) -> None:
    source, target = tmp_path / "source.json", tmp_path / "agent-mesh.json"
    source.write_text(content)
    result = meshfleet("import", str(source), ledger=target)
    assert result.returncode in {1, 2}
    assert len(result.stderr.splitlines()) == 1
    assert not target.exists()


def test_importing_a_copied_ledger_brings_its_journal_along(tmp_path: Path) -> None:
    source, target = tmp_path / "copied.json", tmp_path / "agent-mesh.json"
    ledger = ledger_at(source)
    send(ledger, "m1")
    assert meshfleet("import", str(source), ledger=target).returncode == 0
    assert waiting(ledger_at(target)) == ["m1"]


def test_importing_a_snapshot_without_its_journal_says_what_may_be_missing(tmp_path: Path) -> None:
    source, target = tmp_path / "copied.json", tmp_path / "agent-mesh.json"
    ledger = ledger_at(source)
    send(ledger, "m1")
    ledger.close()
    for journal in tmp_path.glob("copied.journal.*"):
        journal.unlink()
    result = meshfleet("import", str(source), ledger=target)
    assert result.returncode == 0
    assert "is not imported" in result.stderr
    assert waiting(ledger_at(target)) == ["m1"]


def test_a_running_ledger_notices_an_import(tmp_path: Path, ledger_file: Path) -> None:
    running = ledger_at(ledger_file)
    assert waiting(running) == []
    source = tmp_path / "source.json"
    other = ledger_at(source)
    send(other, "m1")
    assert meshfleet("import", str(source), ledger=ledger_file).returncode == 0
    assert waiting(running) == ["m1"]
    send(running, "m2")
    assert waiting(running) == waiting(ledger_at(ledger_file)) == ["m1", "m2"]
