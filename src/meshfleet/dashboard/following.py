"""Following what is written while somebody looks: the output of an agent, and the event log."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meshfleet.agents.output import MOST_PAGE_BYTES, compact, look_at, text_of
from meshfleet.dashboard.listing import Piece, Tone
from meshfleet.dashboard.wording import amount, legible, on_one_line
from meshfleet.errors import Invalid, MeshfleetError, NotFound
from meshfleet.ledger import Ledger
from meshfleet.ledger.event_lines import EventLine, EventReader

MOST_EVENTS: Final = 2_000
"""Events of the log that are kept."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came since the last time.

    Attributes:
        lines: The lines.
        anew: Whether they stand in place of those before.
    """

    lines: list[Piece]
    anew: bool = False


class OutputFeed:
    """Follows an agent through its attempts, from about the end of what it has printed.

    Args:
        ledger: Where the agent is a row.
        agent_id: The agent.
    """

    def __init__(self, ledger: Ledger, agent_id: str) -> None:
        self._ledger = ledger
        self._agent_id = agent_id
        self._cursor: str | None = None
        self._attempt: int | None = None
        self._told = ""

    def listen(self) -> Heard:
        """What the agent has printed since."""
        try:
            seen = look_at(self._ledger, self._agent_id, cursor=self._cursor, size=MOST_PAGE_BYTES)
        except (Invalid, NotFound) as error:
            # the run folder is gone, or the ledger is another one
            again = self._cursor is not None
            self._cursor = self._attempt = None
            return Heard([], anew=True) if again else self._trouble(error)
        except MeshfleetError as error:
            return self._trouble(error)
        lines: list[Piece] = []
        if seen.attempt is not None and seen.attempt != self._attempt and (seen.attempt > 1 or self._attempt):
            lines.append((f"── attempt {seen.attempt} ──", Tone.DIM))
        if self._cursor is None and seen.page.start:
            lines.append((f"({amount(seen.page.start)} bytes before; meshfleet logs has all of it)", Tone.DIM))
        lines += [line for event in seen.page.events for line in lines_of(event)]
        if self._cursor is None and not seen.page.events and not seen.more:
            lines += _kept(seen.as_result(MOST_PAGE_BYTES)["text"])
        self._attempt, self._cursor = seen.attempt, seen.cursor
        return Heard(lines)

    def _trouble(self, error: Exception) -> Heard:
        if str(error) == self._told:
            return Heard([])
        self._told = str(error)
        return Heard([(on_one_line(error), Tone.BAD)])


class EventFeed:
    """Follows the event log.

    Args:
        path: The log, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._reader = EventReader(path)
        self._events: deque[EventLine] = deque(maxlen=MOST_EVENTS)
        self._begun = self._closed = False
        self._lock = threading.Lock()
        self._told: Sequence[EventLine] = ()

    def listen(self) -> tuple[Sequence[EventLine], str | None]:
        """The events there are, oldest first, the same object while there are no new ones; and what is wrong."""
        with self._lock:
            if self._closed:
                return self._told, None
            try:
                new = self._reader.new() if self._begun else self._reader.last(MOST_EVENTS)
            except MeshfleetError as error:
                return self._told, str(error)
            self._begun = True
            if new:
                self._events.extend(new)
                self._told = list(self._events)
            return self._told, None

    def close(self) -> None:
        """Give the log back, which may be read in another thread just now."""
        with self._lock:
            self._closed = True
            self._reader.close()


def lines_of(event: dict[str, Any]) -> Iterator[Piece]:
    """An event of OpenCode's as lines."""
    words = text_of(event)
    if words:
        for line in legible(words).split("\n"):
            yield line, Tone.PLAIN
        return
    told = compact(event)
    match told["type"]:
        case "tool_use":
            failed = told["status"] == "error"
            about = told.get("error") or told.get("title") or told.get("input") or ""
            sign = "✗" if failed else "▸"
            yield on_one_line(f"{sign} {told['tool']} {about}"), Tone.BAD if failed else Tone.BUSY
        case "error":
            yield on_one_line(f"✗ {told['error']}"), Tone.BAD
        case "unreadable":
            yield f"({told['bytes']} bytes that are no event)", Tone.DIM


def _kept(text: str) -> Iterator[Piece]:
    """The words the ledger keeps of a run whose files are gone."""
    for line in legible(text).split("\n") if text else ():
        yield line, Tone.PLAIN
