"""Whatever drives the real OpenCode is run by one worker, and a module's fixtures are made once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scheduling import SINGLY, share_of

ROOT = Path(__file__).parents[1]
CONFTEST = "from tests.conftest import pytest_collection_modifyitems, pytest_xdist_make_scheduler\n"
REAL = """
import pytest

pytestmark = pytest.mark.opencode

@pytest.mark.parametrize("number", range(3))
def test_one(number): pass
"""
OTHER = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_one(number): pass
"""


def run(folder: Path, *options: str) -> str:
    """Run the tests of a folder as `make test` runs ours."""
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}", *options]
    # only what our settings and the scheduler need: to load every plugin takes each of the processes two seconds
    environ = {"PYTHONPATH": str(ROOT), "PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command += ["-p", "xdist", "-p", "pytest_timeout"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_one_worker_runs_all_that_is_real_and_each_module_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name in ("test_a", "test_b", "test_c", "test_real_d", "test_real_e"):
        (tmp_path / f"{name}.py").write_text(REAL if "real" in name else OTHER)
    told = run(tmp_path, "-n", "2", "-v")
    workers: dict[str, set[str]] = {}
    for worker, module in re.findall(r"\[(gw\d)\].* PASSED (\w+)\.py::", told):
        workers.setdefault("real" if "real" in module else module, set()).add(worker)
    assert workers.keys() == {"test_a", "test_b", "test_c", "real"}, told
    assert [len(each) for each in workers.values()] == [1, 1, 1, 1]
    assert "15 passed" in told


@pytest.mark.slow
def test_a_real_test_in_a_module_that_is_not_called_so_is_refused(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_other.py").write_text(REAL)
    assert "drives the real OpenCode; put it into a module called test_real_*" in run(tmp_path)


def test_the_modules_whose_tests_go_singly_are_there() -> None:
    assert [name for name in SINGLY if not ROOT.joinpath(name).is_file()] == []
    name = min(SINGLY)
    assert share_of(f"{name}::test_one") != share_of(f"{name}::test_two")
