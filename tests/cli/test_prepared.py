"""The Python that tests run commands by: what it runs is as if it had been started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from meshfleet.agents.process import environment_value, process_table
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import TemplateDraft, save_fleet_template
from tests.cli import prepared
from tests.mesh.fleets import fleet_of, open_ledger, supervisor
from tests.server.serving import wait_until


def started(*arguments: str, cwd: Path, environ: dict[str, str], says: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-P", "-m", "meshfleet", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environ, input=says, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says", "more"),
    [
        (["verify"], "", {}),
        (["inspect", "--timeline", "FLEET"], "", {}),
        (["template", "list"], "", {"TZ": "XYZ-14:45"}),
        (["template", "show", "bugs"], "", {"TZ": "XYZ-14:45"}),
        (["inspect", "--json"], "", {"MESHFLEET_DATA_FILE": "elsewhere.json"}),
        (["wait", "FLEET", "--timeout", "0.01"], "", {}),
        (["template", "save", "x", "-"], "no JSON", {}),
        (["spawn", "team.json"], "", {}),
        (["spawn", "--version"], "", {}),
        (["--help"], "", {"COLUMNS": "50"}),
        (["nonsense"], "", {}),
    ],
)
def test_it_does_what_one_that_is_started_does(
    ledger_file: Path, tmp_path: Path, arguments: list[str], says: str, more: dict[str, str]
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A", by=supervisor())
    save_fleet_template(ledger, TemplateDraft("bugs", [AgentSpec("A", "x")], ""))
    ledger.close()
    (tmp_path / "team.json").write_text("[]")
    arguments = [fleet_id if word == "FLEET" else word for word in arguments]
    environ = {**os.environ, "MESHFLEET_DATA_FILE": str(ledger_file), **more}
    done = prepared.run(*arguments, cwd=tmp_path, environ=environ, says=says)
    assert (done.returncode, done.stdout, done.stderr) == started(*arguments, cwd=tmp_path, environ=environ, says=says)


def test_much_goes_in_and_out(tmp_path: Path) -> None:
    says = "[" + " " * 500_000 + "7" + " " * 500_000 + "]"
    done = prepared.run("spawn", "-", cwd=tmp_path, says=says, environ={**os.environ, "X": "x" * 100_000})
    assert (done.returncode, done.stdout) == (2, "")
    assert "agents[0] is 7" in done.stderr
    done = prepared.run("completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_no_child_of_the_tests_and_ends_with_them(tmp_path: Path) -> None:
    before = psutil.Process().children()
    script = (
        "import os; from tests.cli import prepared as p; c = p.prepared_python(); c.__enter__(); p.run('--version')"
    )
    mark = str(tmp_path)
    command = [sys.executable, "-c", f"{script}; os.kill(os.getpid(), 9)"]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, env={**os.environ, "MARK": mark}, cwd=root, timeout=60, check=False).returncode == -9
    wait_until(lambda: not any(environment_value(entry.identity.pid, "MARK") == mark for entry in process_table()))
    prepared.run("--version")
    assert psutil.Process().children() == before


def test_what_a_python_heeds_only_as_it_starts_is_refused() -> None:
    with pytest.raises(AssertionError, match="a Python that runs already heeds no PYTHONIOENCODING; start one"):
        prepared.run("--version", environ={**os.environ, "PYTHONIOENCODING": "ascii"})


def test_what_does_not_end_is_killed(ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, _ = fleet_of(ledger, "A", by=supervisor())
    ledger.close()
    prepared.run("--version")
    monkeypatch.setattr(prepared, "PATIENCE_S", 1.0)
    began = time.monotonic()
    done = prepared.run("wait", fleet_id, environ={**os.environ, "MESHFLEET_DATA_FILE": str(ledger_file)})
    assert done.returncode == -9
    assert time.monotonic() - began < 30
