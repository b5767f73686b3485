"""What a shell that asks is answered: a line for each word, with what it means after a tab, and never anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer
from typer.main import get_command

from meshfleet.cli.completion.words import offers_for
from meshfleet.cli.output import printable, say

NO_MORE: Final = 0
OR_FILES: Final = 3
"""The exit code that has the shell offer files as well."""
_LONGEST: Final = 60
"""Characters of what a word means."""


def answer(app: typer.Typer, words: Sequence[str]) -> int:
    """Print what the last of these words may become; returns the exit code.

    Whatever goes wrong, nothing is known then: a person who presses Tab asked for no error.
    """
    *before, begun = words or [""]
    try:
        offers = offers_for(get_command(app), before, begun)
    except Exception:  # noqa: BLE001 - also a row of another program, or a setting that makes no sense
        return NO_MORE
    if offers.words:
        say("\n".join(_line(word, told) for word, told in offers.words))
    return OR_FILES if offers.or_files else NO_MORE


def _line(word: str, told: str) -> str:
    told = " ".join(printable(told).split())
    told = told if len(told) <= _LONGEST else told[: _LONGEST - 3] + "..."
    return f"{printable(word)}\t{told}"
