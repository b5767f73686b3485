"""docs/ledger.md names, for each promise it makes, tests that exist; whether they would fail is a matter of reading."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
DOCUMENT: Final = TESTS.parent / "docs/ledger.md"


def rows() -> list[tuple[str, list[str]]]:
    """Every promise with the tests that are named for it."""
    table = DOCUMENT.read_text().split("| promise | test |")[1].splitlines()[2:]
    cells = [line.split("|")[1:3] for line in table if line.startswith("|")]
    return [(promise.strip(), re.findall(r"`([^`]+)`", tests)) for promise, tests in cells]


def names_in(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions)}


def test_every_promise_names_tests_that_exist() -> None:
    missing = [
        name
        for promise, names in rows()
        for name in names or [f"no test for: {promise}"]
        if not (TESTS / name.partition("::")[0]).is_file()
        or name.partition("::")[2] not in names_in(TESTS / name.partition("::")[0])
    ]
    assert missing == []
    assert len(rows()) > 40


def test_every_file_of_ledger_tests_stands_for_a_promise() -> None:
    named = {name.partition("::")[0] for _, names in rows() for name in names}
    files = {f"ledger/{path.name}" for path in (TESTS / "ledger").glob("test_*.py")}
    assert files - named == {"ledger/test_promises.py"}
