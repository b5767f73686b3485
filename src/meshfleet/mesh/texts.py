"""What a text that comes from outside may hold, which every rule asks that stores one; and texts for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshfleet.errors import Invalid

LONGEST_NAME: Final = 256
"""Bytes of an id, a role, an action or another name."""
LONGEST_PAYLOAD: Final = 65_536
"""Bytes of a message's payload or a receipt's note."""
LONGEST_DESCRIPTION: Final = 1_000
"""Characters of a premade agent's description that its agents' rows keep."""
LONGEST_PROMPT: Final = 4 * 1024 * 1024
"""Bytes of a prompt."""
_SINGULAR: Final = {"inboxes": "inbox", "capabilities": "capability"}
"""Of those words that more than an s makes plural."""
_LISTED: Final = 5
"""Names that a sentence lists before it only counts the others."""
_SHOWN: Final = 80
"""Characters of a wrong value that its refusal shows."""


def shown(value: object, longest: int = _SHOWN) -> str:
    """A wrong value as its refusal shows it: printable, and not all of it when it has more characters."""
    text = ascii(value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def checked_text(argument: str, value: str, longest: int) -> str:
    """Return the text if it can be stored.

    Args:
        argument: What the caller calls it.
        value: The text.
        longest: How many bytes of UTF-8 it may have.

    Raises:
        Invalid: It is too long, holds a NUL, or is no valid Unicode.
    """
    if value.isascii() and len(value) <= longest and "\0" not in value:
        return value
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise Invalid(
            f"{argument} holds a lone surrogate at character {error.start}; it has to be valid Unicode"
        ) from None
    if size > longest:
        raise Invalid(f"{argument} has {size} bytes; at most {longest} are possible")
    if (place := value.find("\0")) >= 0:
        raise Invalid(f"{argument} holds a NUL at character {place}; leave it out")
    return value


def checked_name(argument: str, value: str) -> str:
    """Return a short text that is not blank.

    Raises:
        Invalid: It is blank, or can't be stored.
    """
    if not value.strip():
        raise Invalid(f"{argument} is blank; it has to say something")
    return checked_text(argument, value, LONGEST_NAME)


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """The names for a person: the first of them, and how many more there are."""
    more = len(names) - _LISTED
    return separator.join([*names[:_LISTED], *([f"and {more} more"] if more > 0 else [])])


def counted(number: int, plural: str) -> str:
    """A number of things for a person: `1 agent`, `2 agents`."""
    return f"{number} {_SINGULAR.get(plural, plural.removesuffix('s')) if number == 1 else plural}"


def messages_waiting(number: int) -> str:
    """How many messages wait, for a person: `1 message waits`, `2 messages wait`."""
    return f"{counted(number, 'messages')} {'waits' if number == 1 else 'wait'}"


def end_of(text: str, most: int, where: str) -> str:
    """The end of a text of so many bytes of UTF-8, marked with where the rest is when something was cut off."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data.decode()
    kept = data[-most:].decode(errors="ignore")
    return f"[the first {len(data) - len(kept.encode())} bytes are in {where}]\n{kept}"


def description_to_keep(description: str) -> str:
    """As much of a premade agent's description as its agents' rows keep, of characters that can be stored."""
    storable = description.encode(errors="replace").decode().replace("\0", " ")
    return " ".join(storable.split())[:LONGEST_DESCRIPTION]
