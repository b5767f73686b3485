"""The scripts of `meshfleet completion`, in their shells: what a Tab puts into the line, and lists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshfleet.cli.completion.shells import Shell, script_for
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import TemplateDraft, save_fleet_template
from tests.agents.conftest import fake_opencode
from tests.cli.completion.interactive import SHELLS, TAB, Interactive, interactive
from tests.cli.shells import Shell as Project
from tests.cli.shells import shell

__all__ = ["fake_opencode", "shell"]


@pytest.fixture(params=SHELLS)
def pressed(request: pytest.FixtureRequest, shell: Project) -> Iterator[Interactive]:
    """A shell in a project with a template, a fleet, and files."""
    ledger = shell.ledger()
    save_fleet_template(ledger, TemplateDraft("bug-bash", [AgentSpec("Hunter", "Hunt.")], "finds bugs"))
    ledger.close()
    (shell.folder / "my team.json").write_text("[]", encoding="utf-8")
    with interactive(request.param, shell.folder, shell.environ) as one:
        yield one


def test_a_tab_completes_commands_options_and_their_values(pressed: Interactive) -> None:
    assert pressed.completed("meshfleet dash") == ["dashboard"]
    assert pressed.completed("meshfleet template del") == ["template", "delete"]
    assert pressed.completed("meshfleet dashboard --read") == ["dashboard", "--read-only"]
    assert pressed.completed("meshfleet init --client cod") == ["init", "--client", "codex"]
    assert pressed.completed("meshfleet init --client=cod") == ["init", "--client=codex"]


def test_a_program_that_is_called_by_its_path_is_the_one_that_is_asked(pressed: Interactive, shell: Project) -> None:
    path = shell.folder.parent / "programs" / "meshfleet"
    assert pressed.completed(f"{path} dash") == ["dashboard"]
    assert pressed.completed("../programs/meshfleet template sh") == ["template", "show"]
    Path(shell.environ["HOME"], "mine").symlink_to(path.parent)
    assert pressed.completed("~/mine/meshfleet ver") == ["verify"]


def test_a_tab_completes_ids_templates_and_files(pressed: Interactive, shell: Project) -> None:
    fleet_id, (agent_id,) = shell.failed("say Done")
    assert pressed.completed(f"meshfleet wait {fleet_id[:8]}") == ["wait", fleet_id]
    assert pressed.completed(f"meshfleet resume {agent_id[:8]}") == ["resume", agent_id]
    assert pressed.completed(f"meshfleet cancel {agent_id[:8]}") == ["cancel", agent_id[:8]]
    assert pressed.completed("meshfleet spawn bug") == ["spawn", "bug-bash"]
    assert pressed.completed("meshfleet spawn my") == ["spawn", "my team.json"]
    assert pressed.completed("meshfleet inspect my") == ["inspect", "my"]


def test_what_is_listed_says_what_each_id_is(pressed: Interactive, shell: Project) -> None:
    _, agent_ids = shell.failed("say One", "say Two")
    # where all begin alike, the first one completes that
    tabs = 3 if agent_ids[0][0] == agent_ids[1][0] else 2
    pressed.terminal.press(f"meshfleet logs {TAB * tabs}")
    listed = pressed.terminal.read_until(r"(?s)Agent \d, failed.*Agent \d, failed")
    assert all(agent_id in listed for agent_id in agent_ids)


def test_a_tab_says_nothing_of_a_ledger_that_is_damaged(pressed: Interactive, shell: Project) -> None:
    shell.ledger_file.write_text("no ledger", encoding="utf-8")
    assert pressed.completed("meshfleet resume 3f") == ["resume", "3f"]
    assert pressed.completed("meshfleet res") == ["resume"]


@pytest.mark.parametrize("option", ["nullglob", "failglob", "nounset"])
def test_what_bash_makes_of_patterns_changes_nothing(shell: Project, option: str) -> None:
    ledger = shell.ledger()
    save_fleet_template(ledger, TemplateDraft("bug-bash", [AgentSpec("Hunter", "Hunt.")], "finds *, [a] and ?"))
    ledger.close()
    (shell.folder / "a*").write_text("[]", encoding="utf-8")
    with interactive("bash", shell.folder, shell.environ) as bash:
        bash.does(f"set -o {option} 2>/dev/null || shopt -s {option}")
        assert bash.completed("meshfleet template show bug") == ["template", "show", "bug-bash"]
        assert bash.completed("meshfleet spawn bug") == ["spawn", "bug-bash"]
        assert bash.completed("meshfleet verify a") == ["verify", "a*"]


@pytest.mark.parametrize("which", Shell)
def test_the_script_is_printed_as_it_is(which: Shell) -> None:
    command = [sys.executable, "-P", "-m", "meshfleet", "completion", which]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert printed == script_for(which)
    assert re.search(r"meshfleet completion \w+", printed)


def test_a_script_in_a_folder_of_zsh_s_functions_completes(shell: Project, tmp_path: Path) -> None:
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "_meshfleet").write_text(script_for(Shell.ZSH), encoding="utf-8")
    with interactive("zsh", shell.folder, shell.environ) as zsh:
        zsh.does(f"unfunction _meshfleet; fpath=({functions} $fpath); compinit -D")
        assert zsh.completed("meshfleet dash") == ["dashboard"]
        assert zsh.completed("meshfleet ver") == ["verify"]
