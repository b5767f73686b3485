"""How commands put things: counts, what a terminal has room for, and refusals in the words of a shell, not of MCP."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Final

from meshfleet.mesh.texts import counted

_CUT: Final = "..."
_IN_A_SHELL: Final = {
    r"^file_path (.+) does not exist; name a file that does$": r"there is no file \1; name one that exists",
    r"^file_path (?=['\"])": "",
    r"^file_path\b": "FILE",
    r"\blist_fleet_templates lists them$": "meshfleet template list lists them",
}
"""What refusals that name tools and their arguments become where there are commands; what a person gave is no part."""


def counted_rows(rows: Mapping[str, int]) -> str:
    """How many rows each table has that has any."""
    return ", ".join(counted(number, table) for table, number in rows.items() if number) or "no rows"


def terminal_width() -> int | None:
    """The columns of the terminal that standard output is; None where it is none, and nothing is to be cut."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def fitted(text: str, width: int) -> str:
    """The beginning of the text that this many columns hold, and nothing where they could not hold any of it."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    room = width - len(_CUT)
    return set_cell_size(text, room).rstrip() + _CUT if room > 0 else ""


def headed(heading: str, rest: str, width: int | None) -> list[str]:
    """`heading: rest` as one line, or where that is wider, the heading alone and the rest below it, broken at words."""
    whole = f"{heading}: {rest}"
    if width is None or len(whole) <= width:
        return [whole]
    below = textwrap.wrap(rest, max(width, 20), initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return [f"{heading}:", *below]


def in_a_shell_s_words(refusal: str) -> str:
    """The refusal of a rule with commands in place of tools."""
    for of_mcp, instead in _IN_A_SHELL.items():
        refusal = re.sub(of_mcp, instead, refusal)
    return refusal
