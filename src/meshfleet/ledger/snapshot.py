"""The snapshot: the whole ledger as one readable JSON document, a row a line, readable by v0.9.0."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from meshfleet.ledger.jsontext import (
    STRICT,
    NoNumber,
    line_of_no_number,
    quickly_read,
    to_json,
    why_no_json,
    why_too_long,
)
from meshfleet.ledger.schema import HEADER, TABLES, Malformed, check_document, upgrade
from meshfleet.ledger.state import State

CHUNK_SIZE: Final = 32 * 1024
"""Bytes collected before they are written."""
PEEK_SIZE: Final = 256
"""How many bytes `peek` wants to see."""

_HEADER: Final = re.compile(rb'\{\n"schema_version":(\d+),\n"generation":(\d+),\n"seq":(\d+),\n"lineage":(\d+),\n')


class Heading(NamedTuple):
    """What a snapshot of ours says of itself ahead of its rows.

    Attributes:
        schema_version: The schema of the rows.
        generation: Which journal continues it.
        seq: The number of the last transaction in it.
        lineage: Which rewritings by others went into it; two snapshots of one lineage share their past.
    """

    schema_version: int
    generation: int
    seq: int
    lineage: int


def peek(head: bytes) -> Heading | None:
    """The heading of a snapshot from its first bytes; None when it was not written by us in this form."""
    match = _HEADER.match(head[:PEEK_SIZE])
    return Heading(*map(int, match.groups())) if match else None


def read(data: bytes, *, briefly: bool = False) -> tuple[Heading | None, State]:
    """Read a whole snapshot; the heading is None where another program wrote it (no generation).

    Args:
        data: Its bytes.
        briefly: Whether the state is not kept for long.

    Raises:
        Malformed: It is no JSON, or no ledger.
    """
    document = _document(data)
    try:
        checked = check_document(document)
        if data.count(b"\n") != _lines_in(checked):
            _carefully_read(data, object_pairs_hook=_without_twins)
    except Malformed as malformed:
        line = malformed.line if malformed.key is None else line_of(data, malformed.key)
        if line is None:
            raise
        raise Malformed(f"line {line}: {malformed}", line=line) from None
    heading = None
    if "generation" in checked:
        heading = Heading(
            checked.get("schema_version", 0),
            checked["generation"],
            checked.get("seq", 0),
            checked.get("lineage", 0),
        )
    return heading, State.from_document(upgrade(checked), briefly=briefly)


def _document(data: bytes) -> Any:
    try:
        return quickly_read(data)
    except ValueError:
        # this one says what is wrong with it, and where, if anything is
        return _carefully_read(data)


def _carefully_read(data: bytes, **how: Any) -> Any:
    try:
        return json.loads(data, **STRICT, **how)
    except UnicodeDecodeError as error:
        place = data.count(b"\n", 0, error.start) + 1
        raise Malformed(f"line {place}: byte {error.start} is no UTF-8", line=place) from None
    except json.JSONDecodeError as error:
        raise Malformed(why_no_json(error), line=error.lineno) from None
    except NoNumber as number:
        raise _no_number(data, str(number)) from None
    except RecursionError:
        raise Malformed("it is nested too deeply") from None
    except ValueError as error:
        if too_long := why_too_long(error):
            raise _no_number(data, too_long) from None
        raise


def _no_number(data: bytes, what: str) -> Malformed:
    line = line_of_no_number(data)
    return Malformed(what if line is None else f"line {line}: {what}", line=line)


def _lines_in(document: dict[str, Any]) -> int:
    """How many lines `write` makes of a document; where there are more, a row may hide behind another of its key."""
    known = len(HEADER) + sum(2 + len(document[table]) for table in TABLES if table in document)
    return known + len(document.keys() - {*HEADER, *TABLES}) + 2


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in found if keys.count(key) > 1)
        raise Malformed(f"{twin} is there twice", key=twin)
    return found


def line_of(data: bytes, key: str) -> int | None:
    """The line a row with this key stands on, from 1; None when no line begins with it."""
    place = data.find(b"\n" + to_json(key) + b":")
    return None if place < 0 else data.count(b"\n", 0, place) + 2


def write(state: State, generation: int, seq: int) -> Iterator[bytes]:
    """The snapshot's bytes, in chunks of about `CHUNK_SIZE`."""
    chunk: list[bytes] = []
    size = 0
    for line in _lines(state, generation, seq):
        chunk.append(line)
        size += len(line)
        if size >= CHUNK_SIZE:
            yield b"".join(chunk)
            chunk, size = [], 0
    yield b"".join(chunk)


def write_plain(state: State) -> Iterator[bytes]:
    """The same document without the numbers that tie it to a journal, for others to read or import."""
    yield b'{\n"schema_version":%d' % state.schema_version
    yield from _tables(state)


def _lines(state: State, generation: int, seq: int) -> Iterator[bytes]:
    yield b'{\n"schema_version":%d,\n"generation":%d,\n"seq":%d,\n"lineage":%d' % (
        state.schema_version,
        generation,
        seq,
        state.lineage,
    )
    yield from _tables(state)


def _tables(state: State) -> Iterator[bytes]:
    for name in TABLES:
        rows: dict[str, Any] = state.inboxes if name == "inboxes" else state.tables[name]
        yield b",\n%b:{" % to_json(name)
        separator = b"\n"
        for key, row in rows.items():
            yield b"%b%b:%b" % (separator, to_json(key), to_json(list(row) if name == "inboxes" else row))
            separator = b",\n"
        yield b"\n}"
    for key, value in state.extras.items():
        yield b",\n%b:%b" % (to_json(key), to_json(value))
    yield b"\n}\n"
