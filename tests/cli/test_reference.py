"""docs/cli.md: it has the help of every command, as the command prints it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from meshfleet.cli.reference import commands, filled, help_of, places

PAGE: Final = Path(__file__).parents[2] / "docs" / "cli.md"

_AS_INSTALLED: Final = "import sys; from meshfleet.cli import main; sys.argv[0] = 'meshfleet'; sys.exit(main())"


def test_the_page_has_the_help_of_every_command_as_it_is_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert sorted(places(page)) == sorted(commands())
    assert page == filled(page), "docs/cli.md is out of date; run make docs"


@pytest.mark.parametrize("words", ["", "spawn", "template", "template save"])
def test_that_help_is_what_a_person_gets(words: str) -> None:
    command = [sys.executable, "-P", "-c", _AS_INSTALLED, *words.split(), "--help"]
    environ = {**os.environ, "COLUMNS": "120"}
    printed = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True).stdout
    assert printed.rstrip() == help_of(words).rstrip()
