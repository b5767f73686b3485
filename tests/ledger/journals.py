"""A journal's file as tests look at it and tamper with it: what is written in it, without the room behind."""

from __future__ import annotations

from pathlib import Path


def written_in(journal: Path) -> bytes:
    """The bytes of a journal up to the zeros of its room."""
    return journal.read_bytes().rstrip(b"\0")


def lines_in(journal: Path) -> list[bytes]:
    """The records of a journal, a line each, without the header."""
    return written_in(journal).splitlines()[1:]


def write_behind(journal: Path, data: bytes) -> None:
    """Write bytes behind the last of a journal, as somebody would that has it open."""
    with journal.open("r+b") as file:
        file.seek(len(written_in(journal)))
        file.write(data)
