"""JSON that a person put into an environment variable, inline or as the path of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import Invalid
from meshfleet.ledger.jsontext import why_no_json
from meshfleet.mesh.texts import shown

LARGEST_FILE: Final = 1024 * 1024
"""Bytes of a file that is read."""
LONGEST_PATH: Final = 1024
"""Characters of a file's path that a refusal shows: whoever is to mend the file has to find it."""


def read_given(variable: str, value: str) -> Any:
    """The JSON value that a variable holds, or whose file it names.

    Raises:
        Invalid: The file can't be read, or it is no JSON; the text names the variable.
    """
    inline = value.lstrip().startswith(("{", "["))
    source = variable if inline else f"{variable} names {shown(value, LONGEST_PATH)}, which"
    text = value if inline else _content(source, value)
    try:
        return json.loads(text, object_pairs_hook=_each_name_once)
    except json.JSONDecodeError as error:
        raise Invalid(f"{source} is no JSON: {why_no_json(error)}") from None
    except RecursionError:
        raise Invalid(f"{source} is nested too deeply") from None
    except ValueError:
        raise Invalid(f"{source} holds a number of too many digits") from None
    except _Twice as twice:
        raise Invalid(
            f"{source} names {shown(str(twice))} twice in one object; put what belongs to it together"
        ) from None


class _Twice(Exception):
    """A name stands twice in one object, so that JSON would lose the first."""


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name)
        found[name] = value
    return found


def _content(source: str, value: str) -> str:
    try:
        path = Path(value).expanduser()
        if path.stat().st_size > LARGEST_FILE:
            raise Invalid(f"{source} is larger than {LARGEST_FILE} bytes")
        if not path.is_file():
            raise Invalid(f"{source} is no file; name one, or give the JSON itself")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{source} is no UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise Invalid(f"{source} can't be read: {(error.strerror or str(error)).lower()}") from None
    except RuntimeError:
        raise Invalid(f"{source} can't be read: there is no such user, whose home it begins with") from None
    except ValueError as error:
        raise Invalid(f"{source} can't be read: {error}") from None
