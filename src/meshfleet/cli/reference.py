"""The help of every command in docs/cli.md, from the commands themselves: `python -m meshfleet.cli.reference FILE`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from meshfleet.cli.app import app

_PROGRAM: Final = "meshfleet"
_WIDTH: Final = 78
"""What typer makes of a terminal of 80 columns, and of any that is wider."""
_PLACE: Final = re.compile(r"<!-- help of meshfleet ?([a-z ]*) -->\n```text\n.*?```\n", re.DOTALL)


def commands() -> Mapping[str, Any]:
    """Every command and group by the words that call it after the program's name, which itself is the empty text."""
    return dict(_below("", get_command(app)))


def help_of(words: str) -> str:
    """What `--help` prints of a command in a terminal that is wide enough."""
    every, above = commands(), typer.Context(get_command(app), info_name=_PROGRAM, terminal_width=_WIDTH)
    called = ""
    for word in words.split():
        called = f"{called} {word}".strip()
        above = typer.Context(every[called], info_name=word, parent=above, terminal_width=_WIDTH)
    return above.get_help()


def places(page: str) -> list[str]:
    """The commands whose help a page has a place for."""
    return [found.group(1) for found in _PLACE.finditer(page)]


def filled(page: str) -> str:
    """The page with the help of each command as it is now, where there is a place for it."""

    def block(place: re.Match[str]) -> str:
        heading = place.group(0).partition("\n")[0]
        return f"{heading}\n```text\n{help_of(place.group(1)).rstrip()}\n```\n"

    return _PLACE.sub(block, page)


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield words, command
    if isinstance(command, TyperGroup):
        for name, one in command.commands.items():
            yield from _below(f"{words} {name}".strip(), one)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
