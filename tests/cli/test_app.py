"""What `meshfleet --help` says of each command, and what `meshfleet serve` says to a person who typed it."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from meshfleet.cli.app import app
from meshfleet.cli.examples import EXAMPLES
from meshfleet.cli.reference import commands, help_of
from meshfleet.cli.serve import TYPED_BY_A_PERSON
from meshfleet.cli.wording import counted_rows, in_a_shell_s_words

LONGEST: Final = 60


@pytest.mark.parametrize("group", [[], ["template"]])
def test_help_names_every_command_in_full_on_80_columns(group: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "meshfleet", *group, "--help"]
    environ = {**os.environ, "COLUMNS": "80"}
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    commands = result.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    listed = [line.split(maxsplit=1) for line in commands.splitlines()]
    assert len(listed) >= 7
    assert [told for _, told in listed if len(told) > LONGEST or told.endswith("...")] == []


def test_the_server_comes_first_and_every_command_has_its_words() -> None:
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    names = list(command.commands)
    assert names[0] == "serve"
    assert {"demo", "cancel", "resume", "logs", "wait", "template", "inspect", "verify", "repair"} < set(names)


def test_every_command_has_examples_and_nothing_else_has() -> None:
    assert set(EXAMPLES) == set(commands())


@pytest.mark.parametrize("example", sorted({line for one in EXAMPLES.values() for line, _ in one if "$" not in line}))
def test_an_example_is_good_use(example: str) -> None:
    words = shlex.split(re.split(r" [|<>] ", example)[0])
    if "meshfleet" not in words[:2] or "COMMAND" in words:
        return
    words = words[words.index("meshfleet") + 1 :]
    depth = max(count for count in range(len(words) + 1) if " ".join(words[:count]) in commands())
    commands()[" ".join(words[:depth])].make_context("meshfleet", words[depth:])


def test_an_option_means_the_same_wherever_it_is() -> None:
    params = [param for command in commands().values() for param in command.params]
    alike = {"--json": "Print ", "--yes": "Do it without asking.", "--follow": "o on until "}
    for option, told in alike.items():
        assert [param.help for param in params if option in param.opts and told not in param.help] == []
    assert {param.metavar for param in params if param.name == "file"} == {"FILE", "FILE|-"}


def test_help_is_for_people_who_know_no_python() -> None:
    for words in commands():
        told = help_of(words)
        assert not re.search(r"<(str|int|float|path|bool)>|[{]ID[}]|\[\[", told), told
        assert max(len(line) for line in told.splitlines()) <= 80


def test_serve_in_a_terminal_says_what_it_waits_for_and_ctrl_d_ends_it(ledger_file: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "meshfleet", "serve"],
        env={**os.environ, "MESHFLEET_DATA_FILE": str(ledger_file), "MESHFLEET_SSE_PORT": "0"},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    os.write(ours, b"\x04")
    said, told = process.communicate(timeout=60)
    os.close(ours)
    assert (process.returncode, said, told) == (0, "", f"{TYPED_BY_A_PERSON}\n")


def test_counts_are_singular_for_one() -> None:
    assert counted_rows({"fleets": 1, "agents": 0, "capabilities": 1}) == "1 fleet, 1 capability"
    assert counted_rows({"fleets": 0}) == "no rows"


def test_what_a_person_named_stays_as_it_is_in_a_refusal() -> None:
    refusal = "name 'list_fleet_templates lists them' is no template; list_fleet_templates lists them"
    assert in_a_shell_s_words(refusal) == (
        "name 'list_fleet_templates lists them' is no template; meshfleet template list lists them"
    )
    assert in_a_shell_s_words("name is 'file_path'; no") == "name is 'file_path'; no"
