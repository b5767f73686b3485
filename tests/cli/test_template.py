"""`meshfleet template` as people and scripts call it: words, exit codes, and what `--json` prints."""

from __future__ import annotations

import json
import os
import subprocess
from operator import methodcaller
from pathlib import Path
from typing import Any, Final

import pytest
from rich.cells import cell_len

from meshfleet.ledger import Ledger
from meshfleet.mesh.routing import Router, route_work
from meshfleet.mesh.templates import TemplateDraft, get_fleet_template, read_agents, save_fleet_template
from meshfleet.model import Row
from tests.cli import prepared
from tests.cli.terminals import in_terminal
from tests.mesh.fleets import bytes_of, open_ledger

AGENTS: Final = [{"role": "Explorer", "prompt": "look\nthere"}, {"role": "Analyst", "prompt": "think", "agent": "deep"}]
NOWHERE: Final = {"MESHFLEET_OPENCODE": "/nowhere/opencode"}
EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "frontend-bug-bash.json"


class Shell:
    """A folder with a ledger of its own, where the command is run."""

    def __init__(self, folder: Path, ledger_file: Path) -> None:
        self.folder = folder
        self.ledger_file = ledger_file

    def run(self, *arguments: str, says: str = "") -> subprocess.CompletedProcess[str]:
        """Run `meshfleet template` with these arguments and this on standard input."""
        environ = {**os.environ, "MESHFLEET_DATA_FILE": str(self.ledger_file), **NOWHERE, "TZ": "UTC"}
        return prepared.run("template", *arguments, cwd=self.folder, environ=environ, says=says)

    def ok(self, *arguments: str, says: str = "") -> str:
        """What a run that has to succeed prints."""
        result = self.run(*arguments, says=says)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    def json(self, *arguments: str, says: str = "") -> dict[str, Any]:
        """The one object it prints when asked for JSON."""
        (line,) = self.ok(*arguments, "--json", says=says).splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    def ledger(self) -> Ledger:
        """Another process's hold on the same ledger."""
        return open_ledger(self.ledger_file)

    def saved(self, *descriptions: str, agents: list[dict[str, str]] = AGENTS) -> None:
        """Have versions of the template `team`, with these descriptions."""
        ledger = self.ledger()
        for description in descriptions:
            save_fleet_template(ledger, TemplateDraft("team", read_agents(agents), description))
        ledger.close()


@pytest.fixture
def shell(tmp_path: Path, ledger_file: Path) -> Shell:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "agents.json").write_text(json.dumps(AGENTS))
    return Shell(folder, ledger_file)


def test_a_template_is_saved_from_a_file_or_standard_input(shell: Shell) -> None:
    assert shell.ok("save", "team", "agents.json", "--description", "small") == "saved team@v1: 2 agents\n"
    described = {"agents": AGENTS[:1], "description": "only looks"}
    assert shell.ok("save", "team", "-", says=json.dumps(described)) == "saved team@v2: 1 agent\n"
    third = shell.json("save", "team", "-", "--description", "for all", says=json.dumps(described))["template"]
    assert (third["version"], third["description"], third["agents"]) == (3, "for all", AGENTS[:1])


def test_every_version_is_listed_on_a_line_of_its_own(shell: Shell) -> None:
    shell.saved("", "only looks\nand no more")
    first, second = shell.ok("list").splitlines()
    assert first.startswith("team@v1: 2 agents  20")
    assert second.endswith("  only looks")
    listed = shell.json("list")["templates"]
    assert [(row["version"], row["description"]) for row in listed] == [(1, ""), (2, "only looks\nand no more")]


def test_a_description_is_cut_to_the_terminal_and_whole_in_a_pipe(shell: Shell) -> None:
    described = "finds what is broken " * 9
    shell.saved(described, "\u6f22" * 90, "\x1b" * 30, "short")
    code, shown = in_terminal(["template", "list"], shell.ledger_file, columns=80)
    lines = shown.splitlines()
    assert code == 0
    assert all(79 <= cell_len(line) <= 80 for line in lines[:3])
    assert [line.endswith("...") for line in lines] == [True, True, True, False]
    assert shell.ok("list").splitlines()[0].endswith(described.rstrip())
    _, narrow = in_terminal(["template", "list"], shell.ledger_file, columns=20)
    assert len(narrow.splitlines()) == 4
    assert "finds" not in narrow


def test_a_ledger_without_templates_is_told_of_and_left_alone(shell: Shell) -> None:
    assert shell.ok("list") == "no templates yet; save one with meshfleet template save NAME FILE\n"
    assert shell.json("list") == {"templates": []}
    assert bytes_of(shell.ledger_file.parent) == {}


def test_a_template_is_shown_with_its_agents_and_prompts(shell: Shell) -> None:
    shell.saved("for bugs")
    shell.saved("", agents=AGENTS[:1])
    heading, *rest = shell.ok("show", "team", "--version", "1").splitlines()
    assert heading.startswith("team@v1: 2 agents, saved 20")
    assert rest == ["for bugs", "", "Explorer", "  look", "  there", "", "Analyst (premade agent deep)", "  think"]
    assert shell.json("show", "team")["template"]["agents"] == AGENTS[:1]


def test_what_a_terminal_would_obey_is_shown_and_not_sent(shell: Shell) -> None:
    agents = [{"role": "A\x1b[31m", "prompt": "a\tb\x07\u202e"}]
    shell.saved("\x1b]0;title\x07", agents=agents)
    for command in (("list",), ("show", "team")):
        shown = shell.ok(*command)
        assert not set(shown) & {"\x1b", "\x07", "\u202e"}
        assert "\\x1b]0;title\\x07" in shown
    assert "A\\x1b[31m" in shown
    assert "a\tb\\x07\\u202e" in shown
    assert shell.json("show", "team")["template"]["agents"] == agents


def test_versions_are_deleted_one_by_one_or_all_at_once(shell: Shell) -> None:
    shell.saved("a", "b", "c")
    assert shell.ok("delete", "team", "--version", "3") == "deleted team@v3\n"
    assert shell.json("delete", "team") == {"name": "team", "deleted": [1, 2]}
    assert shell.json("save", "team", "agents.json")["template"]["version"] == 4


def test_a_template_goes_out_to_a_file_and_comes_back(shell: Shell) -> None:
    shell.saved("")
    path = shell.folder.parent / "team.json"
    assert shell.ok("export", "team", "../team.json") == f"wrote team@v1 to {path}\n"
    assert json.loads(path.read_text())["agents"] == AGENTS
    assert shell.json("export", "team", str(path), "--version", "1")["file_path"] == str(path)
    imported = shell.ok("import", "../team.json")
    assert imported.startswith("imported team-2")
    assert shell.ok("import", str(path), "--rename", "team") == "imported team@v2: 2 agents\n"


@pytest.mark.slow
def test_spawn_prints_the_fleet_and_leaves_it_waiting_where_nobody_can_start_it(shell: Shell) -> None:
    shell.ok("import", str(EXAMPLE))
    result = shell.run("spawn", "frontend-bug-bash")
    assert result.returncode == 1
    (fleet_id,) = result.stdout.splitlines()
    assert result.stderr.endswith(
        f"; until then fleet {fleet_id} waits for a server (meshfleet cancel {fleet_id} ends that)\n"
    )
    told = json.loads(shell.run("spawn", "frontend-bug-bash", "--version", "1", "--json").stdout)
    assert list(told) == ["spec", "fleet_id", "agent_ids"]
    assert [agent["role"] for agent in told["spec"]["agents"]] == ["React expert", "CSS expert", "A11y expert"]
    ledger = shell.ledger()
    for each in (fleet_id, told["fleet_id"]):
        rows: list[Row] = ledger.read(methodcaller("agents_of", each))
        assert {(row["status"], row["cwd"], "supervisor" in row) for row in rows} == {
            ("pending", str(shell.folder), False)
        }
        assert len(rows) == 3
    assert [row["id"] for row in rows] == told["agent_ids"]
    ledger.close()


@pytest.mark.slow
def test_work_finds_a_spawned_agent_by_its_premade_agent_s_description(shell: Shell) -> None:
    premade = shell.folder / ".opencode" / "agent" / "deep.md"
    premade.parent.mkdir(parents=True)
    premade.write_text("---\ndescription: tunes postgres\n---\nTune.")
    shell.saved("")
    shell.run("spawn", "team")
    ledger = shell.ledger()
    [match] = route_work(ledger, Router(), "a postgres question", top_n=9)["matches"]
    ledger.close()
    assert match["role"] == "Analyst"


@pytest.mark.parametrize(
    ("arguments", "says", "code", "told"),
    [
        (["show", "nothing"], "", 1, "name 'nothing' is no template; meshfleet template list lists them"),
        (["show", "team", "--version", "7"], "", 1, "version 7 of 'team' does not exist; its only version is 1"),
        (["delete", "nothing"], "", 1, "name 'nothing' is no template"),
        (["spawn", "nothing"], "", 1, "name 'nothing' is no template"),
        (["export", "nothing", "new.json"], "", 1, "name 'nothing' is no template"),
        (["export", "team", "agents.json"], "", 1, "project/agents.json' exists and is no exported template"),
        (["export", "team", "missing/new.json"], "", 2, "lies in no folder that exists"),
        (["export", "team", ".."], "", 2, "name the file without '..'"),
        (["import", "nothing.json"], "", 1, "meshfleet: there is no file '"),
        (["import", ""], "", 2, "meshfleet: FILE is blank; it has to name a file"),
        (["import", "agents.json"], "", 2, "can't be imported: schema is missing"),
        (["import", str(EXAMPLE), "--rename", "No Name"], "", 2, "rename is 'No Name'; it has to be 1 to 64"),
        (["save", "No Name", "agents.json"], "", 2, "name is 'No Name'; it has to be 1 to 64"),
        (["save", "new", "nothing.json"], "", 1, "project/nothing.json'; name one that exists"),
        (["save", "new", str(EXAMPLE)], "", 2, "an exported template is for meshfleet template import"),
        (["save", "new", "-"], "", 2, "standard input holds no agents: it is no JSON"),
        (["save", "new", "-"], "[]", 2, "agents has 0 entries; a template has 1 to 32 agents"),
        (["save", "new", "-"], '[{"role":"A"}]', 2, "agents[0].prompt is missing"),
        (["save", "new", "-"], " " * 1_048_577, 2, "it has more than 1048576 bytes"),
        (["save", "new", "-"], '[{"role":"A","prompt":"\\ud800"}]', 2, "agents[0].prompt holds a lone surrogate"),
    ],
)
def test_a_refusal_is_one_line_and_changes_nothing(
    shell: Shell, arguments: list[str], says: str, code: int, told: str
) -> None:
    shell.saved("")
    before = bytes_of(shell.ledger_file.parent), bytes_of(shell.folder)
    result = shell.run(*arguments, says=says)
    assert (result.returncode, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("meshfleet: ")
    assert told in line
    assert (bytes_of(shell.ledger_file.parent), bytes_of(shell.folder)) == before


@pytest.mark.parametrize("version", ["0", "-1", "x", "1.5"])
def test_a_version_is_a_positive_whole_number(shell: Shell, version: str) -> None:
    result = shell.run("show", "team", f"--version={version}")
    assert (result.returncode, result.stdout) == (2, "")
    assert "--version" in result.stderr


def test_a_damaged_template_is_refused_without_a_traceback(shell: Shell) -> None:
    ledger = shell.ledger()
    row = {"name": "odd", "agents": ["A"], "version": 1, "created_at": "yesterday", "description": None}
    ledger.transact(lambda transaction: transaction.put("templates", "odd@v1", row))
    assert get_fleet_template(ledger, "odd")["template"] == row
    ledger.close()
    assert shell.ok("list") == "odd@v1: 1 agent  at an unknown time\n"
    for command in ("show", "spawn"):
        result = shell.run(command, "odd")
        assert (result.returncode, result.stdout) == (2, "")
        assert "whose version 1 is damaged: agents[0] is 'A'; it has to be an object" in result.stderr
