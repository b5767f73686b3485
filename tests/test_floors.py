"""The floors of the house: which part may import which, as pyproject.toml's contracts say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter import cli; raise SystemExit(cli.lint_imports(no_cache=True, no_logo=True))"
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_imports_point_down_only() -> None:
    verdict = lint_imports(REPOSITORY)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.parametrize(
    ("module", "forbidden_import", "contract"),
    [
        ("model.py", "meshfleet.__main__", "imports point down"),
        ("settings.py", "fcntl", "only the ledger locks files"),
        ("errors.py", "mcp", "rules know no face"),
        ("misplaced.py", "json", "imports point down"),
    ],
)
def test_a_broken_floor_is_noticed(tmp_path: Path, module: str, forbidden_import: str, contract: str) -> None:
    shutil.copytree(REPOSITORY / "src", tmp_path / "src")
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    with (tmp_path / "src/meshfleet" / module).open("a") as source:
        source.write(f"\nimport {forbidden_import}\n")

    verdict = lint_imports(tmp_path)

    assert verdict.returncode == 1, verdict.stdout + verdict.stderr
    broken = [line for line in verdict.stdout.splitlines() if " BROKEN" in line]
    assert [line for line in broken if line.startswith(contract)], verdict.stdout
