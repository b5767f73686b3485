"""What an attempt has printed so far, a bounded page at a time, from a byte of its event stream on whole lines.

What a run came to is stream.py's to say; this is for whoever watches it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meshfleet.agents.launch import EVENTS_NAME, open_trace
from meshfleet.agents.stream import LONGEST_LINE_BYTES
from meshfleet.agents.words import SURROGATE, readable_error
from meshfleet.errors import Invalid
from meshfleet.ledger import Ledger
from meshfleet.mesh.lifecycle import require_agent, require_attempt
from meshfleet.mesh.texts import shown
from meshfleet.model import AgentStatus, Row, attempt_key, is_own_id
from meshfleet.settings import beside

PAGE_BYTES: Final = 64 * 1024
MOST_PAGE_BYTES: Final = 256 * 1024
MOST_EVENTS: Final = 500
LONGEST_DETAIL: Final = 200
"""Characters of an input, an error or a piece of text that a compact event shows."""
_CURSOR: Final = re.compile(r"([1-9][0-9]{0,8}):(0|[1-9][0-9]{0,14})")


@dataclass(frozen=True, slots=True)
class Page:
    """Some whole lines of an event stream.

    Attributes:
        events: What they say; of what is no event only how many bytes it has.
        start: Where they begin, in bytes from the beginning of the stream.
        end: Where the next page begins.
        more: Whether there are more whole lines by now.
    """

    events: list[dict[str, Any]]
    start: int
    end: int
    more: bool


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of an agent's attempt.

    Attributes:
        agent: The agent's row.
        attempt: The attempt's number; None where there has been none.
        page: What it printed.
        cursor: Where to look on; it leads on into the next attempt once this one has ended, unless one was named.
        more: Whether there is something to see there by now.
    """

    agent: Row
    attempt: int | None
    page: Page
    cursor: str | None
    more: bool

    def as_result(self, most_bytes: int) -> dict[str, Any]:
        """The same as callers get it, with no more than so many bytes of words."""
        words = _clipped_end("\n".join(filter(None, map(text_of, self.page.events))), most_bytes)
        if self.attempt is None or self.page.end == 0:
            words = _clipped_end(self._kept_words(), most_bytes)
        return {
            "agent_id": self.agent["id"],
            "attempt": self.attempt,
            "status": self.agent["status"],
            "events": [compact(event) for event in self.page.events],
            "text": words,
            "cursor": self.cursor,
            "more": self.more,
        }

    def _kept_words(self) -> str:
        """What the ledger has of the words, for a run whose files are gone."""
        is_its_last = self.attempt == self.agent.get("attempt") and self.agent["status"] != AgentStatus.RUNNING
        output = self.agent.get("output") if is_its_last else None
        return SURROGATE.sub("\ufffd", output) if isinstance(output, str) else ""


def look_at(
    ledger: Ledger, agent_id: str, *, attempt: int | None = None, cursor: str | None = None, size: int = PAGE_BYTES
) -> Sight:
    """What an attempt of an agent has printed.

    Args:
        ledger: Where the agent is a row; the run folders lie beside it.
        agent_id: The agent.
        attempt: Which attempt; the one a cursor is of, else the latest.
        cursor: Where to begin, from an earlier look; without one the end of the stream is shown.
        size: About how many bytes of the stream to read; a longer line is read whole.

    Raises:
        Invalid: The cursor is none, or of another attempt.
        NotFound: There is no such agent, or attempt.
    """
    agent = ledger.read(lambda view: require_agent(view, agent_id))
    latest = agent.get("attempt")
    number, offset = (attempt or latest, None) if cursor is None else _position(cursor, attempt)
    # a row that another program wrote may name anything, and this reads the file it names
    if type(number) is not int or not is_own_id(agent_id):
        return Sight(agent, None, Page([], 0, 0, more=False), None, more=False)
    row = ledger.read(lambda view: require_attempt(view, agent_id, number))
    page = read_page(events_file(ledger.data_file, agent_id, number), offset, size)
    if not page.more and attempt is None and "ended_at" in row and type(latest) is int and number < latest:
        return Sight(agent, number, page, f"{number + 1}:0", more=True)
    return Sight(agent, number, page, f"{number}:{page.end}", page.more)


def events_file(data_file: Path, agent_id: str, number: int) -> Path:
    """Where an attempt's event stream lies."""
    return beside(data_file, "runs") / attempt_key(agent_id, number) / EVENTS_NAME


def read_page(path: Path, offset: int | None, size: int) -> Page:
    """Read whole lines of a stream that may grow; a file that is not there has none.

    Args:
        path: The stream.
        offset: Where to begin, in bytes; None shows the end.
        size: About how many bytes to read; a longer line is read whole, up to 16 MiB.

    Raises:
        Invalid: There is no such place in it.
    """
    try:
        file = open_trace(path)
    except OSError:
        if offset:
            raise _no_such_place(offset, 0) from None
        return Page([], 0, 0, more=False)
    with file:
        length = os.fstat(file.fileno()).st_size
        if offset is not None and offset > length:
            raise _no_such_place(offset, length)
        start, data = _tail(file.fileno(), length, size) if offset is None else _from(file.fileno(), offset, size)
        events, used = _events_in(data)
        end = start + used
        return Page(events, start, end, more=_has_line(file.fileno(), end))


def text_of(event: dict[str, Any]) -> str:
    """The words an event brings, if any."""
    part = event.get("part")
    if event.get("type") != "text" or not isinstance(part, dict) or part.get("synthetic") is True:
        return ""
    text = part.get("text")
    return SURROGATE.sub("\ufffd", text).strip() if isinstance(text, str) else ""


def compact(event: dict[str, Any]) -> dict[str, Any]:
    """An event in a few fields: when, what, and the little that tells it from others of its kind."""
    at, kind = _number(event.get("timestamp")), event.get("type")
    told: dict[str, Any] = {"at": at or None, "type": _clip(kind)}
    part = event["part"] if isinstance(event.get("part"), dict) else {}
    match kind:
        case "text":
            told["text"] = _clip(text_of(event))
        case "tool_use":
            told |= _tool(part)
        case "step_finish":
            tokens = part["tokens"] if isinstance(part.get("tokens"), dict) else {}
            told |= {"reason": _clip(part.get("reason")), "tokens": _number(tokens.get("total"))}
        case "error":
            told["error"] = _clip(readable_error(event.get("error")))
        case "unreadable":
            told["bytes"] = event.get("bytes")
    return told


def _tool(part: dict[str, Any]) -> dict[str, Any]:
    state = part["state"] if isinstance(part.get("state"), dict) else {}
    told = {"tool": _clip(part.get("tool")), "status": _clip(state.get("status"))}
    for name in ("title", "input", "error"):
        if state.get(name):
            told[name] = _clip(state[name])
    return told


def _clip(value: object) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = "nested too deep to show"
    text = SURROGATE.sub("\ufffd", text)
    return text if len(text) <= LONGEST_DETAIL else f"{text[: LONGEST_DETAIL - 1]}…"


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def _clipped_end(text: str, most_bytes: int) -> str:
    data = text.encode(errors="replace")
    if len(data) <= most_bytes:
        return text
    kept = data[-most_bytes:].decode(errors="ignore")
    return f"[{len(data) - len(kept.encode())} bytes cut here; the run's files keep all of it]\n{kept}"


def _position(cursor: str, attempt: int | None) -> tuple[int, int]:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise Invalid(f"cursor is {shown(cursor)}; give the one of an earlier answer, or none to see the end")
    if attempt is not None and attempt != int(found[1]):
        raise Invalid(f"cursor is of attempt {found[1]}, but attempt is {attempt}; leave one of them out")
    return int(found[1]), int(found[2])


def _no_such_place(offset: int, length: int) -> Invalid:
    return Invalid(f"cursor is at byte {offset}, but there are {length}; give one of an earlier answer")


def _from(fd: int, offset: int, size: int) -> tuple[int, bytes]:
    """The bytes from a place on, whole lines first; of a longer line as much as may be read."""
    while True:
        data = os.pread(fd, size, offset)
        if b"\n" in data or len(data) < size or size > LONGEST_LINE_BYTES:
            return offset, data
        size *= 4


def _tail(fd: int, length: int, size: int) -> tuple[int, bytes]:
    """The last bytes, beginning with a whole line, of which there is one if that can be."""
    while True:
        start = max(0, length - size)
        data = os.pread(fd, length - start, start)
        first = 0 if start == 0 else data.find(b"\n") + 1
        whole = b"\n" in data[first:] if start == 0 or first else False
        if start == 0 or whole or size > LONGEST_LINE_BYTES:
            return start + first, data[first:]
        size *= 4


def _events_in(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The events of the whole lines, as many as a page has, and how many bytes those are."""
    events: list[dict[str, Any]] = []
    used = 0
    while len(events) < MOST_EVENTS and (end := data.find(b"\n", used)) >= 0:
        line, used = data[used:end], end + 1
        if line.strip():
            events.append(_event(line))
    if used == 0 and len(data) > LONGEST_LINE_BYTES:
        # nobody reads such a line whole; what is left of it is passed over piece by piece
        return [{"type": "unreadable", "bytes": len(data)}], len(data)
    return events, used


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        event = None
    return event if isinstance(event, dict) else {"type": "unreadable", "bytes": len(line)}


def _has_line(fd: int, offset: int) -> bool:
    """Whether there is something to read from a place on: a whole line, or one that is too long ever to be whole."""
    start = offset
    while chunk := os.pread(fd, MOST_PAGE_BYTES, offset):
        offset += len(chunk)
        if b"\n" in chunk or offset - start > LONGEST_LINE_BYTES:
            return True
    return False
