"""Real shells on a terminal, in which keys are pressed as a person presses them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.cli.terminals import Terminal, on_a_terminal

TAB: Final = "\t"
_PROGRAM: Final = """\
#!/bin/sh
case $1 in
__complete | completion) exec "{python}" -P -m meshfleet "$@" ;;
esac
printf '%s\\n' "$@" > "{told}"
echo it was' run'
"""
"""Completes as meshfleet does, and writes down what it is told to do instead of doing it."""
_STARTS: Final[Mapping[str, list[str]]] = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--interactive"],
}
_SET_UP: Final[Mapping[str, str]] = {
    "bash": "PS1='ready> '; bind 'set bell-style none'; source <(meshfleet completion bash)",
    "zsh": "PS1='ready> '; bindkey -e; setopt no_beep no_prompt_sp; source <(meshfleet completion zsh)",
    "fish": "function fish_prompt; echo 'ready> '; end; meshfleet completion fish | source",
}
SHELLS: Final = tuple(_STARTS)


class Interactive:
    """A shell that has read the script of `meshfleet completion`."""

    def __init__(self, name: str, terminal: Terminal, told: Path) -> None:
        self.name = name
        self.terminal = terminal
        self._told = told

    def completed(self, line: str) -> list[str]:
        """The words after the program's name that a line has once Tab was pressed at its end."""
        # what is typed after the Tab is read once the shell is done with it
        self.terminal.press(f"{line}{TAB}\r")
        self.terminal.read_until("it was run\n")
        self.terminal.read_until("ready> ")
        return self._told.read_text(encoding="utf-8").splitlines()

    def does(self, line: str) -> None:
        """Have it run a line."""
        self.terminal.press(f"{line}; echo that' is done'\r")
        self.terminal.read_until("that is done\n")
        self.terminal.read_until("ready> ")


@contextmanager
def interactive(name: str, folder: Path, environ: Mapping[str, str]) -> Iterator[Interactive]:
    """Such a shell, in a folder; skips the test where there is no such shell."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    programs = folder.parent / "programs"
    programs.mkdir(exist_ok=True)
    told, program = programs / "told", programs / "meshfleet"
    program.write_text(_PROGRAM.format(python=sys.executable, told=told), encoding="utf-8")
    program.chmod(0o755)
    environ = {**environ, "PATH": f"{programs}:{environ['PATH']}"}
    with on_a_terminal(_STARTS[name], cwd=folder, environ=environ) as terminal:
        shell = Interactive(name, terminal, told)
        shell.does(_SET_UP[name])
        yield shell
