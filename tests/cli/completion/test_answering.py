"""What a shell is answered from a ledger: ids with what they are, at once, and nothing where there is trouble."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from meshfleet.ledger.lock import LedgerLock
from meshfleet.mesh.lifecycle import require_agent
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import TemplateDraft, save_fleet_template
from meshfleet.settings import beside
from tests.agents.conftest import fake_opencode
from tests.cli.shells import Shell, shell
from tests.mesh.fleets import send

__all__ = ["fake_opencode", "shell"]

FORBIDDEN: Final = ("mcp", "textual", "pydantic", "rich", "psutil", "anyio")
_WHAT_WAS_LOADED: Final = """
import sys
from meshfleet.cli import main
sys.argv = ["meshfleet", "__complete", "--", *sys.argv[1:]]
code = main()
print(*(name for name in {names!r} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


def _answer(shell: Shell, *words: str, **more: str) -> list[list[str]]:
    done = shell.run("__complete", "--", *words, **more)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_what_can_be_named_is_told_with_what_it_is_the_newest_first(shell: Shell) -> None:
    failed, (hunter,) = shell.failed("say Done")
    waiting, (idle,) = shell.fleet("say Done")
    assert _answer(shell, "wait", "") == [[waiting, "fleet, running"], [failed, "fleet, failed"]]
    assert _answer(shell, "cancel", "") == [[waiting, "fleet, running"], [idle, "Agent 0, pending"]]
    assert _answer(shell, "resume", "") == [[failed, "fleet, failed"], [hunter, "Agent 0, failed"]]
    assert _answer(shell, "logs", "") == [[idle, "Agent 0, pending"], [hunter, "Agent 0, failed"]]
    assert _answer(shell, "logs", hunter[:9]) == [[hunter, "Agent 0, failed"]]
    assert _answer(shell, "logs", hunter, "--attempt", "") == [["1", "it broke"]]
    assert len(_answer(shell, "inspect", "")) == 4
    assert len(_answer(shell, "inspect", "--timeline", "")) == 2
    assert _answer(shell, "inspect", "--metrics", "") == []


def test_a_message_is_offered_once_its_id_has_been_begun(shell: Shell) -> None:
    fleet_id, (first, second) = shell.fleet("say One", "say Two")
    ledger = shell.ledger()
    message_id = send(ledger, fleet_id, second, sender=first)["message_id"]
    ledger.close()
    assert [message_id, "message, result"] not in _answer(shell, "inspect", "")
    assert _answer(shell, "inspect", message_id[:9]) == [[message_id, "message, result"]]


def test_templates_come_with_what_they_are_for_and_their_versions(shell: Shell) -> None:
    ledger = shell.ledger()
    for description in ("finds bugs", "finds more"):
        save_fleet_template(ledger, TemplateDraft("bug-bash", [AgentSpec("Hunter", "Hunt.")], description))
    ledger.close()
    assert _answer(shell, "template", "show", "") == [["bug-bash", "template@v2: finds more"]]
    versions = [["2", "template@v2: finds more"], ["1", "template@v1: finds bugs"]]
    assert _answer(shell, "template", "show", "bug-bash", "--version", "") == versions
    assert _answer(shell, "spawn", "bug-bash", "--version", "") == versions


def test_nothing_of_what_a_role_holds_can_leave_its_line(shell: Shell) -> None:
    _, (agent_id,) = shell.fleet("say Done")
    ledger = shell.ledger()
    agent = {**ledger.read(lambda view: require_agent(view, agent_id)), "role": "a\n\x1b[31m\tb" + "c" * 99}
    ledger.transact(lambda transaction: transaction.put("agents", agent_id, agent))
    ledger.close()
    [[_, told]] = _answer(shell, "logs", "")
    assert told.startswith("a \\x1b[31m b")
    assert len(told) <= 60


def test_no_lock_is_waited_for(shell: Shell) -> None:
    fleet_id, _ = shell.fleet("say Done")
    lock = LedgerLock(beside(shell.ledger_file, "lock"))
    with lock.held(5_000):
        assert _answer(shell, "wait", "", MESHFLEET_LOCK_TIMEOUT_MS="600000") == [[fleet_id, "fleet, running"]]
        shell.ledger_file.write_text("{", encoding="utf-8")
        assert _answer(shell, "wait", "", MESHFLEET_LOCK_TIMEOUT_MS="600000") == []
    lock.close()


def test_a_ledger_that_is_not_there_is_not_made(shell: Shell) -> None:
    assert _answer(shell, "inspect", "") == []
    assert not shell.ledger_file.exists()
    nowhere = shell.folder / "none" / "mesh.json"
    assert _answer(shell, "inspect", "", MESHFLEET_DATA_FILE=str(nowhere)) == []
    assert not nowhere.parent.exists()


@pytest.mark.parametrize("wrong", [{"MESHFLEET_SSE_PORT": "x"}, {"MESHFLEET_DATA_FILE": "/dev/null/no"}])
def test_a_setting_that_makes_no_sense_is_passed_over(shell: Shell, wrong: dict[str, str]) -> None:
    assert _answer(shell, "inspect", "", **wrong) == []
    assert _answer(shell, "insp", **wrong)


@pytest.mark.parametrize("line", [["inspect", ""], ["cancel", ""], ["template", "show", ""], ["i"]])
def test_a_tab_loads_nothing_that_takes_long(shell: Shell, line: list[str]) -> None:
    shell.fleet("say Done")
    script = _WHAT_WAS_LOADED.format(names=FORBIDDEN)
    command = [sys.executable, "-P", "-c", script, *line]
    done = subprocess.run(command, env=shell.environ, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "\n"
