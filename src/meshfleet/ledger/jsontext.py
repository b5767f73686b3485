"""JSON as the ledger writes and reads it: compact UTF-8, without the numbers JSON has no word for.

Python would write and read NaN and the infinities too; with one of them in it, no other program could read the file.
So both ways refuse them; which bytes are read is the journal's and the snapshot's concern.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import chain
from math import isinf
from typing import Any, Final, NoReturn

import pydantic_core

from meshfleet.errors import Invalid

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+')

_TELLING: Final = frozenset({dict, list, float})
"""The types of what may be an infinity, or hold one."""

_encode_escaped = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class NoNumber(ValueError):
    """A number, or what stands for one, that JSON or this machine has no room for."""


def _no_constant(name: str) -> NoReturn:
    raise NoNumber(f"{name} is no JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise NoNumber(f"{text} is larger than a number can be")
    return value


STRICT: Final[dict[str, Any]] = {"parse_constant": _no_constant, "parse_float": _finite}
"""How a `json.JSONDecoder` is made that raises `NoNumber` instead of reading one."""


def to_json(value: Any) -> bytes:
    """Compact JSON as UTF-8; a lone surrogate, which an old ledger may hold, stays an escape.

    Raises:
        Invalid: There is something in it that JSON has no word for.
    """
    try:
        text = pydantic_core.to_json(value)
    except ValueError:
        return _escaped(value)
    if b"NaN" in text or b"Infinity" in text:
        # words in a text, unless this refuses them
        _escaped(value)
    return text


def _escaped(value: Any) -> bytes:
    try:
        return _encode_escaped(value).encode()
    except ValueError:
        raise Invalid("NaN and Infinity are no JSON numbers; nothing is written that holds one") from None
    except RecursionError:
        raise Invalid("it is nested too deeply to be written as JSON; flatten it") from None


def quickly_read(data: bytes) -> Any:
    """What JSON says, read in half of the time that `json` takes.

    Of twins in an object the last one counts, as there; what stood before it may have been too large a number.

    Raises:
        ValueError: Only a decoder made with `STRICT` can tell whether it may be read, or what is wrong with it.
    """
    value = pydantic_core.from_json(data, allow_inf_nan=False)
    # what is in a table is alike, so each is looked through for itself
    if any(map(_holds_an_infinity, value.values() if type(value) is dict else (value,))):
        raise ValueError("a number is larger than a number can be")
    return value


def _holds_an_infinity(value: Any) -> bool:
    """Whether an infinity is anywhere in it: a level at a time, since there may be a hundred thousand rows."""
    level, kinds = [value], {type(value)}
    while kinds & _TELLING:
        dicts, lists, floats = (_of_type(kind, level, kinds) for kind in (dict, list, float))
        if any(map(isinf, floats)):
            return True
        kinds = {*map(type, _inside(dicts, lists))}
        level = list(_inside(dicts, lists)) if kinds & _TELLING else []
    return False


def _of_type(kind: type, level: list[Any], kinds: set[type]) -> list[Any]:
    if kind not in kinds:
        return []
    return level if len(kinds) == 1 else [one for one in level if type(one) is kind]


def _inside(dicts: list[dict[str, Any]], lists: list[list[Any]]) -> Iterator[Any]:
    return chain(chain.from_iterable(map(dict.values, dicts)), chain.from_iterable(lists))


def why_too_long(error: ValueError) -> str | None:
    """What to say where `int` refused to read a number for its length; None where it was something else."""
    if type(error) is not ValueError:
        return None
    return f"a number has more than {sys.get_int_max_str_digits()} digits"


def line_of_no_number(data: bytes) -> int | None:
    """The line with the first number that `STRICT` refuses, from 1; None when there is none."""
    for match in _TOKEN.finditer(data):
        if not match[0].startswith(b'"') and _is_refused(match[0]):
            return data.count(b"\n", 0, match.start()) + 1
    return None


def _is_refused(token: bytes) -> bool:
    if token in {b"NaN", b"Infinity", b"-Infinity"}:
        return True
    try:
        json.loads(token, **STRICT)
    except json.JSONDecodeError:
        return False
    except ValueError:
        return True
    return False


def why_no_json(error: json.JSONDecodeError) -> str:
    """Where a text stops being JSON, and what is there."""
    # some of the messages end in what they expect the place behind
    return f"line {error.lineno}, column {error.colno}: {error.msg.lower().removesuffix(' at')}"
