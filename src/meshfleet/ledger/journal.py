"""The journal's bytes: one line of JSON a transaction, with a checksum; where the file lies is the store's concern.

A line is `{"seq":N,"ops":[...],"crc":"xxxxxxxx"}`; the checksum is the CRC-32 of all bytes before `,"crc"`. The first
line is the header `{"generation":G,"base":S,...,"crc":"xxxxxxxx"}`. A line is written in one piece, so one that lacks
its newline was torn by a crash and was never acknowledged; a line that has it and does not check out is damage.

Behind the last line lies room for the next ones: zeros, which no line holds. A sync is cheaper by a third when the
file need not grow for it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple
from zlib import crc32

from meshfleet.ledger.jsontext import STRICT, NoNumber, to_json, why_too_long

MARK: Final = b',"crc":"'
TAIL_SIZE: Final = len(b',"crc":"01234567"}')
LEAST_ROOM: Final = 16 * 1024
"""Bytes to which a journal is lengthened at first; then it is doubled."""
MOST_ROOM: Final = 1024 * 1024
"""Bytes by which it is lengthened at most."""
PAGE: Final = 4 * 1024
"""Bytes of which its length is a multiple."""
SECTOR: Final = 512
"""Bytes that a disk writes whole or not at all."""
_WHOLE_RECORD: Final = re.compile(rb',"crc":"([0-9a-f]{8})"\}')

_decode = json.JSONDecoder(**STRICT).raw_decode

Operation = list[Any]


class Record(NamedTuple):
    """A transaction as the journal holds it."""

    seq: int
    operations: list[Operation]


class Header(NamedTuple):
    """The journal's first line: which snapshot it continues, and after which transaction.

    Attributes:
        generation: The generation of the snapshot it belongs to.
        base: The number of the last transaction that is in the snapshot and not in this journal.
        snapshot: Inode, mtime in ns and size of that snapshot as it was written; another one was edited by hand.
    """

    generation: int
    base: int
    snapshot: tuple[int, int, int]


class Damaged(Exception):
    """A whole line that is not what was once written."""


def encode_record(seq: int, operations: list[Operation]) -> bytes:
    """A transaction's line, newline included.

    Raises:
        Invalid: A row holds what JSON has no word for.
    """
    return _sealed(b'{"seq":%d,"ops":%b' % (seq, to_json(operations)))


def encode_header(header: Header) -> bytes:
    """The header's line, newline included."""
    inode, mtime_ns, size = header.snapshot
    return _sealed(
        b'{"generation":%d,"base":%d,"snapshot":[%d,%d,%d]' % (header.generation, header.base, inode, mtime_ns, size)
    )


def decode_record(line: bytes) -> Record:
    """Read a transaction's line (without its newline).

    Raises:
        Damaged: The checksum or the form is wrong.
    """
    value = _unsealed(line)
    seq, operations = value.get("seq"), value.get("ops")
    if type(seq) is not int or not isinstance(operations, list):
        raise Damaged("it is no transaction")
    return Record(seq, operations)


def decode_header(line: bytes) -> Header:
    """Read the first line (without its newline).

    Raises:
        Damaged: The checksum or the form is wrong.
    """
    value = _unsealed(line)
    try:
        inode, mtime_ns, size = value["snapshot"]
        return Header(value["generation"], value["base"], (inode, mtime_ns, size))
    except (KeyError, TypeError, ValueError):
        raise Damaged("it is no header of a journal") from None


def end_with_room(end: int) -> int:
    """To which size a journal is lengthened when a line ends behind its room, in bytes."""
    return (end + min(max(end, LEAST_ROOM), MOST_ROOM)) // PAGE * PAGE


def end_of_lines(data: bytes) -> int:
    """Where the room begins: at the first zero, in bytes."""
    end = data.find(b"\0")
    return len(data) if end < 0 else end


def is_torn(tail: bytes, offset: int = 0) -> bool:
    """True when what lies behind the last whole line is what a crash in the middle of a write leaves.

    A prefix of a line never has anything after its checksum; where something follows a checksum that is right, it
    was the newline once, and the record had been written whole. A power cut may also leave the last sectors of a line
    written and others not, as the zeros they were before.

    Args:
        tail: The file from there to its end.
        offset: Where that is in the file, in bytes.
    """
    tail = tail.rstrip(b"\0")
    if b"\n" in tail:
        holes = list(re.finditer(rb"\0+", tail))
        return tail.count(b"\n") == 1 and bool(holes) and all(_is_a_lost_sector(hole, offset) for hole in holes)
    whole = _whole(tail)
    return whole is None or whole == len(tail)


def problem_behind_lines(tail: bytes) -> str:
    """What is wrong with bytes behind the last whole line that no crash leaves there."""
    return "its checksum is wrong" if b"\n" in tail else "its last byte is wrong"


def _is_a_lost_sector(hole: re.Match[bytes], offset: int) -> bool:
    begins_there = hole.start() == 0 or (offset + hole.start()) % SECTOR == 0
    return begins_there and (offset + hole.end()) % SECTOR == 0


def whole_record(tail: bytes) -> bytes:
    """The record at the start of a tail that is not torn: all of it up to its checksum's end."""
    return tail[: _whole(tail)]


def _whole(tail: bytes) -> int | None:
    """Where a whole record at the start of a tail ends; a row may hold what only looks like a checksum."""
    matches = _WHOLE_RECORD.finditer(tail)
    return next((match.end() for match in matches if _checksum(tail[: match.start()]) == match[1]), None)


def _sealed(body: bytes) -> bytes:
    return b'%b,"crc":"%b"}\n' % (body, _checksum(body))


def _unsealed(line: bytes) -> dict[str, Any]:
    body, tail = line[:-TAIL_SIZE], line[-TAIL_SIZE:]
    if tail[:8] != MARK or tail[16:] != b'"}' or _checksum(body) != tail[8:16]:
        raise Damaged("its checksum is wrong")
    text = body.decode(errors="replace") + "}"
    try:
        value, end = _decode(text)
    except NoNumber as number:
        raise Damaged(str(number)) from None
    except ValueError as error:
        raise Damaged(why_too_long(error) or "it is no JSON") from None
    except RecursionError:
        raise Damaged("it is nested too deeply") from None
    if end != len(text) or not isinstance(value, dict):
        raise Damaged("it is no JSON object")
    return value


def _checksum(data: bytes) -> bytes:
    return b"%08x" % crc32(data)
