"""The dashboard as plain text, and the command that prints it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from meshfleet.dashboard.plain import once
from tests.cli.terminals import in_terminal
from tests.dashboard.meshes import document, open_mesh, write_mesh
from tests.ledgers import ledger_at
from tests.mesh.fleets import fleet_of


def dashboard(ledger: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "meshfleet", "dashboard", *arguments],
        env={**os.environ, "MESHFLEET_DATA_FILE": str(ledger)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_lists_are_there_and_nothing_is_cut(ledger_file: Path) -> None:
    told = once(open_mesh(ledger_file))
    assert {"5 problems", "3 fleets", "7 agents", "5 messages"} <= set(told.splitlines())
    assert "nightly crawl" in told
    assert "README.md line 7: an order of 100.00 or more gets 10 % off" in told
    assert "…" not in told.replace("… queued", "")


def test_of_many_messages_the_last_are_shown_and_all_are_counted(ledger_file: Path) -> None:
    rows = document()
    first = next(iter(rows["messages"].values()))
    for number in range(30):
        at = first["timestamp"] + 10**9 + number
        rows["messages"][f"m{number}"] = {**first, "id": f"m{number}", "payload": f"no. {number}.", "timestamp": at}
    told = once(open_mesh(ledger_file, rows))
    assert "35 messages, the last 20" in told.splitlines()
    assert [f"no. {number}." in told for number in (9, 10, 29)] == [False, True, True]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_in_a_terminal_no_line_is_wider_than_it(ledger_file: Path, width: int) -> None:
    told = once(open_mesh(ledger_file), width)
    assert max(map(cell_len, told.splitlines())) <= width


def test_a_newer_ledger_is_said_to_be_one(ledger_file: Path) -> None:
    told = once(open_mesh(ledger_file, document() | {"schema_version": 3}))
    assert told.startswith("the ledger is of schema 3")


def test_an_empty_ledger_says_so(ledger_file: Path) -> None:
    told = once(ledger_at(ledger_file))
    assert told == f"there is no ledger at {ledger_file} yet; the first fleet makes it"


def test_without_a_terminal_the_command_prints_it_once(ledger_file: Path) -> None:
    write_mesh(ledger_file)
    printed = dashboard(ledger_file)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert "5 problems" in printed.stdout


def test_once_prints_it_on_a_terminal_too(ledger_file: Path) -> None:
    write_mesh(ledger_file)
    code, printed = in_terminal(["dashboard", "--once"], ledger_file, columns=80)
    assert code == 0
    assert max(map(cell_len, printed.splitlines())) <= 80


def test_a_damaged_ledger_fails_with_what_to_run(ledger_file: Path) -> None:
    ledger_file.write_text(json.dumps({"schema_version": "two"}))
    printed = dashboard(ledger_file, "--once")
    assert (printed.returncode, printed.stdout) == (1, "")
    assert "meshfleet repair" in printed.stderr
    assert len(printed.stderr.splitlines()) == 1


def test_the_id_of_a_fleet_without_a_name_is_said_once(ledger_file: Path) -> None:
    ledger = ledger_at(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A")
    (line,) = [line for line in once(ledger).splitlines() if line.startswith(fleet_id[:8])]
    assert line.count(fleet_id[:8]) == 1


@pytest.mark.parametrize("interval", ["0", "99", "3600001", "soon"])
def test_an_interval_that_can_not_be_is_refused(ledger_file: Path, interval: str) -> None:
    printed = dashboard(ledger_file, "--interval", interval)
    assert printed.returncode == 2
    assert "--interval" in printed.stderr
