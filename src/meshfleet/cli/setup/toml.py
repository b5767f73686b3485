"""Editing TOML: one table is put in or taken out, and all else stays as it is written.

A table under a heading of its own is appended and cut out as text, since tomlkit takes the comment above the next
heading along; tomlkit does all else. Whatever comes out is read once more and has to say what was meant, so that a way
of writing TOML nobody thought of ends in a refusal and not in a broken file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError

from meshfleet.errors import Invalid

_BY_HAND: Final = "it is written in a way that can't be edited without touching more than that; edit it by hand"


def value_at(text: str, path: Sequence[str]) -> Any:
    """The value at a path of names; None where there is none.

    Raises:
        Invalid: It is no TOML.
    """
    found: Any = _read(text)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def put(text: str, path: Sequence[str], table: Mapping[str, Any]) -> str:
    """The text with these keys in the table at a path, beside those that are there.

    Raises:
        Invalid: It is no TOML, or there is no way to do that without touching more.
    """
    wanted = _read(text)
    present = value_at(text, path)
    if isinstance(present, dict) and all(key in present and present[key] == table[key] for key in table):
        return text
    _table_at(wanted, path).update(table)
    if present is None:
        return _checked(_appended(text, path, table), wanted)

    def change(document: MutableMapping[str, Any]) -> None:
        found = _table_at(document, path)
        for key in table:
            if key not in found or found[key] != table[key]:
                found[key] = table[key]

    return _checked(_edited(text, change), wanted)


def drop(text: str, path: Sequence[str]) -> str:
    """The text without the table at a path.

    Raises:
        Invalid: It is no TOML, or there is no way to do that without touching more.
    """
    if value_at(text, path) is None:
        return text
    wanted = _read(text)

    def change(document: MutableMapping[str, Any]) -> None:
        del _table_at(document, path[:-1])[path[-1]]

    change(wanted)
    cut = _cut(text, path)
    return cut if cut != text and _says(cut, wanted) else _checked(_edited(text, change), wanted)


def _read(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Invalid(f"it is no TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None


def _table_at(document: MutableMapping[str, Any], path: Sequence[str]) -> MutableMapping[str, Any]:
    found = document
    for name in path:
        below = found.setdefault(name, {})
        if not isinstance(below, MutableMapping):
            raise Invalid(f"{name} is no table; it has to be one")
        found = below
    return found


def _appended(text: str, path: Sequence[str], table: Mapping[str, Any]) -> str:
    eol = "\r\n" if "\r\n" in text else "\n"
    lines = [f"[{'.'.join(path)}]", *(f"{key} = {tomlkit.item(value).as_string()}" for key, value in table.items()), ""]
    ended = text if not text or text.endswith("\n") else text + eol
    return ended + (eol if ended else "") + eol.join(lines)


def _edited(text: str, change: Callable[[MutableMapping[str, Any]], None]) -> str:
    is_crlf = "\r\n" in text and text.count("\r\n") == text.count("\n")
    before = text.replace("\r\n", "\n") if is_crlf else text
    try:
        document = tomlkit.parse(before)
        if tomlkit.dumps(document) != before:
            raise Invalid(_BY_HAND)
        change(document)
        after = tomlkit.dumps(document)
    except (TOMLKitError, TypeError, ValueError, LookupError) as error:
        raise Invalid(f"{_BY_HAND} ({error})") from None
    return after.replace("\n", "\r\n") if is_crlf else after


def _cut(text: str, path: Sequence[str]) -> str:
    """The text without the lines under the table's headings; a comment above the heading that follows stays."""
    ours = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(rf"[\"']?{re.escape(name)}[\"']?" for name in path) + r"\s*[.\]]")
    lines = text.split("\n")
    kept: list[str] = []
    below: list[str] | None = None
    for line in lines:
        if line.lstrip().startswith("["):
            kept += _not_of_it(below)
            below = [] if ours.match(line) else None
        (kept if below is None else below).append(line)
    if below is not None and not any(line.strip() for line in _not_of_it(below)):
        return "\n".join(kept).rstrip() + ("\r\n" if "\r\n" in text else "\n") if any(kept) else ""
    return "\n".join([*kept, *_not_of_it(below)])


def _not_of_it(below: list[str] | None) -> list[str]:
    """The comments and blanks that end the lines under a heading: they are about what follows."""
    if below is None:
        return []
    last = max(index for index, line in enumerate(below) if line.strip() and not line.lstrip().startswith("#"))
    rest = below[last + 1 :]
    # the blank lines that set the table off go with it
    return rest[next((index for index, line in enumerate(rest) if line.strip()), max(len(rest) - 1, 0)) :]


def _checked(text: str, wanted: dict[str, Any]) -> str:
    if not _says(text, wanted):
        raise Invalid(_BY_HAND)
    return text


def _says(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return _without_empty(tomllib.loads(text)) == _without_empty(wanted)
    except tomllib.TOMLDecodeError:
        return False


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    """The same without tables that hold nothing: where the last of its kind goes, its heading may go too."""
    return {name: value for name, value in document.items() if value != {}}
