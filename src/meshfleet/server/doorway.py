"""The first line of a client, answered before anything else is loaded: how long a session takes to start is felt.

What is odd about it in any way is left, unread as it were, to those who come later.
"""

from __future__ import annotations

import json
import os
import select
import time
from dataclasses import dataclass
from typing import Any, Final

from meshfleet.server.face import INITIALIZE, Face

PATIENCE_MS: Final = 200
"""How long a client that has not said a whole line is listened to before the server goes on starting."""
_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a client has said by now.

    Attributes:
        unanswered: What was read and is still to be answered.
        greeting: The id and the parameters of the greeting that was answered; None where none was.
    """

    unanswered: bytes = b""
    greeting: tuple[str | int, dict[str, Any]] | None = None


def meet(fd_in: int, fd_out: int, face: Face) -> Arrival:
    """Answer the greeting of a client that greets at once."""
    if os.isatty(fd_in):
        return Arrival()  # the end of what is typed can be read once only
    read = _first_words(fd_in)
    line, newline, rest = read.partition(b"\n")
    greeting = _greeting_in(line) if newline else None
    if greeting is None:
        return Arrival(read)
    answer = face.greeting(*greeting)
    if answer is None or not _is_taken(fd_out, answer):
        return Arrival(read)
    return Arrival(rest, greeting)


def _first_words(fd: int) -> bytes:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    read, deadline = b"", time.monotonic() + PATIENCE_MS / 1000
    while b"\n" not in read and len(read) < _READ_BYTES and poll.poll(max(0, deadline - time.monotonic()) * 1000):
        try:
            chunk = os.read(fd, _READ_BYTES)
        except OSError:
            break
        if not chunk:
            break
        read += chunk
    return read


def _greeting_in(line: bytes) -> tuple[str | int, dict[str, Any]] | None:
    try:
        found = json.loads(line.decode("ascii"), parse_constant=_refuse, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        return None
    match found:
        case {"jsonrpc": "2.0", "id": str() | int() as request_id, "method": method, "params": dict(params), **more}:
            # escapes may hide half of a surrogate pair
            is_plain = method == INITIALIZE and not more and not isinstance(request_id, bool) and b"\\" not in line
            return (request_id, params) if is_plain else None
    return None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _is_taken(fd: int, line: bytes) -> bool:
    """Whether a line was written; False where a client that reads nothing would have to be waited for."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if len(line) > select.PIPE_BUF or poll.poll(0) != [(fd, select.POLLOUT)]:
        return False
    try:
        written = os.write(fd, line)
        while written < len(line):
            written += os.write(fd, line[written:])
    except OSError:
        return False  # nobody reads any more, which the next one to write finds out too
    return True
