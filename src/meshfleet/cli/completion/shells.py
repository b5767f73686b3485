"""The shells that can complete, and the script that has each ask meshfleet."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class Shell(StrEnum):
    """A shell."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def script_for(shell: Shell) -> str:
    """The script that a shell reads when it starts."""
    return Path(__file__).with_name(f"meshfleet.{shell}").read_text(encoding="utf-8")
