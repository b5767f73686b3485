"""Asking a person before something is changed; where nobody can answer, the command is refused."""

from __future__ import annotations

import sys

from meshfleet.cli.output import say
from meshfleet.errors import Conflict


def agreed(command: str, question: str) -> bool:
    """Whether the person at the terminal says yes.

    Raises:
        Conflict: There is none.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise Conflict(f"{command} asks before it does anything, and nobody is there to answer; pass --yes to agree")
    say(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
