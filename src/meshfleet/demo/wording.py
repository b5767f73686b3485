"""How times, amounts and other people's words are shown on a terminal."""

from __future__ import annotations

import unicodedata
from typing import Final

#: Controls, formatting characters such as those that turn the direction of writing, lone surrogates, line separators.
_STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: The joiners that some scripts and emoji are spelled with, and the soft hyphen: formatting that steers nothing.
_HARMLESS: Final = frozenset("\n\u200c\u200d\u00ad")
_TAB: Final = "    "


def shown(text: str) -> str:
    """A text that can only be read: what would steer a terminal stands there as an escape, newlines are kept."""
    return "".join(_shown(character) for character in text.replace("\r\n", "\n").replace("\t", _TAB))


def _shown(character: str) -> str:
    if character in _HARMLESS or unicodedata.category(character) not in _STEERING:
        return character
    return character.encode("unicode_escape").decode("ascii")


def first_line(text: str) -> str:
    """The first line that isn't blank, marked where more follows."""
    lines = [line for line in shown(text).splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[0].strip() + (" …" if len(lines) > 1 else "")


def on_one_line(text: str) -> str:
    """The whole text, with every run of white space turned into a blank."""
    return " ".join(shown(text).split())


def seconds(value: float) -> str:
    """A duration, such as `6.2 s`."""
    return f"{value:.1f} s"


def amount(number: int, what: str) -> str:
    """A number with its noun: `1 token`, `12,345 tokens`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
