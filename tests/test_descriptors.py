"""The guard of every test: whatever a test opens is closed when it has ended, or it is an error that says what."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.descriptors import open_descriptors, opened_since

LEAVING: Final = """
import os
import pytest
from meshfleet.ledger import Ledger
from tests.ledgers import ledger_at

def write(ledger):
    ledger.transact(lambda transaction: transaction.put("fleets", "f", {"id": "f"}))
    ledger.events.append("written")

@pytest.fixture(scope="module")
def held(tmp_path_factory):
    return ledger_at(tmp_path_factory.mktemp("held") / "held.json")

def test_a_pipe():
    os.pipe()

def test_a_ledger(ledger_file):
    ledger = Ledger(ledger_file)
    # or it would open files once more when it compacts, which may be during another test
    ledger._compactor.written = lambda: None
    write(ledger)

def test_a_ledger_that_is_closed_for_it(ledger_file):
    write(ledger_at(ledger_file))

def test_a_ledger_of_the_module_that_goes_on(held):
    write(held)
    assert held.compact()

def test_garbage():
    reading, writing = map(os.fdopen, os.pipe(), "rw")
    reading.other, writing.other = writing, reading
    reading.close()

def test_that_fails_anyway():
    os.pipe()
    assert False
"""
LEAVING_BY_A_FIXTURE: Final = """
import os
import pytest

@pytest.fixture(scope="module")
def leaving():
    os.open(__file__, os.O_RDONLY)

def test_a_fixture_of_the_module(leaving):
    pass

def test_that_comes_after_it():
    pass
"""


def test_what_a_test_leaves_open_is_an_error_that_names_it(tmp_path: Path) -> None:
    tmp_path.joinpath("test_leaving.py").write_text(LEAVING)
    tmp_path.joinpath("test_module.py").write_text(LEAVING_BY_A_FIXTURE)
    alone = ["-c", "/dev/null", "--rootdir", str(tmp_path), "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *alone, "-rA", str(tmp_path)]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    root = Path(__file__).parents[1]
    result = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, timeout=60, check=False)
    told = result.stdout
    assert re.search(r"test_a_pipe leaves descriptors open: \d+ \(\S+\), \d+ \(\S+\); close", told)
    lock = r"\d+ \(/\S+/ledger/agent-mesh\.lock\)"
    assert re.search(rf"test_a_ledger leaves descriptors open: .*{lock}.*agent-mesh\.events\.log", told)
    assert re.search(r"test_module\.py leaves descriptors open: \d+ \(/\S+/test_module\.py\); close", told)
    blamed = re.findall(r"^ERROR \S+::(\w+)", told, re.MULTILINE)
    assert blamed == ["test_a_pipe", "test_a_ledger", "test_that_comes_after_it"], told


def test_a_descriptor_that_took_the_number_of_another_is_told_apart(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    before = open_descriptors()
    os.close(fd)
    path = tmp_path / "file"
    path.touch()
    other = os.open(path, os.O_RDONLY)
    assert other == fd
    assert opened_since(before) == [f"{fd} ({path})"]
    assert opened_since(before, but_below=[tmp_path]) == []
    os.close(other)
    assert opened_since(before) == []
